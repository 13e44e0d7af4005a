"""Whole episodes of the deployed controller under an adversary.

N = environments, O = obs_dim, M = num_outputs, E = episodes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from surefoot.artifact import from_json, to_json
from surefoot.attack.action import ActionAdversary
from surefoot.attack.adversary import Adversary, NoAdversary
from surefoot.attack.behind_gate import DeployedGate, Guard, WithinGate, decide_all
from surefoot.attack.deployed import DeployedController, Outputs
from surefoot.attack.late import LateAdversary
from surefoot.attack.success import PlayedEpisode, Predicate
from surefoot.ball import Randoms, States
from surefoot.config import build, to_table
from surefoot.envs.vector import Actions, BoxActions, DiscreteActions, EnvSpec, Floats, VectorEnv
from surefoot.errors import CheckError, DivergenceError, InputError
from surefoot.policy import CategoricalHead, GaussianHead, Policy, Squash
from surefoot.records import GateOutcome
from surefoot.train.evaluation import draw_noise, drawn_actions

DEFAULT_HORIZON = 1000
"""Steps of an episode of a task that sets no limit itself."""

_ADVERSARY, _NOISE = 0x61747461, 0x6E6F6973
"""Streams of an episode: what its adversary draws, and what the policy samples."""

_RANGE_TOLERANCE = 1e-5


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """Which episodes are played, and what no step of them may exceed.

    Attributes:
        seeds: One per episode; each seeds the environment and, apart from it, the adversary.
        certified_deviation: Proved bound on the change of one output, action units, if there is
            one for this perturbation set.
        success: Whether an episode did the task, if anybody says so.
        samples: Whether the policy samples its actions, in place of its mean or most probable one.
            Deviations stay those of the latter.
        gate: Gate that the readings and the actions pass; None for none, and where actions are
            sampled. Deviations stay those of the policy, whatever the robot gets.
        on_step: Is told how far each output of the episodes in progress was moved, (N, M), at each
            step; to film an episode.
    """

    seeds: tuple[int, ...]
    certified_deviation: float | None = None
    success: Predicate | None = None
    samples: bool = False
    gate: DeployedGate | None = None
    on_step: Callable[[Floats], None] | None = None

    def __post_init__(self) -> None:
        """Check the seeds, and that no gate meets samples.

        Raises:
            InputError: If there are none, one is negative, or two are equal, or samples are to pass
                a gate.
        """
        if self.samples and self.gate is not None:
            raise InputError("gate must be None where actions are sampled: nothing deploys samples")
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"seeds must be different and non-negative, got {self.seeds}")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evaluation:
    """What happened, episode by episode in the order of the seeds.

    Attributes:
        seeds: Seeds of the episodes.
        returns: Undiscounted sums of rewards, (E,); of a failed episode up to its failure.
        lengths: Steps, (E,).
        terminated: Whether the task ended the episode before its time (a fall, in most), (E,).
        failures: Why the controller or the simulation failed, None where neither did, E of them.
        deviations: Largest |a(z') - a(z)| of each output over the steps of each episode, action
            units (logits for a categorical head), (E, M).
        successes: Whether each episode did the task, by the predicate; None without one. An episode
            that failed did not.
        gate: What the gate did; None without one.
    """

    seeds: tuple[int, ...]
    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    terminated: NDArray[np.bool_]
    failures: tuple[str | None, ...]
    deviations: Floats
    successes: tuple[bool, ...] | None = None
    gate: GateOutcome | None = None

    @property
    def max_deviation(self) -> float:
        """The largest deviation of any output at any step."""
        return float(self.deviations.max(initial=0.0))

    @property
    def num_failures(self) -> int:
        """Episodes in which the controller or the simulation failed."""
        return sum(failure is not None for failure in self.failures)

    @property
    def standing(self) -> tuple[int, float]:
        """How the controller stood it; the lower, the worse: failures count before returns.

        A failed episode ends early: of rewards that are costs its return looks good.
        """
        return -self.num_failures, float(self.returns.mean())

    def to_json(self) -> bytes:
        """Return everything as JSON; no number is rounded."""
        arrays = ("returns", "lengths", "terminated", "deviations")
        table = {name: getattr(self, name).tolist() for name in arrays}
        table |= {"seeds": list(self.seeds), "failures": list(self.failures)}
        successes = None if self.successes is None else list(self.successes)
        gate = None if self.gate is None else to_table(self.gate, nulls=True)
        return to_json(table | {"successes": successes, "gate": gate})

    @classmethod
    def from_json(cls, data: bytes) -> "Evaluation":
        """Read :meth:`to_json` back."""
        table = from_json(data, "an evaluation")
        return cls(
            seeds=tuple(table["seeds"]),
            returns=np.array(table["returns"], np.float64),
            lengths=np.array(table["lengths"], np.int64),
            terminated=np.array(table["terminated"], np.bool_),
            failures=tuple(table["failures"]),
            deviations=np.array(table["deviations"], np.float64),
            successes=None if table["successes"] is None else tuple(table["successes"]),
            gate=None if table["gate"] is None else build(GateOutcome, table["gate"], "gate"),
        )


def evaluate(
    deployed: DeployedController,
    env: VectorEnv,
    adversary: Adversary | ActionAdversary,
    config: EvaluateConfig,
) -> Evaluation:
    """Play one episode per seed: action from the deployed controller at the perturbed state.

    In the clean loop the observations go through the controller's own normaliser; otherwise the
    perturbed state enters after it, or the action is moved that answers to the true one. Every
    environment counts its first episode after a reset and no other, so that short episodes are not
    counted more often. The result does not depend on how many environments there are.

    Args:
        deployed: The controller and its twin.
        env: Any number of environments of the task; is reset.
        adversary: Sees the true state, at every step.
        config: Episodes and the certified bound.

    Raises:
        InputError: If the environment is not one of this controller, or actions are to be sampled
            from a law that is not known.
        CheckError: If the controller is not its twin, a perturbation leaves the ball, a move
            of the actions its box, or a deviation exceeds the certified bound.
    """
    check_fit(deployed.policy, env.spec)
    loop = _Loop(
        deployed,
        env,
        adversary,
        config.certified_deviation,
        keeps_steps=config.success is not None,
        samples=config.samples,
        gate=config.gate,
        on_step=config.on_step,
    )
    episodes: list[_Episode] = []
    for first in range(0, len(config.seeds), env.num_envs):
        episodes += _play_together(loop, config.seeds[first : first + env.num_envs])
    return Evaluation(
        seeds=config.seeds,
        returns=np.array([episode.total for episode in episodes]),
        lengths=np.array([episode.length for episode in episodes]),
        terminated=np.array([episode.terminated for episode in episodes]),
        failures=tuple(episode.failure for episode in episodes),
        deviations=np.array([episode.deviation for episode in episodes]),
        successes=None
        if config.success is None
        else tuple(_succeeds(episode, config.success) for episode in episodes),
        gate=_gate_outcome([episode.guard for episode in episodes if episode.guard is not None]),
    )


def _gate_outcome(guards: Sequence[Guard]) -> GateOutcome | None:
    """Return what the gates of all episodes did, None without any."""
    if not guards:
        return None
    return GateOutcome(
        first_rejection=tuple(guard.first_rejection for guard in guards),
        replaced=tuple(guard.replaced for guard in guards),
    )


def _succeeds(episode: "_Episode", success: Predicate) -> bool:
    if episode.failure is not None:
        return False
    return success(
        PlayedEpisode(
            observations=np.array(episode.observations),
            rewards=np.array(episode.rewards),
            terminated=episode.terminated,
        )
    )


def check_fit(policy: Policy, spec: EnvSpec) -> None:
    """Refuse an environment whose sizes or action range are not those of the policy.

    Raises:
        InputError: If one differs.
    """
    if policy.memory is not None:
        raise InputError(
            "the controller has a memory, which no closed loop here carries from step to step: "
            "certify one step of it, with states that hold the memory"
        )
    head, actions = policy.head, spec.actions
    if isinstance(head, CategoricalHead):
        theirs = None if isinstance(actions, BoxActions) else (actions.num, actions.start)
        fits = theirs == (head.num_actions, head.start)
        wanted = _describe(DiscreteActions(head.num_actions, head.start))
    else:
        fits = isinstance(actions, BoxActions) and _same_range(head, actions)
        limits = [(head.centre + sign * head.half_range).tolist() for sign in (-1, 1)]
        wanted = f"{policy.num_outputs} actuators in {limits}"
    if policy.obs_dim != spec.obs_dim or not fits:
        raise InputError(
            f"{spec.env_id} has {spec.obs_dim} observations and {_describe(actions)}; the "
            f"controller is for {policy.obs_dim} observations and {wanted}"
        )


def _same_range(head: GaussianHead, actions: BoxActions) -> bool:
    if actions.dim != head.centre.size:
        return False
    if head.squash is Squash.IDENTITY:
        return True  # a controller without limits has no range that could differ
    tolerance = _RANGE_TOLERANCE * head.half_range
    low, high = head.centre - head.half_range, head.centre + head.half_range
    apart = np.maximum(np.abs(low - actions.low), np.abs(high - actions.high))
    return bool((apart <= tolerance).all())


def _describe(actions: Actions) -> str:
    if isinstance(actions, BoxActions):
        return f"{actions.dim} actuators in {[actions.low.tolist(), actions.high.tolist()]}"
    counted = f" from {actions.start} on" if actions.start else ""
    return f"{actions.num} discrete actions{counted}"


@dataclass(slots=True)
class _Episode:
    """An episode in progress."""

    seed: int
    random: np.random.Generator
    noise: np.random.Generator
    deviation: Floats
    guard: Guard | None = None
    total: float = 0.0
    length: int = 0
    terminated: bool = False
    over: bool = False
    failure: str | None = None
    observations: list[Floats] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    seen: list[NDArray[np.float32]] = field(default_factory=list)

    def fail(self, reason: str) -> None:
        self.failure, self.over = reason, True


@dataclass(frozen=True, slots=True)
class _Loop:
    """The closed loop: environment, adversary, controller."""

    deployed: DeployedController
    env: VectorEnv
    adversary: Adversary | ActionAdversary
    certified: float | None
    keeps_steps: bool
    samples: bool
    gate: DeployedGate | None
    on_step: Callable[[Floats], None] | None

    def run(self, episodes: Sequence[_Episode]) -> None:
        """Play the episodes to their ends, one per environment; finished environments idle."""
        seeds = [episode.seed for episode in episodes]
        obs_NO = self.env.reset(seeds + seeds[:1] * (self.env.num_envs - len(seeds)))
        idle_NA = self._idle_actions()
        if self.keeps_steps:
            for episode, obs_O in zip(episodes, obs_NO, strict=False):
                episode.observations.append(obs_O.copy())
        for _ in range(self.env.spec.max_episode_steps or DEFAULT_HORIZON):
            live = np.array([i for i, episode in enumerate(episodes) if not episode.over], np.int64)
            if not live.size:
                return
            actions_NA = idle_NA.copy()
            acting, actions = self._decide(obs_NO[live], [episodes[i] for i in live])
            actions_NA[live[acting]] = actions
            live = live[[not episodes[i].over for i in live]]
            result = self.env.step(actions_NA)
            for i in live:
                episode = episodes[i]
                episode.total += float(result.reward[i])
                episode.terminated = bool(result.terminated[i])
                episode.over = episode.terminated or bool(result.truncated[i])
                episode.length += 1
                if self.keeps_steps:
                    episode.observations.append(result.terminal_obs[i].copy())
                    episode.rewards.append(float(result.reward[i]))
            obs_NO = result.obs

    def _decide(
        self, obs_NO: Floats, playing: Sequence[_Episode]
    ) -> tuple[NDArray[np.bool_], NDArray[np.generic]]:
        """Return which robots get an action, (N,), and the actions of these.

        Without a gate an episode fails whose controller returns what is not finite.
        """
        outputs, deviations, seen = self._act(obs_NO, playing)
        if self.on_step is not None:
            self.on_step(deviations)
        sums = np.isfinite(outputs + deviations)
        finite: NDArray[np.bool_] = np.logical_and.reduce(sums, axis=1)
        for number, episode in enumerate(playing):
            if finite[number]:
                np.maximum(episode.deviation, deviations[number], out=episode.deviation)
            elif episode.guard is None:
                episode.fail("the controller returned a number that is not finite")
        if self.gate is None:
            noises = [episode.noise for episode in playing if not episode.over]
            return finite, self._chosen(outputs[finite], seen[finite], noises)
        readings = self.gate.shown(obs_NO, self.deployed.states(obs_NO), seen)
        given, acting = decide_all(_guards(playing), readings, outputs)
        return acting, self.deployed.policy.head.select(given[acting])

    def _chosen(
        self, outputs: Outputs, states: States, noises: Sequence[np.random.Generator]
    ) -> NDArray[np.generic]:
        """Return what the environments take at outputs: that of the outputs, or a sample."""
        policy = self.deployed.policy
        if not self.samples or not len(states):
            return policy.head.select(outputs)
        noise = [draw_noise(policy, stream, (policy.num_outputs,)) for stream in noises]
        return drawn_actions(policy, policy.network(states), np.stack(noise))

    def _act(self, obs_NO: Floats, playing: Sequence[_Episode]) -> tuple[Outputs, Floats, States]:
        """Return the controller's outputs, how far the adversary moved them, and what it saw.

        Raises:
            CheckError: If it moved one by more than is certified.
        """
        if isinstance(self.adversary, NoAdversary):
            outputs = self.deployed.at_observations(obs_NO)
            return outputs, np.zeros(outputs.shape), self.deployed.states(obs_NO)
        seen = state = self.deployed.states(obs_NO)
        clean = self.deployed.at_states(state)
        if isinstance(self.adversary, ActionAdversary):
            outputs = _moved(self.adversary, state, clean)
        else:
            seen = self._shown_state(self.adversary, obs_NO, state, playing)
            outputs = self.deployed.at_states(seen)
        deviations = np.abs(outputs.astype(np.float64) - clean)
        reached = deviations[np.isfinite(deviations)].max(initial=0.0)
        if self.certified is not None and reached > self.certified:
            raise CheckError(
                f"an action moved by {reached:.9g} in an attack, more than the "
                f"certified {self.certified:.9g}: the certificate is wrong"
            )
        return outputs, deviations, seen

    def _shown_state(
        self, adversary: Adversary, obs_NO: Floats, state: States, playing: Sequence[_Episode]
    ) -> States:
        """Return the states that an adversary shows: of one that knows the gate, what passes."""
        if isinstance(adversary, LateAdversary):
            return _late(adversary, state, playing)
        seen = _perturbed(adversary, state, [episode.random for episode in playing])
        if self.gate is None or not isinstance(adversary, WithinGate):
            return seen
        return self.gate.within(_guards(playing), adversary.ball, obs_NO, state, seen)

    def _idle_actions(self) -> NDArray[np.generic]:
        actions = self.env.spec.actions
        if isinstance(actions, BoxActions):
            rest = np.clip(np.float32(0), actions.low, actions.high)
            return np.tile(rest, (self.env.num_envs, 1))
        return np.full(self.env.num_envs, actions.start, np.int64)


def _guards(playing: Sequence[_Episode]) -> list[Guard]:
    return [episode.guard for episode in playing if episode.guard is not None]


def _late(adversary: LateAdversary, state: States, episodes: Sequence[_Episode]) -> States:
    """Return the late readings that an adversary shows.

    Raises:
        CheckError: If one is none of the last ones, nor between them.
    """
    num_ages = int(adversary.delays.max(initial=0)) + 1
    for row, episode in zip(state, episodes, strict=True):
        episode.seen = [row, *(episode.seen or [row] * num_ages)][:num_ages]
    history = np.stack([episode.seen for episode in episodes], axis=1)
    shown = adversary.late(history, [episode.random for episode in episodes])
    if shown.dtype != np.float32 or not adversary.explains(history, shown).all():
        raise CheckError(f"{type(adversary).__name__} showed what was not read")
    return shown


def _perturbed(adversary: Adversary, state: States, randoms: Randoms) -> States:
    """Return the states as an adversary perturbs them, if it may.

    Raises:
        CheckError: If a perturbed state is malformed or outside of the ball.
    """
    ball, name = adversary.ball, type(adversary).__name__
    perturbed = adversary.perturb(state, randoms)
    if perturbed.dtype != np.float32 or perturbed.shape != state.shape:
        raise CheckError(f"{name} returned {perturbed.dtype} of shape {perturbed.shape}")
    if not ball.contains(state, perturbed).all():  # NaN is in no ball
        raise CheckError(f"{name} left the {ball.norm} ball of radius {ball.epsilon}")
    return perturbed


def _moved(adversary: ActionAdversary, state: States, clean: Outputs) -> Outputs:
    """Return the actions as an adversary moves them, if it may.

    Raises:
        CheckError: If a move leaves the box.
    """
    outputs = adversary.moved(state, clean)
    failed = ~np.isfinite(clean).all(axis=1)
    if not (adversary.box.contains(clean, outputs) | failed).all():
        raise CheckError(f"an action left its box, whose limits are {adversary.box.limits}")
    return outputs


def _play_together(loop: _Loop, seeds: Sequence[int]) -> list[_Episode]:
    """Play episodes side by side; a simulation that diverges is a failure of its episode alone."""
    episodes = [
        _Episode(
            seed=seed,
            random=_stream(seed, _ADVERSARY),
            noise=_stream(seed, _NOISE),
            deviation=np.zeros(loop.deployed.policy.num_outputs),
            guard=None if loop.gate is None else loop.gate.guard(),
        )
        for seed in seeds
    ]
    try:
        loop.run(episodes)
    except DivergenceError as error:
        if len(episodes) > 1:  # whose simulation it was shows when they are played apart
            half = len(seeds) // 2
            return [*_play_together(loop, seeds[:half]), *_play_together(loop, seeds[half:])]
        episodes[0].fail(str(error))
    return episodes


def _stream(seed: int, key: int) -> np.random.Generator:
    """Return a random stream of an episode, independent of the environment's."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(key,)))
