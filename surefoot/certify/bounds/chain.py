"""A policy's network as the matrices that bounds are about.

Between the state z and what is bounded stand affine maps with known slopes between them. The squash
and the normaliser's clip move no two points apart, so they do not appear.
"""

from dataclasses import dataclass

import numpy as np

from surefoot.certify.bounds.slopes import SlopeRange, slope_range
from surefoot.certify.bounds.upward import IntervalMatrix, up
from surefoot.policy import CategoricalHead, Policy


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """Affine layers W_L ... W_1 with activations of known slopes between them.

    Attributes:
        matrices: W_1 to W_L; exact, but for the last one and for products of several layers.
        slopes: Slope range after each of the L - 1 hidden layers.
    """

    matrices: tuple[IntervalMatrix, ...]
    slopes: tuple[SlopeRange, ...]

    @property
    def num_inputs(self) -> int:
        """Number of sensors."""
        return int(self.matrices[0].centre.shape[1])

    @property
    def num_outputs(self) -> int:
        """Number of rows of the last matrix."""
        return int(self.matrices[-1].centre.shape[0])

    def with_last(self, last: IntervalMatrix) -> "Chain":
        """Return the chain with another last matrix (other units, other outputs)."""
        return Chain(matrices=(*self.matrices[:-1], last), slopes=self.slopes)

    def joined(self) -> "Chain":
        """Return the chain with matrices multiplied where no activation stands between them.

        Their product is what the semidefinite proof and the norms are about; a slope that is always
        1 has no multiplier. A policy keeps them apart (`onnx_file.units` folds only elementwise
        maps and selections): a runtime rounds after each product, and sparsity counts the weights
        of each. The product here is one of real numbers, whose error the interval matrix carries.
        """
        matrices, slopes = [self.matrices[0]], []
        for slope, matrix in zip(self.slopes, self.matrices[1:], strict=True):
            if slope.low == slope.high == 1:
                matrices[-1] = matrix @ matrices[-1]
            else:
                matrices.append(matrix)
                slopes.append(slope)
        return Chain(matrices=tuple(matrices), slopes=tuple(slopes))


def network_chain(policy: Policy) -> Chain:
    """Return the chain of the network output: the raw mean, or the logits."""
    return Chain(
        matrices=tuple(
            IntervalMatrix.exact(layer.weight.astype(np.float64)) for layer in policy.layers
        ),
        slopes=tuple(slope_range(layer.activation) for layer in policy.layers[:-1]),
    )


def action_chain(policy: Policy) -> Chain:
    """Return the chain in action units: the last matrix is half_range * W_L.

    A product of two float32 numbers is exact in float64, so the matrix has no error.
    """
    chain = network_chain(policy)
    if isinstance(policy.head, CategoricalHead):
        return chain.joined()
    half_range = policy.head.half_range.astype(np.float64)
    last = IntervalMatrix.exact(half_range[:, None] * chain.matrices[-1].centre)
    return chain.with_last(last).joined()


def distribution_chain(policy: Policy) -> Chain:
    """Return the chain whose l2 norm is D = |Sigma^(-1/2) (mu - mu')|, or the logits' chain.

    Raises:
        InputError: If the file names no noise.
    """
    chain = network_chain(policy)
    if isinstance(policy.head, CategoricalHead):
        return chain.joined()
    last = chain.matrices[-1].centre / policy.head.noise.astype(np.float64)[:, None]
    return chain.with_last(IntervalMatrix(last, up(np.abs(last), 1) * 2.0**-52)).joined()


def logit_difference_chain(policy: Policy) -> Chain:
    """Return the chain of all differences of two logits, each pair once."""
    chain = network_chain(policy)
    last = chain.matrices[-1].centre
    # One rounding for each difference; the sign of a pair does not matter to a bound.
    first, second = np.triu_indices(last.shape[0], k=1)
    difference = last[first] - last[second]
    inexact = IntervalMatrix(difference, up(np.abs(difference), 1) * 2.0**-52)
    return chain.with_last(inexact).joined()
