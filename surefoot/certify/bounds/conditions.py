"""By how much a condition on the outputs may be broken in a box of states, rounding included.

The inequalities are one more linear layer behind the head, so that CROWN bounds their left sides
and not the actions one by one. Readings of which they speak are carried past the layers.
Statement and proof: docs/explanation/mathematics.md, 5.16.

Shape legend: B boxes, d sensors, m outputs, r inequalities.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import block_diag

from surefoot.activation import Activation, AnyActivation, Clamp, Mixed
from surefoot.certify.bounds.arithmetics import Arithmetic
from surefoot.certify.bounds.branch_and_bound import jacobian, region_between
from surefoot.certify.bounds.crown import bounds_and_planes, layer_bounds
from surefoot.certify.bounds.planes import Planes, share_of
from surefoot.certify.bounds.region import Bounds, Network, Region, network_of
from surefoot.certify.bounds.rounding import rounding_around
from surefoot.certify.bounds.summation import AffineSum
from surefoot.certify.bounds.upward import UNIT, Float, gamma, matmul_up
from surefoot.policy import CategoricalHead, Policy, Squash
from surefoot.question import Condition
from surefoot.unknown import Unknown

_BITS = 30
"""A bound is a multiple of 2^-30 of the largest that a condition speaks of: another BLAS, which
rounds differently, proves the same one."""

_CONTRACTIONS = 4
"""How often at the most a box is bounded again on the part that its planes leave."""

_WORTH_A_BOUND = 0.5
"""Share of a box: a larger part is no better than a half, and a cut has two."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Rows:
    """Left side minus limit of each inequality, as functions of the network's raw outputs.

    Attributes:
        activation: Squash between the raw outputs and the rows; None for the identity.
        matrix: Coefficients of the m outputs and of k sensors, shape (r, m + k).
        shift: Constants, shape (r,).
        error: Most that a coefficient, or in the last column a constant, is wrong by.
    """

    activation: AnyActivation | None
    matrix: Float
    shift: Float
    error: Float


class ConditionBounds:
    """Bounds of one condition on boxes inside one region.

    Attributes:
        condition: The condition.
        network: From states to the raw outputs, and the excesses of the inequalities last.
    """

    def __init__(
        self, policy: Policy, condition: Condition, low: Float, high: Float, arithmetic: Arithmetic
    ) -> None:
        """Set up the network of the condition, and bound the rounding on the whole region.

        Args:
            policy: The policy.
            condition: Condition on its outputs.
            low: Lower corner of the region, normalised units, shape (d,).
            high: Its upper corner.
            arithmetic: Deployed arithmetic.

        Raises:
            InputError: If the condition is about an output that the policy does not have.
        """
        self.condition = condition
        self._policy, self._arithmetic = policy, arithmetic
        self._affines = [AffineSum.of(layer) for layer in policy.layers]
        self._sizes, limits = condition.rows(policy.num_outputs)
        self._sizes = np.abs(self._sizes)
        rows = _rows_of(policy, condition)
        self.network = _with_rows(_carrying(network_of(policy), condition.sensors), rows)
        self._squashed = rows.activation is not None
        largest = max(np.abs(rows.matrix).sum(axis=1).max(), np.abs(limits).max())
        self._quantum = 2.0 ** (np.ceil(np.log2(largest)) - _BITS)
        region = region_between(low[None], high[None])
        self._whole = self._margins(region, layer_bounds(self.network, region))

    @property
    def whole_margin(self) -> Float:
        """What rounding adds to each left side anywhere in the region, shape (r,)."""
        return np.asarray(self._whole[0])

    def excesses(self, low: Float, high: Float) -> Float:
        """Bound sum minus limit of each inequality in the deployed arithmetic, shape (B, r).

        A box that CROWN leaves open is bounded again on the part in which its planes do.

        Args:
            low: Lower corners of boxes inside the region, normalised units, shape (B, d).
            high: Their upper corners.
        """
        found, planes = self._by_crown(low, high)
        level = -self._quantum
        is_open = self.condition.violation(found) > 0
        # Each inequality has a part of its own, outside of which it holds.
        boxes, rows = np.nonzero(is_open[:, None] & (found > level))
        low, high, plane = low[boxes], high[boxes], planes.above(boxes, rows)
        for _ in range(_CONTRACTIONS):
            part = plane.part_above(low, high, level)
            smaller = (share_of(part, low, high) <= _WORTH_A_BOUND) & (found[boxes, rows] > level)
            if not smaller.any():
                break
            boxes, rows, low, high = (each[smaller] for each in (boxes, rows, *part))
            again, planes = self._by_crown(low, high)
            here = np.arange(len(rows))
            plane = planes.above(here, rows)
            inside = np.maximum(again[here, rows], level)
            found[boxes, rows] = np.minimum(found[boxes, rows], inside)
        return found

    def crown_excesses(self, low: Float, high: Float) -> Float:
        """Bound them by CROWN once, on the whole of each box."""
        return self._by_crown(low, high)[0]

    def _by_crown(self, low: Float, high: Float) -> tuple[Float, Planes]:
        """Return the bounds of CROWN with the rounding, and the planes that they come from."""
        region = region_between(low, high)
        outputs, planes = bounds_and_planes(self._excess_network, region)
        exact, margins = outputs.upper, np.tile(self._whole, (len(low), 1))
        total = np.nextafter(exact + margins, np.inf)
        # The rounding on a box itself is less than that on the region, and takes longer to bound.
        violation = self.condition.violation
        near = np.flatnonzero((violation(total) > 0) & (violation(exact) <= 0))
        if len(near):
            part = region.part(near)
            own = self._margins(part, layer_bounds(self.network, part))
            margins[near] = np.minimum(margins[near], own)
            total[near] = np.nextafter(exact[near] + margins[near], np.inf)
        return total, planes.raised(margins)

    def violations(self, low: Float, high: Float) -> Float:
        """Bound by how much the condition is broken in each box, shape (B,)."""
        return self.condition.violation(self.excesses(low, high))

    def margins(self, region: Region, found: list[Bounds]) -> Float:
        """Bound what rounding adds to each left side, shape (B, r).

        Args:
            region: Boxes inside the region.
            found: CROWN bounds of the network there.
        """
        return np.minimum(self._margins(region, found), self._whole)

    @cached_property
    def _excess_network(self) -> Network:
        """The network whose outputs are the excesses alone: raw outputs are for their rounding."""
        return self._with_last(slice(-len(self._sizes), None))

    def network_of_row(self, row: int) -> Network:
        """Return the network whose one output is the excess of an inequality."""
        last = len(self.network.biases[-1]) - len(self._sizes) + row
        return self._with_last(slice(last, last + 1))

    def _with_last(self, rows: slice) -> Network:
        """Return the network with some of its outputs."""
        network, error = self.network, self.network.last_error
        return Network(
            weights=(*network.weights[:-1], network.weights[-1][rows]),
            biases=(*network.biases[:-1], network.biases[-1][rows]),
            activations=network.activations,
            last_error=None if error is None else error[rows],
        )

    def rounded(self, violation: float) -> float:
        """Return the bound rounded up to what another machine proves as well."""
        steps = np.ceil(violation / self._quantum)
        # Adding 0 makes -0 the 0 that it is.
        return float(steps * self._quantum) + 0.0 if np.isfinite(steps) else violation

    def excesses_at(self, states: Float) -> Float:
        """Estimate sum minus limit of each inequality at states, shape (n, r)."""
        policy = self._policy
        rows, limits = self.condition.rows(policy.num_outputs)
        readings = policy.normaliser.mean + policy.normaliser.scale * states
        own = readings @ self.condition.reading_rows(policy.obs_dim).T
        return np.asarray(policy.outputs_at(states) @ rows.T + own - limits)

    def slopes_at(self, states: Float) -> Float:
        """Estimate the gradients of the inequalities' left sides at states, shape (n, r, d)."""
        return jacobian(self.network, states, self.network.weights[-1][-len(self._sizes) :])

    def hidden_slopes_at(self, states: Float) -> Float:
        """Estimate their gradients in the values of the first hidden layer, shape (n, r, n_1)."""
        network = self.network
        rest = Network(
            weights=network.weights[1:],
            biases=network.biases[1:],
            activations=network.activations[1:],
        )
        values = network.activations[0](states @ network.weights[0].T + network.biases[0])
        return jacobian(rest, values, network.weights[-1][-len(self._sizes) :])

    def _margins(self, region: Region, found: list[Bounds]) -> Float:
        """Bound what rounding adds to each left side, shape (B, r)."""
        # Of what is carried past the layers nothing is rounded.
        layers = zip(found, self._policy.layers, strict=False)
        before = [bounds.first(len(layer.bias)) for bounds, layer in layers]
        rounding = rounding_around(self._policy, region, before, self._arithmetic, self._affines)
        if isinstance(rounding, Unknown):
            return np.full((len(region.centres), len(self._sizes)), np.inf)
        return matmul_up(rounding.action, self._sizes.T)


def _rows_of(policy: Policy, condition: Condition) -> _Rows:
    """Return the inequalities behind the raw outputs; products that are not exact have an error."""
    matrix, limits = condition.rows(policy.num_outputs)
    readings = _readings_of(policy, condition)
    head = policy.head
    if isinstance(head, CategoricalHead):
        exact = np.zeros((len(matrix), matrix.shape[1] + 1))
        return _joined(_Rows(activation=None, matrix=matrix, shift=-limits, error=exact), readings)
    centre, half_range = head.centre.astype(np.float64), head.half_range.astype(np.float64)
    scaled, shift = matrix * half_range, matrix @ centre - limits
    terms = np.abs(matrix) @ np.abs(centre) + np.abs(limits)
    error = np.column_stack([np.abs(scaled) * 2 * UNIT, terms * gamma(len(centre) + 4)])
    activation: AnyActivation | None = None
    if head.squash is not Squash.IDENTITY:
        activation = Activation.TANH if head.squash is Squash.TANH else Clamp(-1.0, 1.0)
        if len(condition.sensors):
            activation = _beside(activation, policy.num_outputs, len(condition.sensors))
    rows = _Rows(activation=activation, matrix=scaled, shift=shift, error=error)
    return _joined(rows, readings)


def _readings_of(policy: Policy, condition: Condition) -> _Rows:
    """Return the part of the inequalities that is about readings, as functions of states.

    A reading is mean + scale z, of the state z before any clip; a scale may be rounded itself.
    """
    sensors, normaliser = list(condition.sensors), policy.normaliser
    matrix = condition.reading_rows(policy.obs_dim)[:, sensors]
    mean, scale = (part.astype(np.float64)[sensors] for part in (normaliser.mean, normaliser.scale))
    scaled, terms = matrix * scale, np.abs(matrix) @ np.abs(mean)
    error = np.column_stack([np.abs(scaled) * 4 * UNIT, terms * gamma(len(sensors) + 4)])
    return _Rows(activation=None, matrix=scaled, shift=matrix @ mean, error=error)


def _joined(rows: _Rows, readings: _Rows) -> _Rows:
    """Return inequalities with the part that is about readings."""
    if not readings.matrix.shape[1]:
        return rows
    constant = rows.error[:, -1] + readings.error[:, -1]
    constant = constant + (np.abs(rows.shift) + np.abs(readings.shift)) * gamma(4)
    return _Rows(
        activation=rows.activation,
        matrix=np.column_stack([rows.matrix, readings.matrix]),
        shift=rows.shift + readings.shift,
        error=np.column_stack([rows.error[:, :-1], readings.error[:, :-1], constant]),
    )


def _carrying(network: Network, sensors: tuple[int, ...]) -> Network:
    """Return the network whose last outputs are the states of some sensors."""
    if not sensors:
        return network
    count, (first, *rest) = len(sensors), network.weights
    picked = np.zeros((count, first.shape[1]))
    picked[np.arange(count), sensors] = 1.0
    return Network(
        weights=(
            np.concatenate([first, picked]),
            *(np.asarray(block_diag(weight, np.eye(count))) for weight in rest),
        ),
        biases=tuple(np.concatenate([bias, np.zeros(count)]) for bias in network.biases),
        activations=tuple(
            _beside(activation, len(bias), count)
            for activation, bias in zip(network.activations, network.biases, strict=False)
        ),
    )


def _beside(activation: AnyActivation, width: int, count: int) -> AnyActivation:
    """Return an activation of ``width`` neurons with ``count`` more that give on what they get."""
    own = activation.parts if isinstance(activation, Mixed) else ((activation, width),)
    return Mixed.of([*own, (Activation.IDENTITY, count)])


def _with_rows(network: Network, rows: _Rows) -> Network:
    """Return the network whose last outputs are the excesses of the inequalities."""
    weight, bias = network.weights[-1], network.biases[-1]
    if rows.activation is not None:
        return Network(
            weights=(*network.weights, rows.matrix),
            biases=(*network.biases, rows.shift),
            activations=(*network.activations, rows.activation),
            last_error=rows.error,
        )
    # Without a squash the last two layers are one; the raw outputs stay for their rounding.
    size, width = np.abs(np.column_stack([weight, bias])), len(bias)
    error = (np.abs(rows.matrix) * gamma(width + 4) + rows.error[:, :-1]) @ size * (1 + 2.0**-40)
    error[:, -1] += np.abs(rows.shift) * gamma(8) + rows.error[:, -1]
    return Network(
        weights=(*network.weights[:-1], np.concatenate([weight, rows.matrix @ weight])),
        biases=(*network.biases[:-1], np.concatenate([bias, rows.matrix @ bias + rows.shift])),
        activations=network.activations,
        last_error=np.concatenate([np.zeros_like(size), error * (1 + 2.0**-40)]),
    )
