"""Which entries of the matrices of a canonical file are weights, as its metadata say it.

For each layer null where all are, else a list of blocks [first row, last row + 1, first column,
last column + 1], from the top and from the left.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from surefoot.artifact import Json
from surefoot.errors import InputError
from surefoot.policy import Layer, Policy


def weight_blocks(layer: Layer) -> list[list[int]] | None:
    """Return the blocks of weights of a layer, None where it has nothing else."""
    mask = layer.is_weight
    if mask is None:
        return None
    changes = np.flatnonzero((mask[1:] != mask[:-1]).any(axis=1)) + 1
    ends = pairwise([0, *changes.tolist(), len(mask)])
    return [[top, bottom, *columns] for top, bottom in ends for columns in _runs(mask[top])]


def _runs(row: NDArray[np.bool_]) -> list[list[int]]:
    """Return the runs of true entries of a row, each as [first, last + 1]."""
    padded = np.concatenate([[False], row, [False]])
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    return [[int(first), int(last)] for first, last in edges.reshape(-1, 2)]


def with_weight_blocks(policy: Policy, blocks: Json, name: str) -> Policy:
    """Return the policy with the structure that metadata say.

    Raises:
        InputError: If they do not fit the policy.
    """
    if blocks is None:
        return policy
    if not isinstance(blocks, list) or len(blocks) != len(policy.layers):
        raise InputError(f"{name}: metadata 'surefoot.weights' must have an entry for each layer")
    layers = [
        replace(layer, is_weight=_mask(layer.weight.shape, entry, name))
        for layer, entry in zip(policy.layers, blocks, strict=True)
    ]
    return replace(policy, layers=tuple(layers))


def _mask(shape: tuple[int, ...], blocks: Json, name: str) -> NDArray[np.bool_] | None:
    if blocks is None:
        return None
    mask = np.zeros(shape, np.bool_)
    for block in blocks if isinstance(blocks, list) else [None]:
        if not isinstance(block, list) or [type(end) for end in block] != [int] * 4:
            raise InputError(f"{name}: metadata 'surefoot.weights' has no blocks, got {block!r}")
        top, bottom, left, right = block
        if not (0 <= top < bottom <= shape[0] and 0 <= left < right <= shape[1]):
            raise InputError(f"{name}: metadata 'surefoot.weights' has {block}, beyond {shape}")
        mask[top:bottom, left:right] = True
    return mask
