"""The chain of a region: slopes that a region does not reach count no longer.

Where every secant slope of neuron j on the region lies in [0, b_j], phi_j = b_j psi_j with the
slopes of psi_j in [0, 1]. So whatever bounds a chain bounds the one whose next matrix has its
columns scaled by b, between any two points of a convex region.
Statement and proof: docs/explanation/mathematics.md, 5.10.
"""

import numpy as np

from surefoot.certify.bounds.chain import Chain
from surefoot.certify.bounds.region import Bounds, Network
from surefoot.certify.bounds.slopes import SlopeRange, slope_range_on
from surefoot.certify.bounds.upward import Float, IntervalMatrix

_STEPS = 32
"""Scales are multiples of 1 / 32: with them a multiplier (24 bits) times a float32 weight times a
scale still is a float64, so that the proof's matrix stays exact."""


def local_chain(chain: Chain, network: Network, before: list[Bounds]) -> Chain | None:
    """Return the chain with scaled columns, or None where a slope may leave [0, 1]."""
    if not network.is_elementwise:
        return None
    matrices, slopes = [chain.matrices[0]], []
    for number, bounds in enumerate(before):
        # Both ends of a segment of the region lie within the bounds, and so does its secant slope.
        low, high = slope_range_on(network.activations[number], bounds.lower, bounds.upper)
        if (low < 0).any() or not (high <= 1).all():
            return None
        scale: Float = np.ceil(high[0] * _STEPS) / _STEPS
        # W phi(y) = (W diag(b)) psi(y): the scale moves into the matrix behind the activation.
        centre = chain.matrices[number + 1].centre * scale
        matrices.append(IntervalMatrix.exact(centre))
        slopes.append(SlopeRange(0.0, 1.0))
    return Chain(matrices=tuple(matrices), slopes=tuple(slopes))
