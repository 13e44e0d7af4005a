"""Every layout stores every weight once, in types that are as narrow as they may be.

Also of ``runtime/c_layout_choice.py`` and ``runtime/c_block_text.py``.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from surefoot.errors import InputError
from surefoot.policy import Activation, Layer
from surefoot.runtime.c_layers import (
    BLOCK_ROWS,
    LANES,
    CLayer,
    Layout,
    Machine,
    lay_out,
    narrow,
)
from surefoot.runtime.c_layout_choice import choose_layout


def layer_of(weight: NDArray[np.float32]) -> Layer:
    return Layer(weight=weight, bias=np.zeros(len(weight), np.float32), activation=Activation.RELU)


def restored(layer: CLayer) -> NDArray[np.float64]:
    """Return the matrix that a layout holds, by walking it as the C does."""
    weight = np.zeros((layer.fan_out + LANES, layer.fan_in), np.float64)
    if layer.layout is Layout.DENSE_ROWS:
        weight[: layer.fan_out] = layer.values.reshape(layer.fan_out, layer.fan_in)
    elif layer.layout is Layout.DENSE_COLUMNS:
        weight[: layer.fan_out] = layer.values.reshape(layer.fan_in, layer.fan_out).T
    elif layer.layout is Layout.CSC:
        ends = np.cumsum(layer.counts.astype(np.int64))
        for k, (value, row) in enumerate(zip(layer.values, layer.indices, strict=True)):
            weight[row, np.searchsorted(ends, k, side="right")] += value
    elif layer.layout in BLOCK_ROWS:
        k = block = 0
        for group, count in enumerate(layer.counts.tolist()):
            first = BLOCK_ROWS[layer.layout] * group
            lanes = min(BLOCK_ROWS[layer.layout], layer.fan_out - first)
            for column in layer.indices[block : block + count]:
                weight[first : first + lanes, column] += layer.values[k : k + lanes]
                k += lanes
            block += count
        assert (k, block) == (len(layer.values), len(layer.indices))
    else:
        k = 0
        for group, count in enumerate(layer.counts.tolist()):
            for _ in range(count):
                for lane in range(LANES):
                    weight[layer.order[LANES * group + lane], layer.indices[k]] += layer.values[k]
                    k += 1
        assert k == len(layer.values)
    if layer.steps is not None:
        order = layer.order if layer.order is not None else np.arange(layer.fan_out)
        weight[order] *= layer.steps[: len(order), None].astype(np.float64)
    return weight[: layer.fan_out]


@given(st.integers(1, 19), st.integers(1, 9), st.floats(0, 1), st.integers(0, 2**32), st.booleans())
def test_a_layout_holds_the_matrix(
    fan_out: int, fan_in: int, density: float, seed: int, on_grid: bool
) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(fan_out, fan_in)).astype(np.float32)
    if on_grid:
        weight = rng.integers(-127, 128, weight.shape).astype(np.float32)
        weight[:, 0] = 127
        weight *= np.float32(2.0**-9 * 1.25)
    weight[:, 1:][rng.random((fan_out, fan_in - 1)) >= density] = 0
    for layout in Layout:
        layer = lay_out(layer_of(weight), 1, layout, skip=True)
        assert (restored(layer) == weight).all()
        assert layer.num_nonzero == (weight != 0).sum()
        if on_grid:
            assert layer.values.dtype == np.int8


@pytest.mark.parametrize(
    ("largest", "kind"),
    [
        (0, np.uint8),
        (255, np.uint8),
        (256, np.uint16),
        (65_535, np.uint16),
        (65_536, np.uint32),
        (2**32 - 1, np.uint32),
    ],
)
def test_indices_are_as_narrow_as_they_may_be(largest: int, kind: type[np.unsignedinteger]) -> None:
    narrowed = narrow(np.array([0, largest], np.int64))
    assert narrowed.dtype == kind
    assert narrowed.tolist() == [0, largest]


def test_an_index_beyond_32_bits_is_refused() -> None:
    with pytest.raises(InputError, match="must fit into 32 bits, got 4294967296"):
        narrow(np.array([2**32], np.int64))


@pytest.mark.parametrize("width", [255, 256, 257, 65_535, 65_536, 65_537])
@pytest.mark.parametrize("layout", [Layout.CSR, Layout.CSC, Layout.BLOCKS_8])
def test_full_rows_and_columns_at_the_edges_of_a_type_are_counted(
    layout: Layout, width: int
) -> None:
    # A row (or column) with as many weights as the type can count, and one more.
    shape = (width, 1) if layout is Layout.CSC else (1, width)
    layer = lay_out(
        layer_of(np.linspace(1, 2, width, dtype=np.float32).reshape(shape)), 1, layout, skip=False
    )
    assert layer.counts.astype(np.int64).tolist() == [width]
    assert int(layer.indices.max()) == width - 1


def test_a_full_layer_of_65536_weights_is_whole() -> None:
    # Row pointers of 16 bits would wrap around here.
    weight = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    for layout in (Layout.CSR, Layout.CSC, *BLOCK_ROWS):
        layer = lay_out(layer_of(weight), 1, layout, skip=False)
        assert layer.counts.dtype == np.uint16
        assert layer.indices.dtype == np.uint8
        assert (restored(layer) == weight).all()


def test_a_weight_is_an_integer_of_8_bits_only_where_that_is_exact() -> None:
    grid = np.float32([[127, -3, 0], [127, 64, 1]]) * np.float32([[0.25], [2.0**-10]])
    exact = lay_out(layer_of(grid), 1, Layout.DENSE_ROWS, skip=False)
    assert exact.values.dtype == np.int8
    off = grid.copy()
    off[1, 2] = np.nextafter(off[1, 2], np.float32(1))
    assert lay_out(layer_of(off), 1, Layout.DENSE_ROWS, skip=False).values.dtype == np.float32


def sparse_layer(density: float, shape: tuple[int, int] = (256, 256)) -> Layer:
    rng = np.random.default_rng(1)
    weight = rng.normal(size=shape).astype(np.float32)
    weight[rng.random(shape) >= density] = 0
    return layer_of(weight)


@pytest.mark.parametrize("machine", Machine)
@pytest.mark.parametrize("skip", [False, True])
def test_sparse_layers_are_stored_sparse_and_full_ones_dense(machine: Machine, skip: bool) -> None:
    sparse = choose_layout(sparse_layer(0.05), 1, machine, skip=skip)
    dense = choose_layout(sparse_layer(1.0), 1, machine, skip=skip)
    assert sparse.layout in (Layout.CSR, Layout.CSC)
    assert dense.layout in (Layout.DENSE_ROWS, Layout.DENSE_COLUMNS, Layout.BLOCKS_8)
    assert len(dense.values) == 256 * 256
    assert sparse.flash_bytes < dense.flash_bytes / 6


@pytest.mark.parametrize("machine", Machine)
@pytest.mark.parametrize("rows", [4, 8])
@pytest.mark.parametrize("skip", [False, True])
def test_what_was_pruned_in_blocks_is_stored_in_them_without_a_zero(
    machine: Machine, rows: int, skip: bool
) -> None:
    rng = np.random.default_rng(2)
    weight = rng.normal(size=(256, 256)).astype(np.float32)
    blocks = rng.random((256 // rows, 256)) < 0.1
    weight[~np.repeat(blocks, rows, axis=0)] = 0
    layer = choose_layout(layer_of(weight), 1, machine, skip=skip)
    assert BLOCK_ROWS[layer.layout] == rows
    assert len(layer.values) == layer.num_nonzero
    assert layer.indices is not None
    assert len(layer.indices) == blocks.sum()
    # An index of one byte for each block, beside the weights.
    assert layer.flash_bytes <= 4 * layer.num_nonzero + blocks.sum() + 4 * 256 + 2 * 64
