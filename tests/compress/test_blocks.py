"""Blocks cover a weight, and say which layers they do not."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from surefoot.compress.blocks import (
    alive_blocks,
    block_scores,
    divides,
    kept_blocks,
    left_whole,
    weight_mask,
)


@given(st.integers(1, 3), st.integers(1, 5), st.sampled_from([1, 4, 8]), st.integers(0, 99))
def test_a_block_scores_what_its_weights_do_and_its_mask_covers_them(
    height: int, width: int, rows: int, seed: int
) -> None:
    score = np.random.default_rng(seed).normal(size=(height * rows, width))
    sums = block_scores(score, rows)
    keep = np.random.default_rng(seed).random((height, width)) < 0.5
    mask = weight_mask(keep, rows)
    for row in range(height):
        for column in range(width):
            block = slice(row * rows, (row + 1) * rows), column
            np.testing.assert_allclose(sums[row, column], score[block].sum())
            assert (mask[block] == keep[row, column]).all()
    np.testing.assert_array_equal(alive_blocks(np.where(mask, 1.0, 0.0), rows), keep)


@given(st.integers(0, 40), st.integers(1, 60), st.sampled_from([1, 4, 8]), st.floats(0, 0.9))
def test_kept_blocks_leave_at_least_the_sparsity_and_one_more_would_not(
    whole: int, blocks: int, rows: int, sparsity: float
) -> None:
    size = whole + rows * blocks
    kept = kept_blocks(size, whole, sparsity, rows)
    assert size - (whole + rows * kept) >= size * sparsity - 1e-5
    assert size - (whole + rows * (kept + 1)) < size * sparsity + 1e-5


def test_layers_that_blocks_do_not_divide_are_named() -> None:
    assert divides(8, (256, 17))
    assert not divides(8, (6, 256))
    assert left_whole([(256, 17), (12, 256), (6, 12)], 8) == (
        "blocks of 8 rows do not divide layer 2 (12 rows), 3 (6 rows): no weight of it is removed"
    )
    assert left_whole([(256, 17), (8, 256)], 8) == ""
