"""A tree of boxes covers its box, and a saved list that is no tree is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.certify.bounds.box_trees import LEAF, BoxTree
from surefoot.errors import IntegrityError

SENSORS = 3


@st.composite
def trees(draw: st.DrawFn, depth: int = 5) -> tuple[int, ...]:
    sensor = draw(st.integers(LEAF, SENSORS - 1)) if depth else LEAF
    if sensor == LEAF:
        return (LEAF,)
    return (sensor, *draw(trees(depth - 1)), *draw(trees(depth - 1)))


@given(trees(), st.integers(0, 2**32 - 1))
def test_the_leaves_of_any_tree_cover_its_box(cuts: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    ends = np.sort(rng.normal(0, 1, (2, SENSORS)), axis=0)
    tree = BoxTree.from_cuts(cuts, SENSORS)
    low, high = tree.leaves(ends[0], ends[1])
    points = ends[0] + rng.random((50, SENSORS)) * (ends[1] - ends[0])
    points = np.concatenate([points, ends, low, high]).clip(ends[0], ends[1])
    inside = (points[:, None] >= low) & (points[:, None] <= high)
    assert np.asarray(inside.all(axis=2)).any(axis=1).all()
    # What a depth says of a leaf's share is its volume.
    shares = (high - low).prod(axis=1) / (ends[1] - ends[0]).prod()
    np.testing.assert_allclose(shares, 0.5**tree.depths, rtol=1e-9)
    assert 0.5**tree.depths @ np.ones(len(low)) == 1


@pytest.mark.parametrize(
    "cuts",
    [(), (0,), (0, LEAF), (LEAF, LEAF), (0, LEAF, LEAF, LEAF), (SENSORS, LEAF, LEAF), (-2,)],
)
def test_a_list_that_is_no_tree_is_refused(cuts: tuple[int, ...]) -> None:
    with pytest.raises(IntegrityError, match="tree of boxes"):
        BoxTree.from_cuts(cuts, SENSORS)


@pytest.mark.parametrize("cut", [True, 0.0, "0", None])
def test_a_cut_is_a_number_of_a_sensor_and_nothing_else(cut: object) -> None:
    with pytest.raises(IntegrityError, match="cut 0 of a tree of boxes is none"):
        BoxTree.from_cuts([cut, LEAF, LEAF], SENSORS)
