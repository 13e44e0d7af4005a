"""Slope facts of the activations: everything that a proof needs to know about them.

For every pair of points, phi(a) - phi(b) = s (a - b) with s in the slope range. Statements and
proofs: docs/explanation/mathematics.md, 3.1 to 3.3.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from surefoot.activation import (
    Activation,
    AnyActivation,
    Array,
    Clamp,
    LeakyRelu,
    Mixed,
    Product,
    RmsNorm,
    ScaledElu,
    by_part,
    parts_of,
)
from surefoot.certify.bounds.upward import Float
from surefoot.coupled_activation import halves


@dataclass(frozen=True, slots=True)
class SlopeRange:
    """The secant slopes of an activation lie in [low, high].

    Both ends are short binary numbers where the activation allows it, so that products with them
    stay exact.

    Attributes:
        low: Least secant slope, or less.
        high: Largest secant slope, or more.
    """

    low: float
    high: float

    @property
    def middle(self) -> float:
        """Centre of the range."""
        return (self.low + self.high) / 2

    @property
    def radius(self) -> float:
        """Half the width of the range."""
        return (self.high - self.low) / 2

    @property
    def largest(self) -> float:
        """Largest magnitude: the Lipschitz constant."""
        return max(abs(self.low), abs(self.high))


# SiLU's extreme slopes .5 -+ .59983932... at -+2.39935728, widened to 2^-20 around a centre of 1/2.
_SILU_RADIUS = np.ceil(0.5998393202 * 2**20) / 2**20
SILU_EXTREME = 2.3993572805154

_RANGES = {
    Activation.IDENTITY: SlopeRange(1.0, 1.0),
    Activation.RELU: SlopeRange(0.0, 1.0),
    Activation.TANH: SlopeRange(0.0, 1.0),
    Activation.SIGMOID: SlopeRange(0.0, 0.25),
    Activation.SILU: SlopeRange(float(0.5 - _SILU_RADIUS), float(0.5 + _SILU_RADIUS)),
    Activation.ELU: SlopeRange(0.0, 1.0),
    Activation.SOFTPLUS: SlopeRange(0.0, 1.0),
}

_WIDENING = 1e-14
"""More than the error of a slope that is computed in float64, relative to the largest one."""


def slope_range(activation: AnyActivation) -> SlopeRange:
    """Return the slope range over all real numbers, of several functions that of all of them.

    Raises:
        TypeError: If one is no function of single neurons.
    """
    match activation:
        case RmsNorm() | Product():
            raise TypeError("a function of several neurons has no slopes of single ones")
        case Mixed():
            ranges = [slope_range(function) for function in parts_of(activation)]
            return SlopeRange(min(r.low for r in ranges), max(r.high for r in ranges))
        case LeakyRelu(alpha):
            return SlopeRange(float(np.floor(alpha * 2**20) / 2**20), 1.0)
        case ScaledElu():
            return SlopeRange(0.0, float(np.ceil(activation.size * 2**20) / 2**20))
        case Clamp():
            return SlopeRange(0.0, 1.0)
        case _:
            return _RANGES[activation]


def derivative(activation: AnyActivation, x: Array) -> Array:
    """Return the derivative of an activation in float64; at a kink that of one side.

    Args:
        activation: The function, or one for each of the last axis.
        x: Where, shape (..., n).

    Raises:
        TypeError: If one is no function of single neurons.
    """
    match activation:
        case RmsNorm() | Product():
            raise TypeError("a function of several neurons has no derivative of single ones")
        case Mixed():
            return by_part(derivative, activation, x)
        case Activation.IDENTITY:
            return np.ones_like(x)
        case Activation.RELU:
            return (x > 0).astype(x.dtype)
        case Activation.TANH:
            return 1.0 - np.tanh(x) ** 2
        case Activation.SIGMOID:
            return np.asarray(expit(x) * expit(-x))
        case Activation.SILU:
            return np.asarray(expit(x) * (1.0 + x * expit(-x)))
        case Activation.ELU:
            return np.exp(np.minimum(x, 0.0))
        case Activation.SOFTPLUS:
            return np.asarray(expit(x))
        case LeakyRelu(alpha):
            return np.where(x > 0, 1.0, alpha).astype(x.dtype)
        case ScaledElu(alpha, gamma):
            below = gamma * alpha * np.exp(np.minimum(x, 0.0))
            return np.where(x > 0, gamma, below).astype(x.dtype)
        case Clamp(low, high):
            return ((x > low) & (x < high)).astype(x.dtype)


def times_jacobian(activation: AnyActivation, x: Array, rows: Array) -> Array:
    """Return rows times the Jacobian of an activation: gradients go through it backwards.

    Args:
        activation: The function, or one for each of the last axis.
        x: Where, shape (..., n).
        rows: Shape (..., n), or one that NumPy broadcasts with it.
    """
    match activation:
        case Mixed():
            return by_part(times_jacobian, activation, x, rows)
        case Product():
            (first, second), (left, right) = halves(x), halves(rows)
            return np.concatenate([left * second, left * first + right], axis=-1)
        case RmsNorm(epsilon):  # its Jacobian is symmetric
            value = activation(x)
            along = (value * rows).mean(axis=-1, keepdims=True)
            square = np.square(x).mean(axis=-1, keepdims=True)
            return np.asarray((rows - value * along) / np.sqrt(square + epsilon))
        case _:
            return np.asarray(rows * derivative(activation, x))


def slope_range_on(activation: AnyActivation, low: Float, high: Float) -> tuple[Float, Float]:
    """Return bounds of all secant slopes between points of [low, high], elementwise."""
    if isinstance(activation, Mixed):
        found = by_part(lambda *part: np.stack(slope_range_on(*part)), activation, low, high)
        return found[0], found[1]
    ends = derivative(activation, low), derivative(activation, high)
    smallest, largest = np.minimum(*ends), np.maximum(*ends)
    whole = slope_range(activation)
    match activation:
        case Activation.RELU:
            # The kink belongs to both sides.
            smallest, largest = (low >= 0) & (high > 0), high > 0
            return smallest.astype(low.dtype), largest.astype(low.dtype)
        case Activation.IDENTITY:
            return smallest, largest
        case Activation.TANH | Activation.SIGMOID:
            # The derivative rises up to 0 and falls after it.
            largest = np.where((low <= 0) & (high >= 0), whole.high, largest)
        case Activation.SILU:
            # The derivative falls, rises between the two extremes, and falls again.
            for place, limit in ((-SILU_EXTREME, whole.low), (SILU_EXTREME, whole.high)):
                inside = (low <= place + 1e-9) & (high >= place - 1e-9)
                smallest = np.where(inside & (limit < 0), limit, smallest)
                largest = np.where(inside & (limit > 0), limit, largest)
        case Activation.ELU | Activation.SOFTPLUS:
            pass  # convex: the derivative only rises
        case LeakyRelu(alpha):
            above = high > 0
            return np.where(above & (low >= 0), 1.0, alpha), np.where(above, 1.0, alpha)
        case Clamp(floor, ceiling):
            touching = (high > floor) & (low < ceiling)
            inside = touching & (low >= floor) & (high <= ceiling)
            return inside.astype(low.dtype), touching.astype(low.dtype)
        case ScaledElu(alpha, gamma):
            # The derivative rises to gamma alpha at 0, and is gamma after it.
            crossing = (low < 0) & (high >= 0)
            largest = np.where(crossing, activation.size, largest)
            smallest = np.where((low >= 0) & (high > 0), gamma, smallest)
    widening = _WIDENING * max(1.0, whole.largest)
    smallest = np.maximum(smallest - widening, whole.low)
    return smallest, np.minimum(largest + widening, whole.high)
