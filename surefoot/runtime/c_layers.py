"""How one affine map becomes C: layouts that compute the same bits.

    dense-rows     for each output, the whole row
    dense-columns  for each input, the whole column          may skip inputs that are zero
    csr            for each output, its non-zero weights
    csc            for each input, its non-zero weights      may skip inputs that are zero
    blocks-8       for each eight outputs, the inputs of any of them, with eight weights each
    blocks-4       the same for each four                    both may skip inputs that are zero

Rows and csr take eight outputs at a time, so that eight sums run side by side; csr takes outputs
with about as many weights together and fills up with zeros (sliced ELL: Kreutzer et al., SIAM J.
Sci. Comput. 36 (2014), C401). Each output is its bias plus its products in the order of the
inputs, and a skipped term is a zero, so that the layouts agree bit for bit on finite inputs.
Weights of which every row is a multiple of one float32 are stored as 8-bit integers; their product
with the row's step is exact, so that these, too, compute the same bits.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surefoot.errors import InputError
from surefoot.policy import Array, Layer

MAX_STEP = 127
"""Largest magnitude of a weight that is stored as an 8-bit integer, in steps of its row."""

LANES = 8
"""Outputs that are computed side by side; an output vector needs room for a multiple of it."""


class Layout(StrEnum):
    """Where the weights of a layer lie, and in which order they are used."""

    DENSE_ROWS = "dense-rows"
    DENSE_COLUMNS = "dense-columns"
    CSR = "csr"
    CSC = "csc"
    BLOCKS_8 = "blocks-8"
    BLOCKS_4 = "blocks-4"


BLOCK_ROWS = {Layout.BLOCKS_8: 8, Layout.BLOCKS_4: 4}
"""Outputs whose weights of one input lie together, by layout."""


class Machine(StrEnum):
    """What the code is made for; the choice of layouts rests on it, their result does not."""

    MICROCONTROLLER = "microcontroller"
    PC = "pc"


@dataclass(frozen=True, kw_only=True, slots=True)
class CLayerReport:
    """What a layer in C takes.

    Attributes:
        layout: How it is stored.
        fan_in: Number of inputs.
        fan_out: Number of outputs.
        weights: C type of the stored weights.
        indices: C type of the indices; None if dense.
        counts: C type of the counts; None if dense.
        non_zeros: Number of weights that are not zero.
        multiply_adds: Multiply-adds where no input is zero.
        skips_zeros: Whether inputs that are zero are skipped.
        flash_bytes: Size of its constants.
    """

    layout: Layout
    fan_in: int
    fan_out: int
    weights: str
    indices: str | None
    counts: str | None
    non_zeros: int
    multiply_adds: int
    skips_zeros: bool
    flash_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CLayer:
    """The affine map of a layer in a layout.

    Attributes:
        number: Counted from 1; names its arrays and its function.
        layout: How it is stored.
        values: The weights that are stored, in the order of use: float32 or int8.
        steps: What one unit of an int8 weight is, by output; None for float32.
        bias: Bias by output, float32; for CSR in the order of use, filled to a multiple of LANES.
        indices: Input (CSR) or output (CSC) of each value, input of each block; None if dense.
        counts: Number of values that each output of a group has (CSR), or that each
            input has (CSC); number of blocks of each group of outputs; None if dense.
        order: Outputs in the order of use, for CSR; None for the others.
        skip: Whether inputs that are zero are skipped.
        fan_in: Number of inputs.
        fan_out: Number of outputs.
        num_nonzero: Number of weights that are not zero.
    """

    number: int
    layout: Layout
    values: Array
    steps: Array | None
    bias: Array
    indices: Array | None = None
    counts: Array | None = None
    order: Array | None = None
    skip: bool
    fan_in: int
    fan_out: int
    num_nonzero: int

    @property
    def flash_bytes(self) -> int:
        """Size of its constants."""
        arrays = (self.values, self.steps, self.bias, self.indices, self.counts, self.order)
        return sum(array.nbytes for array in arrays if array is not None)

    def report(self) -> CLayerReport:
        """Describe its storage and its work."""
        return CLayerReport(
            layout=self.layout,
            fan_in=self.fan_in,
            fan_out=self.fan_out,
            weights=c_type(self.values),
            indices=None if self.indices is None else c_type(self.indices),
            counts=None if self.counts is None else c_type(self.counts),
            non_zeros=self.num_nonzero,
            multiply_adds=len(self.values),
            skips_zeros=self.skip,
            flash_bytes=self.flash_bytes,
        )


def lay_out(layer: Layer, number: int, layout: Layout, *, skip: bool) -> CLayer:
    """Return a layer in this layout.

    Args:
        layer: Its arrays are float32 by value.
        number: Counted from 1.
        layout: How it is stored.
        skip: Leave out inputs that are zero, where the layout can; the time then depends on them.
    """
    weight = layer.weight.astype(np.float32) + np.float32(0)
    stored, steps = whole_steps(weight)
    bias = layer.bias.astype(np.float32) + np.float32(0)
    common = {
        "number": number,
        "layout": layout,
        "fan_in": weight.shape[1],
        "fan_out": weight.shape[0],
        "num_nonzero": int((weight != 0).sum()),
    }
    if layout is Layout.CSR:
        return CLayer(**common, **_in_groups(stored, steps, bias), skip=False)
    if layout is Layout.DENSE_ROWS:
        return CLayer(**common, values=stored.reshape(-1), steps=steps, bias=bias, skip=False)
    if layout in BLOCK_ROWS:
        blocks = _in_blocks(stored, BLOCK_ROWS[layout])
        return CLayer(**common, **blocks, steps=steps, bias=bias, skip=skip)
    columns = stored.T
    if layout is Layout.DENSE_COLUMNS:
        return CLayer(**common, values=columns.reshape(-1), steps=steps, bias=bias, skip=skip)
    return CLayer(
        **common,
        values=columns[columns != 0],
        steps=steps,
        bias=bias,
        indices=narrow(np.nonzero(columns)[1]),
        counts=narrow((columns != 0).sum(axis=1)),
        skip=skip,
    )


def _in_groups(stored: Array, steps: Array | None, bias: Array) -> dict[str, Any]:
    """Return the arrays of CSR: outputs sorted by their number of weights, LANES by LANES.

    A group takes the first weights of its outputs, then the second ones, and so on; an output
    with fewer weights takes zeros, each times input 0.
    """
    sizes = (stored != 0).sum(axis=1)
    order = np.argsort(sizes, kind="stable")
    absent = np.arange(len(order), padded(len(order)))  # written behind the output vector
    values, indices, counts = [], [], []
    for start in range(0, len(order), LANES):
        group = order[start : start + LANES]
        count = int(sizes[group].max())
        value, index = np.zeros((count, LANES), stored.dtype), np.zeros((count, LANES), np.int64)
        for lane, row in enumerate(group):
            places = np.flatnonzero(stored[row])
            value[: len(places), lane] = stored[row][places]
            index[: len(places), lane] = places
        values.append(value.reshape(-1))
        indices.append(index.reshape(-1))
        counts.append(count)
    fill = np.zeros(len(absent), np.float32)
    return {
        "values": np.concatenate(values),
        "steps": None if steps is None else np.concatenate([steps[order], fill]),
        "bias": np.concatenate([bias[order], fill]),
        "indices": narrow(np.concatenate(indices)),
        "counts": narrow(np.array(counts)),
        "order": narrow(np.concatenate([order, absent])),
    }


def _in_blocks(stored: Array, rows: int) -> dict[str, Any]:
    """Return the arrays of blocks; the last outputs, fewer than a block has, have smaller ones."""
    values, indices, counts = [], [], []
    for start in range(0, len(stored), rows):
        group = stored[start : start + rows]
        inputs = np.flatnonzero((group != 0).any(axis=0))
        values.append(group[:, inputs].T.reshape(-1))
        indices.append(inputs)
        counts.append(len(inputs))
    return {
        "values": np.concatenate(values),
        "indices": narrow(np.concatenate(indices)),
        "counts": narrow(np.array(counts)),
    }


def padded(width: int) -> int:
    """Return the room that a vector of outputs needs."""
    return -(-width // LANES) * LANES


def narrow(numbers: NDArray[np.integer]) -> Array:
    """Return non-negative integers in the narrowest unsigned type that holds all of them.

    Raises:
        InputError: If one needs more than 32 bits.
    """
    largest = int(numbers.max(initial=0))
    for kind in (np.uint8, np.uint16, np.uint32):
        if largest <= np.iinfo(kind).max:
            return numbers.astype(kind)
    raise InputError(f"an index must fit into 32 bits, got {largest}")


def c_type(numbers: Array) -> str:
    """Return the C type of an array's elements."""
    return "float" if numbers.dtype == np.float32 else f"{numbers.dtype.name}_t"


def whole_steps(weight: Array) -> tuple[Array, Array | None]:
    """Return weights as int8 and the step of each row, if that is exact; else as they are."""
    largest = np.abs(weight).max(axis=1, keepdims=True)
    steps = np.where(largest > 0, largest / np.float32(MAX_STEP), np.float32(1))
    units = np.rint(weight / steps)
    if (np.abs(units) <= MAX_STEP).all() and (units * steps == weight).all():
        exact = units.astype(np.float64) * steps.astype(np.float64) == weight
        # The compiler multiplies in float32; only an exact product is the weight itself. Layers
        # without weights, or of which all are equal, gain nothing.
        if exact.all() and (units != 0).any():
            return units.astype(np.int8), steps[:, 0]
    return weight, None
