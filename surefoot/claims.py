"""What a certificate says beside the requirements of its budget: tables, distances and values.

Each claim names its norm, units, domain and arithmetic, so that it can be read alone. A bound that
is None proves nothing; a field that is None by default is left out of the JSON.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from surefoot.artifact import Json
from surefoot.ball import Ball, Norm
from surefoot.config import INLINE, build, to_table
from surefoot.sensors import warnings_of

Rows = tuple[float | None, ...]
"""Bounds, one per output or state; None where nothing is proved."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeErrorClaim:
    """How far the deployed arithmetic may be from real arithmetic.

    Attributes:
        units: Unit of the values.
        domain: States that it is about.
        arithmetic: What it covers, in words.
        values: Bound per output, shape (m,); None where there is none.
        reason: Why there is none.
        assumption: What was measured of the runtime and is not proved.
        state_limit: Assumption on the states.
    """

    units: str
    domain: str
    arithmetic: str
    values: tuple[float, ...] | None
    reason: str | None = None
    assumption: str | None = None
    state_limit: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PerActuatorClaim:
    """Bounds on the change of each output, by name.

    Attributes:
        norm: Norm of the perturbation.
        epsilon: Size of the perturbation, normalised units.
        units: Unit of the bounds.
        domain: States that it is about.
        arithmetic: Arithmetic that it is about.
        bounds: Name of a bound to its rows, shape (m,).
    """

    norm: Norm
    epsilon: float
    units: str
    domain: str
    arithmetic: str
    bounds: Mapping[str, Rows]

    @property
    def action_range(self) -> float:
        """By how much any output may change at all; infinite where that is not bounded."""
        rows = self.bounds.get("action_range") or (None,)
        return max(math.inf if row is None else row for row in rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class PerSensorClaim:
    """Bounds on what each sensor by itself moves.

    Attributes:
        norm: How the sensors add up.
        units: Unit of the bounds.
        domain: States that it is about.
        arithmetic: Arithmetic that it is about.
        bounds: One row per sensor, one number per output.
    """

    norm: str
    units: str
    domain: str
    arithmetic: str
    bounds: tuple[Rows, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LawNumbers:
    """More about the distance of action laws, where there is a bound.

    Attributes:
        pinsker_total_variation: Pinsker's bound on total variation, looser than the exact form.
        method: Name of the bound behind all of them.
    """

    pinsker_total_variation: float | None
    method: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TransportDistance:
    """The distance of Gaussian laws by transport.

    Attributes:
        w2: Wasserstein-2 distance, network units.
    """

    w2: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class DistributionClaim:
    """How far the law of the sampled action may move.

    Attributes:
        norm: Norm of the perturbation.
        epsilon: Size of the perturbation, normalised units.
        domain: States that it is about.
        law: Whose law.
        total_variation: Bound, in [0, 1].
        kl: Bound on the Kullback-Leibler divergence, nats.
        reason: Why there are no bounds.
        numbers: More about them.
        transport: Distance by transport, for Gaussian laws.
    """

    norm: Norm
    epsilon: float
    domain: str
    law: str
    total_variation: float | None
    kl: float | None
    reason: str | None = None
    numbers: LawNumbers | None = field(default=None, metadata=INLINE)
    transport: TransportDistance | None = field(default=None, metadata=INLINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class LossClaim:
    """A bound on the loss of return.

    Attributes:
        bound: Reward units.
        trivial: Bound that holds without any knowledge of the policy, reward units.
        vacuous: Whether it says no more than that.
        sound: Whether it is a bound; a published formula may be none.
        flaw: Reason why it is no bound, if it is none.
        confidence: Confidence with which it holds; None where it holds always.
        episodes: Number of clean episodes that it rests on.
        mean_total_variation: Mean bound on total variation at their states.
        assumption: Assumption on these episodes.
    """

    bound: float | None
    trivial: float | None
    vacuous: bool
    sound: bool
    flaw: str | None = None
    confidence: float | None = None
    episodes: int | None = None
    mean_total_variation: float | None = None
    assumption: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackedReturnClaim:
    """A lower bound on the return of the sampling policy under any attack.

    Attributes:
        bound: Reward units; None where there is none.
        reason: Why there is none.
        clean_at_least: Lower limit of the mean clean return, reward units.
        least_conceivable: Least return that the assumptions allow, reward units.
        vacuous: Whether the bound says no more than that.
        confidence: Confidence with which it holds.
    """

    bound: float | None
    reason: str | None = None
    clean_at_least: float | None = None
    least_conceivable: float | None = None
    vacuous: bool | None = None
    confidence: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueClaim:
    """What perturbations may cost the sampling policy, by every bound that applies.

    Attributes:
        norm: Norm of the perturbation.
        epsilon: Size of the perturbation, normalised units.
        units: Unit of the bounds.
        assumption: Assumption on the rewards.
        law: Whose return.
        adversary: Knowledge that the adversary may have.
        coupling: Discounted, from the largest distance of laws.
        paper_alpha: The published constant, which is no bound.
        horizon: Undiscounted, from the largest distance of laws.
        average: Discounted, from clean episodes.
        path: Undiscounted, from clean episodes.
        attacked_return: Lower bound of the attacked return.
    """

    norm: Norm
    epsilon: float
    units: str
    assumption: str
    law: str
    adversary: str
    coupling: LossClaim | None = None
    paper_alpha: LossClaim | None = None
    horizon: LossClaim | None = None
    average: LossClaim | None = None
    path: LossClaim | None = None
    attacked_return: AttackedReturnClaim | None = None

    @property
    def losses(self) -> dict[str, LossClaim]:
        """The losses that are known, by name; the published constant is the last one."""
        named = {
            "coupling": self.coupling,
            "average": self.average,
            "horizon": self.horizon,
            "path": self.path,
            "paper_alpha": self.paper_alpha,
        }
        return {name: loss for name, loss in named.items() if loss is not None}


@dataclass(frozen=True, kw_only=True, slots=True)
class PrintedTheorem:
    """A published theorem as printed, and what replaces it.

    Attributes:
        as_printed: Where a constant is printed to the loss that it gives, reward units.
        trivial_as_printed: Bound that holds without the theorem, as printed, reward units.
        vacuous_as_printed: Where a constant is printed to whether it says no more than that.
        replaced_by: Sound replacement.
    """

    as_printed: Mapping[str, float | None]
    trivial_as_printed: float | None
    vacuous_as_printed: Mapping[str, bool]
    replaced_by: LossClaim


@dataclass(frozen=True, kw_only=True, slots=True)
class Replacement:
    """What replaces Theorem 3, where a dense policy is known.

    Attributes:
        replaced_by: How much lower the attacked return of the dense policy may be.
        why: Why nothing replaces it.
        total_variation: Bound on the distance of the two policies' laws.
    """

    replaced_by: LossClaim | None
    why: str | None = None
    total_variation: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Theorem3:
    """The published Theorem 3, which cannot be computed.

    Attributes:
        as_printed: Always None.
        reason: Why.
        replacement: Sound replacement.
    """

    as_printed: float | None
    reason: str
    replacement: Replacement | None = field(default=None, metadata=INLINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Theorems:
    """The published theorems.

    Attributes:
        theorem_1: On the worst-case loss.
        theorem_2: On the average loss.
        theorem_3: On pruned policies.
    """

    theorem_3: Theorem3
    theorem_1: PrintedTheorem | None = None
    theorem_2: PrintedTheorem | None = None

    @property
    def printed(self) -> dict[str, PrintedTheorem]:
        """The theorems that can be computed, by name."""
        named = {"theorem_1": self.theorem_1, "theorem_2": self.theorem_2}
        return {name: theorem for name, theorem in named.items() if theorem is not None}


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperClaim:
    """The published numbers as printed, beside what is sound.

    Attributes:
        surrogate: Published Lipschitz constant.
        surrogate_times_epsilon: Its deviation as printed.
        flaw: Flaw of the theorem as printed.
        sound: The deviation made sound.
        units: Unit of these numbers.
        table: How the tables differ from them.
        total_variation_as_printed: Where a bound on total variation is printed to the bound.
        theorems: The published theorems.
        reason: Why there is no bound on total variation.
    """

    surrogate: float | None
    surrogate_times_epsilon: float | None
    flaw: str
    sound: float | None
    units: str
    table: str
    total_variation_as_printed: Mapping[str, float | None]
    theorems: Theorems
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RateLimit:
    """What a measured rate proves.

    Attributes:
        at_least: Lower confidence limit.
    """

    at_least: float


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanLimits:
    """Lower confidence limits of a mean return, by three methods.

    Attributes:
        betting: Limit by betting.
        dkw: Limit by a band around the distribution function.
        hoeffding: Limit by Hoeffding's inequality.
    """

    betting: float
    dkw: float
    hoeffding: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ReturnLimits:
    """What measured returns prove.

    Attributes:
        distribution_band: Half the width of a band around the distribution function of returns.
        quantile: A quantile, in (0, 1).
        quantile_at_least: Its lower confidence limit; None where the episodes are too few.
        mean_at_least: Lower limits of the mean; None where the returns have no known range.
        assumption: Assumption on the returns.
    """

    distribution_band: float
    quantile: float
    quantile_at_least: float | None
    mean_at_least: MeanLimits | None
    assumption: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredClaim:
    """A measurement, and what it proves by itself.

    Attributes:
        quantity: Name of the quantity.
        value: Measured value.
        source: Description of the run, in words.
        onnx_sha256: Digest of the file that was measured.
        confidence: Confidence of the limits.
        rate: Limits of a rate.
        returns: Limits of returns.
    """

    quantity: str
    value: float
    source: str
    onnx_sha256: str
    confidence: float | None = None
    rate: RateLimit | None = field(default=None, metadata=INLINE)
    returns: ReturnLimits | None = field(default=None, metadata=INLINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class VisitedDeviationClaim:
    """Bounds on the largest change of one output at each visited state.

    Attributes:
        norm: Norm of the perturbation.
        epsilon: Size of the perturbation, normalised units.
        units: Unit of the bounds.
        domain: States that it is about.
        arithmetic: Arithmetic that it is about.
        certified: Bounds, rounding included, shape (n,).
        method: Name of the bound.
        sampled: Worst that a search found, shape (n,).
    """

    norm: Norm
    epsilon: float
    units: str
    domain: str
    arithmetic: str
    certified: Rows
    method: str
    sampled: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the size of the perturbation.

        Raises:
            InputError: If it is none.
        """
        Ball(norm=self.norm, epsilon=self.epsilon)


@dataclass(frozen=True, kw_only=True, slots=True)
class VisitedRadiusClaim:
    """How large a perturbation each visited state tolerates.

    Attributes:
        norm: Norm of the perturbation.
        sensors: Share of the radius by which each sensor may move; None for all of it.
        limit: Largest allowed movement of an output.
        units: Unit of the radii.
        domain: States that it is about.
        arithmetic: Arithmetic that it is about.
        method: Name of the bound.
        certified: Radii, normalised units, shape (n,).
        epsilon: Radius that is asked for, normalised units.
        share_at_least_epsilon: Share of these states that tolerate it.
        share_proved: Lower confidence limit of that share among all visited states.
        confidence: Confidence of the limit.
        actuator: Name of the actuators that are limited; None for all.
        readings: Largest errors of the readings that epsilon and shares stand for, by sensor, with
            their units; None where the perturbation is in normalised units.
    """

    norm: Norm
    sensors: tuple[float, ...] | None
    limit: float
    units: str
    domain: str
    arithmetic: str
    method: str
    certified: tuple[float, ...]
    epsilon: float
    share_at_least_epsilon: float
    share_proved: float | None = None
    confidence: float | None = None
    actuator: str | None = None
    readings: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SensorsClaim:
    """What epsilon is on each sensor, and the sensors on which it says little.

    Attributes:
        epsilon: Size of the perturbation, normalised units.
        scale: Raw units per normalised unit, shape (obs_dim,).
        epsilon_raw: Epsilon in the raw unit of each sensor, shape (obs_dim,).
        float32_step: Distance of two float32 readings, normalised units, shape (obs_dim,).
        degenerate: Numbers of the sensors whose scale is at its floor: they never moved.
        unresolved: Numbers of the sensors on which one float32 step is more than epsilon.
        per_raw_unit: Largest change of an output per raw unit of the sensor, shape (obs_dim,); in
            real arithmetic, each sensor by itself. No output moves by more than its range.
        units: Unit of these changes.
    """

    epsilon: float
    scale: tuple[float, ...]
    epsilon_raw: tuple[float, ...]
    float32_step: Rows
    degenerate: tuple[int, ...]
    unresolved: tuple[int, ...]
    per_raw_unit: Rows
    units: str

    def warnings(self, labels: Sequence[str] = ()) -> tuple[str, ...]:
        """Return one line for each sensor on which epsilon says little.

        Args:
            labels: Names of the first sensors; the others have their numbers.
        """
        return warnings_of(
            self.epsilon, self.scale, self.float32_step, self.degenerate, self.unresolved, labels
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Claims:
    """Everything that a certificate claims beside its findings.

    Attributes:
        runtime_error: Rounding of the deployed arithmetic.
        per_actuator: Change of each output.
        per_sensor: Effect of each sensor by itself.
        distribution: Law of the sampled action.
        value: Loss of return; None without an assumption on rewards.
        paper: Published numbers.
        measured: Measurements, in the order in which they were given.
        visited_deviation: Deviations at the visited states, where they are known.
        visited_radius: Certified radii of the visited states, where the budget limits deviations.
        sensors: What epsilon is on each sensor; older certificates do not say it.
    """

    runtime_error: RuntimeErrorClaim
    per_actuator: PerActuatorClaim
    per_sensor: PerSensorClaim
    distribution: DistributionClaim
    value: ValueClaim | None
    paper: PaperClaim
    measured: tuple[MeasuredClaim, ...]
    visited_deviation: VisitedDeviationClaim | None = None
    visited_radius: VisitedRadiusClaim | None = None
    sensors: SensorsClaim | None = None

    def to_table(self) -> dict[str, Json]:
        """Return the claims as JSON values."""
        table: dict[str, Json] = to_table(self, nulls=True)
        return table

    @classmethod
    def from_table(cls, table: Mapping[str, Json]) -> "Claims":
        """Read claims back.

        Raises:
            InputError: If a key or value is wrong.
        """
        return build(cls, table, "claims")
