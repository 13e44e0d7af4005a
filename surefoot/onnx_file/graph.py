"""What every reader and writer of controller files shares: names, versions, bytes to tensors."""

import math
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

from surefoot.errors import InputError
from surefoot.limits import MAX_ENTRIES, MAX_NODES
from surefoot.onnx_file.wire import require_light
from surefoot.policy import Array

POLICY_FILE, SPARSE_FILE = "policy.onnx", "policy.sparse.onnx"
INPUT, STATE, OUTPUT = "obs", "state", "actions"
MEMORY = "memory"
"""Output of a recurrent controller: the last sensors of the next step."""

# ONNX Runtime 1.31 refuses what the onnx package writes by default (IR 14, opset 28).
OPSET, IR_VERSION = 17, 8
# From Clip with limits as inputs to the newest opset that ONNX Runtime 1.31 runs; within it the
# operators of the controller set mean the same.
READ_OPSETS = range(11, 27)
OWN_DOMAINS = ("", "ai.onnx")
"""Both names of the domain of ONNX's own operators."""

PRODUCER = "surefoot"
PREFIX = "surefoot."


def parse_onnx(data: bytes, name: str, opsets: range = READ_OPSETS) -> onnx.ModelProto:
    """Parse and check ONNX bytes.

    Raises:
        InputError: If they are no ONNX file, or one that is not read.
    """
    model = parse_unchecked(data, name)
    check_model(model, name, opsets)
    return model


def parse_unchecked(data: bytes, name: str) -> onnx.ModelProto:
    """Parse ONNX bytes whose constants may still lie in other files.

    Raises:
        InputError: If they are no protobuf of a model, or one with more than a controller may have.
    """
    require_light(data, name)
    try:
        return onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's own errors differ between its implementations
        raise InputError(f"{name} is not a valid ONNX file: {first_line(error)}") from error


def check_model(model: onnx.ModelProto, name: str, opsets: range) -> int:
    """Check a model, and return the version of its operators.

    Raises:
        InputError: If it is no valid model, or one whose size or opset is not read.
    """
    if len(model.graph.node) > MAX_NODES:
        raise InputError(
            f"{name}: must have at most {MAX_NODES} nodes, has {len(model.graph.node)}"
        )
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # of several classes, some of them of protobuf
        raise InputError(f"{name} is not a valid ONNX file: {first_line(error)}") from error
    # Protobuf gives bytes where a string is no UTF-8, and onnx lets them pass.
    if not all(isinstance(entry, str) for entry in _names(model.graph)):
        raise InputError(f"{name}: the names in its graph must be UTF-8")
    # The domain of ONNX's own operators has two names, and a file may import both.
    versions = {entry.version for entry in model.opset_import if entry.domain in OWN_DOMAINS}
    if len(versions) != 1 or not versions <= set(opsets):
        raise InputError(
            f"{name}: opset must be {opsets[0]} to {opsets[-1]}, got {sorted(versions)}"
        )
    return int(versions.pop())


def properties_of(model: onnx.ModelProto) -> dict[str, str]:
    """Return the metadata that other tools wrote into a file, text by key.

    protobuf gives bytes where a text is not UTF-8: such an entry is left out.
    """
    return {
        entry.key: entry.value
        for entry in model.metadata_props
        if isinstance(entry.key, str)
        and isinstance(entry.value, str)
        and not entry.key.startswith(PREFIX)
    }


def _names(graph: onnx.GraphProto) -> Iterator[object]:
    """Yield every name of a graph by which something is looked up or written again."""
    tensors = [*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer)]
    for named in (*tensors, *graph.input, *graph.output, *graph.node):
        yield named.name
    for node in graph.node:
        yield from (*node.input, *node.output, node.op_type, node.domain)
        for attribute in node.attribute:
            yield from (attribute.name, attribute.t.name, attribute.sparse_tensor.values.name)


def dense_tensor(sparse: onnx.SparseTensorProto, name: str) -> onnx.TensorProto:
    """Return a sparse tensor as a dense one.

    Raises:
        InputError: If its indices are not strictly increasing and in range, or it is no matrix.
    """
    label = f"{name}: sparse constant {sparse.values.name!r}"
    size = math.prod(sparse.dims)
    if len(sparse.dims) != 2 or not 0 < size <= MAX_ENTRIES:
        raise InputError(f"{label} must be a matrix, has shape {list(sparse.dims)}")
    if sparse.indices.data_type != onnx.TensorProto.INT64:
        raise InputError(f"{label}: indices must be INT64 (7), have {sparse.indices.data_type}")
    values = float_constant(sparse.values, name)
    try:
        indices = numpy_helper.to_array(sparse.indices)
    except ValueError as error:
        raise InputError(f"{label}: indices cannot be read: {error}") from error
    if indices.shape != values.shape or values.ndim != 1:
        raise InputError(f"{label}: must have one index for each value, in one row")
    if (np.diff(indices) <= 0).any() or ((indices < 0) | (indices >= size)).any():
        raise InputError(f"{label}: indices must be strictly increasing and below {size}")
    array = np.zeros(size, np.float32)
    array[indices] = values
    return numpy_helper.from_array(array.reshape(tuple(sparse.dims)), sparse.values.name)


def float_constant(tensor: onnx.TensorProto, name: str) -> Array:
    """Return a finite float32 tensor as an array.

    Raises:
        InputError: If it is of another type, lies in another file, is damaged or not finite.
    """
    if tensor.data_type != onnx.TensorProto.FLOAT:
        raise InputError(
            f"{name}: constant {tensor.name!r} must be FLOAT (1), has type {tensor.data_type}"
        )
    array = _array(tensor, name)
    if not np.isfinite(array).all():
        raise InputError(f"{name}: constant {tensor.name!r} must be finite, has NaN or infinity")
    return array


def constant(tensor: onnx.TensorProto, name: str) -> Array:
    """Return a tensor of any type as an array, which may hold infinity: a limit of a clip.

    Raises:
        InputError: If it lies in another file, is damaged or has NaN.
    """
    array = _array(tensor, name)
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise InputError(f"{name}: constant {tensor.name!r} must hold numbers, has NaN")
    return array


def _array(tensor: onnx.TensorProto, name: str) -> Array:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise InputError(f"{name}: constant {tensor.name!r} lies in another file")
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{name}: constant {tensor.name!r} cannot be read: {error}") from error


def first_line(error: Exception) -> str:
    """Return the first line of an error, or its class where it says nothing."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
