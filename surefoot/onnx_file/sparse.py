"""The sparse form of a canonical file: the same numbers, fewer bytes, no speed."""

import numpy as np
import onnx
from onnx import numpy_helper

from surefoot.errors import InputError
from surefoot.onnx_file.graph import INPUT, SPARSE_FILE, dense_tensor, parse_onnx

_SPARSE_BYTES = 12  # of a weight in a sparse file: 4 for its value, 8 for its index


def sparse_onnx(data: bytes) -> bytes:
    """Return a canonical file with sparse weights: the same numbers, fewer bytes, no speed.

    A weight becomes a sparse initialiser (linear, sorted INT64 indices) where 12 bytes for each
    non-zero are less than 4 for each number. ONNX Runtime makes it dense again when it loads it;
    the checker's full check, the reference evaluator and TensorRT do not read such files.

    Args:
        data: A canonical file, as :func:`policy_to_onnx` wrote it.

    Raises:
        InputError: If the file would not be smaller, which needs a density below about a third.
    """
    model = parse_onnx(data, "the ONNX file")
    dense = list(model.graph.initializer)
    del model.graph.initializer[:]
    for tensor in dense:
        sparse = _sparse_tensor(tensor)
        if sparse is not None:
            model.graph.sparse_initializer.append(sparse)
        else:
            model.graph.initializer.append(tensor)
    written = bytes(model.SerializeToString(deterministic=True))
    if len(written) >= len(data):
        raise InputError(
            f"a sparse ONNX file must be smaller than the dense one: {len(written)} bytes are not "
            f"less than {len(data)}; it pays below a density of about 1/3"
        )
    onnx.checker.check_model(onnx.load_model_from_string(written))
    if dense_onnx(written) != data:
        raise InputError("the ONNX file is not canonical: its sparse form does not restore it")
    return written


def dense_onnx(data: bytes, name: str = SPARSE_FILE) -> bytes:
    """Return the canonical file of a sparse one, byte for byte, after an own check of its indices.

    ONNX Runtime loads unsorted and duplicate indices without a word; what the weights are is then
    anybody's guess.

    Args:
        data: A file, as :func:`sparse_onnx` wrote it.
        name: How error messages call it.

    Raises:
        InputError: If it is no ONNX file, or an index or value is not as it must be.
    """
    model = parse_onnx(data, name)
    tensors = [*model.graph.initializer]
    tensors += [dense_tensor(sparse, name) for sparse in model.graph.sparse_initializer]
    by_name = {tensor.name: tensor for tensor in tensors}
    computed = {INPUT, *(entry for node in model.graph.node for entry in node.output)}
    used = [entry for node in model.graph.node for entry in node.input if entry not in computed]
    if len(by_name) != len(tensors) or sorted(by_name) != sorted(used):
        raise InputError(f"{name}: its constants are not those that its nodes use")
    del model.graph.initializer[:]
    del model.graph.sparse_initializer[:]
    # The canonical file has its constants in the order in which the nodes take them.
    model.graph.initializer.extend(by_name[entry] for entry in used)
    return bytes(model.SerializeToString(deterministic=True))


def _sparse_tensor(tensor: onnx.TensorProto) -> onnx.SparseTensorProto | None:
    """Return a matrix as a sparse tensor, or None where that is no smaller."""
    array = numpy_helper.to_array(tensor)
    places = np.flatnonzero(array)  # sorted and unique
    if array.ndim != 2 or _SPARSE_BYTES * len(places) >= 4 * array.size:
        return None
    values = numpy_helper.from_array(array.reshape(-1)[places], tensor.name)
    indices = numpy_helper.from_array(places.astype(np.int64))
    return onnx.helper.make_sparse_tensor(values, indices, list(array.shape))
