"""Blocks: consecutive rows of one column of a weight, which stay or go together.

Generated C loads the input of a block once for all of its rows, stores one index for it and adds to
the sums of its rows side by side. One row makes a block of a single weight.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from surefoot.compress.masks import Mask, whole_kept
from surefoot.compress.scores import Score

BlockRows = Literal[4, 8]
"""Rows of a block for which there is a layout in C."""


def divides(rows: int, shape: Sequence[int]) -> bool:
    """Whether blocks cover a weight of shape (fan_out, fan_in); else it stays as it is."""
    return shape[0] % rows == 0


def left_whole(shapes: Sequence[Sequence[int]], rows: int) -> str:
    """Return one line about the layers that stay as they are; empty if there are none.

    Args:
        shapes: (fan_out, fan_in) of each weight.
        rows: Rows of a block.
    """
    whole = [
        f"{number} ({shape[0]} rows)"
        for number, shape in enumerate(shapes, start=1)
        if not divides(rows, shape)
    ]
    return (
        f"blocks of {rows} rows do not divide layer {', '.join(whole)}: no weight of it is removed"
        if whole
        else ""
    )


def block_scores(score: Score, rows: int) -> Score:
    """Return the score of each block, shape (fan_out / rows, fan_in): the sum of its weights'."""
    sums: Score = score.reshape(-1, rows, score.shape[1]).sum(axis=1)
    return sums


def weight_mask(blocks: Mask, rows: int) -> Mask:
    """Return the mask of the weights, shape (fan_out, fan_in), of the blocks that stay."""
    return np.repeat(blocks, rows, axis=0)


def alive_blocks(weight: NDArray[np.generic], rows: int) -> Mask:
    """Mark the blocks with a weight that is not zero, shape (fan_out / rows, fan_in)."""
    alive: Mask = (weight != 0).reshape(-1, rows, weight.shape[1]).any(axis=1)
    return alive


def kept_blocks(size: int, whole: int, sparsity: float, rows: int) -> int:
    """Count the blocks that leave a network at least as sparse as was asked, at best exactly.

    Args:
        size: Weights of the network.
        whole: Weights of it that are in no block, and stay.
        sparsity: Share of all its weights that are pruned.
        rows: Rows of a block.
    """
    return (whole_kept(size, sparsity) - whole) // rows
