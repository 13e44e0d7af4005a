"""The semidefinite proof of a metric: multipliers, and the block matrix they prove.

A metric, such as that of an l2 Lipschitz constant, bounds a chain if for some positive multipliers
of its hidden neurons the matrix of :func:`block_matrix` is positive semidefinite. Multipliers are
float32, so that with float32 weights and slopes of few digits every entry of that matrix is exact
in float64, and one Cholesky proves it. Those of a scaled ELU have more digits: products then round,
and the proof allows for that, as it does for matrices that are products of several layers.

Statement and proof: docs/explanation/mathematics.md, 4.6 and 4.8.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.artifact import Json
from surefoot.certify.bounds.chain import Chain
from surefoot.certify.bounds.metric import SensorMetric
from surefoot.certify.bounds.slopes import SlopeRange
from surefoot.certify.bounds.upward import UNIT, Float, IntervalMatrix, proves_semidefinite, up
from surefoot.errors import IntegrityError


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Multipliers:
    """A proof that |f(z') - f(z)|^2 <= sum_k D_k (z'_k - z_k)^2.

    Attributes:
        metric: D.
        values: Positive multipliers of each hidden layer, float32, each of shape (n,).
        output: Number of the only output that it is about, or None for all of them.
    """

    metric: SensorMetric
    values: tuple[NDArray[np.float32], ...]
    output: int | None = None

    @property
    def squared(self) -> float:
        """Square of the Lipschitz constant in l2."""
        return self.metric.squared

    @property
    def bound(self) -> float:
        """The Lipschitz constant in l2, rounded up."""
        return self.metric.constant

    def to_table(self) -> dict[str, Json]:
        """Return JSON values; numbers as hexadecimal, so that nothing is rounded."""
        return {
            "output": self.output,
            **self.metric.to_table(),
            "multipliers": [layer.astype("<f4").tobytes().hex() for layer in self.values],
        }

    @classmethod
    def from_table(cls, table: Mapping[str, Json], num_inputs: int) -> "Multipliers":
        """Read multipliers back.

        Args:
            table: JSON values.
            num_inputs: Number of sensors.

        Raises:
            IntegrityError: If they are malformed.
        """
        try:
            proof = cls(
                metric=SensorMetric.from_table(table, num_inputs),
                values=tuple(
                    np.frombuffer(bytes.fromhex(layer), dtype="<f4")
                    for layer in table["multipliers"]
                ),
                output=table["output"],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise IntegrityError(f"multipliers are malformed: {error}") from error
        # True would be an index of another kind: of every output at once.
        if proof.output is not None and (type(proof.output) is not int or proof.output < 0):
            raise IntegrityError(f"output must be a number of an output, got {proof.output!r}")
        return proof


def from_zero(chain: Chain) -> Chain:
    """Return the chain with slope ranges above zero widened down to it, which holds as well.

    What a positive least slope adds to the matrix is no exact number, and without it nothing
    between the two ends is ever proved.
    """
    slopes = (SlopeRange(min(slope.low, 0.0), slope.high) for slope in chain.slopes)
    return Chain(matrices=chain.matrices, slopes=tuple(slopes))


def block_matrix(chain: Chain, metric: Float | float, multipliers: tuple[Float, ...]) -> Float:
    """Return the symmetric matrix whose positive semidefiniteness proves a metric.

    Order of the blocks: input, hidden layers, output, and one more per hidden layer whose slopes
    have both signs. With A, B the slope ends, M = (A + B) / 2 and Lam the multipliers:

        (0, 0)      D                   (i, i-1)      -Lam_i M W_i
        (i, i)      Lam_i               (i-1, i-1) += W_i' A B Lam_i W_i
        (L, L)      I                   (L, L-1)      W_L

    Ranges above zero count from zero. The product A B Lam is not formed: where it is negative it is
    the Schur complement of the extra block 1 / (|A B| Lam_i), rounded down.

    Args:
        chain: Whose centres are taken.
        metric: Diagonal of D, shape (obs_dim,), or L^2 where D = L^2 I.
        multipliers: Lam_i of each hidden layer, float32 by value.

    Reference:
        Fazlyab et al., NeurIPS 2019 (arXiv 1906.04893), LipSDP-Neuron, where D = L^2 I.
    """
    weights = [matrix.centre for matrix in chain.matrices]
    slopes = from_zero(chain).slopes
    signed = [i for i, slope in enumerate(slopes) if slope.low * slope.high < 0]
    sizes = [weights[0].shape[1], *(len(weight) for weight in weights)]
    starts = np.cumsum([0, *sizes, *(sizes[i + 1] for i in signed)])
    matrix = np.zeros((starts[-1], starts[-1]))

    def put(row: int, column: int, block: Float) -> None:
        rows = slice(starts[row], starts[row] + block.shape[0])
        columns = slice(starts[column], starts[column] + block.shape[1])
        matrix[rows, columns] = block
        matrix[columns, rows] = block.T

    # v_0' D v_0 - |W_L v|^2 - sum of s_i, with s_i >= 0 by the sector condition of each neuron.
    put(0, 0, np.diag(np.broadcast_to(metric, sizes[:1])))
    for i, (slope, values) in enumerate(zip(slopes, multipliers, strict=True)):
        put(i + 1, i + 1, np.diag(values))
        put(i + 1, i, -(values * slope.middle)[:, None] * weights[i])
    # Its Schur complement is -W_L' W_L, a product that is never formed, nor rounded.
    put(len(weights), len(weights), np.eye(sizes[-1]))
    put(len(weights), len(weights) - 1, weights[-1])
    for extra, i in enumerate(signed, start=len(sizes)):
        # Too small a block makes the matrix harder to prove, never easier.
        product = np.nextafter(abs(slopes[i].low * slopes[i].high), np.inf)
        scaled = np.nextafter(product * multipliers[i], np.inf)
        put(extra, extra, np.diag(np.nextafter(1.0 / scaled, -np.inf)))
        put(extra, i, weights[i])
    return matrix


def proves_lipschitz(
    chain: Chain, metric: Float | float, values: tuple[NDArray[np.float32], ...]
) -> bool:
    """Return True if multipliers prove a metric.

    Args:
        chain: The chain that it bounds.
        metric: Diagonal of D, shape (obs_dim,), or L^2 where D = L^2 I.
        values: Multipliers of each hidden layer, each of shape (n,).
    """
    sizes = [len(matrix.centre) for matrix in chain.matrices[:-1]]
    if [layer.size for layer in values] != sizes:
        return False
    # One entry would be broadcast, and a metric has one for each sensor.
    if np.shape(metric) not in ((), (chain.num_inputs,)):
        return False
    if not (np.isfinite(metric) & (np.asarray(metric) > 0)).all():
        return False
    # A multiplier of zero or less would turn the sector condition around.
    if not all(np.isfinite(layer).all() and (layer > 0).all() for layer in values):
        return False
    multipliers = tuple(layer.astype(np.float64) for layer in values)
    matrix = block_matrix(chain, metric, multipliers)
    # An entry rounds twice; none of an equilibrated semidefinite matrix exceeds 2.
    return proves_semidefinite(
        matrix, error=8 * UNIT * len(matrix), spread=_spread(chain, multipliers)
    )


def _spread(chain: Chain, multipliers: tuple[Float, ...]) -> Float | None:
    """Bound the error of the block matrix that errors of the weights cause; None if there is none.

    Weights stand off the diagonal alone, and linearly.
    """
    if not any(matrix.radius.any() for matrix in chain.matrices):
        return None
    radii = tuple(IntervalMatrix.exact(matrix.radius) for matrix in chain.matrices)
    spread = np.abs(block_matrix(Chain(matrices=radii, slopes=chain.slopes), 0.0, multipliers))
    np.fill_diagonal(spread, 0.0)
    return up(spread, 2)


def prove(
    chain: Chain, metric: SensorMetric, values: tuple[Float, ...], output: int | None = None
) -> Multipliers | None:
    """Return proved multipliers at the least of a few inflations of ``metric``, or None."""
    for inflation in (1e-10, 1e-9, 1e-8, 3e-8, 1e-7, 3e-7, 1e-6, 1e-5, 1e-4):
        # The multipliers grow half as much: what they must outweigh lies on both of their sides.
        with np.errstate(over="ignore", under="ignore"):
            raised = SensorMetric(metric.weights * (1 + inflation))
            single = tuple((layer * (1 + inflation / 2)).astype(np.float32) for layer in values)
        if proves_lipschitz(chain, raised.weights, single):
            return Multipliers(metric=raised, values=single, output=output)
    return None
