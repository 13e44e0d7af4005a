"""Whether what a zero is multiplied by stays finite: only then is the product zero."""

import numpy as np

from surefoot.activation import Activation, Array
from surefoot.onnx_file.computation import (
    Affine,
    Apply,
    Computation,
    Exponential,
    Given,
    Limit,
    Multiply,
    Normalise,
    Numbers,
    Root,
    Square,
    Step,
    Sum,
    needed,
)
from surefoot.onnx_file.linear import Linear

_LARGEST = 2.0**127
_LARGEST_SQUARED = 2.0**50
"""The sum of as many squares as are read is a float32."""

_LARGEST_EXPONENT = 88.0
"""Its exponential is a float32."""

_WIDENING = 1e-2
"""More than float32 rounds in a layer of any size that is read, relative to what is summed."""


def is_finite(computation: Computation, numbers: Numbers, limit: float) -> bool:
    """Return True if scalars are proved finite in float32 for all |observation| <= ``limit``.

    Intervals go through the steps that lead to them. What overflows is infinite, which an
    elementwise step may still bring back; two infinities of a sum may cancel to NaN.
    """
    low, high = np.zeros(computation.size), np.zeros(computation.size)
    low[computation.sensors], high[computation.sensors] = -limit, limit
    with np.errstate(all="ignore"):
        for step in needed(computation.steps, numbers, computation.size):
            ends = _ends(step, low, high)
            if ends is None:
                return False
            margin = _WIDENING * np.maximum(np.abs(ends[0]), np.abs(ends[1]))
            low[step.outputs] = _overflowing(ends[0] - margin)
            high[step.outputs] = _overflowing(ends[1] + margin)
    return bool(np.isfinite([low[numbers], high[numbers]]).all())


def _overflowing(ends: Array) -> Array:
    return np.where(np.abs(ends) < _LARGEST, ends, np.copysign(np.inf, ends))


def _ends(step: Step, low: Array, high: Array) -> tuple[Array, Array] | None:
    """Return the interval of a step's results, None where it may make no number."""
    before = low[step.inputs], high[step.inputs]
    match step:
        case Affine(weight=weight):
            bias = np.zeros(step.size) if step.bias is None else step.bias.astype(np.float64)
            return _affine_ends(weight.astype(np.float64), bias, *before)
        case Sum(others=others):
            both = np.maximum(-before[0], before[1]) + np.maximum(-low[others], high[others])
            ends = before[0] + low[others], before[1] + high[others]
            return ends if (both < _LARGEST).all() else None
        case Multiply(others=others):
            size = np.maximum(-before[0], before[1]) * np.maximum(-low[others], high[others])
            return (-size, size) if (size < _LARGEST).all() else None
        case Given(amount=amount):
            return amount.astype(np.float64), amount.astype(np.float64)
        case Limit():
            low_end, high_end = (np.clip(end, step.low, step.high) for end in before)
            return low_end, high_end
        case Exponential():
            small = (before[1] < _LARGEST_EXPONENT).all()
            return (np.exp(before[0]), np.exp(before[1])) if small else None
        case Normalise():
            most = np.full(step.size, np.sqrt(step.size))
            squarable = (np.maximum(-before[0], before[1]) < _LARGEST_SQUARED).all()
            return (-most, most) if squarable else None
        case Square() | Root():
            return None
        case Apply(activation=Activation.SILU):  # falls to -0.278 before it rises
            finite = np.isfinite(before).all()
            return (np.full(step.size, -0.28), np.maximum(before[1], 0.0)) if finite else None
        case Apply(activation=activation):
            return activation(before[0]), activation(before[1])
    return _linear_ends(Linear.of(step), *before)


def _affine_ends(weight: Array, bias: Array, low: Array, high: Array) -> tuple[Array, Array] | None:
    total = np.abs(weight) @ np.maximum(-low, high) + np.abs(bias)
    if not (total < _LARGEST).all():
        return None
    positive, negative = np.maximum(weight, 0.0), np.minimum(weight, 0.0)
    margin = _WIDENING * total
    least = positive @ low + negative @ high + bias - margin
    return least, positive @ high + negative @ low + bias + margin


def _linear_ends(linear: Linear, low: Array, high: Array) -> tuple[Array, Array] | None:
    ends = [linear.factor * end + linear.offset for end in (low, high)]
    margin = _WIDENING * (np.abs(linear.offset) + linear.excess)
    known = not np.isnan(ends).any()  # a factor of zero may meet an infinity
    return (np.minimum(*ends) - margin, np.maximum(*ends) + margin) if known else None
