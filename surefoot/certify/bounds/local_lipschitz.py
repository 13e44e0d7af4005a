"""Lipschitz constants on a ball around each state: Combettes-Pesquet with the slopes found there.

On a small ball the secant slopes of each neuron fill a short range m +- r, so with t = sqrt(r)
every activation is the diagonal matrix M + t E t with |E| <= 1. Expanding the product of all layers
and cutting it at every E leaves norms of the pieces; as the ball shrinks only the uncut product
remains, the Jacobian itself. Statement and proof: docs/explanation/mathematics.md, 5.9.

Reference:
    Combettes and Pesquet, arXiv 1903.01014, for the global form.
"""

import numpy as np

from surefoot.certify.bounds.region import Bounds, Network
from surefoot.certify.bounds.slopes import slope_range_on
from surefoot.certify.bounds.upward import Float, IntervalMatrix, up


def centred_lipschitz(network: Network, before: list[Bounds]) -> tuple[Float, Float]:
    """Return l2 Lipschitz constants between any two points of each ball.

    Args:
        network: A network with an exact last layer.
        before: Bounds before each activation on the ball, shape (B, n).

    Returns:
        The constants of all outputs together, shape (B,), and of each output, shape (B, m).
    """
    if not network.is_elementwise:  # there are no slopes of single neurons
        nothing = np.full((len(before[0].lower), len(network.weights[-1])), np.inf)
        return nothing[:, 0], nothing
    ranges = [
        slope_range_on(activation, bounds.lower, bounds.upper)
        for activation, bounds in zip(network.activations, before, strict=True)
    ]
    weights = [IntervalMatrix.exact(weight) for weight in network.weights]
    whole, rows = [], []
    num_states = len(before[0].lower) if before else 1
    with np.errstate(over="ignore", invalid="ignore"):
        for state in range(num_states):
            middles, roots = [], []
            for low, high in ranges:
                # The rounded middle is as good as any, as long as the radius reaches both ends.
                middle = (low[state] + high[state]) / 2
                radius = up(np.maximum(high[state] - middle, middle - low[state]))
                middles.append(middle)
                roots.append(up(np.sqrt(radius)))
            one, each = _expanded(weights, middles, roots)
            whole.append(one)
            rows.append(each)
    found = np.array(whole), np.array(rows)
    return np.where(np.isnan(found[0]), np.inf, found[0]), np.where(
        np.isnan(found[1]), np.inf, found[1]
    )


def _expanded(
    weights: list[IntervalMatrix], middles: list[Float], roots: list[Float]
) -> tuple[float, Float]:
    """Return the sum over all ways to cut the chain of the products of the pieces' norms.

    ``reach[k]`` is the sum over all chains of pieces that end with a cut behind layer k.
    """
    last = len(weights) - 1
    reach, whole, rows = [1.0], 0.0, np.zeros(len(weights[-1].centre))
    growing = [0.0] * (last + 1)
    for start in range(last + 1):
        # A piece begins behind a cut, with t of the activation that was cut, or at the state.
        piece = weights[start] if start == 0 else _columns(weights[start], roots[start - 1])
        if start > 0:
            reach.append(float(up(growing[start - 1], 4 * start)))
        for end in range(start, last):
            # Cut behind layer `end` (another t), or go on through M to the next layer.
            growing[end] += reach[start] * _rows(piece, roots[end]).norm()
            piece = weights[end + 1] @ _rows(piece, middles[end])
        whole += reach[start] * piece.norm()
        rows = rows + reach[start] * piece.row_norms()
    return float(up(whole, 4 * (last + 2))), up(rows, 4 * (last + 2))


def _rows(matrix: IntervalMatrix, scale: Float) -> IntervalMatrix:
    """Return the matrix with scaled rows."""
    return _rounded(matrix.centre * scale[:, None], matrix.radius * np.abs(scale)[:, None])


def _columns(matrix: IntervalMatrix, scale: Float) -> IntervalMatrix:
    """Return the matrix with scaled columns."""
    return _rounded(matrix.centre * scale, matrix.radius * np.abs(scale))


def _rounded(centre: Float, radius: Float) -> IntervalMatrix:
    return IntervalMatrix(centre, up(radius + np.abs(centre) * 2.0**-52 + 1e-300, 3))
