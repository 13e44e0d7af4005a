"""Everything that is proved about a policy, from its weights and saved multipliers.

Nothing here searches or optimises, so that the checker can build it again. Each bound is computed
once, when first asked for.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from surefoot.artifact import Json
from surefoot.ball import Norm
from surefoot.certify.bounds.branch_and_bound import split_deviation
from surefoot.certify.bounds.chain import (
    action_chain,
    distribution_chain,
    logit_difference_chain,
)
from surefoot.certify.bounds.global_bounds import (
    LipschitzBounds,
    closed_form_bounds,
    least,
    least_rows,
)
from surefoot.certify.bounds.lipsdp_proof import Multipliers
from surefoot.certify.bounds.local_bounds import (
    LocalBounds,
    certified_radius,
    local_bounds,
    local_region,
)
from surefoot.certify.bounds.rounding import Arithmetic, RoundingBound, rounding_bound, state_bound
from surefoot.certify.bounds.upward import Float, up, vector_norm_up
from surefoot.certify.compression import (
    compression_error,
    compression_error_at,
    incomparable,
)
from surefoot.certify.distances import (
    categorical_kl,
    categorical_tv,
    gaussian_kl,
    gaussian_tv,
    span_from_l2,
)
from surefoot.certify.return_loss import CleanTv
from surefoot.errors import InputError, IntegrityError
from surefoot.policy import NO_NOISE, Array, CategoricalHead, GaussianHead, Policy, Squash
from surefoot.unknown import Unknown
from surefoot.visited import SampledEpisodes


@dataclass(frozen=True, kw_only=True, slots=True)
class DistanceBound:
    """Bounds on the distance of action laws, rounding included.

    Attributes:
        size: D for a Gaussian, the span of the logit change for a categorical head.
        total_variation: In [0, 1].
        kl: Nats.
        method: Name of the bound behind ``size``.
    """

    size: float
    total_variation: float
    kl: float
    method: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """What local bounds may cost, as certificates record it.

    Attributes:
        split_boxes: Pieces into which the perturbations of one state may be cut.
        alpha_steps: Gradient steps that choose the lines of CROWN.
    """

    split_boxes: int = 0
    alpha_steps: int = 0

    @property
    def method(self) -> str:
        """Name of the local bound."""
        return f"alpha-crown, {self.alpha_steps} steps" if self.alpha_steps else "crown"

    @classmethod
    def of(cls, table: Mapping[str, Json]) -> "Effort":
        """Return the effort that a configuration or a saved proof names.

        Raises:
            IntegrityError: If it names no numbers.
        """
        named = {field.name: table.get(field.name, 0) for field in fields(cls)}
        for name, value in named.items():
            if type(value) is not int or value < 0:
                raise IntegrityError(f"{name} must be a number of at least 0, got {value!r}")
        return cls(**named)


class Proofs:
    """Proved bounds of one policy.

    Attributes:
        policy: Its arrays are float32 by value.
        arithmetic: In which it is deployed.
        states: Visited states in that arithmetic, shape (n, obs_dim), or None.
        multipliers: Proofs of Lipschitz constants by name, in action units (logits).
        effort: What local bounds may cost.
        sensors: For linf the share of epsilon by which each sensor may move, or None for all of it.
    """

    def __init__(
        self,
        policy: Policy,
        arithmetic: Arithmetic,
        states: Array | None,
        multipliers: Sequence[tuple[str, Multipliers]],
        effort: Effort,
        sensors: tuple[float, ...] | None = None,
    ) -> None:
        self.policy = policy
        self.arithmetic = arithmetic
        self.states = states
        self.multipliers = multipliers
        self.effort = effort
        self.sensors = None if sensors is None else np.array(sensors)
        self._within: dict[tuple[float, ...], Proofs] = {}
        self._rounding: dict[float, RoundingBound | Unknown] = {}
        self._local: dict[tuple[float, Norm], LocalBounds] = {}

    @cached_property
    def action(self) -> LipschitzBounds:
        """Lipschitz bounds in action units (logits for a categorical head)."""
        bounds = closed_form_bounds(action_chain(self.policy))
        return self._with_multipliers(bounds, np.ones(self.policy.num_outputs))

    def within(self, sensors: tuple[float, ...] | None) -> "Proofs":
        """Return the proofs for linf perturbations of which each sensor sees its share.

        Raises:
            InputError: If there is not one share for each sensor.
        """
        if sensors is None:
            return self
        if len(sensors) != self.policy.obs_dim:
            raise InputError(f"sensors must be {self.policy.obs_dim} shares, got {len(sensors)}")
        if sensors not in self._within:
            own = Proofs(
                self.policy, self.arithmetic, self.states, self.multipliers, self.effort, sensors
            )
            own.action = self.action
            self._within[sensors] = own
        return self._within[sensors]

    @property
    def has_law(self) -> bool:
        """Whether the law of the sampled action is known; a file may name no noise."""
        head = self.policy.head
        return isinstance(head, CategoricalHead) or head.std is not None

    @cached_property
    def distribution(self) -> LipschitzBounds:
        """Lipschitz bounds of Sigma^(-1/2) mu, or of the logits."""
        head = self.policy.head
        if isinstance(head, CategoricalHead):
            return self.action
        # An action is half_range * mean, so D counts its change by 1 / (half_range * std).
        unit = up(1.0 / (head.half_range.astype(np.float64) * head.noise.astype(np.float64)), 3)
        return self._with_multipliers(closed_form_bounds(distribution_chain(self.policy)), unit)

    @cached_property
    def logit_differences(self) -> LipschitzBounds:
        """Lipschitz bounds of the differences of logits."""
        return closed_form_bounds(logit_difference_chain(self.policy))

    def _with_multipliers(self, bounds: LipschitzBounds, unit: Float) -> LipschitzBounds:
        """Return the bounds with those of the multipliers, times ``unit`` for each output."""
        whole, rows = dict(bounds.whole), dict(bounds.rows)
        for name, proof in self.multipliers:
            if proof.output is None:
                whole[name] = float(up(proof.bound * unit.max()))
            else:
                rows.setdefault(name, np.full(len(unit), np.inf))
                rows[name][proof.output] = up(proof.bound * unit[proof.output])
        return LipschitzBounds(whole=whole, rows=rows, absolute=bounds.absolute)

    @cached_property
    def action_range(self) -> Float | None:
        """Largest possible change of each actuator whatever the perturbation, action units."""
        head = self.policy.head
        if isinstance(head, CategoricalHead) or head.squash is Squash.IDENTITY:
            return None
        return np.asarray(2.0 * head.half_range.astype(np.float64))

    def rounding(self, epsilon: float) -> RoundingBound | Unknown:
        """Return e_rt over every state that a perturbation can reach, or why there is none."""
        if epsilon not in self._rounding:
            bound = state_bound(self.policy, epsilon)
            self._rounding[epsilon] = rounding_bound(self.policy, bound, self.arithmetic)
        return self._rounding[epsilon]

    def deviations(self, epsilon: float, norm: Norm) -> dict[str, Float]:
        """Return by name bounds on each actuator's change in real arithmetic, shape (m,)."""
        bounds = self.action.deviations(epsilon, norm, self.sensors)
        if self.action_range is not None:
            bounds["action_range"] = self.action_range
        return bounds

    def deployed_deviation(self, epsilon: float, norm: Norm) -> tuple[Float, str] | Unknown:
        """Return the least bound per actuator with 2 e_rt, and the name of the worst's bound."""
        rounding = self.rounding(epsilon)
        if isinstance(rounding, Unknown):
            return rounding
        bounds = self.deviations(epsilon, norm)
        total = up(least_rows(bounds) + 2 * rounding.action, 2)
        worst = int(total.argmax())
        _, name = least({name: float(rows[worst]) for name, rows in bounds.items()})
        return total, name

    def distance(self, epsilon: float, norm: Norm) -> DistanceBound | Unknown:
        """Return bounds on TV and KL between the action laws anywhere, rounding included."""
        if not self.has_law:
            return Unknown(NO_NOISE)
        rounding = self.rounding(epsilon)
        if isinstance(rounding, Unknown):
            return rounding
        size, method = self._distance_size(epsilon, norm)
        sizes, tv, kl = self._laws(np.asarray(size), rounding)
        return DistanceBound(
            size=float(sizes), total_variation=float(tv), kl=float(kl), method=method
        )

    def _distance_size(self, epsilon: float, norm: Norm) -> tuple[float, str]:
        size, method = self.distribution.vector_deviation(epsilon, norm, self.sensors)
        if isinstance(self.policy.head, GaussianHead):
            return size, method
        rows = least_rows(self.distribution.deviations(epsilon, norm, self.sensors))
        pairs = least_rows(self.logit_differences.deviations(epsilon, norm, self.sensors))
        return least(
            {
                method: float(span_from_l2(size)),
                "two actions' sum": float(up(np.sort(rows)[-2:].sum(), 2)),
                "logit differences": float(pairs.max()),
            }
        )

    def _laws(self, sizes: Float, rounding: RoundingBound) -> tuple[Float, Float, Float]:
        """Return D or the span with rounding, TV and KL from D or the span in real arithmetic."""
        head = self.policy.head
        if isinstance(head, GaussianHead):
            sizes = up(sizes + 2 * vector_norm_up(up(rounding.network / head.noise, 2)), 3)
            return sizes, gaussian_tv(sizes), gaussian_kl(sizes)
        sizes = up(sizes + 4 * rounding.network.max(), 3)
        return sizes, categorical_tv(sizes), categorical_kl(sizes)

    def visited_rounding(self, epsilon: float) -> RoundingBound | Unknown:
        """Return e_rt over the perturbed visited states alone, or why there is none."""
        states = np.abs(self._given_states()).max(axis=0).astype(np.float64)
        return rounding_bound(self.policy, np.asarray(up(states + epsilon)), self.arithmetic)

    def local(self, epsilon: float, norm: Norm) -> LocalBounds:
        """Return bounds around each visited state in real arithmetic."""
        if (epsilon, norm) not in self._local:
            region = local_region(self._given_states(), epsilon, norm, self.sensors)
            steps = self.effort.alpha_steps
            self._local[epsilon, norm] = local_bounds(self.policy, region, steps)
        return self._local[epsilon, norm]

    def visited_deviation(self, epsilon: float, norm: Norm) -> Float | Unknown:
        """Return the largest deployed deviation at each visited state, shape (n,)."""
        rounding = self.visited_rounding(epsilon)
        if isinstance(rounding, Unknown):
            return rounding
        everywhere = least_rows(self.deviations(epsilon, norm))
        rows = np.minimum(self.local(epsilon, norm).action, everywhere)
        return np.asarray(up(rows + 2 * rounding.action, 2).max(axis=1))

    def visited_radius(self, limit: float, largest: float, norm: Norm) -> Float | Unknown:
        """Return the largest proved radius in which no action moves by more than ``limit``.

        Args:
            limit: Action units.
            largest: Where the bisection ends, normalised units.
            norm: Of the perturbation.
        """
        rounding = self.visited_rounding(largest)
        if isinstance(rounding, Unknown):
            return rounding
        states, extra = self._given_states(), 2 * rounding.action

        def holds(radii: Float) -> NDArray[np.bool_]:
            region = local_region(states, 1.0, norm, self.sensors).scaled(radii)
            rows = local_bounds(self.policy, region, self.effort.alpha_steps).action
            return np.asarray((up(rows + extra, 2) <= limit).all(axis=1))

        return certified_radius(holds, len(states), largest)

    def split_visited_deviation(
        self, bounds: Float, epsilon: float, norm: Norm, limit: float
    ) -> Float:
        """Return ``bounds`` at the visited states, lowered by input splitting above ``limit``."""
        rounding = self.visited_rounding(epsilon)
        if not self.effort.split_boxes or norm is not Norm.LINF or isinstance(rounding, Unknown):
            return bounds
        extra = float(up(2 * rounding.action.max()))
        lowered = bounds.copy()
        for number in np.flatnonzero(bounds > limit):
            state = self._given_states()[number]
            split = split_deviation(
                self.policy,
                state,
                epsilon,
                limit - extra,
                num_boxes=self.effort.split_boxes,
                sensors=self.sensors,
            )
            lowered[number] = min(bounds[number], float(up(split.bound + extra)))
        return lowered

    def visited_compression(self, dense: Policy) -> Float | Unknown:
        """Return the largest change against the dense policy at each visited state, shape (n,)."""
        if (difference := incomparable(self.policy, dense)) is not None:
            return difference
        states = np.abs(self._given_states()).max(axis=0).astype(np.float64)
        extra = self._both_roundings(dense, states)
        if isinstance(extra, Unknown):
            return extra
        change = compression_error_at(self.policy, dense, self._given_states())
        return np.asarray(up(change + extra).max(axis=1))

    def compression(self, dense: Policy) -> Float | Unknown:
        """Return the largest change of each actuator against the dense policy, shape (m,)."""
        if (difference := incomparable(self.policy, dense)) is not None:
            return difference
        states = state_bound(self.policy, 0.0)
        extra = self._both_roundings(dense, states)
        if isinstance(extra, Unknown):
            return extra
        return up(compression_error(self.policy, dense, states) + extra)

    def compression_tv(self, dense: Policy, epsilon: float) -> float | Unknown:
        """Return the largest TV between the laws of this and the dense policy, perturbed or not.

        Both see the same state, which an adversary may have moved by ``epsilon`` in linf.

        Args:
            dense: What this was compressed from.
            epsilon: Size of the perturbation, normalised units.
        """
        if (difference := incomparable(self.policy, dense)) is not None:
            return difference
        states = state_bound(self.policy, epsilon)
        extra = self._both_roundings(dense, states)
        if isinstance(extra, Unknown):
            return extra
        change = up(compression_error(self.policy, dense, states) + extra)
        head, other = self.policy.head, dense.head
        if isinstance(head, CategoricalHead) or isinstance(other, CategoricalHead):
            return float(categorical_tv(up(2 * change.max())))
        if head.std is None or other.std is None or not np.array_equal(head.std, other.std):
            return Unknown("the two policies do not name the same noise")
        means = up(change / head.half_range.astype(np.float64))
        if head.squash is not Squash.IDENTITY and not (means < 2).all():
            return 1.0  # the squash bounds the change of the actions, not that of the means
        return float(gaussian_tv(vector_norm_up(up(means / head.noise.astype(np.float64)))))

    def _both_roundings(self, dense: Policy, states: Float) -> Float | Unknown:
        """Return the rounding of both controllers together, action units."""
        total = np.zeros(self.policy.num_outputs)
        for policy in (self.policy, dense):
            rounding = rounding_bound(policy, states, self.arithmetic)
            if isinstance(rounding, Unknown):
                return rounding
            total = up(total + rounding.action)
        return total

    def visited_distance(self, epsilon: float, norm: Norm) -> tuple[Float, Float] | Unknown:
        """Return TV and KL of the action laws at each visited state, each of shape (n,)."""
        if not self.has_law:
            return Unknown(NO_NOISE)
        rounding = self.visited_rounding(epsilon)
        if isinstance(rounding, Unknown):
            return rounding
        everywhere, _ = self._distance_size(epsilon, norm)
        sizes = np.minimum(self.local(epsilon, norm).distance, everywhere)
        return self._laws(sizes, rounding)[1:]

    def clean_tv(
        self, episodes: SampledEpisodes, states: Array, epsilon: float, norm: Norm
    ) -> CleanTv | Unknown:
        """Return TV at the states that clean episodes of the sampling policy met at random steps.

        Args:
            episodes: Of the sampling policy.
            states: Of their observations, float32, shape (n, obs_dim).
            epsilon: Size of the perturbation.
            norm: Its norm.
        """
        everywhere = self.distance(epsilon, norm)
        if isinstance(everywhere, Unknown):
            return everywhere
        there = Proofs(self.policy, self.arithmetic, states, self.multipliers, self.effort)
        laws = there.visited_distance(epsilon, norm)
        if isinstance(laws, Unknown):
            return laws
        values = np.minimum(laws[0], everywhere.total_variation)
        return CleanTv(
            steps=episodes.steps,
            values=np.where(episodes.alive, values, 0.0),
            largest=everywhere.total_variation,
            horizon=episodes.horizon,
        )

    def _given_states(self) -> Array:
        if self.states is None:
            raise InputError("claims at visited states need observations")
        return self.states


def finite(value: float) -> float | None:
    """Return ``value``, or None where it proves nothing (JSON has no infinity)."""
    return value if math.isfinite(value) else None
