"""Where a line may touch an activation: the freedom that CROWN leaves to an optimiser.

A touch t stands for the tangent at t, or, for ReLU, for the line of slope t through 0. Any t of the
range gives a sound line, for the reasons that ``relaxation`` states: see
docs/explanation/mathematics.md, 5.5. For ReLU t is the alpha of alpha-CROWN (arXiv 2011.13824).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.activation import Activation, AnyActivation, Mixed, by_part
from surefoot.certify.bounds.region import Bounds
from surefoot.certify.bounds.slopes import SILU_EXTREME, derivative
from surefoot.certify.bounds.upward import UNIT, Float

_BISECTIONS = 12
_MARGIN = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """The lines on one side of an activation, each of shape (B, n).

    Attributes:
        free: Neurons whose line is free.
        least: Least touch.
        most: Largest touch.
    """

    free: NDArray[np.bool_]
    least: Float
    most: Float


@dataclass(frozen=True, slots=True, eq=False)
class Touches:
    """The freedom of the lines of an activation.

    Attributes:
        below: Freedom of the lower lines.
        above: Freedom of the upper lines.
        start: Touches from which to start, those of CROWN, shape (B, n).
    """

    below: Side
    above: Side
    start: Float


def free_touches(activation: AnyActivation, before: Bounds) -> Touches:
    """Return the points at which lines may touch the activation, empty if it has no such lines."""
    low, high = before.lower, before.upper
    if isinstance(activation, Mixed):
        return _joined(
            [
                free_touches(function, Bounds(low[..., neurons], high[..., neurons]))
                for function, neurons in activation.places()
            ]
        )
    middle = low + (high - low) / 2
    nowhere = Side(np.zeros(low.shape, dtype=bool), middle, middle)
    match activation:
        case Activation.RELU:
            # max(y, 0) >= k y for every k in [0, 1]; above the kink only the chord is tight.
            crossing = (low < 0) & (high > 0)
            slopes = Side(crossing, np.zeros_like(low), np.ones_like(low))
            return Touches(slopes, nowhere, (high > -low).astype(np.float64))
        case Activation.TANH | Activation.SIGMOID:
            above = _above_s_shape(activation, low, high)
            # The lower side is the upper one turned around 0, touches with it.
            below = _above_s_shape(activation, -high, -low)
            return Touches(Side(below.free, -below.most, -below.least), above, middle)
        case Activation.ELU | Activation.SOFTPLUS:
            # Convex everywhere: any tangent is below, the chord stays above.
            return Touches(Side(np.ones(low.shape, dtype=bool), low, high), nowhere, middle)
        case Activation.SILU:
            # Inflections at the extreme slopes; an interval that holds one keeps its fixed lines.
            convex = (low > -SILU_EXTREME + _MARGIN) & (high < SILU_EXTREME - _MARGIN)
            concave = (low > SILU_EXTREME + _MARGIN) | (high < -SILU_EXTREME - _MARGIN)
            return Touches(Side(convex, low, high), Side(concave, low, high), middle)
        case _:
            return Touches(nowhere, nowhere, middle)


def _joined(parts: list[Touches]) -> Touches:
    """Return the freedom of neurons that stand side by side."""

    def side(each: list[Side]) -> Side:
        return Side(
            np.concatenate([one.free for one in each], axis=-1),
            np.concatenate([one.least for one in each], axis=-1),
            np.concatenate([one.most for one in each], axis=-1),
        )

    return Touches(
        side([part.below for part in parts]),
        side([part.above for part in parts]),
        np.concatenate([part.start for part in parts], axis=-1),
    )


def is_relu(activation: AnyActivation, width: int) -> NDArray[np.bool_]:
    """Mark the ReLUs among ``width`` neurons, shape (width,)."""
    return by_part(
        lambda function, part: np.full(part.shape, function is Activation.RELU),
        activation,
        np.zeros(width),
    )


def lines_touching(
    activation: AnyActivation, before: Bounds, touch: Float, above: NDArray[np.bool_]
) -> tuple[Float, Float]:
    """Return slope and intercept of free lines, pushed outwards; shape (B, r, n).

    Args:
        activation: The activation that the lines enclose.
        before: The intervals, shape (B, n).
        touch: Inside the ranges of ``free_touches``, shape (B, r, n).
        above: Which lines are above the activation, shape (B, r, n).
    """
    if isinstance(activation, Mixed):
        found = by_part(
            lambda function, low, high, *rest: np.stack(
                lines_touching(function, Bounds(low, high), *rest)
            ),
            activation,
            before.lower,
            before.upper,
            touch,
            above,
        )
        return found[0], found[1]
    if activation is Activation.RELU:
        return touch, np.zeros_like(touch)
    low, high = before.lower[:, None, :], before.upper[:, None, :]
    slope = derivative(activation, touch)
    # phi - k x is extreme at the touch, where its derivative is zero, or at an end.
    cuts = [activation(x) - slope * x for x in (touch, low, high)]
    largest = np.maximum(np.maximum(cuts[0], cuts[1]), cuts[2])
    smallest = np.minimum(np.minimum(cuts[0], cuts[1]), cuts[2])
    # More than phi, the derivative times the width, and the products may err.
    slack = 64 * UNIT * (1.0 + np.maximum(np.abs(low), np.abs(high)))
    return slope, np.where(above, largest + slack, smallest - slack)


def _above_s_shape(activation: AnyActivation, low: Float, high: Float) -> Side:
    """Return the range of tangent points in the concave part whose lines stay above an S-shape.

    In the mixed case the range starts where the tangent passes through the lower end; a touch
    below that only moves the line's intercept, which is taken over both ends.
    """
    at_low, at_high = activation(low), activation(high)
    width = np.maximum(high - low, 1e-300)
    steep = (at_high - at_low) / width > derivative(activation, high)
    mixed = (low < 0) & (high > 0) & steep & (high - low > 1e-12)
    left, right = np.where(mixed, np.maximum(low + (high - low) / 2, 0.0), low), high
    for _ in range(_BISECTIONS if mixed.any() else 0):
        # Too steep to pass above (low, phi(low)): the touch has to move right.
        point = (left + right) / 2
        missing = derivative(activation, point) * (point - low) > activation(point) - at_low
        left = np.where(mixed & missing, point, left)
        right = np.where(mixed & ~missing, point, right)
    concave = low >= 0
    return Side(concave | mixed, np.where(mixed, left, np.maximum(low, 0.0)), np.maximum(high, 0.0))
