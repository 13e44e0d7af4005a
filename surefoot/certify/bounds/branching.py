"""Where a box is cut: across the sensor that leaves the least of what keeps its question open.

Two things keep it open, and a cut across a sensor halves its share of both: how far the sensor
moves the inequalities over its side, which is how much lower the bound of the better half is, and
how far it opens the lines around the first layer, which is what their slack costs.

Shape legend: B boxes, d sensors, r inequalities, n neurons.
"""

import numpy as np
from numpy.typing import NDArray

from surefoot.certify.bounds.conditions import ConditionBounds
from surefoot.certify.bounds.region import Network
from surefoot.certify.bounds.relaxation import relax
from surefoot.certify.bounds.upward import UNIT, Float

_SMALLEST = float(np.finfo(np.float64).smallest_subnormal)

_INFLUENCE = 0.25
"""Weight of the influence against the slack: the least boxes on networks of 256 neurons a layer."""


def sensors_to_cut(
    bounds: ConditionBounds, low: Float, high: Float, excesses: Float
) -> NDArray[np.int64]:
    """Return the sensors across which to cut each box, the best first, shape (B, d).

    Args:
        bounds: Bounds of the condition.
        low: Lower corners, shape (B, d).
        high: Upper corners, shape (B, d).
        excesses: Bounds of the inequalities there, shape (B, r).
    """
    middles, sides = low + (high - low) / 2, high - low
    # Only inequalities that may be broken have something to gain.
    is_open = (excesses > 0)[..., None]
    influence = (np.abs(bounds.slopes_at(middles)) * is_open).max(axis=1) * sides
    worth = _INFLUENCE * influence
    if len(bounds.network.weights) > 1 and bounds.network.is_elementwise:
        neurons = (np.abs(bounds.hidden_slopes_at(middles)) * is_open).max(axis=1)
        worth = worth + _slack(bounds.network, middles, sides, neurons)
    # A flat middle says nothing about the sides; the longest one breaks such ties.
    relative = sides / np.maximum(sides.max(axis=1, keepdims=True), _SMALLEST)
    ties = 1e-3 * worth.max(axis=1, keepdims=True) * relative
    return np.asarray(np.argsort(-(worth + ties), axis=1, kind="stable"))


def _slack(network: Network, middles: Float, sides: Float, neurons: Float) -> Float:
    """Return the part of each sensor in what the lines around the first layer cost, shape (B, d).

    Args:
        network: A network of elementwise layers.
        middles: Middles of the boxes, shape (B, d).
        sides: Their sides, shape (B, d).
        neurons: Steepest slope of an open inequality along each neuron's value, shape (B, n).
    """
    sizes = np.abs(network.weights[0])
    before = middles @ network.weights[0].T + network.biases[0]
    radius = sides @ sizes.T / 2
    lines = relax(network.activations[0], before - radius, before + radius)
    above = lines.slope_high * before + lines.cut_high
    below = lines.slope_low * before + lines.cut_low
    cost = neurons * np.maximum(above - below, 0.0)
    # Where the sensors move a neuron by less than its rounding, no cut lessens the cost.
    moves = radius > UNIT * np.abs(before)
    share = np.divide(cost, radius, out=np.zeros_like(cost), where=moves)
    return np.asarray(share @ sizes * sides / 2)
