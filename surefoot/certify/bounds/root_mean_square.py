"""Bounds of a root mean square normalisation: the one function here that is not elementwise.

    h = c r,    r = (sum(c^2) / n + epsilon)^(-1/2)

Its Jacobian r (I - h h' / n) is symmetric with eigenvalues in [0, r]. Around a point h is linear
but for a small rest: a multiple of c_i, and one linear function of all c that the whole group
shares, which CROWN takes with the sum of its coefficients. Statements and proofs:
docs/explanation/mathematics.md, 3.4, 5.15 and 6.7.

Shape legend: B regions, n neurons of one normalisation.
"""

import math
from dataclasses import dataclass

import numpy as np

from surefoot.activation import RmsNorm
from surefoot.certify.bounds.upward import UNIT, Float, gamma, up
from surefoot.runtime.arithmetic import UNIT_ROUNDOFF

_OTHER_ROUNDINGS = 16
"""Roundings of the mean, epsilon, the root, a reciprocal root of a few units, the product, and of
an epsilon that was rounded when a file was read; those of the n squares and their sum are extra."""

_ONE_PASS = 3.25
"""Roundings of E[x^2] - E[x]^2 count relative to E[x^2]: once for it, twice for the square."""


@dataclass(frozen=True, slots=True, eq=False)
class Squares:
    """What the sum of the squares of the inputs of a normalisation lies between.

    Attributes:
        least: Shape (B, n), the same for all neurons of one normalisation.
        most: Shape (B, n).
    """

    least: Float
    most: Float

    def meet(self, other: "Squares") -> "Squares":
        """Return the intersection of the two."""
        return Squares(np.maximum(self.least, other.least), np.minimum(self.most, other.most))


def squares_on(low: Float, high: Float) -> Squares:
    """Return bounds of the sum of squares over a box, shape (..., n)."""
    least, most = _square_ends(low, high)
    loss = 2 * gamma(low.shape[-1] + 2)
    sums = (each.sum(axis=-1, keepdims=True) for each in (least * (1 - loss), most))
    least, most = (np.broadcast_to(each, low.shape) for each in sums)
    return Squares(np.maximum(least * (1 - loss), 0.0), up(most, low.shape[-1] + 2))


def _square_ends(low: Float, high: Float) -> tuple[Float, Float]:
    """Return the least and the largest square in [low, high], elementwise."""
    ends = np.square(low), np.square(high)
    return np.where((low <= 0) & (high >= 0), 0.0, np.minimum(*ends)), np.maximum(*ends)


def inverse_roots(norm: RmsNorm, squares: Squares) -> tuple[Float, Float]:
    """Return bounds of r, shape (B, n)."""
    count = squares.least.shape[-1]
    low, high = (1 / np.sqrt(each / count + norm.epsilon) for each in (squares.most, squares.least))
    return low * (1 - 16 * UNIT), high * (1 + 16 * UNIT)


def rms_image(norm: RmsNorm, low: Float, high: Float, squares: Squares) -> tuple[Float, Float]:
    """Return bounds of h on a box, shape (B, n).

    Args:
        norm: The normalisation.
        low: Least inputs, shape (B, n).
        high: Largest inputs.
        squares: Bounds of the sum of their squares.
    """
    least, most = inverse_roots(norm, squares)
    upper = np.maximum(high * least, high * most)
    lower = np.minimum(low * least, low * most)
    # h_i rises with c_i while the other inputs stay, and falls with their squares where c_i > 0.
    count, box = low.shape[-1], squares_on(low, high)
    own_least, own_most = _square_ends(low, high)
    loss = 4 * gamma(count + 4) * box.most
    rest = np.maximum(box.least - own_least - loss, 0.0), box.most - own_most + loss

    def value(x: Float, others: Float) -> Float:
        return np.asarray(x / np.sqrt((np.square(x) + others) / count + norm.epsilon))

    alone_high = np.where(high > 0, value(high, rest[0]), value(high, rest[1]))
    alone_low = np.where(low < 0, value(low, rest[0]), value(low, rest[1]))
    slack = 32 * UNIT
    upper, lower = np.minimum(upper, alone_high), np.maximum(lower, alone_low)
    return lower - slack * np.abs(lower), upper + slack * np.abs(upper)


def rms_bands(
    norm: RmsNorm, low: Float, high: Float, squares: Squares
) -> tuple[Float, Float, Float, Float, Float, Float, Float]:
    """Return slope and both intercepts of bands that enclose h, and the fields of a coupling.

    With m the middle of the box and s that of r, c_i r = s c_i + m_i r - m_i s + (c_i - m_i)(r - s)
    holds exactly, and r is k sum(c^2) and a little more, r being convex in it; c_j^2 is
    2 m_j c_j - m_j^2 + (c_j - m_j)^2.

    Returns:
        Slope, lower and upper intercept, along, gradient, low, high, each of shape (B, n).
    """
    count = low.shape[-1]
    ends = inverse_roots(norm, squares)
    middle, slope = low + (high - low) / 2, (ends[0] + ends[1]) / 2
    radius = up(np.maximum(high - middle, middle - low))
    width = up(np.maximum(ends[1] - slope, slope - ends[0]))
    size = np.abs(middle) * slope
    slack = up(radius * width, 2) + 4 * UNIT * size
    # r - k S is convex in S = sum(c^2): largest at an end, least where k is the derivative.
    touch = squares.least + (squares.most - squares.least) / 2
    at_touch = 1 / np.sqrt(touch / count + norm.epsilon)
    bend = -(at_touch**3) / (2 * count)
    at_ends = ends[1] - bend * squares.least, ends[0] - bend * squares.most
    rounding = 64 * UNIT * (ends[1] + np.abs(bend) * squares.most)
    most, least = np.maximum(*at_ends) + rounding, at_touch - bend * touch - rounding

    def total(x: Float) -> Float:
        return np.broadcast_to(x.sum(axis=-1, keepdims=True), x.shape)

    gradient = 2 * bend * middle
    # sum(k c^2 - gradient c) = k sum((c - m)^2) - k sum(m^2), and k is negative.
    fixed = -bend * total(np.square(middle))
    spread = up(-bend * total(np.square(radius)), count + 4)
    reach = total(np.square(np.maximum(np.abs(low), np.abs(high))))
    rounding = -bend * reach * (4 * gamma(count + 16))
    return (
        slope,
        -middle * slope - slack,
        -middle * slope + slack,
        middle,
        gradient,
        least + fixed - spread - rounding,
        most + fixed + rounding,
    )


def square_lines(low: Float, high: Float) -> tuple[Float, Float, Float, Float]:
    """Return lower slope and intercept, then upper ones, of lines around c^2, elementwise."""
    size = np.maximum(np.abs(low), np.abs(high))
    slack = 16 * UNIT * np.square(size)
    # The tangent of the middle and the chord; with any slope, the intercept that both ends need.
    middle, slope = low + (high - low) / 2, low + high
    cut = np.maximum(np.square(low) - slope * low, np.square(high) - slope * high)
    return 2 * middle, -np.square(middle) - slack, slope, cut + slack


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RmsErrors:
    """What a normalisation makes of the errors of its inputs.

    Attributes:
        steepest: Norm of its Jacobian wherever exact and deployed inputs lie, shape (B, n).
        crossed: What the errors of other inputs add to each output, shape (B, n).
        added: What it rounds itself, shape (B, n); infinite where its root may fail.
    """

    steepest: Float
    crossed: Float
    added: Float


def rms_errors(
    norm: RmsNorm,
    low: Float,
    high: Float,
    squares: Squares,
    errors: tuple[Float, Float, Float],
    length: Float,
    *,
    in_one_pass: bool,
) -> RmsErrors:
    """Return what a float32 normalisation makes of errors.

    Args:
        norm: The normalisation.
        low: Least input of the exact and of the deployed network, shape (B, n).
        high: Largest input.
        squares: Bounds of the sum of the squares of the exact inputs.
        errors: How far inputs may be from exact ones; what of it their own sums have made; the sums
            of the magnitudes of their terms, each of shape (B, n).
        length: How far all inputs together may be from exact ones, l2, shape (B,).
        in_one_pass: Whether the mean square may be computed without centring.
    """
    arrived, made, terms = errors
    count = low.shape[-1]
    length = np.minimum(_length(arrived), length[:, None])
    # The root mean square changes by at most |e| / sqrt(n).
    root = np.maximum(np.sqrt(squares.least) * (1 - 4 * UNIT) - length, 0.0)
    both = squares_on(low, high)
    least = np.maximum(both.least, np.square(root) * (1 - 4 * UNIT))
    around = Squares(least, both.most)
    steepest = inverse_roots(norm, around)[1]
    reach = np.maximum(*np.abs(rms_image(norm, low, high, around)))
    crossed = up(steepest * reach * (length / math.sqrt(count)), 6)
    relative = np.full_like(low, 1.01 * (count + _OTHER_ROUNDINGS) * UNIT_ROUNDOFF)
    sure = np.ones_like(low, dtype=np.bool_)
    if in_one_pass:
        # The sum that centres x has the term (1 - 1 / n) x: |x| is at most n / (n - 1) of all.
        mean = np.square(up(_length(terms), 2)) * (count / max(count - 1, 1) ** 2)
        lost = _ONE_PASS * 1.01 * (count + _OTHER_ROUNDINGS) * UNIT_ROUNDOFF * mean
        share = up(lost / (least / count + norm.epsilon), 12)
        # (1 - x)^(-1/2) <= 1 + x for x <= 1/2; beyond it what is under the root may be negative.
        relative, sure = relative + share, share <= 0.5
    added = up(relative * (reach + steepest * made) + 2.0**-126, 6)
    return RmsErrors(steepest=steepest, crossed=crossed, added=np.where(sure, added, np.inf))


def _length(entries: Float) -> Float:
    """Return an upper bound of the l2 norm along the last axis, for each entry of it."""
    squares = up(np.square(entries).sum(axis=-1, keepdims=True), entries.shape[-1] + 1)
    return np.broadcast_to(up(np.sqrt(squares) + 1e-150, 3), entries.shape)
