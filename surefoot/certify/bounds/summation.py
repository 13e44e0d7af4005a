"""What the sums of an affine layer may lose in float32, in whatever order they are added up.

Every way to add m numbers is a binary tree of m - 1 additions. An addition errs by at most u times
the number that it rounds, which is a partial sum and what its own terms have lost before; and no
partial sum exceeds M = max(P, N), of the sums of all positive and of all negative terms. T = P + N:

    |computed - exact| <= u ( T + (m - 1) (M + gamma_m T) ).

m counts the terms that are not zero, since adding zero rounds nothing: pruned rows lose less.
T counts the rounding of the products. Where terms of both signs meet, M is about half of T, and the
bound about half of the textbook's gamma_m T. Proof: docs/explanation/mathematics.md, 6.1.

Shape legend: B regions, n inputs, m outputs of the layer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.certify.bounds.arithmetics import SMALLEST
from surefoot.certify.bounds.upward import Float, IntervalMatrix, crude_norm, matmul_up, up
from surefoot.policy import Layer, Rounding
from surefoot.runtime.arithmetic import UNIT_ROUNDOFF
from surefoot.runtime.c_layers import whole_steps


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AffineSum:
    """An affine layer with the norms that its sums are bounded by.

    Attributes:
        weight: W, float64 by value of float32, shape (m, n).
        bias: b, shape (m,).
        row_norms: l2 norm of each row of W, shape (m,).
        norm: Spectral norm of W.
        absolute_norm: Spectral norm of |W|.
        num_additions: Additions of terms that are not zero, for each row, shape (m,).
        is_in_steps: Whether all rows are whole steps of 8 bits, so that a runtime may scale sums.
        rounding: How a file of others rounds that computes it in other steps; None for one sum.
    """

    weight: Float
    bias: Float
    row_norms: Float
    norm: float
    absolute_norm: float
    num_additions: NDArray[np.int64]
    is_in_steps: bool
    rounding: Rounding | None

    @classmethod
    def of(cls, layer: Layer) -> "AffineSum":
        """Return the affine part of a layer."""
        matrix = IntervalMatrix.exact(layer.weight.astype(np.float64))
        terms = np.count_nonzero(layer.weight, axis=1) + (layer.bias != 0)
        return cls(
            weight=matrix.centre,
            bias=layer.bias.astype(np.float64),
            row_norms=matrix.row_norms(),
            norm=matrix.norm(),
            absolute_norm=crude_norm(np.abs(matrix.centre)),
            num_additions=np.maximum(terms - 1, 0),
            is_in_steps=whole_steps(layer.weight)[1] is not None,
            rounding=layer.rounding,
        )

    @property
    def num_roundings(self) -> int:
        """Largest number of roundings of one term of a sum."""
        return self.weight.shape[1] + 2 if self.rounding is None else self.rounding.count


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """Where the values at one place of the network lie: in a box and in a ball around zero.

    Attributes:
        low: Least value of each entry, shape (B, n).
        high: Largest value of each entry, shape (B, n).
        length: Largest l2 norm of all entries, shape (B,).
    """

    low: Float
    high: Float
    length: Float

    @property
    def magnitude(self) -> Float:
        """Largest absolute value of each entry, shape (B, n)."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    def widened(self, error: "Error") -> "Values":
        """Return the enclosure widened by ``error``."""
        return Values(
            self.low - up(error.entries, 2) - np.abs(self.low) * 2.0**-52,
            self.high + up(error.entries, 2) + np.abs(self.high) * 2.0**-52,
            up(self.length + error.length),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Error:
    """How far values may be from the exact ones, entry by entry and all together.

    Attributes:
        entries: Largest distance of each entry, shape (B, n).
        length: Largest l2 distance, shape (B,).
    """

    entries: Float
    length: Float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sums:
    """What bounds the sums of an affine layer at every point of each region.

    Attributes:
        positive: Largest sum of all positive terms, P, shape (B, m).
        negative: Largest sum of all negative terms, N, shape (B, m).
        terms: Largest sum of magnitudes, T, shape (B, m).
        partial: Largest magnitude of any partial sum, M, shape (B, m).
        terms_length: Largest l2 norm of T over the outputs, shape (B,).
        partial_length: Largest l2 norm of M over the outputs, shape (B,).
    """

    positive: Float
    negative: Float
    terms: Float
    partial: Float
    terms_length: Float
    partial_length: Float


def sums_of(affine: AffineSum, inputs: Values) -> Sums:
    """Bound the sums W h + b for all h within ``inputs``."""
    above, below = np.maximum(inputs.high, 0.0), np.maximum(-inputs.low, 0.0)
    plus, minus = np.maximum(affine.weight, 0.0).T, np.maximum(-affine.weight, 0.0).T
    bias, bias_length = np.abs(affine.bias), lengths(affine.bias[None])[0]
    # A term w h is positive where both signs agree, and largest at an end of the range of h.
    positive = up(matmul_up(above, plus) + matmul_up(below, minus) + np.maximum(affine.bias, 0), 3)
    negative = up(matmul_up(below, plus) + matmul_up(above, minus) + np.maximum(-affine.bias, 0), 3)
    # Of an input whose range holds both signs, P and N count one each, T only the larger.
    magnitudes = up(matmul_up(inputs.magnitude, plus + minus) + bias)
    cauchy_schwarz = up(inputs.length[:, None] * affine.row_norms + bias, 3)
    terms = np.minimum(magnitudes, cauchy_schwarz)
    # Point by point T = |W| |h| + |b| and M = (T + |W h + b|) / 2, which bounds their norms.
    reach = up(affine.absolute_norm * inputs.length + bias_length, 3)
    through = up(affine.norm * inputs.length + bias_length, 3)
    return Sums(
        positive=positive,
        negative=negative,
        terms=terms,
        partial=np.minimum(np.maximum(positive, negative), terms),
        terms_length=reach,
        partial_length=up((reach + through) / 2, 2),
    )


def sum_error(affine: AffineSum, sums: Sums, additions: Float | None = None) -> Error:
    """Bound the float32 error of the sums in any order of summation, underflow aside.

    Args:
        affine: Layer of at most 0.01 / u roundings of a term.
        sums: Its sums, at inputs as the runtime holds them.
        additions: What additions lose at most, in units of roundoff, shape (B, m); None for the
            number of additions times the largest partial sum.
    """
    if affine.rounding is not None:
        # Other steps, of which only the number and the size are known: gamma_n T.
        relative = 1.02 * affine.rounding.count * UNIT_ROUNDOFF
        excess = lengths(affine.rounding.excess[None].astype(np.float64))
        entries = up(relative * (sums.terms + affine.rounding.excess), 4)
        together = up(relative * (sums.terms_length + excess), 4)
        return Error(entries, np.minimum(together, lengths(entries)))
    # gamma_m T <= 0.0101 T <= 0.0202 M. T counts twice: a product may be rounded before it is
    # scaled, as by a runtime that keeps integer weights and multiplies by their step at the end.
    twice, count = 2.0 * UNIT_ROUNDOFF, 1.03 * affine.num_additions
    whole = count * sums.partial
    lost = whole if additions is None else np.minimum(whole, additions)
    entries = up(twice * sums.terms + UNIT_ROUNDOFF * lost, 4)
    most = UNIT_ROUNDOFF * count.max() * sums.partial_length
    together = up(twice * sums.terms_length + most, 4)
    return Error(entries, np.minimum(together, lengths(entries)))


def flushed_to_zero(affine: AffineSum, inputs: Values) -> Float:
    """Bound what underflow takes from each sum of a layer where it flushes to zero, shape (B,)."""
    # A result that is flushed loses 2^-126, a factor that is read as zero that times the other one.
    factor = np.maximum(inputs.magnitude.max(axis=1), np.abs(affine.weight).max(initial=0.0))
    return np.asarray(affine.num_roundings * SMALLEST * (2 + factor))


def lengths(rows: Float) -> Float:
    """Return upper bounds of the l2 norms of non-negative or signed rows, shape (B,)."""
    # Squares that underflow lose less than the last term.
    with np.errstate(over="ignore", under="ignore"):
        squares = up(np.square(rows).sum(axis=1), rows.shape[1] + 1)
    return up(np.sqrt(squares) + 1e-150, 3)
