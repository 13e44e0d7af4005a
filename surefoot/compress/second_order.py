"""Second-order pruning of one layer: which weights go, and what the others become.

X holds the inputs of the layer on calibration states, one row each, and H = X'X / n plus a little
on the diagonal, shared by all rows w of the weight. What the outputs of a row change by, as a mean
square over the states, is dw' H dw; every method here removes weights so that this stays small:

    OBD        leaves the others alone and looks at one weight at a time: H_qq w_q^2 / 2
    OBS        removes the least w_q^2 / (2 [H^-1]_qq), moves the others, and looks again
    SparseGPT  goes through the columns from left to right and moves only those to the right
    refit      for a mask that is given, the others that make it least

With H = I all of them remove the smallest magnitudes.

Reference:
    LeCun et al. 1989; Hassibi and Stork 1992; Frantar and Alistarh, arXiv 2208.11580, 2301.00774.
"""

import numpy as np
from numpy.typing import NDArray

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


def obs_removals(weight: Float, hessian: Float) -> tuple[NDArray[np.int64], Float]:
    """Remove every weight of each row, the cheapest first, by exact OBS.

    Args:
        weight: Shape (rows, n).
        hessian: Positive definite, shape (n, n).

    Returns:
        The columns of each row in the order of their removal, and what each removal costs at its
        time; both of shape (rows, n).
    """
    rows, size = weight.shape
    order, losses = np.empty((rows, size), np.int64), np.empty((rows, size))
    inverse = np.linalg.inv(hessian).astype(np.float64)
    step = max(1, _CACHED // size**2)
    for start in range(0, rows, step):
        part = slice(start, start + step)
        order[part], losses[part] = _remove_all(weight[part], inverse)
    return order, losses


def _remove_all(weight: Float, inverse: Float) -> tuple[NDArray[np.int64], Float]:
    """Remove every weight of a few rows, each with an inverse of its own that is downdated."""
    rows, size = weight.shape
    order, losses = np.empty((rows, size), np.int64), np.empty((rows, size))
    left, every = weight.copy(), np.arange(rows)
    inverses = np.repeat(inverse[None], rows, axis=0)
    columns = np.tile(np.arange(size), (rows, 1))
    gone = np.zeros((rows, size), np.bool_)
    for step in range(size):
        if step % max(1, size // 8) == 0:  # what is gone needs no downdates
            stay = np.argsort(gone, axis=1, kind="stable")[:, : size - step]
            left, columns = left[every[:, None], stay], columns[every[:, None], stay]
            inverses = inverses[every[:, None, None], stay[:, :, None], stay[:, None, :]]
            gone = np.zeros(stay.shape, np.bool_)
        diagonal = np.where(gone, 1.0, np.diagonal(inverses, axis1=1, axis2=2))
        cost = np.where(gone, np.inf, left**2 / (2 * diagonal))
        chosen = cost.argmin(axis=1)
        order[:, step], losses[:, step] = columns[every, chosen], cost[every, chosen]
        column = inverses[every, :, chosen]
        pivot = diagonal[every, chosen][:, None]
        left -= (left[every, chosen][:, None] / pivot) * column
        inverses -= (column / pivot)[:, :, None] * column[:, None, :]
        gone[every, chosen] = True
        # What is gone is exactly gone, whatever the rounding.
        left[gone] = 0.0
        inverses[every, chosen, :] = 0.0
        inverses[every, :, chosen] = 0.0
    return order, losses


def obs_scores(weight: Float, hessian: Float) -> Float:
    """Score each weight by the largest cost up to its removal, in its turn, by exact OBS."""
    order, losses = obs_removals(weight, hessian)
    scores = np.empty_like(losses)
    np.put_along_axis(scores, order, np.maximum.accumulate(losses, axis=1), axis=1)
    return scores


def obs_mask(weight: Float, hessian: Float, kept: int) -> Mask:
    """Return the mask that OBS leaves when it always removes the cheapest weight of the layer.

    Rows do not see each other, so that the order of the layer merges those of its rows: a weight
    goes when the dearest that had to go before it in its row is the cheapest at hand.

    Args:
        weight: Shape (rows, n).
        hessian: Positive definite, shape (n, n).
        kept: Weights that stay, from 0 to all.
    """
    order, losses = obs_removals(weight, hessian)
    dearest = np.maximum.accumulate(losses, axis=1)
    # Stable, so that equally dear weights of a row go in the row's own order.
    gone = np.argsort(dearest, axis=None, kind="stable")[: weight.size - kept]
    row = gone // weight.shape[1]
    mask = np.ones(weight.shape, np.bool_)
    mask[row, order.reshape(-1)[gone]] = False
    return mask


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


def sparsegpt(weight: Float, hessian: Float, kept: int, block: int = _BLOCK) -> Float:
    """Return the weight after SparseGPT; weights that are zero stay zero.

    Args:
        weight: Shape (rows, n).
        hessian: Positive definite, shape (n, n).
        kept: Weights that stay, at most those that are not zero.
        block: Columns that share one decision.
    """
    upper = _upper(hessian)
    alive = weight != 0
    starts = range(0, weight.shape[1], block)
    caps = [int(alive[:, start : start + block].sum()) for start in starts]
    counts = exact_counts([kept * cap / max(1, sum(caps)) for cap in caps], caps, kept, least=0)
    left = weight.copy()
    for start, count in zip(starts, counts, strict=True):
        columns = slice(start, start + block)
        saliency = left[:, columns] ** 2 / upper.diagonal()[columns] ** 2
        mask = _keep(np.where(alive[:, columns], saliency, -np.inf), count)
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
