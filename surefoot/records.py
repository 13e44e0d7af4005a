"""What the JSON files of a run say, as typed values that are read and written here alone.

``attack.json`` is an :class:`AttackRecord`, ``bench.json`` a :class:`BenchRecord`, ``train.json`` a
:class:`TrainingRecord` and ``summary.json`` a :class:`RunSummary`. Reading a file and writing it
again gives the same bytes: keys that no field has are kept in ``more``.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Self

from surefoot.artifact import Json, from_json, read_file, to_json
from surefoot.ball import Ball, Groups, Norm
from surefoot.certificate import Verdict, proved_text
from surefoot.config import REST, build, to_table
from surefoot.errors import InputError, IntegrityError
from surefoot.provenance import MadeOn
from surefoot.quantities.base.scope import Scope

CLEAN = "clean"
"""Name of the loop without an adversary among the attacks."""

ACTION = "action"
"""Name of the attack on the actions themselves."""


class Record:
    """A frozen dataclass whose fields are the keys of a JSON object."""

    __slots__ = ()

    @classmethod
    def from_json(cls, data: bytes, what: str) -> Self:
        """Read the content of a file; ``what`` names it in error messages.

        Raises:
            InputError: If it is not what :meth:`to_json` writes.
        """
        try:
            table = from_json(data, what)
        except IntegrityError as error:
            raise InputError(str(error)) from error
        return build(cls, table, what)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file.

        Raises:
            InputError: If there is none, or it is not what :meth:`to_json` writes.
        """
        return cls.from_json(read_file(path), str(path))

    def to_table(self) -> dict[str, Json]:
        """Return the record as JSON values."""
        table: dict[str, Json] = to_table(self, nulls=True)
        return table

    def to_json(self) -> bytes:
        """Return the content of the file."""
        return to_json(self.to_table())


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRecord(Record):
    """What ``stages.json`` says about a stage of a run that is done.

    Attributes:
        inputs: Digest of everything that its result depends on.
        files: Digest of each file that it wrote, by name.
        seconds: Time that it took; of a training, without the time between its interruptions.
        made_on: What computed it.
    """

    inputs: str
    files: Mapping[str, str]
    seconds: float
    made_on: MadeOn


def perturbation_words(norm: Norm, epsilon: float, readings: Mapping[str, str] | None) -> str:
    """Return a perturbation set in words, in raw units where it was asked for in these.

    Args:
        norm: Norm of the perturbation.
        epsilon: Radius, normalised units.
        readings: Largest error of the readings of each sensor that is named, with its unit.
    """
    if readings is None:
        return f"{norm} {epsilon:g}"
    return ", ".join(f"{name} {size}" for name, size in readings.items())


def read_stages(path: Path) -> dict[str, StageRecord]:
    """Read ``stages.json``: the stages that are done, by name.

    None are if the file is missing, or damaged, which a warning says: repeating a stage only costs
    time.
    """
    try:
        return _stages_of(path)
    except (IntegrityError, InputError) as error:
        warnings.warn(f"{path} is damaged, so that no stage counts as done: {error}", stacklevel=2)
        return {}


def _stages_of(path: Path) -> dict[str, StageRecord]:
    """Read ``stages.json``.

    Raises:
        InputError: If it is not an object of stages.
        IntegrityError: If it is not JSON.
    """
    table = from_json(read_file(path), str(path)) if path.exists() else {}
    if not isinstance(table, dict):
        raise InputError("it must hold an object")
    return {name: build(StageRecord, entry, name) for name, entry in table.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRecord(Record):
    """What ``train.json`` says about a finished training.

    Attributes:
        env: Gymnasium id of the task.
        seed: Seed of the training.
        steps: Environment steps.
        sparsity: Share of the weights that are zero.
        clean_return: Mean evaluated return of the policy that was taken; None without evaluations.
        weights_sha256: Digest of what the policy computes.
        onnx_sha256: Digest of ``policy.onnx``.
        made_on: What computed it; None where a record of before does not say.
    """

    env: str
    seed: int
    steps: int
    sparsity: float
    clean_return: float | None
    weights_sha256: str
    onnx_sha256: str
    made_on: MadeOn | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class VariantRecord:
    """One variant of an attack on the selection episodes.

    Attributes:
        mean: Mean return.
        max_deviation: Largest change of one actuator, action units.
        failures: Episodes in which the controller or the simulation failed.
    """

    mean: float
    max_deviation: float
    failures: int


@dataclass(frozen=True, kw_only=True, slots=True)
class GateOutcome:
    """What the gate of a controller did in the episodes of one attack.

    Attributes:
        first_rejection: Step of each episode at which the gate first found a limit broken, from 1;
            None where it never did.
        replaced: Steps of each episode in which the robot did not get the policy's action.
    """

    first_rejection: tuple[int | None, ...]
    replaced: tuple[int, ...]

    @property
    def fired(self) -> float:
        """Share of the episodes in which the gate rejected a step."""
        return len(self._steps) / len(self.first_rejection)

    @property
    def median_steps(self) -> float | None:
        """Median step of the first rejection, among the episodes that had one; None for none."""
        return float(median(self._steps)) if self._steps else None

    @property
    def _steps(self) -> tuple[int, ...]:
        return tuple(step for step in self.first_rejection if step is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackOutcome:
    """What one attack did in the evaluation episodes, which chose nothing of it.

    Attributes:
        returns: Undiscounted return of each episode.
        mean: Mean return.
        iqm: Interquartile mean of the returns.
        interval: Bootstrap interval of the interquartile mean, 95 %.
        max_deviation: Largest change of one actuator that was seen, action units.
        max_deviation_per_output: The same for each actuator.
        certified_deviation: Proved bound of it; None where nothing is proved.
        reached_share: ``max_deviation`` over ``certified_deviation``; None without a bound.
        lengths: Steps of each episode.
        terminated: Whether the task ended the episode before its time.
        failures: Episodes in which the controller or the simulation failed.
        failure_reasons: Why each episode failed; None for one that did not.
        variant: The variant that was chosen.
        effort: Counts of work by name: environment steps, gradients, queries, updates.
        selection: Every variant on the selection episodes, by name.
        successes: Whether each episode did the task, by the user's predicate; None without one.
        gate: What the gate did; None where the controller was played without one.
        more: Facts of some attacks alone: their critic, their search, their training.
    """

    returns: tuple[float, ...]
    mean: float
    iqm: float
    interval: tuple[float, float]
    max_deviation: float
    max_deviation_per_output: tuple[float, ...]
    certified_deviation: float | None
    reached_share: float | None
    lengths: tuple[int, ...]
    terminated: tuple[bool, ...]
    failures: int
    failure_reasons: tuple[str | None, ...]
    variant: str
    effort: Mapping[str, int]
    selection: Mapping[str, VariantRecord]
    successes: tuple[bool, ...] | None = None
    gate: GateOutcome | None = None
    more: Mapping[str, Json] = field(default_factory=dict, metadata=REST)

    @property
    def survived(self) -> tuple[bool, ...]:
        """Whether the task did not end the episode before its time, and nothing failed."""
        ends = zip(self.terminated, self.failure_reasons, strict=True)
        return tuple(not ended and failure is None for ended, failure in ends)

    def __post_init__(self) -> None:
        """Check that every list is about the same episodes.

        Raises:
            InputError: If one is longer than another, or there is no episode.
        """
        lists = [self.returns, self.lengths, self.terminated, self.failure_reasons]
        lists += [] if self.successes is None else [self.successes]
        lists += [] if self.gate is None else [self.gate.first_rejection, self.gate.replaced]
        if len({len(entries) for entries in lists}) != 1 or not self.returns:
            counts = ", ".join(str(len(entries)) for entries in lists)
            raise InputError(
                "returns, lengths, terminated, failure_reasons, successes and the lists of gate"
                f" must have one entry for each episode, got {counts}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class WorstAttack:
    """The attack that the controller stood worst: an upper bound on the worst case.

    Attributes:
        attack: Name of the attack.
        mean: Mean return under it.
        failures: Episodes that failed under it.
    """

    attack: str
    mean: float
    failures: int


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientMasking:
    """What speaks for masked gradients: searches without them that do better.

    Attributes:
        ratio: Deviation that a search without gradients reaches, over that of one with them; None
            where gradients move nothing at all.
        signs: Findings in words; empty if there are none.
    """

    ratio: float | None
    signs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionRecord:
    """The attack on the actions themselves, in a box that a certificate leaves.

    Attributes:
        scope: States that the limits are about.
        limits: Certified bound on the change of each action, rounding included, action units.
        outcome: What the strongest variant did.
        fraction: Share of the visited states at which the limits hold; None where they hold in
            every state.
        confidence: Confidence of that share.
    """

    scope: Scope
    limits: tuple[float, ...]
    outcome: AttackOutcome
    fraction: float | None = None
    confidence: float | None = None

    @property
    def box(self) -> str:
        """The box in words."""
        limits = ", ".join(proved_text(limit) for limit in self.limits)
        if self.fraction is None:
            return f"actions moved by at most ({limits}), as certified {self.scope}"
        return (
            f"actions moved by at most ({limits}), as certified at {self.fraction:.4g} of the "
            f"visited states with confidence {self.confidence:.4g}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackRecord(Record):
    """What ``attack.json`` says about a suite of attacks on one controller file.

    Attributes:
        epsilon: Radius of the perturbation set, normalised units.
        norm: Norm of the perturbation.
        backend: Name of what computed the controller.
        suite: Name of the suite.
        episodes: Number of evaluation episodes of each attack.
        attacks: Outcomes by name of the attack, the clean loop among them.
        worst: The attack that the controller stood worst.
        gradient_masking: Signs of masked gradients; None where nobody looked.
        onnx_sha256: Digest of the file that was attacked.
        env: Gymnasium id of the task.
        actions: Return under everything that the proof does not exclude, one for each scope of the
            proof; None where it was not searched.
        sensors: Share of epsilon by which each sensor was moved; None for all of it.
        groups: Sensors whose moves counted together, in l2; None where each counted by itself.
        delays: Steps by which the reading of each sensor was late at most; None where none was.
        biases: Share of its side by which each sensor was off by the same amount for an episode at
            most; None where all of it could vary.
        readings: Largest error of the readings of each sensor that is named, with its unit; None
            where it is not said in raw units.
        more: What else makes a result repeatable: settings, seeds, versions, digest of the code.
    """

    epsilon: float
    norm: Norm
    backend: str
    suite: str
    episodes: int
    attacks: Mapping[str, AttackOutcome]
    worst: WorstAttack
    gradient_masking: GradientMasking | None
    onnx_sha256: str
    env: str
    actions: tuple[ActionRecord, ...] | None = None
    sensors: tuple[float, ...] | None = None
    groups: Groups | None = None
    delays: tuple[int, ...] | None = None
    biases: tuple[float, ...] | None = None
    readings: Mapping[str, str] | None = None
    gate: str | None = None
    more: Mapping[str, Json] = field(default_factory=dict, metadata=REST)

    def __post_init__(self) -> None:
        """Check that the outcomes are about as many episodes as the record says.

        Raises:
            InputError: If they are not, or the clean loop is missing.
        """
        if CLEAN not in self.attacks:
            raise InputError(f"attacks must hold {CLEAN!r}, got {', '.join(self.attacks)}")
        for name, outcome in self.attacks.items():
            if len(outcome.returns) != self.episodes:
                raise InputError(
                    f"episodes is {self.episodes}, but {name} has {len(outcome.returns)}"
                )

    @property
    def ball(self) -> Ball:
        """The perturbation set."""
        return Ball(
            norm=self.norm,
            epsilon=self.epsilon,
            sensors=self.sensors,
            groups=self.groups,
            delays=self.delays,
            biases=self.biases,
        )

    @property
    def perturbation(self) -> str:
        """The perturbation set in words."""
        return perturbation_words(self.norm, self.epsilon, self.readings)

    @property
    def played(self) -> str:
        """What was played: the controller alone, or behind its gate."""
        return "" if self.gate is None else f"behind its gate ({self.gate})"

    @property
    def settings(self) -> Mapping[str, Json]:
        """The configuration of the suite; empty if the record does not say it."""
        settings: Mapping[str, Json] = self.more.get("settings", {})
        return settings

    @property
    def samples_actions(self) -> bool:
        """Whether the policy sampled its actions, so that nothing was measured of the deployed."""
        return self.more.get("action") == "sampled"

    @property
    def beyond_proof(self) -> tuple[str, ...]:
        """One line for each box of actions: what is left under all that the proof allows."""
        return tuple(
            f"return under everything that the proof does not exclude ({one.box}): at most "
            f"{one.outcome.mean:.0f}, by {one.outcome.variant} moves{self._weaker_than(one)}"
            for one in self.actions or ()
        )

    def _weaker_than(self, one: ActionRecord) -> str:
        """Say so where the search in a box that holds every attack found less than one of them."""
        worst = self.worst
        found = -one.outcome.failures, one.outcome.mean
        if one.scope is not Scope.EVERYWHERE or found <= (-worst.failures, worst.mean):
            return ""
        return (
            f"; the search fell short: {worst.attack}, which the box holds, leaves {worst.mean:.0f}"
        )

    @property
    def attacked(self) -> dict[str, AttackOutcome]:
        """The outcomes without the clean loop, by name of the attack."""
        return {name: outcome for name, outcome in self.attacks.items() if name != CLEAN}


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencyRecord(Record):
    """Order statistics of single calls, microseconds; None where too few samples lie beyond.

    Attributes:
        n: Number of samples.
        p50_us: Median.
        p90_us: 90th percentile.
        p99_us: 99th percentile.
        p999_us: 99.9th percentile.
        max_us: Largest sample.
    """

    n: int
    p50_us: float | None
    p90_us: float | None
    p99_us: float | None
    p999_us: float | None
    max_us: float


@dataclass(frozen=True, kw_only=True, slots=True)
class BackendRecord(LatencyRecord):
    """What was measured of one backend: whole calls at first, from observation to action.

    Attributes:
        inference: The engine's call alone, back to back.
        paced: Time from the scheduled release to the action, by rate in Hz.
        paced_under_load: The same while every core is busy; empty if not measured.
        misses: Deadlines missed by the paced calls, by rate in Hz.
        misses_under_load: The same while every core is busy.
        batches: Whole calls of more rows, by number of rows.
        size_bytes: Size of the file that runs.
        memory_bytes: Growth of a process that loads it; None where unknown.
        warm_up: Number of calls that came first and were not measured.
        batch: Rows of the calls that are not in ``batches``.
    """

    inference: LatencyRecord
    paced: Mapping[str, LatencyRecord]
    paced_under_load: Mapping[str, LatencyRecord]
    misses: Mapping[str, int]
    misses_under_load: Mapping[str, int]
    batches: Mapping[str, LatencyRecord]
    size_bytes: int
    memory_bytes: int | None
    warm_up: int
    batch: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchRecord(Record):
    """What ``bench.json`` says about one controller file on one machine.

    Attributes:
        backends: Latencies by name of the backend.
        timer_floor_us: Median of a call that does nothing, microseconds; not subtracted.
        machine: Machine of the measurement.
        onnx_sha256: Digest of the file that was measured.
        gate: Reaction of the gate that the calls passed; None where none was.
        more: Keys of other versions.
    """

    backends: Mapping[str, BackendRecord]
    timer_floor_us: float
    machine: Mapping[str, Json]
    onnx_sha256: str
    gate: str | None = None
    more: Mapping[str, Json] = field(default_factory=dict, metadata=REST)

    def __post_init__(self) -> None:
        """Check that something was measured.

        Raises:
            InputError: If there is no backend.
        """
        if not self.backends:
            raise InputError("backends must hold at least one")


@dataclass(frozen=True, kw_only=True, slots=True)
class RequirementSummary:
    """One requirement of the budget, and what is known about it.

    Attributes:
        requirement: The requirement in words.
        at_most: Its limit, if it is an upper one.
        certified: Proved bound; None where there is none.
        sampled: Worst value that was found or measured; None where nobody searched.
        verdict: Answer to the requirement.
        reason: Why, in one line.
        measured: Whether the quantity is measured and not proved.
    """

    requirement: str
    at_most: float | None
    certified: float | None
    sampled: float | None
    verdict: Verdict
    reason: str
    measured: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencySummary:
    """Latency of one backend, microseconds; None where too few samples lie beyond.

    Attributes:
        p50: Median.
        p99: 99th percentile.
    """

    p50: float | None
    p99: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSummary(Record):
    """What ``summary.json`` says: one number for each question of a deployment.

    Attributes:
        env: Gymnasium id of the task.
        steps: Environment steps of the training; None for a controller that was adopted.
        sparsity: Share of the weights that are zero.
        clean_return: Mean return without an adversary.
        attacked_return: Mean return by name of the attack.
        failures: Failed episodes by name of the attack, the clean loop among them.
        epsilon: Radius of the attacks, normalised units.
        norm: Norm of the attacks.
        readings: Largest error of the readings in the attacks, by sensor, with its unit; None where
            it is not said in raw units.
        requirements: The requirements in the order of the budget.
        verdict: The verdict on the budget.
        latency_us: Latencies by name of the backend.
        size_bytes: Size of ``policy.onnx``.
        weights_sha256: Digest of what the controller computes.
        onnx_sha256: Digest of ``policy.onnx``.
        budget_sha256: Digest of the budget.
        seconds: Time that each stage of the run took, by its name.
        made_on: What computed the training; None where its record does not say.
        more: Keys of other versions.
    """

    env: str
    steps: int | None
    sparsity: float
    clean_return: float
    attacked_return: Mapping[str, float]
    failures: Mapping[str, int]
    epsilon: float
    norm: Norm
    requirements: tuple[RequirementSummary, ...]
    verdict: Verdict
    latency_us: Mapping[str, LatencySummary]
    size_bytes: int
    weights_sha256: str
    onnx_sha256: str
    budget_sha256: str
    seconds: Mapping[str, float] = field(default_factory=dict)
    made_on: MadeOn | None = None
    readings: Mapping[str, str] | None = None
    more: Mapping[str, Json] = field(default_factory=dict, metadata=REST)
