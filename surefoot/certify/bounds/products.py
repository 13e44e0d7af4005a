"""Bounds of a product of two computed values, as recurrent cells have it.

With m and r the middles and radii of two intervals,

    a b = m_b a + m_a b - m_a m_b + (a - m_a)(b - m_b)

holds exactly, and the last term lies within r_a r_b: bands whose upper plane is the mean of the two
upper planes of McCormick, the lower one that of the two lower ones. Statements and proofs:
docs/explanation/mathematics.md, 5.17 and 6.8.

Reference:
    McCormick, Mathematical Programming 10 (1976), 147-175. Planes around sigmoid(x) tanh(y) as one
    function of x and y may be tighter where both move far (Ko et al., ICML 2019, arXiv 1905.07387;
    Du et al., CCS 2021); around a state both are second order.

Shape legend: B regions, n neurons, two halves.
"""

import numpy as np

from surefoot.certify.bounds.arithmetics import SMALLEST
from surefoot.certify.bounds.upward import UNDERFLOW, UNIT, Float, up
from surefoot.coupled_activation import halves
from surefoot.runtime.arithmetic import UNIT_ROUNDOFF


def product_image(low: Float, high: Float) -> tuple[Float, Float]:
    """Return bounds of (a b, b) on a box, shape (B, n)."""
    (low_a, low_b), (high_a, high_b) = halves(low), halves(high)
    corners = low_a * low_b, low_a * high_b, high_a * low_b, high_a * high_b
    # A bilinear function is extreme at corners; each is rounded once.
    least, most = np.minimum.reduce(corners), np.maximum.reduce(corners)
    slack = 4 * UNIT * np.maximum(np.abs(least), np.abs(most)) + UNDERFLOW
    return (
        np.concatenate([least - slack, low_b], axis=-1),
        np.concatenate([most + slack, high_b], axis=-1),
    )


def product_bands(low: Float, high: Float) -> tuple[Float, Float, Float, Float]:
    """Return slope and both intercepts of bands that enclose (a b, b), and slopes of partners.

    Args:
        low: Least inputs, shape (B, n).
        high: Largest inputs.

    Returns:
        Slope, lower and upper intercept, and the slope of what each neuron of the second half
        gives to its partner (zero in the first half), each of shape (B, n).
    """
    middle = low + (high - low) / 2
    (middle_a, middle_b) = halves(middle)
    radius_a, radius_b = halves(up(np.maximum(high - middle, middle - low)))
    area = up(radius_a * radius_b, 2)
    slack = 8 * UNIT * (np.abs(middle_a * middle_b) + area) + UNDERFLOW
    ones, zeros = np.ones_like(middle_b), np.zeros_like(middle_b)
    constant = -middle_a * middle_b
    return (
        np.concatenate([middle_b, ones], axis=-1),
        np.concatenate([constant - area - slack, zeros], axis=-1),
        np.concatenate([constant + area + slack, zeros], axis=-1),
        np.concatenate([zeros, middle_a], axis=-1),
    )


def product_errors(low: Float, high: Float, arrived: Float) -> Float:
    """Return what a float32 product makes of the errors of its inputs.

    Args:
        low: Least input of the exact and of the deployed network, shape (B, n).
        high: Largest input.
        arrived: How far inputs may be from exact ones, shape (B, n).

    Returns:
        Least and largest slope of each neuron in its own input, norm of the Jacobian of its pair,
        what the error of its partner adds, and what it rounds itself; shape (5, B, n).
    """
    (low_b, high_b), (_, error_b) = (halves(end)[1] for end in (low, high)), halves(arrived)
    size_a, size_b = halves(np.maximum(np.abs(low), np.abs(high)))
    ones, zeros = np.ones_like(size_a), np.zeros_like(size_a)
    norm = up(np.sqrt(up(size_a**2 + size_b**2 + 1, 4)), 2)
    # a' b' - a b = b (a' - a) + a' (b' - b), of the deployed a' and b'; and one rounding.
    rounded = up(UNIT_ROUNDOFF * size_a * size_b + SMALLEST, 4)
    rows = (low_b, ones), (high_b, ones), (norm, norm), (up(size_a * error_b), zeros)
    return np.stack([np.concatenate(pair, axis=-1) for pair in (*rows, (rounded, zeros))])
