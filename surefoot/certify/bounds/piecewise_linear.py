"""Lines above and below activations with kinks: LeakyRelu, Clamp and the scaled ELU.

Each is linear right of its last kink and made of convex or linear pieces, so that for any slope k
the extremes of phi(x) - k x are at kinks and ends, or on the exponential piece, where a tangent is
below. So any slope has its exact intercept; among a few good slopes the one of least area is taken.
"""

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

from surefoot.activation import AnyActivation, Clamp, LeakyRelu, ScaledElu
from surefoot.certify.bounds.slopes import derivative
from surefoot.certify.bounds.upward import UNIT, Float

_BISECTIONS = 12

Kinked = LeakyRelu | ScaledElu | Clamp


def kinked_lines(activation: Kinked, low: Float, high: Float) -> tuple[Float, Float, Float, Float]:
    """Return slope and intercept below, slope and intercept above, on [low, high]."""
    # Convex or linear between these points: there the extremes of phi(x) - k x are.
    points = _points(activation, low, high)
    values = [activation(point) for point in points]
    chords = [
        _chord(activation, points[i], points[j], values[i], values[j])
        for i, j in combinations(range(len(points)), 2)
    ]
    slack = _slack(activation, low, high)
    middle = low + (high - low) / 2

    def above(slope: Float) -> Float:
        heights = [v - slope * p for p, v in zip(points, values, strict=True)]
        return np.asarray(np.max(heights, axis=0))

    def below(slope: Float) -> Float:
        heights = [v - slope * p for p, v in zip(points, values, strict=True)]
        if isinstance(activation, ScaledElu):
            heights.append(_exponential_below(activation, slope, low, high))
        return np.asarray(np.min(heights, axis=0))

    # The area between a line and the function is the width times the line's height in the middle,
    # up to what all lines share.
    slope_high, cut_high = _best(chords, above, middle, 1.0)
    if isinstance(activation, ScaledElu):
        touch = _tangent_to_end(activation, low, high)
        chords = [*chords, *(derivative(activation, point) for point in (touch, middle))]
    slope_low, cut_low = _best(chords, below, middle, -1.0)
    return slope_low, cut_low - slack, slope_high, cut_high + slack


def kinked_image(activation: Kinked, low: Float, high: Float) -> tuple[Float, Float]:
    """Return bounds of an activation on [low, high]; none of them ever falls."""
    slack = 0.0 if isinstance(activation, Clamp) else _slack(activation, low, high)
    return activation(low) - slack, activation(high) + slack


def _points(activation: Kinked, low: Float, high: Float) -> list[Float]:
    """Return both ends, and the kinks or the ends nearest to them."""
    kinks = (activation.low, activation.high) if isinstance(activation, Clamp) else (0.0,)
    return [low, *(np.clip(np.full_like(low, kink), low, high) for kink in kinks), high]


def _slack(activation: Kinked, low: Float, high: Float) -> Float:
    """Return more than the rounding of phi(x) - k x and of a slope times the interval."""
    largest = 1.0 + np.maximum(np.abs(low), np.abs(high))
    if isinstance(activation, Clamp):
        largest = largest + max(abs(activation.low), abs(activation.high))
    size = activation.size if isinstance(activation, ScaledElu) else 1.0
    return 64 * UNIT * max(1.0, size) * largest


def _chord(
    activation: AnyActivation, low: Float, high: Float, at_low: Float, at_high: Float
) -> Float:
    """Return the slope of a chord, the derivative where it is too short for one."""
    width = high - low
    safe = np.where(width > 1e-12, width, 1.0)
    return np.where(width > 1e-12, (at_high - at_low) / safe, derivative(activation, low))


def _best(
    slopes: Sequence[Float], cut: Callable[[Float], Float], middle: Float, sign: float
) -> tuple[Float, Float]:
    """Return slope and intercept of the line that is nearest in the middle of the interval."""
    cuts = [cut(slope) for slope in slopes]
    places = np.array([sign * (s * middle + c) for s, c in zip(slopes, cuts, strict=True)])
    best = places.argmin(axis=0)[None]
    slope = np.take_along_axis(np.array(slopes), best, axis=0)[0]
    return slope, np.take_along_axis(np.array(cuts), best, axis=0)[0]


def _exponential_below(activation: ScaledElu, slope: Float, low: Float, high: Float) -> Float:
    """Return a bound below phi(x) - slope x on the part of [low, high] below zero.

    The part is convex: a tangent at any t lies below it, best where its slope is ``slope``.
    """
    end = np.minimum(high, 0.0)
    # phi'(t) = gamma alpha exp(t) = slope at t = ln(slope / (gamma alpha)).
    steepest = activation.gamma * activation.alpha
    safe = np.maximum(slope / steepest, 1e-300)
    touch = np.clip(np.log(safe), np.minimum(low, end), end)
    tangent = steepest * np.exp(touch)
    start = activation(touch) - tangent * touch
    # The tangent minus slope x is linear: least at one end of the part.
    least = start + np.minimum((tangent - slope) * low, (tangent - slope) * end)
    return np.where(low < 0, least, np.inf)


def _tangent_to_end(activation: ScaledElu, low: Float, high: Float) -> Float:
    """Find the point whose tangent in the convex part passes (high, phi(high)), or nearly so.

    Only tightness depends on the precision: any slope is sound with its intercept.
    """
    left, right = np.minimum(low, 0.0), np.zeros_like(low)
    at_high = activation(high)
    for _ in range(_BISECTIONS):
        point = (left + right) / 2
        over = activation(point) + derivative(activation, point) * (high - point) > at_high
        left, right = np.where(over, left, point), np.where(over, point, right)
    return left
