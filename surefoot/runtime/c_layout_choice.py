"""Which layout a layer in C gets: the one that costs least on the machine, by what was measured."""

from dataclasses import dataclass

from surefoot.policy import Layer
from surefoot.runtime.c_layers import BLOCK_ROWS, LANES, CLayer, Layout, Machine, lay_out


@dataclass(frozen=True, slots=True)
class _Cost:
    """What a layout takes: instructions or nanoseconds.

    Attributes:
        value: For each weight that is stored.
        output: For each output.
        input: For each input.
        block: For each block.
        test: For each block whose input is compared with zero.
        rest: For each weight of the last outputs, fewer than LANES, beside ``value``.
    """

    value: float
    output: float
    input: float = 0.0
    block: float = 0.0
    test: float = 0.0
    rest: float = 0.0


# docs/results/c-runtime.md
_COST: dict[Machine, dict[Layout, _Cost]] = {
    # Instructions, counted on an emulated Cortex-M4.
    Machine.MICROCONTROLLER: {
        Layout.DENSE_ROWS: _Cost(3.4, 5.0, rest=2.4),
        Layout.DENSE_COLUMNS: _Cost(7.0, 3.0, input=8.0),
        Layout.CSR: _Cost(5.8, 8.0),
        Layout.CSC: _Cost(8.5, 3.0, input=10.0),
        Layout.BLOCKS_8: _Cost(3.0, 5.0, block=6.0, test=3.0),
        Layout.BLOCKS_4: _Cost(3.0, 5.0, block=6.0, test=3.0),
    },
    # Nanoseconds on x86-64 with AVX-512, gcc -O3; a test for zero is mispredicted half of the time.
    Machine.PC: {
        Layout.DENSE_ROWS: _Cost(0.39, 1.0),
        Layout.DENSE_COLUMNS: _Cost(0.025, 0.1, input=0.2),
        Layout.CSR: _Cost(0.32, 0.5),
        Layout.CSC: _Cost(0.70, 0.1, input=6.0),
        Layout.BLOCKS_8: _Cost(0.01, 0.1, block=0.35),
        Layout.BLOCKS_4: _Cost(0.01, 0.1, block=0.35),
    },
}
_NEAR = {Machine.MICROCONTROLLER: 1.1, Machine.PC: 1.5}
"""Layouts within this ratio cost about the same, and the smallest of them is taken. On a PC costs
are of warm caches, in which a small layer stays when others compute between two calls."""


def choose_layout(layer: Layer, number: int, machine: Machine, *, skip: bool) -> CLayer:
    """Return a layer in the layout that costs least on a machine; of near ones the smallest.

    Args:
        layer: Its arrays are float32 by value.
        number: Counted from 1.
        machine: Where it will run.
        skip: Whether about half of its inputs will be zeros that may be skipped.
    """
    candidates = [
        lay_out(layer, number, layout, skip=skip and _tests_pay(layout, machine))
        for layout in Layout
    ]
    costs = [_cost(candidate, machine) for candidate in candidates]
    near = [
        candidate
        for candidate, cost in zip(candidates, costs, strict=True)
        if cost <= _NEAR[machine] * min(costs)
    ]
    return min(near, key=lambda candidate: candidate.flash_bytes)


def _tests_pay(layout: Layout, machine: Machine) -> bool:
    """Whether comparing inputs with zero may save time: a PC adds a vector as fast as it tests."""
    return machine is Machine.MICROCONTROLLER or layout is Layout.CSC


def _cost(layer: CLayer, machine: Machine) -> float:
    cost, has_blocks = _COST[machine][layer.layout], layer.layout in BLOCK_ROWS
    num_blocks = len(layer.indices) if has_blocks and layer.indices is not None else 0
    return (
        (0.5 if layer.skip else 1.0)
        * (cost.value if layer.steps is None else 1.3 * cost.value)
        * len(layer.values)
        + cost.rest * layer.fan_in * (layer.fan_out % LANES)
        + cost.output * layer.fan_out
        + cost.input * layer.fan_in
        + (cost.block + (cost.test if layer.skip else 0.0)) * num_blocks
    )
