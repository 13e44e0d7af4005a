"""What a node makes of constants, as the reference implementation of ONNX computes it."""

import math
import warnings
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.shape_inference import infer_node_outputs

from surefoot.activation import Array
from surefoot.errors import InputError
from surefoot.limits import MAX_ENTRIES
from surefoot.onnx_file.graph import IR_VERSION

_NOT_FOLDED = {
    "Bernoulli",
    "If",
    "Loop",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Scan",
}
"""Operators whose result is random, or that of a graph of their own."""

_LARGER_WITHIN = {
    "AffineGrid",
    "AveragePool",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "DeformConv",
    "Einsum",
    "GRU",
    "LSTM",
    "LpPool",
    "MaxPool",
    "MaxRoiPool",
    "QLinearConv",
    "RNN",
    "Resize",
    "RoiAlign",
    "Upsample",
}
"""Operators that may take far longer than what they take and give lets expect.

A window may be wider than all there is, and a sum over indices or a recurrence as long as it likes.
No exporter makes the constants of a controller by them.
"""

_NEVER_LARGER = {"Compress", "NonZero", "Reshape", "Slice", "Split", "Squeeze", "Unique"}
"""Operators whose results cannot be much larger than their inputs, whatever their parameters."""

_LARGEST_PARAMETER = 64
"""Entries of a tensor whose values may decide the shape of another one."""


def evaluate(
    node: onnx.NodeProto,
    inputs: Sequence[Array | None],
    opset: int,
    most_entries: int = MAX_ENTRIES,
) -> list[Array]:
    """Return the outputs of a node.

    Args:
        node: A node whose operator is in ONNX's own domain.
        inputs: A constant for each of its inputs, None where one is left out.
        opset: Version of ONNX's own domain.
        most_entries: Largest number of entries of an output.

    Raises:
        InputError: If it has no one result, or one that is too large to be made.
    """
    if node.op_type in _NOT_FOLDED | _LARGER_WITHIN:
        raise InputError("not in the controller operator set")
    plain = onnx.NodeProto()
    plain.CopyFrom(node)
    plain.domain = ""
    given = {
        name: array for name, array in zip(node.input, inputs, strict=True) if array is not None
    }
    shapes = _shapes(plain, given, opset, most_entries)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = ReferenceEvaluator(_model_of(plain, opset)).run(None, given)
    arrays = [_numbers(result) for result in results]
    for array, shape in zip(arrays, shapes, strict=True):
        if shape is not None and array.shape != shape:
            raise InputError(f"makes a tensor of shape {list(array.shape)}, not {list(shape)}")
    return arrays


def _model_of(node: onnx.NodeProto, opset: int) -> onnx.ModelProto:
    """Return a model of one node; given a node alone, the evaluator does not look at the opset."""
    graph = onnx.GraphProto(
        name="node",
        node=[node],
        input=[onnx.ValueInfoProto(name=name) for name in dict.fromkeys(node.input) if name],
        output=[onnx.ValueInfoProto(name=name) for name in node.output],
    )
    return onnx.ModelProto(
        ir_version=IR_VERSION, graph=graph, opset_import=[helper.make_opsetid("", opset)]
    )


def _shapes(
    node: onnx.NodeProto, given: dict[str, Array], opset: int, most_entries: int
) -> list[tuple[int, ...] | None]:
    """Return the shapes of the outputs before anything is computed.

    Raises:
        InputError: If one is unknown or too large.
    """
    types = {
        name: helper.make_tensor_type_proto(
            helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in given.items()
    }
    parameters = {
        name: numpy_helper.from_array(array, name)
        for name, array in given.items()
        if array.size <= _LARGEST_PARAMETER
    }
    found = infer_node_outputs(
        onnx.defs.get_schema(node.op_type, opset),
        node,
        types,
        parameters,
        opset_imports=[helper.make_opsetid("", opset)],
    )
    tensors = [found[name].tensor_type for name in node.output]
    return [_known_shape(node, tensor.shape, most_entries) for tensor in tensors]


def _known_shape(
    node: onnx.NodeProto, shape: onnx.TensorShapeProto, most_entries: int
) -> tuple[int, ...] | None:
    """Return a shape, None where it depends on values but cannot be large.

    Raises:
        InputError: If it may be too large.
    """
    if not all(dim.HasField("dim_value") for dim in shape.dim):
        if node.op_type in _NEVER_LARGER:
            return None
        raise InputError("makes a constant of unknown shape")
    sizes = tuple(dim.dim_value for dim in shape.dim)
    # A size of zero empties the result, but perhaps only after the others were made.
    if math.prod(size for size in sizes if size) > most_entries:
        raise InputError(f"makes a tensor of shape {list(sizes)}, more than is read")
    return sizes


def _numbers(result: object) -> Array:
    array = np.asarray(result)
    if array.dtype.kind not in "fiub":
        raise InputError(f"makes something that is no tensor of numbers: {type(result).__name__}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError("makes a constant that is not finite")
    return array
