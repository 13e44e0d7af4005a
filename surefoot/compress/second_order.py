"""Second-order pruning of one layer: which weights go, and what the others become.

X holds the inputs of the layer on calibration states, one row each, and H = X'X / n plus a little
on the diagonal, shared by all rows w of the weight. What the outputs of a row change by, as a mean
square over the states, is dw' H dw; every method here removes weights so that this stays small:

    OBD        leaves the others alone and looks at one weight at a time: H_qq w_q^2 / 2
    OBS        removes the least w_q^2 / (2 [H^-1]_qq), moves the others, and looks again
    SparseGPT  goes through the columns from left to right and moves only those to the right
    refit      for a mask that is given, the others that make it least

With H = I all of them remove the smallest magnitudes. A block, several rows of one column, costs
the sum of what its weights cost, since rows do not see each other; its rows lose the same columns,
so that they share the inverses of OBS.

Reference:
    LeCun et al. 1989; Hassibi and Stork 1992; Frantar and Alistarh, arXiv 2208.11580, 2301.00774.
"""

import numpy as np
from numpy.typing import NDArray

from surefoot.compress.blocks import alive_blocks, block_scores, weight_mask
from surefoot.compress.layer_counts import exact_counts
from surefoot.compress.masks import Mask, keep_largest

Float = NDArray[np.float64]

DAMPING = 0.01
"""What is added to the diagonal of H, as a share of its mean."""

_BLOCK = 128
"""Columns that share one decision of SparseGPT, as published: all of a narrow layer."""

_CACHED = 2**17
"""Numbers of the inverses that are updated together: what fits the second-level cache."""


def layer_hessian(inputs: Float) -> Float:
    """Return H of inputs of shape (n, fan_in); the identity where no input ever moves."""
    gram = inputs.T @ inputs / len(inputs)
    mean = float(gram.trace()) / len(gram)
    return gram + (DAMPING * mean if mean > 0 else 1.0) * np.eye(len(gram))


def obd_saliency(weight: Float, hessian: Float) -> Float:
    """Return H_qq w_q^2 / 2 of each weight: what its removal costs if no other moves."""
    saliency: Float = hessian.diagonal() * weight**2 / 2
    return saliency


def obs_removals(
    weight: Float, hessian: Float, block_rows: int = 1
) -> tuple[NDArray[np.int64], Float]:
    """Remove every block of each band of rows, the cheapest first, by exact OBS.

    Args:
        weight: Shape (rows, n).
        hessian: Positive definite, shape (n, n).
        block_rows: Rows of a block, which lose a column together; they divide the rows.

    Returns:
        The columns of each band in the order of their removal, and what each removal costs at its
        time; both of shape (rows / block_rows, n).
    """
    bands = weight.reshape(-1, block_rows, weight.shape[1])
    num_bands, _, size = bands.shape
    order, losses = np.empty((num_bands, size), np.int64), np.empty((num_bands, size))
    inverse = np.linalg.inv(hessian).astype(np.float64)
    step = max(1, _CACHED // size**2)
    for start in range(0, num_bands, step):
        part = slice(start, start + step)
        order[part], losses[part] = _remove_all(bands[part], inverse)
    return order, losses


def _remove_all(bands: Float, inverse: Float) -> tuple[NDArray[np.int64], Float]:
    """Remove every block of a few bands, each with an inverse of its own that is downdated."""
    num_bands, _, size = bands.shape
    order, losses = np.empty((num_bands, size), np.int64), np.empty((num_bands, size))
    left, every = bands.copy(), np.arange(num_bands)
    inverses = np.repeat(inverse[None], num_bands, axis=0)
    columns = np.tile(np.arange(size), (num_bands, 1))
    gone = np.zeros((num_bands, size), np.bool_)
    for step in range(size):
        if step % max(1, size // 8) == 0:  # what is gone needs no downdates
            stay = np.argsort(gone, axis=1, kind="stable")[:, : size - step]
            left = np.take_along_axis(left, stay[:, None], axis=2)
            columns = columns[every[:, None], stay]
            inverses = inverses[every[:, None, None], stay[:, :, None], stay[:, None, :]]
            gone = np.zeros(stay.shape, np.bool_)
        diagonal = np.where(gone, 1.0, np.diagonal(inverses, axis1=1, axis2=2))
        cost = np.where(gone, np.inf, (left**2).sum(axis=1) / (2 * diagonal))
        chosen = cost.argmin(axis=1)
        order[:, step], losses[:, step] = columns[every, chosen], cost[every, chosen]
        column = inverses[every, :, chosen]
        pivot = diagonal[every, chosen][:, None]
        left -= (left[every, :, chosen] / pivot)[:, :, None] * column[:, None]
        inverses -= (column / pivot)[:, :, None] * column[:, None, :]
        gone[every, chosen] = True
        # What is gone is exactly gone, whatever the rounding.
        left[np.broadcast_to(gone[:, None], left.shape)] = 0.0
        inverses[every, chosen, :] = 0.0
        inverses[every, :, chosen] = 0.0
    return order, losses


def obs_scores(weight: Float, hessian: Float, block_rows: int = 1) -> Float:
    """Score each block by the largest cost up to its removal, in its turn, by exact OBS."""
    order, losses = obs_removals(weight, hessian, block_rows)
    scores = np.empty_like(losses)
    np.put_along_axis(scores, order, np.maximum.accumulate(losses, axis=1), axis=1)
    return scores


def obs_mask(weight: Float, hessian: Float, kept: int, block_rows: int = 1) -> Mask:
    """Return the mask that OBS leaves when it always removes the cheapest block of the layer.

    Rows do not see each other, so that the order of the layer merges those of its bands: a block
    goes when the dearest that had to go before it in its band is the cheapest at hand.

    Args:
        weight: Shape (rows, n).
        hessian: Positive definite, shape (n, n).
        kept: Blocks that stay, from 0 to all.
        block_rows: Rows of a block; they divide the rows.
    """
    order, losses = obs_removals(weight, hessian, block_rows)
    dearest = np.maximum.accumulate(losses, axis=1)
    # Stable, so that equally dear blocks of a band go in the band's own order.
    gone = np.argsort(dearest, axis=None, kind="stable")[: losses.size - kept]
    band = gone // weight.shape[1]
    mask = np.ones(losses.shape, np.bool_)
    mask[band, order.reshape(-1)[gone]] = False
    return weight_mask(mask, block_rows)


def refit(weight: Float, mask: Mask, hessian: Float) -> Float:
    """Return the weight of this mask whose outputs are nearest to those of ``weight``.

    w_K + H_KK^-1 H_KP w_P for each row with the kept K and the pruned P. It is what OBS comes to,
    in whatever order it removes P.
    """
    fitted = np.zeros_like(weight)
    for row, keep in enumerate(mask):
        pruned = ~keep
        fitted[row, keep] = weight[row, keep]
        if keep.any() and weight[row, pruned].any():
            pull = hessian[np.ix_(keep, pruned)] @ weight[row, pruned]
            fitted[row, keep] += np.linalg.solve(hessian[np.ix_(keep, keep)], pull)
    return fitted


def sparsegpt_saliency(weight: Float, hessian: Float) -> Float:
    """Return w_ij^2 / (2 U_jj^2): what a removal costs if only columns to the right may move."""
    saliency: Float = weight**2 / (2 * _upper(hessian).diagonal() ** 2)
    return saliency


def sparsegpt(
    weight: Float, hessian: Float, kept: int, block: int = _BLOCK, block_rows: int = 1
) -> Float:
    """Return the weight after SparseGPT; weights that are zero stay zero.

    Args:
        weight: Shape (rows, n).
        hessian: Positive definite, shape (n, n).
        kept: Blocks that stay, at most those that are not zero.
        block: Columns that share one decision.
        block_rows: Rows of a block; they divide the rows.
    """
    upper = _upper(hessian)
    zero, alive = weight == 0, alive_blocks(weight, block_rows)
    starts = range(0, weight.shape[1], block)
    caps = [int(alive[:, start : start + block].sum()) for start in starts]
    counts = exact_counts([kept * cap / max(1, sum(caps)) for cap in caps], caps, kept, least=0)
    left = weight.copy()
    for start, count in zip(starts, counts, strict=True):
        columns = slice(start, start + block)
        saliency = left[:, columns] ** 2 / upper.diagonal()[columns] ** 2
        scores = block_scores(saliency, block_rows)
        stay = _keep(np.where(alive[:, columns], scores, -np.inf), count)
        mask = weight_mask(stay, block_rows) & ~zero[:, columns]
        for column, keep in enumerate(mask.T, start=start):
            error = np.where(keep, 0.0, left[:, column] / upper[column, column])
            left[:, column:] -= error[:, None] * upper[column, column:]
            left[~keep, column] = 0.0
    return left


def _keep(score: Float, kept: int) -> Mask:
    return keep_largest(score, kept) if kept else np.zeros(score.shape, np.bool_)


def _upper(hessian: Float) -> Float:
    """Return the upper triangular U with H^-1 = U'U."""
    return np.asarray(np.linalg.cholesky(np.linalg.inv(hessian)).T)
