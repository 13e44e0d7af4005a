"""What train and attack see of a task: many environments stepped together.

N = num_envs, O = obs_dim, A = number of actuators.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from surefoot.errors import InputError

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

State = dict[str, Any]
"""What `state_dict` gives: NumPy arrays, int, float, str, and dicts of these with str keys."""


@dataclass(frozen=True, slots=True, eq=False)
class BoxActions:
    """Continuous actions, one number per actuator between finite bounds.

    Attributes:
        low: Smallest action, float32 (A,), action units.
        high: Largest action, float32 (A,), action units.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]

    def __eq__(self, other: object) -> bool:
        """Compare the bounds element by element."""
        if not isinstance(other, BoxActions):
            return NotImplemented
        return np.array_equal(self.low, other.low) and np.array_equal(self.high, other.high)

    __hash__ = None  # type: ignore[assignment]  # arrays have no hash

    @property
    def dim(self) -> int:
        """Number of actuators."""
        return len(self.low)

    @property
    def centre(self) -> NDArray[np.float32]:
        """Middle of the range, float32 (A,), action units."""
        return ((self.low.astype(np.float64) + self.high) / 2).astype(np.float32)

    @property
    def half_range(self) -> NDArray[np.float32]:
        """Largest distance from the centre, float32 (A,), action units.

        Law: in float32, centre + s * half_range lies between the bounds for every |s| <= 1.
        """
        half = ((self.high.astype(np.float64) - self.low) / 2).astype(np.float32)
        reaches_over = (self.centre + half > self.high) | (self.centre - half < self.low)
        # A real number within the bounds is rounded to one within them, for rounding is monotone;
        # the step to the next float32 is far more than what float64 rounds of the distance.
        centre = self.centre.astype(np.float64)
        nearer = rounded_down(np.minimum(self.high - centre, centre - self.low))
        return np.where(reaches_over, np.nextafter(nearer, np.float32(0)), half)


def rounded_down(values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return the largest float32 that are not above the values; -infinity where there is none."""
    with np.errstate(over="ignore"):
        nearest = values.astype(np.float32)
    below: NDArray[np.float32] = np.nextafter(nearest, np.float32(-np.inf))
    return np.where(nearest > values, below, nearest)


@dataclass(frozen=True, slots=True)
class DiscreteActions:
    """One choice out of several.

    Attributes:
        num: Number of choices.
        start: The first of them; the others follow.
    """

    num: int
    start: int = 0


Actions = BoxActions | DiscreteActions


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvSpec:
    """What is known about a task before it runs.

    Attributes:
        env_id: Gymnasium id.
        obs_dim: Length of an observation.
        actions: Range of the actions.
        dt_s: Time between two actions in seconds, where the task tells.
        max_episode_steps: Steps after which an episode is truncated, where the task is limited.
        packages: Versions of the packages that the numbers depend on.
    """

    env_id: str
    obs_dim: int
    actions: Actions
    dt_s: float | None
    max_episode_steps: int | None
    packages: dict[str, str]


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step of every environment; the arrays belong to the caller.

    Attributes:
        obs: What the policy sees next, (N, O): the first observation of the next episode where
            one has just ended.
        reward: Reward of the step, (N,).
        terminated: The task ended and the value after it is zero, (N,).
        truncated: The time limit ended the episode; bootstrap from `terminal_obs`, (N,).
        terminal_obs: Observation that the step led to, (N, O): equals `obs` where no episode
            ended, and is the true last observation where one did.
    """

    obs: Floats
    reward: Floats
    terminated: Flags
    truncated: Flags
    terminal_obs: Floats


class VectorEnv(Protocol):
    """Environments of one task, stepped together; an episode that ends is reset in the same step.

    Law: from equal seeds and equal actions follow equal results, bit for bit, at any number of
    threads, and after `load_state_dict(state_dict())` in another process too.
    """

    @property
    def spec(self) -> EnvSpec:
        """What the task is."""

    @property
    def num_envs(self) -> int:
        """Number of environments N."""

    @property
    def resumable(self) -> bool:
        """Whether `state_dict` holds the simulator's state itself.

        If not, it holds how the episodes in progress began and every action since, and
        `load_state_dict` replays them; a task that does not repeat itself exactly is refused then.
        """

    def reset(self, seeds: Sequence[int] | None = None) -> Floats:
        """Start an episode everywhere and return the first observations, (N, O).

        Args:
            seeds: One seed per environment, used as `gymnasium.Env.reset(seed=...)` does; later
                episodes go on with the same random stream. Without seeds, the streams continue.

        Raises:
            InputError: If there is not one seed per environment.
        """

    def step(self, actions: NDArray[Any]) -> StepResult:
        """Apply one action per environment; nothing is clipped here.

        Args:
            actions: float32 (N, A) for `BoxActions`; for `DiscreteActions` integers (N,), counted
                as the task does, from its ``start``.

        Raises:
            InputError: If the actions have another shape or type, or nothing was reset before.
            DivergenceError: If a simulation diverged; reset before the next step.
        """

    def state_dict(self) -> State:
        """Return everything that the future depends on, as copies.

        Raises:
            InputError: If nothing was reset before, or a random stream cannot be stored.
        """

    def load_state_dict(self, state: Mapping[str, Any]) -> Floats:
        """Go back to a stored state and return the observations the policy sees next, (N, O).

        Raises:
            InputError: If the state is of another task or number of environments.
            ReplayError: If a replayed episode does not repeat itself.
        """

    def close(self) -> None:
        """Release the simulations."""


def check_actions(actions: NDArray[Any], spec: EnvSpec, num_envs: int) -> None:
    """Refuse actions of another shape or type than the task takes.

    float64 is refused because it would change rewards: the tasks compute the control cost in the
    precision of the action.

    Raises:
        InputError: If shape or type do not fit.
    """
    shape: tuple[int, ...]
    if isinstance(spec.actions, BoxActions):
        shape, wanted, fits = (num_envs, spec.actions.dim), "float32", actions.dtype == np.float32
    else:
        shape, wanted, fits = (num_envs,), "integers", actions.dtype.kind in "iu"
    if not fits or actions.shape != shape:
        raise InputError(
            f"{spec.env_id}: actions must be {wanted} of shape {shape},"
            f" got {actions.dtype} of shape {actions.shape}"
        )


def check_seeds(seeds: Sequence[int], num_envs: int) -> list[int]:
    """Return the seeds as Python integers, which is what Gymnasium takes.

    Raises:
        InputError: If there is not one non-negative seed per environment.
    """
    if len(seeds) != num_envs or min(seeds) < 0:
        raise InputError(
            f"seeds must be {num_envs} non-negative integers, one per environment, got {seeds}"
        )
    return [int(seed) for seed in seeds]


def check_state(state: Mapping[str, Any], spec: EnvSpec, num_envs: int) -> None:
    """Refuse the stored state of another task or number of environments.

    Raises:
        InputError: If task or number differ.
    """
    stored = (state.get("env_id"), state.get("num_envs"))
    if stored != (spec.env_id, num_envs):
        raise InputError(
            f"state must be of {num_envs} x {spec.env_id}, got one of {stored[1]} x {stored[0]}"
        )


def generator_state(generator: np.random.Generator) -> State:
    """Return the state of a random stream as JSON-able values.

    Raises:
        InputError: If the stream is not NumPy's PCG64, the one that Gymnasium uses.
    """
    return stream_state(generator.bit_generator.state)


def stream_state(state: Mapping[str, Any]) -> State:
    """Return the state of a bit generator, as NumPy calls it, in JSON-able values.

    Raises:
        InputError: If it is not of a PCG64, the one that Gymnasium uses.
    """
    if state["bit_generator"] != "PCG64":
        raise InputError(
            f"np_random must be a PCG64 generator to be stored, got {state['bit_generator']}"
        )
    return {**state["state"], "has_uint32": state["has_uint32"], "uinteger": state["uinteger"]}


def generator_from_state(state: Mapping[str, Any]) -> np.random.Generator:
    """Return the random stream that `generator_state` described."""
    bits = np.random.PCG64(0)
    bits.state = {
        "bit_generator": "PCG64",
        "state": {"state": state["state"], "inc": state["inc"]},
        "has_uint32": state["has_uint32"],
        "uinteger": state["uinteger"],
    }
    return np.random.Generator(bits)
