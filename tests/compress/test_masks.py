from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from surefoot.compress import keep_largest, num_kept
from surefoot.errors import InputError

# Few distinct values, so that ties are common.
scores = hnp.arrays(
    np.float32, hnp.array_shapes(max_dims=2, max_side=9), elements=st.integers(0, 3)
)


@given(scores, st.floats(0, 0.999))
def test_a_mask_keeps_as_much_as_the_sparsity_allows_and_at_least_one(
    score: NDArray[np.float32], sparsity: float
) -> None:
    kept = num_kept(score.size, sparsity)
    exact = score.size * (1 - Fraction(sparsity))
    assert kept == max(1, floor(exact + Fraction(1, 10**6)))
    assert keep_largest(score, kept).sum() == kept


@pytest.mark.parametrize("sparsity", ["0.1", "0.3", "0.6", "0.7", "0.9", "0.95", "0.999"])
def test_a_decimal_sparsity_counts_as_the_decimal_that_was_written(sparsity: str) -> None:
    for size in (1000, 100_000, 1_000_000):
        assert num_kept(size, float(sparsity)) == size * (1 - Fraction(sparsity))


@given(scores, st.data())
def test_a_mask_is_that_of_a_stable_sort(score: NDArray[np.float32], data: st.DataObject) -> None:
    kept = data.draw(st.integers(1, score.size))
    order = sorted(range(score.size), key=lambda index: (-score.flat[index], index))
    expected = np.zeros(score.size, bool)
    expected[order[:kept]] = True
    assert np.array_equal(keep_largest(score, kept), expected.reshape(score.shape))


@given(scores, st.data())
def test_a_sparser_mask_keeps_a_subset(score: NDArray[np.float32], data: st.DataObject) -> None:
    few, many = sorted(data.draw(st.tuples(*[st.integers(1, score.size)] * 2)))
    assert not (keep_largest(score, few) & ~keep_largest(score, many)).any()


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan")])
def test_a_sparsity_outside_its_range_is_refused(sparsity: float) -> None:
    with pytest.raises(InputError, match=r"sparsity must be in \[0, 1\), got"):
        num_kept(10, sparsity)


@pytest.mark.parametrize("kept", [0, 5])
def test_a_number_of_entries_that_is_not_there_is_refused(kept: int) -> None:
    with pytest.raises(InputError, match=r"kept must be in \[1, 4\]"):
        keep_largest(np.ones(4), kept)


def test_a_score_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(InputError, match="NaN"):
        keep_largest(np.array([1.0, np.nan]), 1)
