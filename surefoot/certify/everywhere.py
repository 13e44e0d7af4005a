"""Proved bounds that hold in every state, from the weights and saved multipliers.

Nothing here searches or optimises, so that the checker can build it again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from surefoot.ball import Ball, Norm
from surefoot.certify.bounds.arithmetics import Arithmetic
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
    no_bounds,
)
from surefoot.certify.bounds.lipsdp_proof import Multipliers
from surefoot.certify.bounds.metric import ProvedMetric
from surefoot.certify.bounds.rounding import (
    RoundingBound,
    deployed_range,
    rounding_bound,
    state_bound,
)
from surefoot.certify.bounds.summation import lengths
from surefoot.certify.bounds.upward import Float, up
from surefoot.certify.distances import (
    categorical_kl,
    categorical_tv,
    gaussian_kl,
    gaussian_tv,
    span_from_l2,
)
from surefoot.errors import InputError
from surefoot.policy import NO_NOISE, CategoricalHead, GaussianHead, Policy, Squash
from surefoot.quantities.base.proof import Bound, Distance, Outputs
from surefoot.unknown import Unknown

LATE = "a delay is about the states of recorded episodes, or counts by the rates of the sensors"
"""Why nothing holds in every state of readings that are late."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ActionBounds:
    """Bounds on the change of each action.

    Attributes:
        rows: Action units (or logits), shape (m,).
        method: Name of the bound behind the largest.
    """

    rows: Float
    method: str


class Everywhere:
    """Bounds of one policy that hold in every state, each computed once.

    Attributes:
        policy: Its arrays are float32 by value.
        arithmetic: Arithmetic in which it is deployed.
        multipliers: Proofs of metrics by name, in action units (logits).
    """

    def __init__(
        self,
        policy: Policy,
        arithmetic: Arithmetic,
        multipliers: Sequence[tuple[str, Multipliers]] = (),
    ) -> None:
        self.policy = policy
        self.arithmetic = arithmetic
        self.multipliers = multipliers
        self._rounding: dict[float, RoundingBound | Unknown] = {}

    @property
    def is_bounded(self) -> bool:
        """Whether any constant bounds the slopes of the network in every state."""
        return self.policy.is_elementwise

    @cached_property
    def action(self) -> LipschitzBounds:
        """Lipschitz bounds in action units (logits for a categorical head)."""
        if not self.is_bounded:
            return self._no_bounds
        bounds = closed_form_bounds(action_chain(self.policy))
        return self._with_multipliers(bounds, np.ones(self.policy.num_outputs))

    @property
    def _no_bounds(self) -> LipschitzBounds:
        return no_bounds(self.policy.num_outputs, self.policy.obs_dim)

    @property
    def has_law(self) -> bool:
        """Whether the law of the sampled action is known; a file may name no noise."""
        head = self.policy.head
        return isinstance(head, CategoricalHead) or head.std is not None

    @cached_property
    def distribution(self) -> LipschitzBounds:
        """Lipschitz bounds of Sigma^(-1/2) mu, or of the logits."""
        head = self.policy.head
        if isinstance(head, CategoricalHead) or not self.is_bounded:
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
        return bounds.with_metrics(
            [
                ProvedMetric(
                    name=name,
                    metric=proof.metric.in_units(
                        unit.max() if proof.output is None else unit[proof.output]
                    ),
                    output=proof.output,
                )
                for name, proof in self.multipliers
            ]
        )

    @cached_property
    def action_range(self) -> Float | None:
        """Largest change of each actuator under any perturbation at all, action units."""
        head = self.policy.head
        if isinstance(head, CategoricalHead) or head.squash is Squash.IDENTITY:
            return None
        return np.asarray(2.0 * head.half_range.astype(np.float64))

    def rounding(self, epsilon: float) -> RoundingBound | Unknown:
        """Bound e_rt over every state that a perturbation can reach."""
        if epsilon not in self._rounding:
            bound = state_bound(self.policy, epsilon)
            self._rounding[epsilon] = rounding_bound(self.policy, bound, self.arithmetic)
        return self._rounding[epsilon]

    def lipschitz(self, norm: Norm) -> Bound:
        """Bound |a(z + d) - a(z)|_2 / |d| in real arithmetic."""
        if not self.is_bounded:
            return Bound(value=np.inf, method="none", note=self.policy.no_slopes)
        value, method = least(self.action.lipschitz(norm))
        return Bound(value=value, method=method)

    def deviations(self, ball: Ball) -> dict[str, Float]:
        """Bound each actuator's change in real arithmetic: by name, shape (m,)."""
        shares, bounds = shares_of(ball, self.policy), dict(self._no_bounds.rows)
        if self.is_bounded and ball.delays is None:
            bounds = self.action.deviations(ball.epsilon, ball.norm, shares, ball.groups)
        if self.action_range is not None:
            bounds["action_range"] = self.action_range
        return bounds

    def deployed_deviation(self, ball: Ball, outputs: Outputs = None) -> ActionBounds | Unknown:
        """Bound each actuator's change in the deployed arithmetic: the least, and 2 e_rt.

        Args:
            ball: Perturbation set.
            outputs: Numbers of the actuators that are meant; None for all.
        """
        # First what no assumption about the states would help.
        if ball.delays is not None:
            return Unknown(LATE)
        if not self.is_bounded and self.action_range is None:
            return Unknown(self.policy.no_slopes)
        rounding = self.rounding(ball.epsilon)
        if isinstance(rounding, Unknown):
            return rounding
        bounds, meant = self.deviations(ball), chosen(outputs)
        total = self.within_range(up(least_rows(bounds) + 2 * rounding.action, 2))[meant]
        worst = int(total.argmax())
        value, name = least({name: float(rows[meant][worst]) for name, rows in bounds.items()})
        # The range is the last cap: rounding takes no action further.
        capped = total[worst] < value + 2 * rounding.action[meant][worst]
        return ActionBounds(rows=total, method="action_range" if capped else name)

    def within_range(self, deviations: Float) -> Float:
        """Return deployed deviations, none of them above the range of its actuator."""
        ends = deployed_range(self.policy, self.arithmetic)
        return deviations if ends is None else np.minimum(deviations, ends)

    def distance(self, ball: Ball) -> Distance[float] | Unknown:
        """Bound the distances of the action laws, rounding included."""
        if not self.has_law:
            return Unknown(NO_NOISE)
        if ball.delays is not None:
            return Unknown(LATE)
        if not self.is_bounded:
            return Unknown(self.policy.no_slopes)
        rounding = self.rounding(ball.epsilon)
        if isinstance(rounding, Unknown):
            return rounding
        size, method = self.distance_size(ball)
        laws = self.laws(np.asarray(size), up(2 * rounding.network), method)
        return Distance(
            size=float(laws.size),
            total_variation=float(laws.total_variation),
            kl=float(laws.kl),
            method=method,
        )

    def distance_size(self, ball: Ball) -> tuple[float, str]:
        """Bound D, or the span of the change of logits, in real arithmetic; and name the bound."""
        if not self.is_bounded or ball.delays is not None:
            return np.inf, "none"
        shares = shares_of(ball, self.policy)
        size, method = self.distribution.vector_deviation(
            ball.epsilon, ball.norm, shares, ball.groups
        )
        if isinstance(self.policy.head, GaussianHead):
            return size, method
        rows = least_rows(
            self.distribution.deviations(ball.epsilon, ball.norm, shares, ball.groups)
        )
        pairs = least_rows(
            self.logit_differences.deviations(ball.epsilon, ball.norm, shares, ball.groups)
        )
        return least(
            {
                method: float(span_from_l2(size)),
                "two actions' sum": float(up(np.sort(rows)[-2:].sum(), 2)),
                "logit differences": float(pairs.max()),
            }
        )

    def laws(self, sizes: Float, added: Float, method: str) -> Distance[Float]:
        """Return the distances that a D or span in real arithmetic stands for, rounding added.

        Args:
            sizes: D or span, shape (...).
            added: Most that rounding adds to the change of each output, shape (..., m).
            method: Name of what gives the sizes.
        """
        head = self.policy.head
        if isinstance(head, GaussianHead):
            scaled = up(added / head.noise, 2)
            rows = lengths(scaled.reshape(-1, scaled.shape[-1])).reshape(scaled.shape[:-1])
            sizes = up(sizes + rows, 3)
            tv, kl = gaussian_tv(sizes), gaussian_kl(sizes)
        else:
            sizes = up(sizes + 2 * added.max(axis=-1), 3)
            tv, kl = categorical_tv(sizes), categorical_kl(sizes)
        return Distance(size=sizes, total_variation=tv, kl=kl, method=method)


def chosen(outputs: Outputs) -> slice | list[int]:
    """Return an index of the outputs that are meant."""
    return slice(None) if outputs is None else list(outputs)


def shares_of(ball: Ball, policy: Policy) -> Float | None:
    """Return the share of epsilon by which each sensor may move, shape (obs_dim,), None for all.

    Raises:
        InputError: If there is not one share for each sensor.
    """
    shares = policy.reachable(ball).sensors
    if shares is None:
        return None
    if len(shares) != policy.obs_dim:
        raise InputError(f"sensors must be {policy.obs_dim} shares, got {len(shares)}")
    return np.array(shares)
