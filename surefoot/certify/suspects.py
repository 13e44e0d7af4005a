"""Points of boxes at which a condition seems to be broken: what a search replays.

At middles, at corners of steepest ascent, and where sign gradients climb to.
"""

import numpy as np

from surefoot.certify.bounds.conditions import ConditionBounds
from surefoot.certify.bounds.upward import Float

_STARTS, _STEPS = 32, 12


def suspects(bounds: ConditionBounds, low: Float, high: Float) -> list[Float]:
    """Return the worst of middles and corners if the condition seems to be broken there."""
    middles = low + (high - low) / 2
    slopes = bounds.slopes_at(middles)
    # Where the network is linear on a piece, its extremes are at these corners.
    directions = [*np.moveaxis(slopes, 1, 0), slopes.sum(axis=1)]
    corners = [np.where(direction > 0, high, low) for direction in directions]
    return _worst(bounds, np.concatenate([middles, *corners]), 1)


def _worst(bounds: ConditionBounds, points: Float, count: int) -> list[Float]:
    """Return those points at which the condition seems to be broken most."""
    broken = bounds.condition.violation(bounds.excesses_at(points))
    order = np.argsort(-broken)[:count]
    return [points[number] for number in order if broken[number] > 0]


def climbed(bounds: ConditionBounds, corners: tuple[Float, Float], seed: int) -> list[Float]:
    """Return where sign gradients of the least excess of each clause end, if that is broken."""
    low, high = corners
    rng = np.random.default_rng(seed)
    starts = low + rng.random((_STARTS, len(low))) * (high - low)
    ends, first = [starts], 0
    for clause in bounds.condition.clauses:
        rows = slice(first, first + len(clause))
        points = starts
        for step in range(_STEPS):
            least = bounds.excesses_at(points)[:, rows].argmin(axis=1)
            slopes = bounds.slopes_at(points)[:, rows][np.arange(len(points)), least]
            size = (high - low) * 0.5 * (1 - step / _STEPS)
            points = np.clip(points + np.sign(slopes) * size, low, high)
        ends.append(points)
        first += len(clause)
    return _worst(bounds, np.concatenate(ends), 4)
