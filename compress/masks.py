"""Which entries of a weight stay: the largest scores, an exact number of them."""

import numpy as np
from numpy.typing import NDArray

from surefoot.errors import InputError

Mask = NDArray[np.bool_]


def check_sparsity(sparsity: float) -> None:
    """Refuse a sparsity that no mask can have.

    Raises:
        InputError: If ``sparsity`` is not in [0, 1).
    """
    if not 0 <= sparsity < 1:
        raise InputError(f"sparsity must be in [0, 1), got {sparsity}")


def num_kept(size: int, sparsity: float) -> int:
    """Return how many of ``size`` entries a mask keeps: round(size (1 - sparsity)), at least one.

    Raises:
        InputError: If ``sparsity`` is not in [0, 1).
    """
    check_sparsity(sparsity)
    return max(1, round(size * (1 - sparsity)))


def keep_largest(score: NDArray[np.floating], kept: int) -> Mask:
    """Return the mask of the ``kept`` largest scores; equal scores are kept by lowest flat index.

    Args:
        score: Any shape; larger means keep.
        kept: Number of entries to keep, from 1 to the size of ``score``.

    Raises:
        InputError: If ``kept`` is out of range or a score is NaN.
    """
    flat = score.reshape(-1)
    if not 1 <= kept <= flat.size:
        raise InputError(f"kept must be in [1, {flat.size}], got {kept}")
    if np.isnan(flat).any():
        raise InputError("score must not be NaN")
    threshold = np.partition(flat, flat.size - kept)[flat.size - kept]
    mask: Mask = flat > threshold
    ties = np.flatnonzero(flat == threshold)
    mask[ties[: kept - int(mask.sum())]] = True
    return mask.reshape(score.shape)
