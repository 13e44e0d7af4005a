"""Operators that only move entries or fold constants, on NumPy arrays.

A move is applied alike to constants and to the numbers of the data's components. Constants are
folded by operations that are exact or correctly rounded, so that any runtime gets the same numbers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce

import numpy as np
import onnx
from onnx import helper

from surefoot.activation import Array
from surefoot.errors import InputError
from surefoot.onnx_file.graph import constant, dense_tensor

_MOST_ENTRIES = 2**26
"""Largest tensor that a constant expression may make."""


class Attributes:
    """The parameters of a node, whether its opset has them as attributes or as inputs."""

    def __init__(
        self, node: onnx.NodeProto, opset: int, inputs: Sequence[object], label: str
    ) -> None:
        self.label = label
        self.num_outputs = len(node.output)
        self.inputs = inputs
        self._given = {entry.name: entry for entry in node.attribute}
        self._schema = onnx.defs.get_schema(node.op_type, opset).attributes

    def get(self, key: str) -> object:
        """Return an attribute, or its default in this opset, or None."""
        if key in self._given:
            return helper.get_attribute_value(self._given[key])
        if key in self._schema and (default := self._schema[key].default_value).name:
            return helper.get_attribute_value(default)
        return None

    def integer(self, key: str) -> int:
        """Return a whole number, 0 if there is none."""
        value = self.get(key)
        return value if isinstance(value, int) else 0

    def number(self, key: str) -> float:
        """Return a real number that the opset has a default for.

        Raises:
            InputError: If it has none.
        """
        value = self.get(key)
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise InputError(f"attribute {key} must be a finite number, got {value!r}")
        return float(value)

    def constant_input(self, position: int) -> Array | None:
        """Return a constant input, None if it is not given.

        Raises:
            InputError: If it is computed from the observation.
        """
        value = self.inputs[position] if position < len(self.inputs) else None
        if value is not None and not isinstance(value, np.ndarray):
            raise InputError("a parameter depends on the observation")
        return value

    def integers(self, key: str, position: int) -> list[int] | None:
        """Return whole numbers that are an attribute in some opsets and an input in others.

        Raises:
            InputError: If they are something else.
        """
        value = self.get(key)
        if value is None and (given := self.constant_input(position)) is not None:
            value = given.reshape(-1).tolist()
        if value is None:
            return None
        numbers = list(value) if isinstance(value, Sequence) else [value]
        whole = [entry for entry in numbers if isinstance(entry, int)]
        if len(whole) < len(numbers):
            raise InputError(f"{key} must be whole numbers, got {numbers}")
        return whole

    def limit(self, key: str, position: int) -> float | None:
        """Return a scalar that is an attribute in some opsets and an input in others.

        Raises:
            InputError: If it is a vector.
        """
        if (given := self.constant_input(position)) is not None:
            if given.size != 1:
                raise InputError(f"{key} must be one number")
            return float(given.reshape(-1)[0])
        value = self.get(key)
        return value if isinstance(value, float) else None

    def text(self, key: str) -> str:
        """Return a text, empty if there is none."""
        value = self.get(key)
        return value.decode() if isinstance(value, bytes) else ""

    def tensor(self, name: str) -> Array:
        """Return the value of a Constant node.

        Raises:
            InputError: If it is of a kind that is not read.
        """
        value = self.get("value")
        if isinstance(value, onnx.TensorProto):
            return constant(value, name)
        sparse = self.get("sparse_value")
        if isinstance(sparse, onnx.SparseTensorProto):
            return constant(dense_tensor(sparse, name), name)
        kinds = {"float": np.float32, "floats": np.float32, "int": np.int64, "ints": np.int64}
        for key, kind in kinds.items():
            if (number := self.get(f"value_{key}")) is not None:
                return np.array(number, kind)
        raise InputError("holds no tensor of numbers")


def _reshape(node: Attributes, x: Array) -> list[Array]:
    shape = node.integers("shape", 1) or []
    keeps = not node.integer("allowzero")
    return [x.reshape([x.shape[k] if keeps and s == 0 else s for k, s in enumerate(shape)])]


def _flatten(node: Attributes, x: Array) -> list[Array]:
    axis = node.integer("axis")
    axis = axis + x.ndim if axis < 0 else axis
    return [x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))]


def _squeeze(node: Attributes, x: Array) -> list[Array]:
    axes = node.integers("axes", 1)
    return [np.squeeze(x, axis=None if axes is None else tuple(axes))]


def _unsqueeze(node: Attributes, x: Array) -> list[Array]:
    return [np.expand_dims(x, tuple(node.integers("axes", 1) or ()))]


def _transpose(node: Attributes, x: Array) -> list[Array]:
    return [np.transpose(x, node.integers("perm", 1))]


def _slice(node: Attributes, x: Array) -> list[Array]:
    starts, ends = node.integers("starts", 1) or [], node.integers("ends", 2) or []
    axes = node.integers("axes", 3) or list(range(len(starts)))
    steps = node.integers("steps", 4) or [1] * len(starts)
    cuts = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        # From the front a negative step ends before the first entry, which Python calls None.
        last = None if step < 0 and end < -x.shape[axis] else end
        cuts[axis] = slice(start, last, step)
    return [x[tuple(cuts)]]


def _split(node: Attributes, x: Array) -> list[Array]:
    axis, count = node.integer("axis"), node.num_outputs
    sizes = node.integers("split", 1)
    if sizes is None:
        chunk = -(-x.shape[axis] // count)
        sizes = [*[chunk] * (count - 1), x.shape[axis] - chunk * (count - 1)]
    if len(sizes) != count or sum(sizes) != x.shape[axis] or min(sizes) < 0:
        raise InputError(f"must split {x.shape[axis]} entries into {count} parts, got {sizes}")
    return list(np.split(x, np.cumsum(sizes)[:-1], axis=axis))


def _gather(node: Attributes, x: Array) -> list[Array]:
    indices = node.constant_input(1)
    if indices is None or indices.dtype.kind not in "iu":
        raise InputError("must have whole numbers as indices")
    return [np.asarray(np.take(x, indices, axis=node.integer("axis")))]


def _expand(node: Attributes, x: Array) -> list[Array]:
    shape = np.broadcast_shapes(x.shape, tuple(node.integers("shape", 1) or ()))
    return [np.broadcast_to(x, _bounded(shape))]


def _dropout(node: Attributes, x: Array) -> list[Array]:
    training = node.constant_input(2)
    if training is not None and training.any():
        raise InputError("drops entries at random")
    return [x]


MOVES: Mapping[str, Callable[[Attributes, Array], list[Array]]] = {
    "Identity": lambda node, x: [x],
    "Dropout": _dropout,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
    "Expand": _expand,
}
"""Operators whose outputs hold entries of their first input, by name."""

_ARITHMETIC: Mapping[str, Callable[..., Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Neg": np.negative,
    "Abs": np.abs,
    "Sqrt": np.sqrt,
    "Max": np.maximum,
    "Min": np.minimum,
}


def folded(node: Attributes, op: str) -> list[Array]:
    """Return what an operator makes of constants alone.

    Raises:
        InputError: If it is none that is folded, or makes a number that is not finite.
    """
    inputs = [value for value in node.inputs if isinstance(value, np.ndarray)]
    if op == "Constant":
        return [node.tensor(node.label)]
    if op in MOVES:
        return MOVES[op](node, inputs[0])
    if op == "Shape":
        return [shape_of(node, inputs[0].shape)]
    if op == "Concat":
        return [np.concatenate(inputs, axis=node.integer("axis"))]
    if op == "Cast":
        kind = helper.tensor_dtype_to_np_dtype(node.integer("to"))
        with np.errstate(all="ignore"):
            return [_finite(inputs[0].astype(_plain(kind)))]
    if op == "ConstantOfShape":
        shape = _bounded(tuple(int(entry) for entry in inputs[0].reshape(-1)))
        value = node.get("value")
        fill = constant(value, node.label) if isinstance(value, onnx.TensorProto) else np.float32(0)
        return [np.full(shape, fill.reshape(-1)[0])]
    if op in _ARITHMETIC:
        return [_arithmetic(op, inputs)]
    raise InputError("not in the controller operator set")


def shape_of(node: Attributes, shape: tuple[int, ...]) -> Array:
    """Return what a Shape node makes of a tensor of this shape; it may ask for a part of it."""
    end = node.get("end")
    return np.array(shape[node.integer("start") : end if isinstance(end, int) else None], np.int64)


def _arithmetic(op: str, inputs: list[Array]) -> Array:
    kinds = {entry.dtype for entry in inputs}
    if len(kinds) != 1:
        raise InputError("takes constants of different types")
    _bounded(np.broadcast_shapes(*(entry.shape for entry in inputs)))
    if op == "Div" and inputs[0].dtype.kind != "f":
        if any((entry <= 0).any() for entry in inputs):
            raise InputError("divides whole numbers that are not positive")
        return np.asarray(inputs[0] // inputs[1])
    with np.errstate(all="ignore"):
        if op in ("Max", "Min"):  # of any number; NumPy would write into a third one
            return _finite(np.asarray(reduce(_ARITHMETIC[op], inputs)))
        return _finite(np.asarray(_ARITHMETIC[op](*inputs)))


def _plain(kind: np.dtype) -> np.dtype:
    if kind.kind not in "fiub":
        raise InputError(f"casts to {kind}")
    return kind


def _finite(array: Array) -> Array:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError("makes a constant that is not finite")
    return array


def _bounded(shape: tuple[int, ...]) -> tuple[int, ...]:
    if math.prod(shape) > _MOST_ENTRIES or min(shape, default=1) < 0:
        raise InputError(f"makes a constant of shape {list(shape)}, more than is read")
    return shape
