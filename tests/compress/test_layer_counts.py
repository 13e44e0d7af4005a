import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from surefoot.compress.layer_counts import exact_counts
from surefoot.errors import InputError

layers = st.lists(st.tuples(st.integers(0, 40), st.floats(0, 50)), min_size=1, max_size=5)


@given(layers, st.data())
def test_counts_have_exactly_the_total_and_no_layer_more_than_it_has(
    given_layers: list[tuple[int, float]], data: st.DataObject
) -> None:
    available = [most for most, _ in given_layers]
    floors = [min(1, most) for most in available]
    total = data.draw(st.integers(sum(floors), sum(available)))
    counts = exact_counts([share for _, share in given_layers], available, total)
    assert sum(counts) == total
    assert all(a <= b <= c for a, b, c in zip(floors, counts, available, strict=True))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.data())
def test_shares_that_fit_are_rounded_by_less_than_one(
    available: list[int], data: st.DataObject
) -> None:
    total = data.draw(st.integers(sum(available) // 2 + 1, sum(available)))
    shares = np.array(available) * total / sum(available)
    assume(shares.min() >= 1)  # below it the least of a layer takes from the others
    counts = exact_counts(shares.tolist(), available, total)
    assert np.abs(np.array(counts) - shares).max() < 1


@pytest.mark.parametrize("total", [1, 8])
def test_a_total_that_cannot_be_is_refused(total: int) -> None:
    with pytest.raises(InputError, match=f"kept weights must be from 2 to 7, got {total}"):
        exact_counts([1.0, 1.0], [3, 4], total)
