"""Second-order bounds of what two tanh layers do between two states of a box, without rounding.

From a state z of the box to z + d the change is the mean of J(z + s d) d over s in [0, 1]. Around
the centre of the box, with every argument within its range,

    phi'(y + t) = phi'(y) + phi''(y) t + at most |phi'''| t^2 / 2

so that J is J(c), plus one matrix times the way from the centre, in which most neurons cancel, plus
rests that add up. The mean of products of ways over s is their integral.

Shape legend: d sensors, n neurons of either layer, m actions.
"""

from dataclasses import dataclass

import numpy as np

from surefoot.certify.bounds.upward import Float
from surefoot.policy import GaussianHead, Policy

_STEEPEST_BEND = 4 / (3 * np.sqrt(3))
"""Largest |tanh''|, at the two arguments where tanh^2 = 1 / 3."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TwoLayers:
    """A network of two hidden tanh layers, in action units.

    Attributes:
        first: Weights of the first layer, (n, d).
        first_bias: Its biases, (n,).
        second: Weights of the second layer, (n, n).
        second_bias: Its biases, (n,).
        last: Weights behind it, action units, (m, n).
        pairs: Products of the columns of ``first``, (n, d d).
    """

    first: Float
    first_bias: Float
    second: Float
    second_bias: Float
    last: Float
    pairs: Float

    @classmethod
    def of(cls, policy: Policy) -> "TwoLayers":
        assert isinstance(policy.head, GaussianHead)
        one, two, three = policy.layers
        first = one.weight.astype(np.float64)
        return cls(
            first=first,
            first_bias=one.bias.astype(np.float64),
            second=two.weight.astype(np.float64),
            second_bias=two.bias.astype(np.float64),
            last=policy.head.half_range[:, None].astype(np.float64) * three.weight,
            pairs=(first[:, :, None] * first[:, None, :]).reshape(len(first), -1),
        )

    def steepest(self, states: Float) -> Float:
        """Return the largest slopes of each action along each sensor at some states, (m, d)."""
        hidden = np.tanh(states @ self.first.T + self.first_bias)
        behind = np.tanh(hidden @ self.second.T + self.second_bias)
        rows = (self.last * (1 - behind**2)[:, None, :]) @ self.second
        return np.asarray(np.abs((rows * (1 - hidden**2)[:, None, :]) @ self.first).max(axis=0))


@dataclass(frozen=True, slots=True, eq=False)
class _Way:
    """What grows with s from ``start`` to ``start + growth`` at most, in a straight line."""

    start: Float
    growth: Float

    @property
    def end(self) -> Float:
        return self.start + self.growth

    def mean_with(self, other: "_Way") -> Float:
        """Return the mean of the product over s in [0, 1]."""
        crossed = self.start * other.growth + self.growth * other.start
        return self.start * other.start + crossed / 2 + self.growth * other.growth / 3


@dataclass(frozen=True, slots=True, eq=False)
class _Bends:
    """Bounds of tanh on intervals: its slopes, |tanh''| and |tanh'''|."""

    least: Float
    largest: Float
    second: Float
    third: Float

    @classmethod
    def on(cls, middle: Float, reach: Float) -> "_Bends":
        low, high = np.tanh(middle - reach), np.tanh(middle + reach)
        ends = np.sort([1 - low**2, 1 - high**2], axis=0)
        largest = np.where(low * high <= 0, 1.0, ends[1])
        turns = [(low <= place) & (high >= place) for place in (-(3**-0.5), 3**-0.5)]
        second = np.maximum(*(2 * np.abs(value) * (1 - value**2) for value in (low, high)))
        second = np.where(turns[0] | turns[1], _STEEPEST_BEND, second)
        # tanh''' = 4 s - 6 s^2 with s the slope, largest at s = 1 / 3, and of size 2 at s = 1.
        third = np.maximum(*(np.abs(4 * s - 6 * s**2) for s in (ends[0], largest)))
        inside = (ends[0] <= 1 / 3) & (largest >= 1 / 3)
        return cls(ends[0], largest, second, np.where(inside, np.maximum(third, 2 / 3), third))


def slopes_on(layers: TwoLayers, centre: Float, sides: Float) -> tuple[Float, Float]:
    """Return the largest slopes of both layers on a box, (n,) each."""
    before = layers.first @ centre + layers.first_bias
    reach = np.abs(layers.first) @ sides
    one = _Bends.on(before, reach)
    middle = layers.second @ np.tanh(before) + layers.second_bias
    two = _Bends.on(middle, _mean_value_reach(layers, one, reach, sides))
    return one.largest, two.largest


def _mean_value_reach(layers: TwoLayers, one: _Bends, reach: Float, sides: Float) -> Float:
    """Bound how far the second layer's arguments go from those of the centre, (n,)."""
    slopes = (one.least + one.largest) / 2
    linear = (layers.second * slopes) @ layers.first
    rest = (one.largest - one.least) / 2 * reach
    return np.asarray(np.abs(linear) @ sides + np.abs(layers.second) @ rest)


def box_deviations(layers: TwoLayers, centre: Float, sides: Float, epsilon: float) -> Float:
    """Bound the change of each action from any state of a box, for |d|_inf <= epsilon, (m,)."""
    first, second, last = layers.first, layers.second, np.abs(layers.last)
    add = np.full(len(centre), epsilon)
    before = first @ centre + layers.first_bias
    hidden = np.tanh(before)
    slope, bend = 1 - hidden**2, -2 * hidden * (1 - hidden**2)
    way = _Way(np.abs(first) @ sides, np.abs(first) @ add)
    one = _Bends.on(before, way.end)
    # Of the second layer's arguments: linear, quadratic (cancelling) and cubic parts.
    linear = (second * slope) @ first
    quadratic = (second @ (bend[:, None] * layers.pairs)).reshape(len(second), *([len(centre)] * 2))
    crossed = np.abs(quadratic) @ add
    grown, met = crossed @ add, crossed @ sides
    inner = np.abs(quadratic) @ sides @ sides
    rest = [
        (inner + 2 * s * met + s * s * grown) / 2
        + np.abs(second) @ (one.third * (way.start + s * way.growth) ** 3) / 6
        for s in (0.0, 1.0)
    ]
    straight = _Way(np.abs(linear) @ sides, np.abs(linear) @ add)
    whole = _Way(straight.start + rest[0], straight.growth + rest[1] - rest[0])
    middle = second @ hidden + layers.second_bias
    two = _Bends.on(middle, whole.end)
    behind = np.tanh(middle)
    slope2, bend2 = 1 - behind**2, -2 * behind * (1 - behind**2)
    # By how much the second layer's slopes along d differ from those of the centre.
    cubic = [
        np.abs(second) @ (one.third * (way.start + s * way.growth) ** 2 * way.growth) / 2
        for s in (0.0, 1.0)
    ]
    turned = _Way(met + cubic[0], grown + cubic[1] - cubic[0])
    along = straight.growth + turned.end
    rows = (layers.last * slope2) @ second
    total = np.abs((rows * slope) @ first) @ add
    total += np.abs(rows) @ (one.third * way.mean_with(way) * way.growth) / 2
    total += last @ (np.abs(bend2) * straight.mean_with(turned))
    total += last @ (np.abs(bend2) * (rest[0] + rest[1]) / 2 * along)
    total += last @ (two.third * whole.mean_with(whole) / 2 * along)
    for row in range(len(total)):
        hessian = (first.T * (rows[row] * bend)) @ first
        hessian += (linear.T * (layers.last[row] * bend2)) @ linear
        total[row] += add @ np.abs(hessian) @ (sides + add / 2)
    return np.asarray(total)
