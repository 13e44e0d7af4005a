"""A tree of boxes covers its box, and a saved list that is no tree is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.certify.bounds.box_trees import LEAF, BoxTree
from surefoot.errors import IntegrityError
from surefoot.limits import MAX_BOXES

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
    tree = BoxTree.parse(BoxTree(cuts).text, SENSORS)
    assert tree == BoxTree(cuts)
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
    "text",
    [
        "",
        "0",
        "0 .",
        ". .",
        "0 . . .",
        "3 . .",
        "-1",
        "01 . .",
        "0  . .",
        "0 . .\n",
        "x",
        "\u0660 . .",
    ],
)
def test_a_line_that_is_no_tree_is_refused(text: str) -> None:
    with pytest.raises(IntegrityError, match="tree of boxes"):
        BoxTree.parse(text, SENSORS)


@pytest.mark.parametrize("other", [None, 0, [], [-1], True])
def test_a_tree_is_a_line_and_nothing_else(other: object) -> None:
    with pytest.raises(IntegrityError, match="must be a line of cuts"):
        BoxTree.parse(other, SENSORS)


def test_a_tree_of_more_leaves_than_anybody_grows_is_refused() -> None:
    with pytest.raises(IntegrityError, match=f"at most {MAX_BOXES} leaves"):
        BoxTree.parse(" ".join(["0"] * MAX_BOXES + ["."] * (MAX_BOXES + 1)), SENSORS)
