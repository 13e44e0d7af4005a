import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from surefoot.compress import keep_largest, never_return, num_kept
from surefoot.compress.two_four import spare_two_of_four, two_four_sparsity

# Few distinct values, so that ties are common.
scores = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 14)),
    elements=st.integers(0, 5).map(float),
)


def best_pattern(score: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The mask of each row that keeps most of the score, found by trying all of them."""
    mask = np.zeros(score.shape, bool)
    for row, start in itertools.product(range(len(score)), range(0, score.shape[1], 4)):
        group = score[row, start : start + 4]
        choices = itertools.combinations(range(len(group)), min(2, len(group)))
        best = max(choices, key=lambda chosen: (sum(group[list(chosen)]), [-c for c in chosen]))
        mask[row, start + np.array(best)] = True
    return mask


@given(scores)
def test_the_complete_pattern_keeps_most_of_the_score(score: NDArray[np.float32]) -> None:
    kept = num_kept(score.size, two_four_sparsity([score.shape])[0])
    assert np.array_equal(keep_largest(spare_two_of_four(score), kept), best_pattern(score))


@given(scores, st.lists(st.floats(0, 1), max_size=6))
def test_masks_that_grow_are_nested_exact_and_end_in_the_pattern(
    score: NDArray[np.float32], fractions: list[float]
) -> None:
    rng = np.random.default_rng(0)
    (sparsity,) = two_four_sparsity([score.shape])
    mask = np.ones(score.shape, bool)
    for fraction in [*sorted(fractions), 1.0]:
        now = score + rng.integers(0, 3, score.shape)  # weights change while they are pruned
        kept = num_kept(score.size, fraction * sparsity)
        new = keep_largest(spare_two_of_four(never_return(now, mask)), kept)
        assert new.sum() == kept
        assert not (new & ~mask).any()
        mask = new
    for row, start in itertools.product(range(len(mask)), range(0, mask.shape[1], 4)):
        group = mask[row, start : start + 4]
        assert group.sum() == min(2, len(group))


@pytest.mark.parametrize(
    ("num_inputs", "num_zeros"),
    [(1, 0), (2, 0), (3, 1), (4, 2), (5, 2), (7, 3), (8, 4), (11, 5), (17, 8), (64, 32)],
)
def test_a_row_counts_as_padded_to_a_multiple_of_four(num_inputs: int, num_zeros: int) -> None:
    assert two_four_sparsity([(6, num_inputs)]) == [num_zeros / num_inputs]
