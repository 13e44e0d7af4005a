"""What a certificate may rest on beside the weights, and how much effort goes into it."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from surefoot.artifact import Json, sha256_hex
from surefoot.config import build, settle_choices, to_table
from surefoot.errors import InputError, IntegrityError, OtherEvidenceError
from surefoot.gate import GateFile
from surefoot.limits import MAX_BOXES
from surefoot.policy import Array, Policy, weights_sha256
from surefoot.quantities import QUANTITIES
from surefoot.quantities.base.measurement import Measurement
from surefoot.quantities.base.proof import Ground
from surefoot.quantities.base.quantity import MeasuredQuantity
from surefoot.quantities.base.scope import Scope
from surefoot.ranges import MOST_AT_ONCE, require_at_least, require_positive
from surefoot.robot import Robot
from surefoot.visited import Order, SampledEpisodes

_LONGEST = 10**7
"""Steps of an episode, each of which a bound sums over: a day at 100 Hz."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Assumptions:
    """What claims take for granted, stated by the user and repeated in the certificate.

    Attributes:
        reward_range: Smallest and largest reward of a step.
        discount: Discount of the return, below 1.
        horizon: Length of an episode in steps, for the undiscounted return.
        state_limit: Largest magnitude of a state before it is perturbed, normalised units, for
            controllers without a clip.
    """

    reward_range: tuple[float, float] | None = None
    discount: float | None = None
    horizon: int | None = None
    state_limit: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evidence:
    """What is known beside the weights. Everything is optional; without it some claims are UNKNOWN.

    Attributes:
        observations: Visited raw observations, each from an independent episode at a step that was
            drawn beforehand, shape (n, obs_dim).
        recorded: Every raw observation of a recording, in any dependence, shape (m, obs_dim).
        episodes: Number of the episode of each recorded observation, of which every step is there
            in the order of time, shape (m,); None where nothing tells.
        earlier: Raw observations of the steps before each visited one, the latest first, shape
            (n, k, obs_dim); None where nothing tells. Then, where there are ``episodes``, each
            visited observation must be a row of the recorded ones, which say what came before it.
        dense_policy: Policy from which this one was compressed.
        measurements: Measurements, on this file or on others.
        reward_range: Smallest and largest reward of a step: an assumption of return claims.
        discount: Discount of the return, below 1.
        horizon: Length of an episode in steps, for the undiscounted return.
        sampled: Independent clean episodes of the policy that samples its actions.
        state_limit: Largest magnitude of a state before it is perturbed: an assumption.
        withheld: Evidence that the certificate names and that was not given.
        robot: Robot in whose words a budget speaks.
        gate: Gate to which the controller is held at run time; None without one.
    """

    observations: Array | None = None
    recorded: Array | None = None
    episodes: NDArray[np.int64] | None = None
    earlier: Array | None = None
    dense_policy: Policy | None = None
    measurements: tuple[Measurement, ...] = ()
    reward_range: tuple[float, float] | None = None
    discount: float | None = None
    horizon: int | None = None
    sampled: SampledEpisodes | None = None
    state_limit: float | None = None
    withheld: Set[Ground] = frozenset()
    robot: Robot | None = None
    gate: GateFile | None = None

    def __post_init__(self) -> None:
        """Check ranges and shapes.

        Raises:
            InputError: If one is out of range, or a measurement is none of its quantity.
        """
        for name in ("observations", "recorded"):
            given = getattr(self, name)
            if given is not None and (given.ndim != 2 or not np.isfinite(given).all()):
                raise InputError(f"{name} must be finite, (n, obs_dim), got {given.shape}")
        if self.episodes is not None and (
            self.recorded is None or self.episodes.shape != self.recorded.shape[:1]
        ):
            raise InputError(f"episodes must be one per recorded state, are {self.episodes.shape}")
        if self.earlier is not None and (
            self.observations is None
            or self.earlier.shape[::2] != self.observations.shape
            or not np.isfinite(self.earlier).all()
        ):
            raise InputError(f"earlier must be finite, (n, k, obs_dim), got {self.earlier.shape}")
        if self.reward_range is not None and not (
            np.isfinite(self.reward_range).all() and self.reward_range[0] <= self.reward_range[1]
        ):
            raise InputError(f"reward_range must be [low, high], got {self.reward_range}")
        if self.discount is not None and not 0 <= self.discount < 1:
            raise InputError(f"discount must be in [0, 1), got {self.discount}")
        if self.horizon is not None and not 1 <= self.horizon <= _LONGEST:
            raise InputError(f"horizon must be in [1, {_LONGEST}], got {self.horizon}")
        if self.state_limit is not None and not 0 < self.state_limit < np.inf:
            raise InputError(f"state_limit must be positive and finite, got {self.state_limit}")
        if self.sampled is not None and not np.isfinite(self.sampled.observations).all():
            raise InputError("observations of the sampling policy must be finite")
        for entry in self.measurements:
            quantity = QUANTITIES.get(entry.quantity)
            if not isinstance(quantity, MeasuredQuantity):
                raise InputError(f"measured must be a measured quantity, got {entry.quantity!r}")
            quantity.check(entry)

    def observations_of(self, scope: Scope) -> Array | None:
        """Return the recorded observations, or the visited ones."""
        return self.recorded if scope is Scope.RECORDED else self.observations

    @property
    def num_repeated(self) -> int:
        """Number of visited observations that a controller cannot tell from an earlier one."""
        if self.observations is None or not len(self.observations):
            return 0
        # Observations enter as float32; + 0 makes -0 the same row as 0.
        seen = self.observations.astype(np.float32) + np.float32(0)
        return len(seen) - len(np.unique(seen, axis=0))

    @property
    def reward_span(self) -> float:
        """Largest minus smallest reward, 0 among them because an episode may end early."""
        low, high = self.reward_range or (0.0, 0.0)
        return max(high, 0.0) - min(low, 0.0)

    @property
    def return_range(self) -> tuple[float, float] | None:
        """Least and largest undiscounted return of an episode that the assumptions allow."""
        if self.reward_range is None or self.horizon is None:
            return None
        low, high = self.reward_range
        return min(low, 0.0) * self.horizon, max(high, 0.0) * self.horizon

    def restricted(self, policy: Policy) -> Policy:
        """Return a policy that equals ``policy`` wherever the assumption on its states holds.

        Where no state exceeds the limit, a clip at the limit changes nothing.
        """
        if self.state_limit is None or self.state_limit >= policy.normaliser.clip:
            return policy
        return replace(policy, normaliser=replace(policy.normaliser, clip=self.state_limit))

    @property
    def contradicts_rewards(self) -> bool:
        """Whether a recorded clean return contradicts the assumptions."""
        if self.sampled is None or self.reward_range is None:
            return False
        low, high = (size * self.sampled.horizon for size in self.reward_range)
        returns = self.sampled.returns
        return bool(((returns < min(low, 0.0)) | (returns > max(high, 0.0))).any())

    def states(self, policy: Policy) -> Array | None:
        """Return the states of the visited observations in deployed arithmetic, float32.

        Raises:
            InputError: If the observations are not those of the policy, or break an assumption.
        """
        return self._checked(policy, self.observations)

    def recorded_states(self, policy: Policy) -> Array | None:
        """Return the states of the recorded observations in deployed arithmetic, float32.

        Raises:
            InputError: If the observations are not those of the policy, or break an assumption.
        """
        return self._checked(policy, self.recorded)

    def earlier_states(self, policy: Policy) -> Array | None:
        """Return the states of the steps before each visited one, float32, shape (n, k, obs_dim).

        Raises:
            InputError: If the observations are not those of the policy, or break an assumption.
        """
        if self.earlier is None or not self.earlier.size:
            return None
        states = self._checked(policy, self.earlier.reshape(-1, self.earlier.shape[2]))
        return None if states is None else states.reshape(self.earlier.shape)

    def sampled_states(self, policy: Policy) -> Array | None:
        """Return the states that the sampling policy met at the steps that it reached, float32.

        Raises:
            InputError: If the observations are not those of the policy.
        """
        return None if self.sampled is None else self._checked(policy, self.sampled.observations)

    def _checked(self, policy: Policy, observations: Array | None) -> Array | None:
        """Return the states of observations, none of which may break the assumption on states.

        What the policy's own clip cuts off breaks nothing.

        Raises:
            InputError: If one does.
        """
        states, limit = _states(self.restricted(policy), observations), self.state_limit
        if states is None or observations is None:
            return None
        if limit is None or limit >= policy.normaliser.clip:
            return states
        largest = float(np.abs(policy.state(observations)).max())
        if largest > limit:
            raise InputError(
                f"state_limit must be at least {largest:g}, as a given state is, got {limit:g}"
            )
        return states

    @property
    def state_digests(self) -> tuple[str | None, str | None]:
        """SHA-256 of the visited and of the recorded observations, as a certificate names them."""
        return _digest(self.observations), _digest(self.recorded)

    def to_table(self) -> dict[str, Json]:
        """Return assumptions, measurements and the digest of the observations as JSON values."""
        return {
            "observations_sha256": _digest(self.observations),
            "num_observations": 0 if self.observations is None else len(self.observations),
            "recorded_sha256": _digest(self.recorded),
            "num_recorded": 0 if self.recorded is None else len(self.recorded),
            **(
                {}
                if self.episodes is None
                else {"episodes_sha256": _digest(self.episodes[:, None])}
            ),
            **({} if self.earlier is None else {"earlier_sha256": _digest(self.earlier)}),
            "sampled_sha256": None if self.sampled is None else _digest_of_episodes(self.sampled),
            "dense_sha256": None
            if self.dense_policy is None
            else weights_sha256(self.dense_policy),
            "reward_range": None if self.reward_range is None else list(self.reward_range),
            "discount": self.discount,
            "horizon": self.horizon,
            "state_limit": self.state_limit,
            "measurements": [to_table(entry) for entry in self.measurements],
        }

    @classmethod
    def from_table(
        cls,
        table: Mapping[str, Json],
        observations: Array | None,
        dense_policy: Policy | None = None,
        sampled: SampledEpisodes | None = None,
        recorded: Array | None = None,
        order: Order | None = None,
    ) -> "Evidence":
        """Read assumptions and measurements back; observations and policies are not in them.

        Raises:
            IntegrityError: If the table is malformed.
            OtherEvidenceError: If it is about other observations, episodes or policies.
        """
        if table.get("recorded_sha256") is None:  # it claims nothing of recordings
            recorded = None
        order = order or Order()
        # Nor of what came before where it does not say so.
        named_order = table.get("episodes_sha256"), table.get("earlier_sha256")
        episodes = None if named_order[0] is None or recorded is None else order.episodes
        earlier = None if named_order[1] is None or observations is None else order.earlier
        named = {
            Ground.OBSERVATIONS: ("observations_sha256", observations),
            Ground.RECORDED: ("recorded_sha256", recorded),
            Ground.EPISODES: ("episodes_sha256", episodes),
            Ground.EARLIER: ("earlier_sha256", earlier),
            Ground.SAMPLED: ("sampled_sha256", sampled),
            Ground.DENSE_POLICY: ("dense_sha256", dense_policy),
        }
        try:
            rewards = table["reward_range"]
            evidence = cls(
                observations=observations,
                recorded=recorded,
                episodes=episodes,
                earlier=earlier,
                dense_policy=dense_policy,
                sampled=sampled,
                reward_range=None if rewards is None else (rewards[0], rewards[1]),
                discount=table["discount"],
                horizon=table["horizon"],
                state_limit=table.get("state_limit"),
                measurements=tuple(
                    build(Measurement, entry, "measurement") for entry in table["measurements"]
                ),
                withheld={
                    ground
                    for ground, (key, given) in named.items()
                    if given is None and table.get(key) is not None
                },
            )
            digest = table["observations_sha256"]
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise IntegrityError(
                f"the evidence of the certificate is malformed: {error}"
            ) from error
        if observations is not None and _digest(observations) != digest:
            raise OtherEvidenceError("the certificate rests on other observations")
        if recorded is not None and _digest(recorded) != table["recorded_sha256"]:
            raise OtherEvidenceError("the certificate rests on other recorded observations")
        if episodes is not None and _digest(episodes[:, None]) != table["episodes_sha256"]:
            raise OtherEvidenceError("the certificate rests on other recorded episodes")
        if earlier is not None and _digest(earlier) != table["earlier_sha256"]:
            raise OtherEvidenceError("the certificate rests on other readings before the visited")
        if sampled is not None and _digest_of_episodes(sampled) != table.get("sampled_sha256"):
            raise OtherEvidenceError("the certificate rests on other sampled episodes")
        if dense_policy is not None and weights_sha256(dense_policy) != table.get("dense_sha256"):
            raise OtherEvidenceError("the certificate rests on another dense policy")
        return evidence


def _states(policy: Policy, observations: Array | None) -> Array | None:
    """Return states in deployed arithmetic, float32, or None without observations.

    Raises:
        InputError: If the observations are not those of the policy.
    """
    if observations is None or not len(observations):
        return None
    if observations.shape[1] != policy.obs_dim:
        raise InputError(
            f"observations must have {policy.obs_dim} columns, got {observations.shape[1]}"
        )
    return policy.state(observations, np.float32)


def _digest(observations: Array | None) -> str | None:
    """Return the SHA-256 of observations as little-endian float64, None without any."""
    if observations is None:
        return None
    array = np.ascontiguousarray(observations, dtype="<f8")
    return sha256_hex(str(array.shape).encode() + array.tobytes())


def _digest_of_episodes(sampled: SampledEpisodes) -> str:
    arrays = (sampled.observations, sampled.steps, sampled.alive, sampled.returns)
    parts = [str(sampled.horizon).encode()]
    for array in arrays:
        parts += [str(array.shape).encode(), np.ascontiguousarray(array, dtype="<f8").tobytes()]
    return sha256_hex(b"".join(parts))


@dataclass(frozen=True, kw_only=True, slots=True)
class CertifyConfig:
    """How much effort goes into bounds and search.

    Attributes:
        arithmetic: Deployed arithmetic: plain float32, the same with generated C whose tanh and
            sigmoid are of a lower grade, float32 with TF32 products, or float16 values with
            float32 sums (see ``arithmetics.ARITHMETICS``).
        epsilon: Perturbation of the table of all bounds when the budget names none, normalised
            units.
        seed: Seed of every search.
        search_states: Starting states of the search over the whole state box.
        search_steps: Gradient steps of each ascent.
        search_restarts: Random starts beside the corner of the gradient's signs.
        lipsdp_iterations: L-BFGS iterations of LipSDP; 0 leaves it out.
        lipsdp_per_actuator: Further iterations for each actuator alone, and for each metric that
            weighs the sensors; 0 leaves both out.
        split_boxes: Pieces into which the perturbations of a visited state may be cut where the
            bound does not meet the limit; 0 leaves it out.
        alpha_steps: Gradient steps that choose the lines of CROWN at visited states, which also
            adds second-order bounds; 0 for fixed lines.
        region_boxes: Boxes into which the region of a ``property`` may be cut.
    """

    arithmetic: Literal["float32", "float32-fine", "float32-coarse", "tf32", "float16"] = "float32"
    epsilon: float = 0.05
    seed: int = 0
    search_states: int = 128
    search_steps: int = 10
    search_restarts: int = 1
    lipsdp_iterations: int = 40
    lipsdp_per_actuator: int = 15
    split_boxes: int = 0
    alpha_steps: int = 0
    region_boxes: int = 20_000

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If one is out of range.
        """
        settle_choices(self)
        require_positive(self, "epsilon")
        require_at_least(self, 1, "search_states", "search_steps", most=MOST_AT_ONCE)
        require_at_least(self, 1, "region_boxes", most=MAX_BOXES)
        require_at_least(self, 0, "search_restarts", most=MOST_AT_ONCE)
        steps = ("lipsdp_iterations", "lipsdp_per_actuator", "split_boxes", "alpha_steps")
        require_at_least(self, 0, "seed", *steps)
