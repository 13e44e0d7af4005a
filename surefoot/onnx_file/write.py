"""How a controller looks as an ONNX graph, written and read: the only module that knows.

    obs -Sub-Div-Clip-> state -Gemm-Tanh-> ... -Gemm-> network output -Clip-Mul-Add-> actions

The normaliser, the clip, the layers, the squash and the scale are all inside. `policy.onnx` in a
policy folder is the canonical file: it is certified, attacked and deployed byte for byte.
"""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
import onnx
from onnx import numpy_helper

from surefoot.activation import (
    Activation,
    AnyActivation,
    Array,
    Clamp,
    LeakyRelu,
    Mixed,
    OneActivation,
    Product,
    RmsNorm,
    ScaledElu,
)
from surefoot.artifact import (
    Json,
)
from surefoot.errors import InputError
from surefoot.onnx_file.graph import (
    INPUT,
    IR_VERSION,
    MEMORY,
    OPSET,
    OUTPUT,
    PREFIX,
    PRODUCER,
    STATE,
)
from surefoot.onnx_file.read import ACTIVATION_OPS
from surefoot.onnx_file.remembered import MemoryWriter
from surefoot.onnx_file.structure import weight_blocks
from surefoot.policy import CategoricalHead, GaussianHead, Policy, Squash, weights_sha256
from surefoot.version import __version__


def policy_to_onnx(
    policy: Policy,
    metadata: Mapping[str, Json] | None = None,
    properties: Mapping[str, str] | None = None,
) -> bytes:
    """Return the canonical ONNX file of a policy: dense, float32, dynamic batch, opset 17.

    Args:
        policy: Its arrays are written as float32 with pruned weights as +0.0.
        metadata: JSON values by key, stored in full precision beside what the format itself needs.
        properties: What other tools say in the file, text by key, stored as it is.

    Raises:
        InputError: If an array is not float32 by value, so that the file would change the policy.
    """
    graph = _GraphWriter()
    value = graph.node("Sub", [INPUT, graph.constant("obs_mean", policy.normaliser.mean)])
    if policy.normaliser.factor is None:
        value = graph.node("Div", [value, graph.constant("obs_scale", policy.normaliser.scale)])
    else:
        value = graph.node("Mul", [value, graph.constant("obs_factor", policy.normaliser.factor)])
    if math.isfinite(policy.normaliser.clip):
        limit = policy.normaliser.clip
        value = graph.clip(value, -limit, limit, STATE)
    else:
        value = graph.node("Identity", [value], STATE)
    memory = None
    if policy.memory is not None:
        memory = MemoryWriter(policy.memory, graph.nodes, graph.constants)
    for number, layer in enumerate(policy.layers, start=1):
        weight = graph.constant(f"weight_{number}", layer.weight)
        bias = graph.constant(f"bias_{number}", layer.bias)
        value = graph.node("Gemm", [value, weight, bias], transB=1)
        value = graph.activation(value, layer.activation, len(layer.bias))
        if memory is not None:
            memory.take(value, number)
    if isinstance(policy.head, GaussianHead):
        if policy.head.squash is Squash.TANH:
            value = graph.node("Tanh", [value])
        elif policy.head.squash is Squash.CLIP:
            value = graph.clip(value, -1.0, 1.0)
        value = graph.node("Mul", [value, graph.constant("half_range", policy.head.half_range)])
        graph.node("Add", [value, graph.constant("centre", policy.head.centre)], OUTPUT)
    else:
        graph.node("Identity", [value], OUTPUT)
    if memory is not None:
        memory.finish()
    own: dict[str, Json] = {
        "format": {"version": 1, "code": __version__},
        "head": _head_metadata(policy),
        "weights_sha256": weights_sha256(policy),
    }
    if any(layer.is_weight is not None for layer in policy.layers):
        own["weights"] = [weight_blocks(layer) for layer in policy.layers]
    return graph.model(policy, {**(metadata or {}), **own}, properties or {})


class _GraphWriter:
    """Collects nodes and constants in the order in which they compute."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, array: Array) -> str:
        with np.errstate(over="ignore"):
            single = array.astype(np.float32)
        changed = single.astype(array.dtype) != array
        if changed.any():
            raise InputError(
                f"{name} must hold float32 values, got {array[changed].flat[0]!r}; rounding would "
                "change the policy"
            )
        # weight * mask leaves -0.0, which computes the same but spoils digests and compression.
        self.constants.append(numpy_helper.from_array(single + np.float32(0), name))
        return name

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        output: str | None = None,
        **attributes: float | list[int],
    ) -> str:
        output = output or f"{op.lower()}_{len(self.nodes)}"
        node = onnx.helper.make_node(op, list(inputs), [output], name=output)
        node.attribute.extend(onnx.helper.make_attribute(*pair) for pair in attributes.items())
        self.nodes.append(node)
        return output

    def clip(self, value: str, low: float, high: float, output: str | None = None) -> str:
        number = len(self.nodes)
        names = f"clip_{number}_low", f"clip_{number}_high"
        ends = [
            self.constant(name, np.array(end, dtype=np.float64))
            for name, end in zip(names, (low, high), strict=True)
        ]
        return self.node("Clip", [value, *ends], output)

    def activation(self, value: str, activation: AnyActivation, width: int) -> str:
        match activation:
            case Activation.IDENTITY:
                return value
            case Activation.SILU:
                return self.node("Mul", [value, self.node("Sigmoid", [value])])
            case LeakyRelu(alpha):
                return self.node("LeakyRelu", [value], alpha=alpha)
            case ScaledElu(alpha, gamma):
                return self.node("Selu", [value], alpha=alpha, gamma=gamma)
            case Clamp(low, high):
                return self.clip(value, low, high)
            case RmsNorm(epsilon):
                return self.rms_norm(value, epsilon)
            case Product():
                return self.mixture(value, ((activation, width),))
            case Mixed(parts):
                return self.mixture(value, parts)
            case _:
                return self.node(ACTIVATION_OPS[activation], [value])

    def rms_norm(self, value: str, epsilon: float) -> str:
        """Write x / sqrt(mean(x * x) + epsilon)."""
        square = self.node("Mul", [value, value])
        name = self.constant(f"epsilon_{len(self.nodes)}", np.array(epsilon, np.float64))
        mean = self.node("ReduceMean", [square], axes=[1], keepdims=1)
        root = self.node("Sqrt", [self.node("Add", [mean, name])])
        return self.node("Div", [value, root])

    def mixture(self, value: str, parts: Sequence[tuple[OneActivation, int]]) -> str:
        """Write Split, the function of each part, and Concat; a product has two of the parts."""
        number = len(self.nodes)
        halves = [
            (count // 2,) * 2 if isinstance(one, Product) else (count,) for one, count in parts
        ]
        sizes = np.array([*chain.from_iterable(halves)], np.int64)
        self.constants.append(numpy_helper.from_array(sizes, f"sizes_{number}"))
        names = [f"split_{number}_{part}" for part in range(len(sizes))]
        node = onnx.helper.make_node("Split", [value, f"sizes_{number}"], names, name=names[0])
        node.attribute.append(onnx.helper.make_attribute("axis", 1))
        self.nodes.append(node)
        applied, left = [], iter(names)
        for function, count in parts:
            name = next(left)
            if isinstance(function, Product):
                partner = next(left)
                applied += [self.node("Mul", [name, partner]), partner]
            else:
                applied.append(self.activation(name, function, count))
        return self.node("Concat", applied, axis=1)

    def model(
        self, policy: Policy, metadata: Mapping[str, Json], properties: Mapping[str, str]
    ) -> bytes:
        float32 = onnx.TensorProto.FLOAT
        info = onnx.helper.make_tensor_value_info
        outputs = [info(OUTPUT, float32, ["N", policy.num_outputs])]
        if policy.memory is not None:
            outputs.append(info(MEMORY, float32, ["N", policy.memory.size]))
        graph = onnx.helper.make_graph(
            self.nodes,
            "controller",
            [info(INPUT, float32, ["N", policy.obs_dim])],
            outputs,
            self.constants,
        )
        model = onnx.helper.make_model(
            graph,
            opset_imports=[onnx.helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name=PRODUCER,
            producer_version=__version__,
        )
        try:
            texts = {
                PREFIX + key: json.dumps(metadata[key], sort_keys=True, allow_nan=False)
                for key in sorted(metadata)
            }
        except ValueError as error:
            raise InputError(f"metadata must be JSON values: {error}") from error
        others = {key: properties[key] for key in sorted(properties)}
        onnx.helper.set_model_props(model, {**others, **texts})  # no other tool writes our keys
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))


def _sizes_of(function: OneActivation, count: int) -> tuple[int, ...]:
    """Return the sizes of the tensors that a part of a mixture takes."""
    return (count // 2, count // 2) if isinstance(function, Product) else (count,)


def _head_metadata(policy: Policy) -> Json:
    if isinstance(policy.head, CategoricalHead):
        start = {"start": policy.head.start} if policy.head.start else {}
        return {"kind": "categorical", "num_actions": policy.head.num_actions, **start}
    std = policy.head.std
    return {"kind": "gaussian", "std": None if std is None else [float(value) for value in std]}
