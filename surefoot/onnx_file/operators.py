"""What each operator makes of the data: the elementary steps of a controller.

A tensor is either a constant or the data: the components of one vector, and the steps that led to
it. Operators that only move components are applied to their numbers, linear ones to the unit
vectors, so that no layout needs a case of its own.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from surefoot.activation import Activation, AnyActivation, Array, Clamp, LeakyRelu, ScaledElu
from surefoot.errors import InputError
from surefoot.onnx_file.moves import MOVES, Attributes, folded, shape_of
from surefoot.onnx_file.rebuild import Affine, Apply, Scale, Select, Shift, Step

FLOATS = {onnx.TensorProto.FLOAT: np.float32, onnx.TensorProto.DOUBLE: np.float64}
"""Types of the data."""

MOST_WEIGHTS = 2**26
"""Largest layer that is read."""

_LARGEST = float(np.finfo(np.float32).max)
_SIMPLE = {
    "Relu": Activation.RELU,
    "Tanh": Activation.TANH,
    "Sigmoid": Activation.SIGMOID,
    "Softplus": Activation.SOFTPLUS,
}


@dataclass(frozen=True, slots=True)
class HalfClip:
    """A clip with one limit, the other infinite: half of one that two nodes write."""

    low: float
    high: float
    label: str


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A vector: how many components it has, and the last step that led to it."""

    size: int
    step: Step | HalfClip | None = None
    parent: "Node | None" = None

    def steps(self) -> Iterator[Step | HalfClip]:
        """Yield the steps that led here, last to first."""
        here: Node | None = self
        while here is not None and here.step is not None:
            yield here.step
            here = here.parent


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """A tensor whose entries are the components of a vector in C order."""

    node: Node
    shape: tuple[int, ...]

    def then(self, step: Step | HalfClip, size: int | None = None) -> "Data":
        """Return what one more step makes of it."""
        new = Node(self.node.size if size is None else size, step, self.node)
        return Data(new, self.shape)


Value = Array | Data


class Operator:
    """What one node makes of its inputs."""

    def __init__(
        self, node: onnx.NodeProto, values: Mapping[str, Value], opset: int, label: str
    ) -> None:
        self._op = node.op_type
        self._label = label
        if missing := [entry for entry in node.input if entry and entry not in values]:
            raise InputError(f"takes {missing[0]!r}, which is not computed")
        self._inputs = [values[entry] if entry else None for entry in node.input]
        self._attributes = Attributes(node, opset, self._inputs, label)

    def outputs(self) -> list[Value]:
        """Return the tensors that the node computes.

        Raises:
            InputError: If it is not one that is read.
        """
        data = [value for value in self._inputs if isinstance(value, Data)]
        if not data:
            return list(folded(self._attributes, self._op))
        if self._op == "Shape":
            return [shape_of(self._attributes, data[0].shape)]
        if self._op in MOVES:
            return self._moved(data)
        if self._op == "Cast":
            kind = self._attributes.integer("to")
            if kind not in FLOATS:
                name = onnx.TensorProto.DataType.Name(kind)
                raise InputError(f"casts the observation to {name}: only FLOAT and DOUBLE are read")
            return [data[0]]
        if self._op in ("MatMul", "Gemm", "Conv"):
            return [self._affine(data)]
        if self._op in ("Add", "Sub", "Mul", "Div", "Neg"):
            return [self._elementwise(data)]
        if self._op in ("Clip", "Min", "Max"):
            return [self._clip(data)]
        activation = self._activation(data)
        if len(data) > 1:
            raise InputError("joins two values that depend on the observation")
        return [data[0].then(Apply(activation))]

    def _moved(self, data: list[Data]) -> list[Value]:
        """Apply an operator that only moves entries to the numbers of the components.

        Raises:
            InputError: If it joins values, or keeps nothing.
        """
        first = self._inputs[0]
        if len(data) > 1 or not isinstance(first, Data):
            raise InputError("joins two values, or takes the observation as an index or shape")
        numbers = np.arange(first.node.size).reshape(first.shape)
        moved: list[Value] = []
        for entry in MOVES[self._op](self._attributes, numbers):
            rows = entry.reshape(-1)
            if not rows.size:
                raise InputError("keeps nothing")
            same = len(rows) == first.node.size and bool((rows == numbers.reshape(-1)).all())
            node = first.node if same else Node(len(rows), Select(rows), first.node)
            moved.append(Data(node, entry.shape))
        return moved

    def _affine(self, data: list[Data]) -> Data:
        """Read a product with constant weights, whatever side and shape they have.

        Raises:
            InputError: If it is another product, or a large one.
        """
        if len(data) > 1 or data[0] is (self._inputs[2] if len(self._inputs) > 2 else None):
            raise InputError("multiplies or joins two values that depend on the observation")
        x = data[0]
        weights = [None if v is x else _single(v) for v in self._inputs[:2]]
        product = self._product(weights)
        shape = product(np.zeros(x.shape, np.float32)).shape
        size = math.prod(shape)
        if x.node.size * size > MOST_WEIGHTS:
            raise InputError(f"must have at most {MOST_WEIGHTS} weights")
        weight = np.empty((size, x.node.size), np.float32)
        for column in range(x.node.size):
            unit = np.zeros(x.node.size, np.float32)
            unit[column] = 1
            weight[:, column] = product(unit.reshape(x.shape)).reshape(-1)
        bias = self._bias(shape)
        alpha = self._attributes.number("alpha") if self._op == "Gemm" else 1.0
        factors: Array = np.full(size, alpha, np.float32)
        scaled = weight * np.float32(alpha)
        if np.array_equal(scaled.astype(np.float64), weight.astype(np.float64) * alpha):
            return Data(x.then(Affine(scaled, bias), size).node, shape)
        behind = x.then(Affine(weight, None), size).then(Scale(factors, False))
        return Data((behind if bias is None else behind.then(Shift(bias))).node, shape)

    def _product(self, weights: list[Array | None]) -> Callable[[Array], Array]:
        """Return the linear map of the node; the missing weight is the data."""
        if self._op == "Conv":
            return self._pointwise(weights[1])
        flips = [self._op == "Gemm" and self._attributes.integer(f"trans{k}") == 1 for k in "AB"]

        def product(x: Array) -> Array:
            left, right = (x if weight is None else weight for weight in weights)
            return np.asarray((left.T if flips[0] else left) @ (right.T if flips[1] else right))

        return product

    def _pointwise(self, weight: Array | None) -> Callable[[Array], Array]:
        """Return a convolution with a kernel of size 1.

        Raises:
            InputError: If it is any other convolution.
        """
        plain = {"group": 1, "strides": 1, "dilations": 1, "pads": 0}
        given = {key: self._attributes.integers(key, len(self._inputs)) for key in plain}
        odd = any(set(given[key] or [value]) != {value} for key, value in plain.items())
        if weight is None or set(weight.shape[2:]) != {1} or odd:
            raise InputError(
                "must have a constant kernel of size 1, stride 1, one group, no padding"
            )
        matrix = weight.reshape(weight.shape[:2])
        return lambda x: np.moveaxis(np.tensordot(matrix, x, (1, 1)), 0, 1)

    def _bias(self, shape: tuple[int, ...]) -> Array | None:
        if len(self._inputs) < 3 or self._inputs[2] is None:
            return None
        bias = _single(self._inputs[2])
        if self._op == "Conv":
            bias = bias.reshape(-1, *[1] * (len(shape) - 2))
        elif (beta := self._attributes.number("beta")) != 1:
            with np.errstate(over="ignore"):
                scaled = (bias.astype(np.float64) * beta).astype(np.float32)
            if not np.array_equal(scaled.astype(np.float64), bias.astype(np.float64) * beta):
                raise InputError(f"beta = {beta} times the bias is no float32 number")
            bias = scaled
        return np.array(np.broadcast_to(bias, shape).reshape(-1))

    def _elementwise(self, data: list[Data]) -> Data:
        """Read sums and products with constants, and x * sigmoid(x).

        Raises:
            InputError: If it is another sum or product.
        """
        if self._op == "Neg":
            return data[0].then(Scale(np.full(data[0].node.size, -1, np.float32), False))
        if len(data) > 1:
            return self._silu(data)
        x, first = data[0], isinstance(self._inputs[0], Data)
        other = _single(self._inputs[1 if first else 0])
        shape = np.broadcast_shapes(x.shape, other.shape)
        if math.prod(shape) != x.node.size:
            raise InputError(f"a constant of shape {list(other.shape)} repeats the observation")
        amount = np.array(np.broadcast_to(other, shape).reshape(-1))
        x = Data(x.node, shape)
        if self._op == "Sub" and not first:
            x, amount = x.then(Scale(np.full(x.node.size, -1, np.float32), False)), -amount
        if self._op in ("Add", "Sub"):
            signed = amount if self._op == "Add" else -amount
            return x.then(Shift(signed)) if amount.any() else x
        if self._op == "Div" and (not first or not amount.all()):
            raise InputError("divides by the observation, or by zero")
        return x if (amount == 1).all() else x.then(Scale(amount, self._op == "Div"))

    def _silu(self, data: list[Data]) -> Data:
        """Read x * sigmoid(x); any other product of two values is refused.

        Raises:
            InputError: If it is one.
        """
        for x, gate in (data, data[::-1]):
            is_gate = gate.node.step == Apply(Activation.SIGMOID) and gate.node.parent is x.node
            if self._op == "Mul" and is_gate and x.shape == gate.shape:
                return x.then(Apply(Activation.SILU))
        raise InputError("joins two values that depend on the observation")

    def _clip(self, data: list[Data]) -> Data:
        """Read Clip, Min and Max with constant limits, also as two nodes in a row.

        Raises:
            InputError: If it joins values.
        """
        if len(data) > 1:
            raise InputError("joins two values that depend on the observation")
        x = data[0]
        low, high = self._limits(x)
        step = x.node.step
        if isinstance(step, HalfClip):
            low, high = max(low, step.low), min(high, step.high)
            x = Data(x.node.parent or x.node, x.shape)
        elif step == Apply(Activation.RELU) and low <= 0 < high < math.inf:
            low, x = 0.0, Data(x.node.parent or x.node, x.shape)
        if (low, high) == (-math.inf, math.inf):
            return x
        if (low, high) == (0.0, math.inf):
            return x.then(Apply(Activation.RELU))
        if math.isinf(low) or math.isinf(high):
            return x.then(HalfClip(low, high, self._label))
        return x.then(Apply(Clamp(low, high)))

    def _limits(self, x: Data) -> tuple[float, float]:
        """Return the limits of a clip, infinite where there is none.

        Raises:
            InputError: If they are no two numbers.
        """
        if self._op == "Clip":
            ends = [self._attributes.limit("min", 1), self._attributes.limit("max", 2)]
        else:
            others = [_single(value) for value in self._inputs if value is not x]
            if len(others) != 1 or others[0].size != 1:
                raise InputError("must have one constant limit")
            limit = float(others[0].reshape(-1)[0])
            ends = [None, limit] if self._op == "Min" else [limit, None]
        low = -math.inf if ends[0] is None or ends[0] <= -_LARGEST else ends[0]
        high = math.inf if ends[1] is None or ends[1] >= _LARGEST else ends[1]
        return low, high

    def _activation(self, data: list[Data]) -> AnyActivation:
        """Return the activation of a node.

        Raises:
            InputError: If it is none that is known.
        """
        if self._op in _SIMPLE:
            return _SIMPLE[self._op]
        if self._op == "LeakyRelu":
            return LeakyRelu(self._attributes.number("alpha"))
        if self._op == "PRelu" and data == self._inputs[:1]:
            slopes = np.unique(_single(self._inputs[1]))
            if len(slopes) == 1:
                return LeakyRelu(float(slopes[0]))
            raise InputError("must have one slope for all")
        if self._op == "Elu":
            alpha = self._attributes.number("alpha")
            return Activation.ELU if alpha == 1 else ScaledElu(alpha, 1.0)
        if self._op == "Selu":
            return ScaledElu(self._attributes.number("alpha"), self._attributes.number("gamma"))
        raise InputError("not in the controller operator set")


def _single(value: Value | None) -> Array:
    """Return a constant as float32.

    Raises:
        InputError: If it is no array of floats, or float32 cannot hold it.
    """
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        raise InputError("takes something that is no constant of floats")
    with np.errstate(over="ignore"):
        single = value.astype(np.float32)
    if not np.array_equal(single.astype(np.float64), value.astype(np.float64)):
        raise InputError(f"holds {value.dtype} numbers that float32 cannot hold")
    return single
