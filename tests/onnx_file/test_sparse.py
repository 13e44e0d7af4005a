"""The sparse form of a controller file: the same numbers, smaller or refused, indices checked."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from support.policies import random_policy
from surefoot.errors import InputError
from surefoot.onnx_file import (
    dense_onnx,
    policy_from_onnx,
    policy_to_onnx,
    read_onnx,
    sparse_onnx,
)
from surefoot.policy import Activation

Move = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""What is done to the indices of a tensor."""

Damage = Callable[[onnx.SparseTensorProto], None]


def canonical(density: float, sizes: tuple[int, ...] = (17, 64, 64, 6)) -> bytes:
    rng = np.random.default_rng(0)
    policy = random_policy(rng, sizes, Activation.RELU)
    for layer in policy.layers:
        layer.weight[...] = rng.normal(size=layer.weight.shape)
        layer.weight[rng.random(layer.weight.shape) >= density] = 0
    return policy_to_onnx(policy, {"env": "Task-v0"})


@pytest.mark.parametrize("density", [0.0, 0.02, 0.1, 0.3])
def test_dense_after_sparse_is_the_identity(density: float) -> None:
    data = canonical(density)
    assert dense_onnx(sparse_onnx(data)) == data


def test_ninety_percent_sparse_is_at_most_a_third_of_the_dense_file() -> None:
    data = canonical(0.1, (17, 256, 256, 6))
    assert len(sparse_onnx(data)) <= 0.35 * len(data)


@pytest.mark.parametrize("density", [0.4, 0.5, 1.0])
def test_a_sparse_file_that_would_not_be_smaller_is_refused(density: float) -> None:
    with pytest.raises(InputError, match="must be smaller than the dense one"):
        sparse_onnx(canonical(density))


def test_a_tensor_becomes_sparse_only_where_that_is_smaller() -> None:
    policy = random_policy(np.random.default_rng(0), (8, 32, 32, 2), Activation.RELU)
    policy.layers[1].weight[:, 3:] = 0
    policy.layers[0].weight[...] = 1
    model = onnx.load_model_from_string(sparse_onnx(policy_to_onnx(policy)))
    assert [tensor.values.name for tensor in model.graph.sparse_initializer] == ["weight_2"]


def test_onnx_runtime_computes_the_same_bits() -> None:
    data = canonical(0.1)
    obs = np.random.default_rng(1).normal(0, 3, (500, 17)).astype(np.float32)
    dense, sparse = (
        ort.InferenceSession(form, providers=["CPUExecutionProvider"]).run(None, {"obs": obs})[0]
        for form in (data, sparse_onnx(data))
    )
    assert (dense == sparse).all()


def test_a_sparse_file_is_no_canonical_file() -> None:
    with pytest.raises(InputError, match="sparse initialisers are not read"):
        policy_from_onnx(sparse_onnx(canonical(0.1)))


def with_indices(change: Move) -> Damage:
    def apply(tensor: onnx.SparseTensorProto) -> None:
        indices = numpy_helper.to_array(tensor.indices).copy()
        tensor.indices.CopyFrom(numpy_helper.from_array(change(indices)))

    return apply


def swap(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    indices[[0, 1]] = indices[[1, 0]]
    return indices


def repeat(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    indices[1] = indices[0]
    return indices


def put(place: int, value: int) -> Move:
    def change(indices: NDArray[np.int64]) -> NDArray[np.int64]:
        indices[place] = value
        return indices

    return change


def with_values(tensor: onnx.SparseTensorProto) -> None:
    values = numpy_helper.to_array(tensor.values).copy()
    values[0] = np.nan
    tensor.values.CopyFrom(numpy_helper.from_array(values, tensor.values.name))


def renamed(tensor: onnx.SparseTensorProto) -> None:
    tensor.values.name = "weight_9"


def one_row(tensor: onnx.SparseTensorProto) -> None:
    tensor.dims[:] = [int(np.prod(tensor.dims))]


def huge(tensor: onnx.SparseTensorProto) -> None:
    tensor.dims[:] = [1 << 20, 1 << 20]


@pytest.mark.parametrize(
    "change",
    [
        with_indices(swap),
        with_indices(repeat),
        with_indices(put(0, -1)),
        with_indices(put(-1, 64 * 64 * 64)),
        with_indices(lambda indices: indices[:-1]),
        with_indices(lambda indices: indices.astype(np.int32)),
        with_values,
        renamed,
        one_row,
        huge,
    ],
)
def test_damaged_indices_or_values_are_refused(
    change: Damage, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load_model_from_string(sparse_onnx(canonical(0.1)))
    change(model.graph.sparse_initializer[0])
    data = model.SerializeToString()
    with pytest.raises(InputError, match=r"policy\.sparse\.onnx"):
        dense_onnx(data)
    # Our own check holds where that of the onnx package does not look, or is not asked.
    monkeypatch.setattr(onnx.checker, "check_model", lambda *args, **kwargs: None)
    with pytest.raises(InputError, match=r"policy\.sparse\.onnx"):
        dense_onnx(data)


@pytest.mark.parametrize("name", [b"weight_2", b"bias_1"])
@pytest.mark.parametrize("read", [dense_onnx, lambda data: read_onnx(data, "policy.sparse.onnx")])
def test_a_name_that_is_no_text_is_refused(read: Callable[[bytes], object], name: bytes) -> None:
    data = sparse_onnx(canonical(0.1))
    hostile = data.replace(name, name[:-1] + b"\xff")
    assert hostile != data
    with pytest.raises(InputError, match="the names in its graph must be UTF-8"):
        read(hostile)
