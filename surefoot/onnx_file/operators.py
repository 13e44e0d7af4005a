"""What each operator makes of its inputs: constants, moved entries, or a step of the computation.

Operators of constants alone are left to the reference implementation of ONNX. So are those that
only move entries: they are applied to the numbers of the scalars, and no layout needs a case.
"""

from collections.abc import Callable, Mapping

import numpy as np
import onnx

from surefoot.activation import Array
from surefoot.errors import InputError
from surefoot.limits import MAX_SCALARS
from surefoot.onnx_file.computation import Computed, Given, Value
from surefoot.onnx_file.evaluate import evaluate
from surefoot.onnx_file.graph import constant, dense_tensor
from surefoot.onnx_file.node import Node
from surefoot.onnx_file.normalisation import layer_norm, mean, power, reciprocal, root
from surefoot.onnx_file.pointwise import (
    activated,
    batch_norm,
    exponential,
    hard_sigmoid,
    limited,
    negative,
    product,
    total,
)
from surefoot.onnx_file.products import conv, gemm, matmul
from surefoot.onnx_file.recurrent import gru, lstm

FLOATS = {onnx.TensorProto.FLOAT: np.float32, onnx.TensorProto.DOUBLE: np.float64}
"""Types of the data."""

_MOVES = {
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Identity",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
}
"""Operators whose outputs hold entries of their first input."""

_COMPUTES: Mapping[str, Callable[[Node], Value]] = {
    "Add": total,
    "BatchNormalization": batch_norm,
    "Clip": limited,
    "Conv": conv,
    "Div": product,
    "Exp": exponential,
    "Gemm": gemm,
    "HardSigmoid": hard_sigmoid,
    "LayerNormalization": layer_norm,
    "MatMul": matmul,
    "Max": limited,
    "Min": limited,
    "Mul": product,
    "Neg": negative,
    "Pow": power,
    "RMSNormalization": layer_norm,
    "Reciprocal": reciprocal,
    "ReduceMean": mean,
    "Relu": limited,
    "Sqrt": root,
    "Sub": total,
}
"""Operators that are no activations, by name."""

CELLS: Mapping[str, Callable[[Node], list[Value]]] = {"GRU": gru, "LSTM": lstm}
"""Operators that compute several tensors of the observation."""


def outputs_of(node: Node) -> list[Value]:
    """Return the tensors that a node computes.

    Raises:
        InputError: If it is not one that is read.
    """
    if node.op == "Dropout":
        return [_kept(node)]
    if not node.computed:
        return [*_constants(node)]
    if node.op in ("Shape", "Size"):
        return [*evaluate(node.proto, [node.data(0).numbers], node.opset)]
    if node.op in _MOVES:
        return [*_moved(node)]
    if node.op == "Concat":
        return [*_concatenated(node)]
    if node.op == "Cast":
        return [_cast(node)]
    if node.op in CELLS:
        return CELLS[node.op](node)
    return [_COMPUTES.get(node.op, activated)(node)]


def _constants(node: Node) -> list[Array]:
    """Evaluate a node whose inputs are all constants."""
    if node.op == "Constant":
        value, sparse = node.attribute("value"), node.attribute("sparse_value")
        if isinstance(value, onnx.TensorProto):
            return [constant(value, node.label)]
        if isinstance(sparse, onnx.SparseTensorProto):
            return [constant(dense_tensor(sparse, node.label), node.label)]
    inputs = [node.constant(position) for position in range(len(node.inputs))]
    return evaluate(node.proto, inputs, node.opset)


def _kept(node: Node) -> Value:
    """Pass the input of a Dropout through, which drops entries only in training.

    Raises:
        InputError: If it is in training.
    """
    training, x = node.constant(2), node.inputs[0]
    if x is None or (training is not None and training.any()):
        raise InputError("drops entries at random")
    return x


def _moved(node: Node) -> list[Computed]:
    """Apply an operator that only moves entries of its first input.

    Raises:
        InputError: If it keeps nothing.
    """
    parameters = [node.constant(position) for position in range(1, len(node.inputs))]
    moved = evaluate(node.proto, [_as_floats(node.data(0)), *parameters], node.opset, MAX_SCALARS)
    if not all(entry.size for entry in moved):
        raise InputError("keeps nothing")
    return [_from_floats(entry) for entry in moved]


def _concatenated(node: Node) -> list[Computed]:
    """Concatenate the inputs; constants among them become scalars as well."""
    numbers = []
    for position, value in enumerate(node.inputs):
        if not isinstance(value, Computed):
            amount = node.floats(position)
            value = node.add(Given(amount=amount.reshape(-1)), amount.shape)
        numbers.append(_as_floats(value))
    return [_from_floats(entry) for entry in evaluate(node.proto, numbers, node.opset, MAX_SCALARS)]


def _as_floats(x: Computed) -> Array:
    """Return numbers in a type that every operator takes in every opset; exact below 2^53."""
    return x.numbers.astype(np.float64)


def _from_floats(moved: Array) -> Computed:
    return Computed(moved.astype(np.int64))


def _cast(node: Node) -> Computed:
    """Return the data in another type, which it may have been computed in as well.

    Raises:
        InputError: If that is no type of the data.
    """
    kind = node.attribute("to")
    if kind not in FLOATS:
        name = onnx.TensorProto.DataType.Name(int(str(kind)))
        raise InputError(f"casts the observation to {name}: only FLOAT and DOUBLE are read")
    return node.data(0)
