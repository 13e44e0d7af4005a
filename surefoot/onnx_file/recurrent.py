"""One step of a GRU or LSTM, whose memory is an input of the controller.

    GRU    z = sigmoid(W_z x + R_z h + b_z)         h' = n + z (h - n)
           r = sigmoid(W_r x + R_r h + b_r)         n = tanh(W_h x + b + r (R_h h + c)), or
                                                    n = tanh(W_h x + b + R_h (r h) + c)
    LSTM   i, o, f = sigmoid(W x + R h + b)         c' = f c + i tanh(W_c x + R_c h + b_c)
                                                    h' = o tanh(c')

Each becomes affine maps, activations and products. A runtime that computes (1 - z) n + z h rounds
n three times and z h twice, no more than the sums of h - n and of n + z (h - n) are counted with.
The fused tanh of ONNX Runtime 1.31.1 errs by 10.1 units of 2^-24 where it is nearly 1 (measured on
900,000 numbers; its own operator by 5.5, TAU is 10): the next layer only selects n, which is exact
and counted with at least two roundings.

Reference:
    Cho et al., EMNLP 2014 (arXiv 1406.1078); Hochreiter and Schmidhuber, Neural Computation 9
    (1997); the gates stand in the order of ONNX: z, r, h and i, o, f, c.
"""

from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from surefoot.activation import Activation, Array
from surefoot.errors import InputError
from surefoot.onnx_file.computation import (
    Affine,
    Apply,
    Computed,
    Multiply,
    Numbers,
    Scale,
    Shift,
    Sum,
    Value,
)
from surefoot.onnx_file.node import Node

_FUSED_ROUNDINGS = 2
"""Roundings of a fused kernel beyond those of one product: it adds two products and two biases."""

_NUM_GATES = {"GRU": 3, "LSTM": 4}
_ACTIVATIONS = {"GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}


class _Cell:
    """The steps of one cell.

    Attributes:
        x: Numbers of its input.
        hidden: Numbers of its hidden state.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.x = _of_one_step(node, 0, "sequence")
        self.hidden = _of_one_step(node, 5, "initial_h")
        self._size = len(self.hidden)
        if (said := node.attribute("hidden_size")) not in (None, self._size):
            _refuse("hidden_size", said, self._size)
        rows = _NUM_GATES[node.op] * self._size
        self._input = _of_one_direction(node.floats(1), "W", (rows, len(self.x)))
        self._recurrent = _of_one_direction(node.floats(2), "R", (rows, self._size))
        biases = np.zeros(2 * rows, np.float32)
        if node.constant(3) is not None:
            biases = _of_one_direction(node.floats(3), "B", (2 * rows,))
        self._biases = biases.reshape(2, rows)

    def _rows(self, gate: int) -> slice:
        return slice(gate * self._size, (gate + 1) * self._size)

    def gate(self, gate: int, activation: Activation) -> Numbers:
        """Return activation(W x + R h + b) of one gate."""
        rows = self._rows(gate)
        weight = np.concatenate([self._input[rows], self._recurrent[rows]], axis=1)
        inputs = np.concatenate([self.x, self.hidden])
        total = self._affine(inputs, weight, self._biases[0, rows])
        return self.applied(self._shifted(total, self._biases[1, rows]), activation)

    def of_input(self, gate: int) -> Numbers:
        """Return W x and its bias, of one gate."""
        rows = self._rows(gate)
        return self._affine(self.x, self._input[rows], self._biases[0, rows])

    def of_memory(self, gate: int, memory: Numbers) -> Numbers:
        """Return R of a memory and its bias, of one gate."""
        rows = self._rows(gate)
        return self._affine(memory, self._recurrent[rows], self._biases[1, rows])

    def _affine(self, inputs: Numbers, weight: Array, bias: Array) -> Numbers:
        step = Affine(inputs=inputs, weight=weight, bias=bias, extra=_FUSED_ROUNDINGS)
        return self._node.add(step, (len(weight),)).numbers

    def _shifted(self, x: Numbers, amount: Array) -> Numbers:
        if not amount.any():
            return x
        return self._node.add(Shift(inputs=x, amount=amount), x.shape).numbers

    def applied(self, x: Numbers, activation: Activation) -> Numbers:
        """Return an activation of x."""
        return self._node.add(Apply(inputs=x, activation=activation), x.shape).numbers

    def total(self, x: Numbers, y: Numbers) -> Numbers:
        """Return x + y."""
        return self._node.add(Sum(inputs=x, others=y), x.shape).numbers

    def difference(self, x: Numbers, y: Numbers) -> Numbers:
        """Return x - y."""
        factor = -np.ones(len(y), np.float32)
        negative = self._node.add(Scale(inputs=y, factor=factor, divides=False), y.shape)
        return self.total(x, negative.numbers)

    def product(self, x: Numbers, y: Numbers) -> Numbers:
        """Return x y."""
        return self._node.add(Multiply(inputs=x, others=y), x.shape).numbers


def gru(node: Node) -> list[Value]:
    """Read a GRU.

    Raises:
        InputError: If it is no single step of one direction, or no plain cell.
    """
    _require_plain(node, hidden_inputs=1)
    cell = _Cell(node)
    update, reset = (cell.gate(number, Activation.SIGMOID) for number in (0, 1))
    if node.attribute("linear_before_reset"):
        recalled = cell.product(cell.of_memory(2, cell.hidden), reset)
    else:
        recalled = cell.of_memory(2, cell.product(cell.hidden, reset))
    new = cell.applied(cell.total(cell.of_input(2), recalled), Activation.TANH)
    hidden = cell.total(new, cell.product(cell.difference(cell.hidden, new), update))
    node.recall(cell.hidden, hidden)
    return _results(hidden)


def lstm(node: Node) -> list[Value]:
    """Read an LSTM.

    Raises:
        InputError: If it is no single step of one direction, or no plain cell.
    """
    _require_plain(node, hidden_inputs=2)
    cell, before = _Cell(node), _of_one_step(node, 6, "initial_c")
    write, show, keep = (cell.gate(number, Activation.SIGMOID) for number in (0, 1, 2))
    new = cell.gate(3, Activation.TANH)
    memory = cell.total(cell.product(before, keep), cell.product(new, write))
    hidden = cell.product(cell.applied(memory, Activation.TANH), show)
    node.recall(cell.hidden, hidden)
    node.recall(before, memory)
    return [*_results(hidden), Computed(memory.reshape(1, 1, -1))]


def _results(hidden: Numbers) -> list[Value]:
    """Return the whole sequence of hidden states, which is one of them, and the last one."""
    return [Computed(hidden.reshape(1, 1, 1, -1)), Computed(hidden.reshape(1, 1, -1))]


def _of_one_step(node: Node, position: int, name: str) -> Numbers:
    """Return the numbers of one row of the sequence or of a memory.

    Raises:
        InputError: If there are more, or the memory is no input.
    """
    value = node.inputs[position] if position < len(node.inputs) else None
    if not isinstance(value, Computed):
        raise InputError(
            f"{name} must be an input of the file, or it forgets all between two calls: export the "
            "actor with its memory as an input and an output"
        )
    if len(value.shape) != 3 or value.shape[:2] != (1, 1):
        raise InputError(
            f"{name} must have shape [1, 1, ...], one step of one controller, has "
            f"{list(value.shape)}: export one step"
        )
    return value.flat


def _of_one_direction(array: Array, name: str, shape: tuple[int, ...]) -> Array:
    """Return the constants of the one direction that there is.

    Raises:
        InputError: If there are two, or it has another shape.
    """
    if array.shape[:1] != (1,):
        raise InputError("must have one direction, of which it reads the past: export that one")
    if array.shape[1:] != shape:
        raise InputError(f"{name} must have shape {[1, *shape]}, has {list(array.shape)}")
    return np.asarray(array[0])


def _require_plain(node: Node, *, hidden_inputs: int) -> None:
    """Refuse what is no plain cell of one step.

    Raises:
        InputError: If it is none.
    """
    activations = node.attribute("activations") or []
    names = [_text(entry).capitalize() for entry in _listed(activations)]
    if names and names != _ACTIVATIONS[node.op]:
        _refuse("activations", ", ".join(names), " and ".join(_ACTIVATIONS[node.op]))
    if (direction := _text(node.attribute("direction"))) not in ("", "forward"):
        _refuse("direction", direction, "forward")
    if node.attribute("clip") is not None:
        _refuse("clip", node.attribute("clip"), "no limit of what is summed")
    for key in ("layout", "input_forget"):
        if node.attribute(key):
            _refuse(key, node.attribute(key), 0)
    lengths = node.constant(4)
    if lengths is not None and (lengths != 1).any():
        _refuse("sequence_lens", lengths.tolist(), 1)
    peepholes = node.constant(7) if hidden_inputs == 2 else None
    if peepholes is not None and peepholes.any():
        _refuse("P", "peepholes", "no weights from the memory to the gates")


def _refuse(name: str, value: object, rule: object) -> NoReturn:
    raise InputError(f"{name} must be {rule}, got {value}: export a plain cell of PyTorch")


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, Sequence) else []


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")
