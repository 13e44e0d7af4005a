"""Which entries of a weight stay: the largest scores, an exact number of them."""

import numpy as np
from numpy.typing import NDArray

from surefoot.errors import InputError

Mask = NDArray[np.bool_]

_DECIMALS = 1e-6
"""Share of an entry: far above the rounding of a decimal sparsity, far below one entry."""


def check_sparsity(sparsity: float) -> None:
    """Refuse a sparsity that no mask can have.

    Raises:
        InputError: If ``sparsity`` is not in [0, 1).
    """
    if not 0 <= sparsity < 1:
        raise InputError(f"sparsity must be in [0, 1), got {sparsity}")


def num_kept(size: int, sparsity: float) -> int:
    """Count the entries of ``size`` that a mask keeps: floor(size (1 - sparsity)), at least one.

    Rounded down, so that what is as sparse as was asked also passes a budget that asks for it.

    Raises:
        InputError: If ``sparsity`` is not in [0, 1).
    """
    return max(1, whole_kept(size, sparsity))


def whole_kept(size: int, sparsity: float) -> int:
    """Return floor(size (1 - sparsity)), zero included, see :func:`num_kept`.

    Raises:
        InputError: If ``sparsity`` is not in [0, 1).
    """
    check_sparsity(sparsity)
    return int(size * (1 - sparsity) + _DECIMALS)  # 100 (1 - 0.9) is 9.999999999999998


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
