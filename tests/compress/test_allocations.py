from collections.abc import Callable
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from surefoot.compress import erdos_renyi_kernel, keep_largest, kept_globally, num_kept, uniform
from surefoot.compress.allocations import check_reachable
from surefoot.compress.masks import whole_kept
from surefoot.errors import InputError

shapes = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=5)
sparsities = st.floats(0, 0.99)


# Densities of layers 1, 2, 3 at sparsity .5, .8, .9, .95: computed by hand from Evci et al. 2020.
@pytest.mark.parametrize(
    ("sizes", "densities"),
    [
        (
            (11, 64, 64, 3),
            [
                (1, 0.3906, 1),
                (0.4232, 0.1241, 1),
                (0.1970, 0.0578, 0.6452),
                (0.0985, 0.0289, 0.3226),
            ],
        ),
        (
            (11, 256, 256, 3),
            [(1, 0.4727, 1), (1, 0.1562, 1), (0.7478, 0.0616, 1), (0.3272, 0.0270, 1)],
        ),
        (
            (17, 256, 256, 6),
            [(1, 0.4551, 1), (1, 0.1281, 1), (0.4480, 0.0558, 1), (0.2140, 0.0266, 0.5818)],
        ),
        (
            (105, 256, 256, 8),
            [
                (0.6951, 0.4044, 1),
                (0.2591, 0.1507, 1),
                (0.1138, 0.0662, 1),
                (0.0558, 0.0325, 0.5355),
            ],
        ),
    ],
)
def test_erdos_renyi_kernel_gives_the_published_densities(
    sizes: tuple[int, ...], densities: list[tuple[float, ...]]
) -> None:
    net = list(zip(sizes[1:], sizes[:-1], strict=True))
    for sparsity, expected in zip((0.5, 0.8, 0.9, 0.95), densities, strict=True):
        assert 1 - np.array(erdos_renyi_kernel(net, sparsity)) == pytest.approx(expected, abs=6e-5)


@given(shapes, sparsities)
def test_erdos_renyi_kernel_spreads_exactly_the_total(
    net: list[tuple[int, int]], sparsity: float
) -> None:
    sizes = np.array([np.prod(shape) for shape in net])
    layers = np.array(erdos_renyi_kernel(net, sparsity))
    assert ((layers >= -1e-12) & (layers < 1)).all()
    assert layers @ sizes == pytest.approx(sparsity * sizes.sum(), abs=1e-9 * sizes.sum())


@given(shapes, sparsities)
def test_erdos_renyi_kernel_densities_are_proportional_where_they_are_not_dense(
    net: list[tuple[int, int]], sparsity: float
) -> None:
    density = 1 - np.array(erdos_renyi_kernel(net, sparsity))
    raw = np.array([sum(shape) / np.prod(shape) for shape in net])
    free = density < 1
    factors = density[free] / raw[free]
    assert np.allclose(factors, factors.mean() if free.any() else 1)
    # A layer is dense only where its share would have been at least one.
    assert not free.any() or (factors.mean() * raw[~free] >= 1 - 1e-9).all()


def test_uniform_gives_every_layer_the_same() -> None:
    assert uniform([(4, 3), (2, 4)], 0.3) == [0.3, 0.3]


@given(
    st.lists(
        st.lists(st.integers(0, 20), min_size=1, max_size=30).map(np.array), min_size=1, max_size=4
    ),
    st.floats(0, 0.95),
)
def test_global_masks_without_a_floor_are_those_of_one_threshold(
    scores: list[NDArray[np.int64]], sparsity: float
) -> None:
    kept = kept_globally(scores, sparsity, min_density=0.0)
    total = num_kept(sum(score.size for score in scores), sparsity)
    assert sum(kept) == max(total, len(scores))  # one of each layer always stays
    masks = [keep_largest(score, count) for score, count in zip(scores, kept, strict=True)]
    inside = [score[mask] for score, mask in zip(scores, masks, strict=True) if mask.sum() > 1]
    outside = [score[~mask] for score, mask in zip(scores, masks, strict=True)]
    if inside and sum(entry.size for entry in outside):
        assert min(entry.min() for entry in inside) >= np.concatenate(outside).max()


def test_global_pruning_leaves_no_layer_below_the_floor() -> None:
    scores = [np.arange(100) + 1000.0, np.arange(100.0)]
    assert kept_globally(scores, 0.5, min_density=0.0) == [99, 1]
    assert kept_globally(scores, 0.5, min_density=0.2) == [80, 20]
    with pytest.raises(InputError, match=r"sparsity must be at most 0\.4 where every layer"):
        kept_globally(scores, 0.5, min_density=0.6)
    # 0.9 + 0.1 is one, though 1 - 0.9 is less than 0.1 in binary.
    assert kept_globally(scores, 0.9, min_density=0.1) == [10, 10]


@pytest.mark.parametrize("allocate", [uniform, erdos_renyi_kernel])
def test_a_sparsity_outside_its_range_is_refused(allocate: Callable[..., object]) -> None:
    with pytest.raises(InputError, match=r"sparsity must be in \[0, 1\), got 1"):
        allocate([(4, 3)], 1.0)


@given(shapes, st.floats(0, 0.9999), st.sampled_from([0.0, 0.02, 0.3]))
def test_the_message_says_the_largest_sparsity_with_room_for_every_layer(
    net: list[tuple[int, int]], sparsity: float, density: float
) -> None:
    sizes = [rows * columns for rows, columns in net]
    least = sum(max(1, floor(density * size)) for size in sizes)
    within = [
        number / 10_000
        for number in range(10_000)
        if sum(sizes) * (10_000 - number) >= least * 10_000
    ]
    if sum(sizes) * (1 - Fraction(sparsity)) >= least:
        check_reachable(sparsity, sizes, min_density=density)
    elif whole_kept(sum(sizes), sparsity) < least:
        with pytest.raises(InputError) as refusal:
            check_reachable(sparsity, sizes, min_density=density)
        assert f"at most {within[-1]:g} in" in str(refusal.value)
        check_reachable(within[-1], sizes, min_density=density)
