"""Laws of `surefoot.onnx_file.foreign`: what is read is what ONNX Runtime computes.

A random controller is written in a random one of very many encodings. The oracle is ONNX Runtime on
the very bytes, within the bound on its rounding.

Also of ``onnx_file/moves.py``, ``onnx_file/operators.py``, ``onnx_file/node.py``,
``onnx_file/pointwise.py`` and ``onnx_file/products.py``.
"""

import math
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from support.policies import random_policy
from surefoot.activation import Activation, AnyActivation, Clamp, LeakyRelu, ScaledElu
from surefoot.errors import InputError, IntegrityError
from surefoot.onnx_file import policy_to_onnx, read_onnx, read_path
from surefoot.policy import Array, Normaliser, Policy, Squash, weights_sha256
from surefoot.runtime.arithmetic import runtime_error

OPSETS = [9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 21, 22, 23, 24, 25, 26]
SHAPES = {"row": [1], "batch": ["N"], "vector": [], "column": None, "rows": [1, 1]}
GO1 = Path(os.environ.get("SUREFOOT_TEST_CONTROLLERS", "controllers")) / "go1_policy.onnx"
"""A controller of mujoco_playground (Apache-2.0); it is not part of this project."""


class Writer:
    """Writes one controller in one random encoding."""

    def __init__(
        self,
        rng: np.random.Generator,
        opset: int | None = None,
        shape: str | None = None,
        inputs_too: bool | None = None,
    ) -> None:
        self.rng = rng
        self.opset = int(rng.choice(OPSETS)) if opset is None else opset
        self.shape = str(rng.choice([*SHAPES])) if shape is None else shape
        self.inputs_too = bool(rng.random() < 0.15) if inputs_too is None else inputs_too
        self.nodes, self.constants, self.names = [], [], 0

    def maybe(self, chance: float = 0.5) -> bool:
        return bool(self.rng.random() < chance)

    def name(self) -> str:
        self.names += 1
        return f"t{self.names}"

    def node(
        self, op: str, inputs: list[str], count: int = 1, **attributes: float | list[int]
    ) -> str:
        outputs = [self.name() for _ in range(count)]
        label = f"{op}_{self.names}" if self.maybe() else ""
        self.nodes.append(helper.make_node(op, inputs, outputs, name=label, **attributes))
        return outputs[0] if count == 1 else outputs

    def constant(self, array: np.float32 | Array) -> str:
        """A constant in a random encoding: raw, typed, a node, or an expression of constants."""
        array = np.asarray(array)
        kind = self.rng.integers(6) if array.dtype == np.float32 else self.rng.integers(3)
        if kind == 5 and array.ndim == 2:
            return self.node("Transpose", [self.constant(array.T.copy())], perm=[1, 0])
        if kind == 4:
            wide = self.constant(array.astype(np.float64))
            return self.node("Cast", [wide], to=TensorProto.FLOAT)
        if kind == 3 and array.size:
            shape = self.constant(np.array(array.shape, np.int64))
            return self.node("Reshape", [self.constant(array.reshape(-1)), shape])
        name = self.name()
        if kind == 0 or self.inputs_too:
            self.constants.append(numpy_helper.from_array(array, name))
        elif kind == 1:
            data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
            flat = array.reshape(-1).tolist()
            self.constants.append(helper.make_tensor(name, data_type, array.shape, flat))
        else:
            tensor = numpy_helper.from_array(array, "value")
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        return name

    def wrap(self, value: str, width: int) -> str:
        """Insert a node that changes nothing, or the shape and back."""
        kind = self.rng.integers(8)
        if kind == 0:
            return self.node("Identity", [value])
        if kind == 1:
            return self.node("Cast", [value], to=TensorProto.FLOAT)
        if kind == 2 and self.shape in ("row", "batch"):
            return self.node("Flatten", [value])
        if kind == 3 and self.shape == "batch":  # as torch writes x.view(x.size(0), -1)
            if self.opset >= 15 and self.maybe():
                rows = self.node("Shape", [value], start=0, end=-1)
            else:
                shape = self.node("Shape", [value])
                rows = self.unsqueeze(self.node("Gather", [shape, self.constant(np.int64(0))]), [0])
            rest = self.constant(np.array([-1], np.int64))
            return self.node("Reshape", [value, self.node("Concat", [rows, rest], axis=0)])
        if kind == 4 and self.shape == "batch":
            return self.squeeze(self.unsqueeze(value, [1]), [1])
        if kind == 5 and self.shape == "row":
            moved = self.node("Transpose", [value], perm=[1, 0])
            return self.node("Reshape", [moved, self.constant(np.array([1, width], np.int64))])
        if kind == 6:
            return self.node("Dropout", [value])
        return value

    def unsqueeze(self, value: str, axes: list[int]) -> str:
        if self.opset < 13:
            return self.node("Unsqueeze", [value], axes=axes)
        return self.node("Unsqueeze", [value, self.constant(np.array(axes, np.int64))])

    def squeeze(self, value: str, axes: list[int]) -> str:
        if self.opset < 13:
            return self.node("Squeeze", [value], axes=axes)
        return self.node("Squeeze", [value, self.constant(np.array(axes, np.int64))])

    def vector(self, array: NDArray[np.float32]) -> str:
        """A constant that stands beside the data: its own shape, scalars where all are equal."""
        array = np.asarray(array, np.float32)
        if self.shape == "column":
            return self.constant(array[:, None])
        if (array == array[0]).all() and self.maybe():
            return self.constant(array[0])
        return self.constant(array[None] if self.shape != "vector" and self.maybe() else array)

    def affine(self, value: str, weight: Array, bias: Array) -> str:
        weight, bias = weight.astype(np.float32), bias.astype(np.float32)
        if self.shape == "column":
            product = self.node("MatMul", [self.constant(weight), value])
            return self.node("Add", [product, self.vector(bias)])
        if self.shape in ("row", "batch") and self.maybe():
            inputs, trans = [value, self.constant(weight.T.copy())], {}
            if self.maybe():
                inputs, trans = [value, self.constant(weight)], {"transB": 1}
            if self.maybe(0.3):  # powers of two, so that both say the same
                inputs[1] = self.constant((2 * weight) if trans else (2 * weight).T.copy())
                trans["alpha"] = 0.5
            if self.opset >= 11 and self.maybe(0.3):
                return self.node("Add", [self.node("Gemm", inputs, **trans), self.vector(bias)])
            return self.node("Gemm", [*inputs, self.constant(bias)], **trans)
        if self.shape in ("row", "batch") and self.maybe(0.3):  # 1x1 convolution
            image = self.unsqueeze(value, [2, 3])
            kernel = self.constant(weight[:, :, None, None])
            image = self.node("Conv", [image, kernel, self.constant(bias)], kernel_shape=[1, 1])
            return self.squeeze(image, [2, 3])
        product = self.node("MatMul", [value, self.constant(weight.T.copy())])
        pair = [product, self.vector(bias)]
        return self.node("Add", pair[::-1] if self.maybe() else pair)

    def clip(self, value: str, low: float, high: float) -> str:
        low, high = np.float32(low), np.float32(high)
        if self.opset < 11:
            return self.node("Clip", [value], min=float(low), max=float(high))
        if self.opset >= 12 and self.maybe(0.3):
            return self.node(
                "Min", [self.constant(high), self.node("Max", [value, self.constant(low)])]
            )
        return self.node("Clip", [value, self.constant(low), self.constant(high)])

    def activation(self, value: str, activation: AnyActivation) -> str:
        match activation:
            case Activation.IDENTITY:
                return value
            case Activation.SILU:
                pair = [value, self.node("Sigmoid", [value])]
                return self.node("Mul", pair[::-1] if self.maybe() else pair)
            case LeakyRelu(alpha):
                if self.maybe(0.3):
                    return self.node("PRelu", [value, self.constant(np.float32([alpha]))])
                default = alpha == float(np.float32(0.01)) and self.maybe()
                return self.node("LeakyRelu", [value], **({} if default else {"alpha": alpha}))
            case ScaledElu(alpha, gamma):
                if gamma == 1:
                    return self.node("Elu", [value], alpha=alpha)
                return self.node("Selu", [value], alpha=alpha, gamma=gamma)
            case Clamp(low, high):
                return self.clip(value, low, high)
            case _:
                return self.node(activation.value.capitalize(), [value])

    def normaliser(self, value: str, normaliser: Normaliser) -> str:
        mean, scale = normaliser.mean, normaliser.scale
        if self.maybe():
            value = self.node("Sub", [value, self.vector(mean)])
        else:
            value = self.node("Add", [self.vector(-mean), value])
        if self.maybe():
            value = self.node("Div", [value, self.vector(scale)])
        else:
            value = self.node("Mul", [value, self.vector(np.float32(1) / scale)])
        if math.isfinite(normaliser.clip):
            return self.clip(value, -normaliser.clip, normaliser.clip)
        return value

    def mean_part(self, value: str, width: int, start: int) -> str:
        """Take the mean, entries from ``start`` on, of a mean and log-deviation output."""
        axis, kind = (-2 if self.shape == "column" else -1), self.rng.integers(3)
        if kind == 0:
            if self.opset < 13:
                return self.node("Split", [value], 2, axis=axis, split=[width, width])[start > 0]
            sizes = self.constant(np.array([width, width], np.int64))
            return self.node("Split", [value, sizes], 2, axis=axis)[start > 0]
        if kind == 1:
            if self.opset < 10:
                return self.node(
                    "Slice", [value], starts=[start], ends=[start + width], axes=[axis]
                )
            cuts = [
                self.constant(np.array([entry], np.int64)) for entry in (start, start + width, axis)
            ]
            return self.node("Slice", [value, *cuts])
        return self.node("Gather", [value, self.constant(start + np.arange(width))], axis=axis)

    def controller(self, policy: Policy, wide: NDArray[np.float64] | None = None) -> bytes:
        """Return the bytes of a file that computes the policy."""
        width = policy.obs_dim
        value = self.normaliser(self.wrap("observation", width), policy.normaliser)
        for layer in policy.layers[:-1]:
            value = self.affine(self.wrap(value, width), layer.weight, layer.bias)
            value, width = self.activation(value, layer.activation), len(layer.bias)
        last, head = policy.layers[-1], policy.head
        weight, bias = last.weight, last.bias
        if wide is not None:
            start = len(bias) * int(self.rng.integers(2))
            order = 1 if start == 0 else -1
            weight = np.concatenate([weight, wide][::order])
            bias = np.concatenate([bias, wide[:, 0]][::order])
        value = self.affine(value, weight, bias)
        if wide is not None:
            value = self.mean_part(value, policy.num_outputs, start)
        if head.squash is Squash.TANH:
            value = self.node("Tanh", [value])
        elif head.squash is Squash.CLIP:
            value = self.clip(value, -1, 1)
        if self.maybe(0.7):
            if self.maybe():
                value = self.node("Mul", [value, self.vector(head.half_range)])
            else:
                value = self.node("Div", [value, self.vector(np.float32(1) / head.half_range)])
            value = self.node("Add", [value, self.vector(head.centre)])
        value = self.node("Identity", [self.wrap(value, policy.num_outputs)])
        return self.model(value, policy.obs_dim)

    def model(self, output: str, obs_dim: int) -> bytes:
        dims = [obs_dim, 1] if self.shape == "column" else [*SHAPES[self.shape], obs_dim]
        if self.shape == "rows":
            dims = [1, 1, obs_dim]
        inputs = [helper.make_tensor_value_info("observation", TensorProto.FLOAT, dims)]
        if self.inputs_too:
            inputs += [
                helper.make_tensor_value_info(entry.name, entry.data_type, entry.dims)
                for entry in self.constants
            ]
        graph = helper.make_graph(
            self.nodes,
            "net",
            inputs,
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, list("abc")[: len(dims)])],
            self.constants,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", self.opset)],
            ir_version=3 if self.inputs_too else int(self.rng.choice([6, 8, 10, 13])),
            producer_name="somebody",
        )
        return model.SerializeToString()


def session_of(data: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def on_runtime(data: bytes, obs: NDArray[np.float32]) -> NDArray[np.float32]:
    session = session_of(data)
    entry = session.get_inputs()[0]
    shape = [size if isinstance(size, int) else 1 for size in entry.shape]
    rows = [session.run(None, {entry.name: row.reshape(shape)})[0].reshape(-1) for row in obs]
    return np.array(rows)


def f32(value: float) -> float:
    return float(np.float32(value))


ACTIVATIONS = [
    *Activation,
    LeakyRelu(f32(0.01)),
    LeakyRelu(f32(0.2)),
    ScaledElu(f32(0.4), 1.0),
    ScaledElu(f32(1.6732632), f32(1.050701)),
    Clamp(-1.0, 1.0),
    Clamp(0.0, 6.0),
]


@settings(max_examples=250)
@given(st.integers(0, 2**32 - 1))
def test_whatever_the_encoding_the_policy_is_what_onnx_runtime_computes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = tuple(int(size) for size in rng.integers(2, 9, rng.integers(2, 5)))
    activation = ACTIVATIONS[rng.integers(len(ACTIVATIONS))]
    squash, clip = list(Squash)[rng.integers(3)], [5.0, math.inf][rng.integers(2)]
    policy = random_policy(rng, sizes, activation, squash, clip)
    writer = Writer(rng)
    wide = rng.normal(size=policy.layers[-1].weight.shape) if rng.random() < 0.4 else None
    data = writer.controller(policy, wide)
    file = read_onnx(data, "controller.onnx")
    assert file.policy.obs_dim == policy.obs_dim
    assert file.policy.num_outputs == policy.num_outputs
    state = rng.normal(0, 3, (20, policy.obs_dim))
    obs = (policy.normaliser.mean + policy.normaliser.scale * state).astype(np.float32)
    expected = on_runtime(data, obs)
    found = file.policy.outputs(obs)
    limit = np.abs(file.policy.state(obs)).max()
    assert (np.abs(found - expected) <= runtime_error(file.policy, state_limit=limit)).all()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_opset_and_shape_is_read_with_nothing_but_layers(opset: int, shape: str) -> None:
    # Normaliser, layers, squash and scale are found as such: nothing becomes a layer of its own.
    rng = np.random.default_rng(opset)
    policy = random_policy(rng, (5, 8, 7, 3), Activation.TANH, Squash.TANH)
    data = Writer(rng, opset, shape, inputs_too=False).controller(policy)
    read = read_onnx(data, "controller.onnx").policy
    assert [layer.weight.shape for layer in read.layers] == [(8, 5), (7, 8), (3, 7)]
    assert read.normaliser.clip == policy.normaliser.clip
    np.testing.assert_allclose(read.normaliser.mean, policy.normaliser.mean, rtol=1e-7)
    np.testing.assert_allclose(read.normaliser.scale, policy.normaliser.scale, rtol=1e-7)
    assert read.head.squash is Squash.TANH
    for ours, theirs in zip(read.layers, policy.layers, strict=True):
        np.testing.assert_array_equal(ours.weight, theirs.weight)
        np.testing.assert_array_equal(ours.bias, theirs.bias)


def test_a_canonical_graph_of_a_stranger_is_the_same_policy() -> None:
    rng = np.random.default_rng(0)
    for activation in ACTIVATIONS:
        policy = random_policy(rng, (5, 8, 3), activation, Squash.CLIP)
        model = onnx.load_model_from_string(policy_to_onnx(policy))
        model.producer_name = "somebody"
        del model.metadata_props[:]
        file = read_onnx(model.SerializeToString(), "controller.onnx")
        # It says nothing of its noise.
        assert file.policy.head.std is None
        for name in ("centre", "half_range"):
            np.testing.assert_array_equal(
                getattr(file.policy.head, name), getattr(policy.head, name)
            )
        assert [layer.activation for layer in file.policy.layers] == [
            layer.activation for layer in policy.layers
        ]


def test_a_changed_canonical_file_is_no_stranger_s() -> None:
    policy = random_policy(np.random.default_rng(0), (3, 4, 2))
    model = onnx.load_model_from_string(policy_to_onnx(policy))
    weight = numpy_helper.to_array(model.graph.initializer[-3]).copy()
    weight.flat[0] += 1
    model.graph.initializer[-3].raw_data = weight.tobytes()
    with pytest.raises((InputError, IntegrityError)):
        read_onnx(model.SerializeToString(), "controller.onnx")


# --- damage and others ----------------------------------------------------------------------


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(garbage: bytes) -> None:
    with pytest.raises(InputError, match="not a valid ONNX file") as caught:
        read_onnx(garbage, "controller.onnx")
    assert "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_whatever_is_read_of_a_damaged_file_is_what_onnx_runtime_computes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    policy = random_policy(rng, (2, 3, 2), ACTIVATIONS[rng.integers(len(ACTIVATIONS))])
    data = bytearray(Writer(rng, inputs_too=False).controller(policy))
    for _ in range(rng.integers(1, 4)):
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    data = bytes(data[: rng.integers(len(data))] if rng.random() < 0.1 else data)
    try:
        file, message = read_onnx(data, "controller.onnx"), "read"
    except (InputError, IntegrityError) as error:
        file, message = None, str(error)
    assert "\n" not in message
    if file is None:
        return
    obs = rng.normal(size=(5, file.policy.obs_dim)).astype(np.float32)
    try:
        outputs = on_runtime(data, obs)
    except Exception:
        return  # ONNX Runtime refuses more; `check_agreement` says so before anything is proved
    limit = max(np.abs(file.policy.state(obs)).max(), 1e-30)
    bound = runtime_error(file.policy, state_limit=limit)
    if np.isfinite(bound).all():
        assert (np.abs(outputs - file.policy.outputs(obs)) <= bound).all()


@pytest.mark.skipif(not GO1.is_file(), reason="go1_policy.onnx is not on this machine")
def test_a_quadruped_s_controller_from_another_project_is_read() -> None:
    file = read_path(GO1)
    assert [len(layer.bias) for layer in file.policy.layers] == [512, 256, 128, 12]
    assert [layer.activation for layer in file.policy.layers[:3]] == [Activation.SILU] * 3
    assert file.policy.head.squash is Squash.TANH
    obs = np.random.default_rng(0).normal(size=(50, 48)).astype(np.float32)
    np.testing.assert_allclose(on_runtime(file.data, obs), file.policy.outputs(obs), atol=1e-5)
    assert len(weights_sha256(file.policy)) == 64
