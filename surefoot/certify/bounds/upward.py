"""Float64 arithmetic whose results are upper bounds: products, norms, and a proof of definiteness.

Every routine returns a number at least as large as the exact one, whatever the order in which a
BLAS sums. Where a result is too large for float64 it is infinite, which proves nothing. Statements
and proofs: docs/explanation/mathematics.md, 2.1 to 2.5.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

UNIT = 2.0**-53
"""Unit roundoff of float64."""

UNDERFLOW = 1e-300
"""More than what gradual underflow can lose in one sum of products of normal size."""


def gamma(num_operations: int) -> float:
    """Return an upper bound of n u / (1 - n u), the relative error of n roundings."""
    return 1.01 * num_operations * UNIT


def up(value: Float | float, num_operations: int = 1) -> Float:
    """Return ``value``, computed from non-negative terms in n roundings, enlarged to a bound.

    An exact value x and its computed value y satisfy x <= y / (1 - gamma_n).
    """
    with np.errstate(over="ignore"):
        return np.asarray(value) * (1.0 + 2.0 * gamma(num_operations + 2))


def matmul_up(left: Float, right: Float) -> Float:
    """Return an upper bound of ``left @ right`` for non-negative arrays."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        product = up(left @ right, left.shape[-1])
        # Below this no product underflows, and sums never lose anything to underflow.
        if _smallest(left) * _smallest(right) < 1e-290:
            product = product + UNDERFLOW
        return np.where(np.isnan(product), np.inf, product)


def vector_norm_up(vector: Float) -> float:
    """Return an upper bound of the Euclidean norm of all entries of ``vector``."""
    entries = np.abs(vector).ravel()
    largest = float(entries.max(initial=0.0))
    if largest == 0 or not np.isfinite(largest):
        return largest
    # A power of two is exact, so that squares do not underflow; 2^1024 is no float64.
    scale = 2.0 ** min(float(np.ceil(np.log2(largest))), 1023.0)
    scaled = entries / scale
    with np.errstate(over="ignore"):
        return float(up(np.sqrt(up(scaled @ scaled, entries.size) + UNDERFLOW), 2) * scale)


@dataclass(frozen=True, slots=True, eq=False)
class IntervalMatrix:
    """A matrix that is known up to an entrywise error: |M - centre| <= radius.

    Attributes:
        centre: Float64 entries near those of the matrix, shape (rows, columns).
        radius: Bound on the distance of each entry, of the same shape.
    """

    centre: Float
    radius: Float

    @classmethod
    def exact(cls, matrix: Float) -> "IntervalMatrix":
        """Return a matrix without error."""
        return cls(matrix, np.zeros_like(matrix))

    def __matmul__(self, other: "IntervalMatrix") -> "IntervalMatrix":
        """Return the product; its radius covers the rounding of the product itself."""
        # A B - A_c B_c = A (B - B_c) + (A - A_c) B_c, and the product A_c B_c rounds by itself.
        size = self.centre.shape[1]
        left, right = np.abs(self.centre), np.abs(other.centre)
        rounding = matmul_up(left, right) * gamma(size + 2)
        spread = matmul_up(left + self.radius, other.radius) + matmul_up(self.radius, right)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            return IntervalMatrix(self.centre @ other.centre, up(rounding + spread, 4) + UNDERFLOW)

    def rows(self, index: slice) -> "IntervalMatrix":
        """Return some rows."""
        return IntervalMatrix(self.centre[index], self.radius[index])

    @property
    def magnitude(self) -> Float:
        """Entrywise upper bound of |M|."""
        return up(np.abs(self.centre) + self.radius) if self.radius.any() else np.abs(self.centre)

    def row_norms(self) -> Float:
        """Return upper bounds of the Euclidean norms of the rows, shape (rows,)."""
        return np.array([vector_norm_up(row) for row in self.magnitude])

    def norm(self) -> float:
        """Return a proved upper bound of the spectral norm."""
        crude = crude_norm(self.magnitude)
        if min(self.centre.shape) == 1 or not 0 < crude < np.inf:
            return crude
        # |M| <= |centre| + |radius|_F.
        spread = vector_norm_up(self.radius)
        size = sum(self.centre.shape)
        # The SVD suggests, Cholesky proves: a computed singular value is no upper bound.
        estimate = float(np.linalg.norm(self.centre, 2))
        for inflation in (1.0, 4.0, 100.0, 1e4):
            bound = estimate * (1.0 + 8.0 * inflation * size * gamma(size + 2))
            if bound < crude and proves_norm(self.centre, bound):
                return min(crude, float(up(bound + spread)))
        return crude


def crude_norm(magnitude: Float) -> float:
    """Return min(Frobenius, sqrt(norm_1 norm_inf)) of a non-negative matrix, rounded up."""
    columns = float(up(magnitude.sum(axis=0), magnitude.shape[0]).max())
    rows = float(up(magnitude.sum(axis=1), magnitude.shape[1]).max())
    # |W|^2 = lambda_max(W'W) <= |W'W|_inf <= |W|_1 |W|_inf.
    mixed = float(up(np.sqrt(columns) * np.sqrt(rows), 3))
    return min(vector_norm_up(magnitude), mixed)


def proves_norm(matrix: Float, bound: float) -> bool:
    """Return True if ``bound`` is proved to be at least the spectral norm of ``matrix``.

    The block matrix [[c I, W'], [W, c I]] is positive semidefinite exactly when |W| <= c.
    """
    rows, columns = matrix.shape
    block = np.zeros((rows + columns, rows + columns))
    block[columns:, :columns] = matrix
    block[:columns, columns:] = matrix.T
    np.fill_diagonal(block, bound)
    return proves_semidefinite(block)


def proves_semidefinite(matrix: Float, error: float = 0.0, spread: Float | None = None) -> bool:
    """Return True if one Cholesky factorisation proves a symmetric matrix positive semidefinite.

    Args:
        matrix: Symmetric, shape (n, n).
        error: Bound on the spectral norm of what the equilibrated matrix may be wrong by.
        spread: Entrywise bound on what the matrix itself may be wrong by besides, shape (n, n).

    Reference:
        Rump, BIT 46 (2006) 433-452: when floating-point Cholesky runs to its end, the smallest
        eigenvalue is at least -phi tr(A), phi = gamma_{n+1} / (1 - gamma_{n+1}). The shift is
        doubled, which also covers factorisations that multiply by rounded reciprocals.
    """
    diagonal = matrix.diagonal()
    if not np.isfinite(matrix).all() or not (diagonal > 0).all():
        return False
    size = len(diagonal)
    # Equilibration by powers of two is exact; what underflows is below the last term of the shift.
    exponents = -np.round(np.log2(diagonal) / 2).astype(np.int64)
    with np.errstate(over="ignore", under="ignore"):
        scaled = np.ldexp(matrix, exponents[:, None] + exponents[None, :])
        if spread is not None:  # the Frobenius norm is at least the spectral one
            wrong = np.ldexp(spread, exponents[:, None] + exponents[None, :])
            error = float(up(error + vector_norm_up(wrong)))
    trace = float(up(scaled.trace(), size))
    phi = gamma(size + 1) * (1.0 + 2.0 * gamma(size + 1))
    shift = float(up(2.0 * (phi * trace + error + 1e-290), 4))
    scaled[np.diag_indices(size)] = np.nextafter(scaled.diagonal() - shift, -np.inf)
    if not np.isfinite(scaled).all() or not (scaled.diagonal() > 0).all():
        return False
    try:
        factor = np.linalg.cholesky(scaled)
    except np.linalg.LinAlgError:
        return False
    return bool(np.isfinite(factor).all() and (factor.diagonal() > 0).all())


def _smallest(array: Float) -> float:
    """Return the smallest non-zero magnitude, or 1 if there is none."""
    positive = array[array > 0]
    return float(positive.min()) if positive.size else 1.0
