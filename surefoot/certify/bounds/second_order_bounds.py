"""Second-order bounds behind one smooth activation: what single lines cannot see.

A line encloses each neuron alone, so that the errors of n neurons add up. Expanded around the
middle of its interval, phi(y) = v + p t + q t^2 / 2 + R with |R| <= M |t|^3 / 6, the quadratic
terms of all neurons make one small matrix, in which most of them cancel; only the cubic rest adds
up. Statement and proof: docs/explanation/mathematics.md, 5.7.

Shape legend: B states, d sensors, n and m widths.
"""

import numpy as np
from scipy.special import expit

from surefoot.activation import Activation, AnyActivation
from surefoot.ball import Norm
from surefoot.certify.bounds.region import UNDERFLOW, Bounds, Network, Region
from surefoot.certify.bounds.slopes import derivative, slope_range_on
from surefoot.certify.bounds.upward import UNIT, Float, gamma, up

_MOST_SENSORS = 32
"""With more sensors the matrices, d (d + 1) / 2 numbers for each neuron, cost too much."""

# Largest |phi'''|: of softplus 1 / (6 sqrt 3) = .0962251 at +-1.3169579, and of SiLU 3 s'' + x s'''
# (s the logistic function) .3081816 at +-1.03196, both rounded up.
_THIRD = {Activation.SOFTPLUS: 0.09623, Activation.SILU: 0.3083}


def second_order_bounds(network: Network, region: Region, before: Bounds) -> Bounds | None:
    """Return bounds behind the first activation and the layer after it, or None if it has corners.

    Args:
        network: A network of at least two layers.
        region: States and sizes of the perturbation.
        before: Bounds before the first activation, shape (B, n).
    """
    activation = network.activations[0]
    smooth = activation in (Activation.TANH, Activation.SIGMOID, *_THIRD)
    inexact = len(network.weights) == 2 and network.last_error is not None
    if not smooth or inexact or region.centres.shape[1] > _MOST_SENSORS:
        return None
    first, weight, bias = network.weights[0], network.weights[1], network.biases[1]
    # Taylor around the middle of each interval, y = middle + t with |t| <= reach.
    middle = before.lower + (before.upper - before.lower) / 2
    reach = up(np.maximum(before.upper - middle, middle - before.lower))
    value, slope, bend = (
        activation(middle),
        derivative(activation, middle),
        _bend(activation, middle),
    )
    terms = np.abs(region.centres) @ np.abs(first).T + np.abs(network.biases[0])
    # The middle is W_1 z + b_1 up to this; t = w d + that.
    off = up(terms * gamma(first.shape[1] + 8) + 8 * UNIT * (np.abs(middle) + reach), 6) + UNDERFLOW
    # Lagrange's remainder M |t|^3 / 6, the library functions' own errors, and t for w d.
    rest = third_derivative_on(activation, before) * reach**3 / 6
    rest = rest + 64 * UNIT * (1 + np.abs(middle)) * (1 + reach + reach**2)
    rest = rest + np.abs(slope) * off + np.abs(bend) * off * (reach + 2 * off)
    # Sums over neurons round at most like this, relative to the sum of magnitudes.
    sizes = np.abs(value) + np.abs(slope) * reach + np.abs(bend) * reach**2
    rest = up(rest + sizes * gamma(weight.shape[1] + 16), 12)
    slack = up(
        rest @ np.abs(weight).T + np.abs(bias) * gamma(weight.shape[1] + 16), weight.shape[1]
    )
    base = value @ weight.T + bias
    # W_2 diag(phi') W_1 d, and d' B_j d with B_j = W_1' diag(W_2j phi'' / 2) W_1.
    linear = _stacked(weight, slope, first)
    rows, columns = np.triu_indices(first.shape[1])
    bends = _stacked(weight, bend / 2, first[:, rows] * first[:, columns])
    high, low = _extremes(linear, bends, region, rows, columns)
    return Bounds(base - low - slack - UNDERFLOW, base + high + slack + UNDERFLOW)


def third_derivative_on(activation: AnyActivation, before: Bounds) -> Float:
    """Return a bound of |phi'''| on intervals, elementwise.

    tanh''' = 4 s - 6 s^2 with s = tanh', and the logistic function is (1 + tanh(x / 2)) / 2.
    """
    if activation in _THIRD:
        return np.full_like(before.lower, _THIRD[activation])
    scale = 1.0 if activation is Activation.TANH else 4.0
    # A quadratic in s: extreme at the ends of the range of s, or at s = 1/3 with the value 2/3.
    ends = [scale * slope for slope in slope_range_on(activation, before.lower, before.upper)]
    sizes = [np.abs(4 * s - 6 * s**2) + 1e-12 for s in ends]
    turns = (ends[0] <= 1 / 3 + 1e-12) & (ends[1] >= 1 / 3 - 1e-12)
    largest = np.maximum(np.maximum(*sizes), np.where(turns, 2 / 3 + 1e-12, 0.0))
    return np.asarray(largest / scale**2)


def _bend(activation: AnyActivation, x: Float) -> Float:
    """Return the second derivative."""
    if activation is Activation.TANH:
        value = np.tanh(x)
        return np.asarray(-2 * value * (1 - value**2))
    slope = expit(x) * expit(-x)
    if activation is Activation.SOFTPLUS:
        return np.asarray(slope)
    difference = expit(-x) - expit(x)
    if activation is Activation.SIGMOID:
        return np.asarray(slope * difference)
    return np.asarray(slope * (2 + x * difference))


def _stacked(weight: Float, scale: Float, columns: Float) -> Float:
    """Return W diag(scale) columns for each state, shape (B, m, columns), as one product."""
    num_states, width = len(scale), columns.shape[1]
    # All states side by side, because one large product is many times faster than many small ones.
    scaled = scale.T[:, :, None] * columns[:, None, :]
    product = weight @ scaled.reshape(len(columns), num_states * width)
    return product.reshape(len(weight), num_states, width).transpose(1, 0, 2)


def _extremes(
    linear: Float, bends: Float, region: Region, rows: np.ndarray, columns: np.ndarray
) -> tuple[Float, Float]:
    """Bound the rise and the fall of linear d + d' bends d over the ball, each of shape (B, m)."""
    spread = region.spread(linear)
    diagonal = rows == columns
    count = 2 * len(rows) + 8
    if region.norm is Norm.L2:
        # |d' B d| <= |B|_F |d|_2^2, entries off the diagonal counted twice.
        squares = np.square(bends) * np.where(diagonal, 1.0, 2.0)
        size = up(np.sqrt(squares.sum(axis=-1)) + 1e-150, count) * region.radius[:, None] ** 2
        return up(spread + size, 8), up(spread + size, 8)
    sides = region.radius[:, None] * np.ones(region.centres.shape[1])
    if region.sides is not None:
        sides = region.sides
    # d_k d_l with k < l stands for both of the symmetric entries.
    areas = sides[:, rows] * sides[:, columns] * np.where(diagonal, 1.0, 2.0)
    # d_k d_l takes either sign, d_k^2 only one: squares rise where B_kk > 0 and fall elsewhere.
    mixed = np.where(diagonal, 0.0, areas)
    cross = (np.abs(bends) @ mixed[:, :, None])[..., 0]
    squares = np.where(diagonal, areas, 0.0)
    rise = (np.maximum(bends, 0.0) @ squares[:, :, None])[..., 0]
    fall = (np.maximum(-bends, 0.0) @ squares[:, :, None])[..., 0]
    return up(spread + cross + rise, count), up(spread + cross + fall, count)
