"""How large the partial sums of an affine layer are all together, in whatever order they are made.

An addition that is rounded to nearest errs by at most u times the unit in the first place of its
result, the largest power of two that does not exceed it (Rump, Ogita and Oishi, SIAM J. Sci.
Comput. 31 (2008), 189-224). And not all partial sums are large. A large one has many terms, since
by Cauchy and Schwarz k terms come to at most the root of k times the root of the sum of all
squares; and it lacks many of the terms of the other sign. A binary tree of additions has only so
many nodes of both kinds. Proof: docs/explanation/mathematics.md, 6.11.

Shape legend: B regions, n inputs, m outputs of the layer.
"""

from dataclasses import dataclass

import numpy as np

from surefoot.certify.bounds.summation import AffineSum, Sums, Values, flushed_to_zero
from surefoot.certify.bounds.upward import Float, gamma, matmul_up, up
from surefoot.runtime.arithmetic import UNIT_ROUNDOFF

_OCTAVES = 3
"""Powers of two below the largest sum whose nodes are counted: an octave down few are spared."""

_SPARED = 1 - 1e-9
"""What float64 leaves of a count that is subtracted, rounding and cancellation deducted."""


def additions_in_first_place(affine: AffineSum, inputs: Values, sums: Sums) -> Float:
    """Bound the sum, over all additions, of the unit in the first place of what is rounded.

    Args:
        affine: Layer that computes one sum for each output, in float32 rounded to nearest.
        inputs: Where the inputs of the layer lie, as the runtime holds them.
        sums: Its sums at these inputs.

    Returns:
        Shape (B, m); a layer that may be stored in whole steps counts the sums themselves.
    """
    # Before a partial sum is rounded its terms have lost at most gamma_m T, and what is flushed.
    rounded = 1.02 * UNIT_ROUNDOFF * (affine.num_additions + 1) * sums.terms
    lost = up(rounded + flushed_to_zero(affine, inputs)[:, None], 6)
    largest = up(sums.partial + lost)
    if affine.is_in_steps:  # a sum of whole steps is scaled at its end, its first place as well
        return up(affine.num_additions * largest)
    first = np.minimum(np.ldexp(0.5, np.frexp(largest)[1]), largest)
    signs = _Sign.positive(affine, inputs, sums), _Sign.negative(affine, inputs, sums)
    total: Float = np.zeros_like(first) + affine.num_additions
    for octave in range(_OCTAVES):
        share = 2.0**-octave
        smaller = _smaller(affine, signs, share * first - lost)
        # Nodes below this power of two count with half of it, or less.
        total = total - share / 2 * _SPARED * smaller
    return up(first * total, 3)


@dataclass(frozen=True, slots=True, eq=False)
class _Sign:
    """The terms of one sign, of each output, over a region.

    Attributes:
        most: Largest sum of the terms of this sign, shape (B, m).
        squares: Largest sum of their squares.
        against: Least sum of the terms that have the other sign wherever in the region.
        against_squares: Largest sum of the squares of these.
    """

    most: Float
    squares: Float
    against: Float
    against_squares: Float

    @classmethod
    def positive(cls, affine: AffineSum, inputs: Values, sums: Sums) -> "_Sign":
        """Return the positive terms."""
        return cls._of(affine.weight, affine.bias, inputs, sums.positive)

    @classmethod
    def negative(cls, affine: AffineSum, inputs: Values, sums: Sums) -> "_Sign":
        """Return the negative terms: those that are positive once every weight changes its sign."""
        return cls._of(-affine.weight, -affine.bias, inputs, sums.negative)

    @classmethod
    def _of(cls, weight: Float, bias: Float, inputs: Values, most: Float) -> "_Sign":
        plus, minus = np.maximum(weight, 0.0).T, np.maximum(-weight, 0.0).T
        above, below = np.maximum(inputs.high, 0.0), np.maximum(-inputs.low, 0.0)
        surely_above, surely_below = np.maximum(inputs.low, 0.0), np.maximum(-inputs.high, 0.0)
        against = surely_below @ plus + surely_above @ minus + np.maximum(-bias, 0.0)
        return cls(
            most=most,
            squares=_squares(above, plus, below, minus, np.maximum(bias, 0.0)),
            against=against * (1 - 2 * gamma(2 * len(plus) + 3)),
            against_squares=_squares(
                surely_below, plus, surely_above, minus, np.maximum(-bias, 0.0)
            ),
        )

    def fewest_present(self, size: Float) -> Float:
        """Return how many terms a partial sum of this sign and at least ``size`` has at least."""
        return self._count(size, size, self.squares)

    def fewest_absent(self, size: Float) -> Float:
        """Return how many terms are missing at least from such a partial sum."""
        return self._count(size, size - self.most + self.against, self.against_squares)

    def _count(self, size: Float, needed: Float, squares: Float) -> Float:
        """Return how many terms of these squares have a sum of ``needed`` (Cauchy and Schwarz)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            count = np.maximum(needed, 0.0) ** 2 / squares
        count = np.where(np.isnan(count), 0.0, count)
        return np.where(self.most >= size, count, np.inf)


def _squares(first: Float, plus: Float, second: Float, minus: Float, bias: Float) -> Float:
    """Return upper bounds of the sums of squared terms, shape (B, m)."""
    products = matmul_up(first**2, plus**2) + matmul_up(second**2, minus**2)
    return up(products + bias**2, 6)


def _smaller(affine: AffineSum, signs: tuple[_Sign, _Sign], size: Float) -> Float:
    """Return how many additions at least have a partial sum below ``size``, shape (B, m).

    Where the large nodes of a tree form a chain, all are small that lie inside the least of them
    and all beside the largest; else all that lie inside two of them that hold no other.
    """
    present = np.minimum(*(sign.fewest_present(size) for sign in signs))
    absent = np.minimum(*(sign.fewest_absent(size) for sign in signs))
    inside = np.maximum(present - 2, 0.0)
    return np.asarray(np.minimum(inside + np.minimum(absent, inside), affine.num_additions))
