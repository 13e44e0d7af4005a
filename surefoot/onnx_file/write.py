"""How a controller looks as an ONNX graph, written and read: the only module that knows.

    obs -Sub-Div-Clip-> state -Gemm-Tanh-> ... -Gemm-> network output -Clip-Mul-Add-> actions

The normaliser, the clip, the layers, the squash and the scale are all inside. `policy.onnx` in a
policy folder is the canonical file: it is certified, attacked and deployed byte for byte.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from surefoot import __version__
from surefoot.activation import Activation, AnyActivation, Array, Clamp, LeakyRelu, ScaledElu
from surefoot.artifact import (
    MANIFEST,
    Artifact,
    Json,
    is_folder_of,
    read_artifact,
    read_file,
    write_artifact,
)
from surefoot.errors import InputError, IntegrityError
from surefoot.onnx_graph import (
    INPUT,
    IR_VERSION,
    OPSET,
    OUTPUT,
    POLICY_FILE,
    PREFIX,
    PRODUCER,
    SPARSE_FILE,
    STATE,
    parse_onnx,
)
from surefoot.onnx_import import OPSETS, Interface, import_policy
from surefoot.onnx_read import ACTIVATION_OPS, NORMALISER_OPS, read_canonical
from surefoot.onnx_sparse import dense_onnx, sparse_onnx
from surefoot.policy import CategoricalHead, GaussianHead, Policy, Squash, weights_sha256

__all__ = [
    "INPUT",
    "IR_VERSION",
    "OPSET",
    "OUTPUT",
    "POLICY_FILE",
    "SPARSE_FILE",
    "STATE",
    "ControllerFile",
    "Interface",
    "controller_from_onnx",
    "cut_at_state",
    "dense_onnx",
    "load_controller_file",
    "load_policy",
    "policy_from_onnx",
    "policy_to_onnx",
    "save_policy",
    "sparse_onnx",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ControllerFile:
    """A controller read back from the bytes of an ONNX file.

    Attributes:
        policy: What the file computes.
        metadata: What it says about itself (environment, origin, training), parsed JSON by key.
        data: The bytes themselves.
        interface: How a file that surefoot did not write is fed; None for a canonical one.
    """

    policy: Policy
    metadata: Mapping[str, Json] = field(default_factory=dict)
    data: bytes
    interface: Interface | None = None


def policy_to_onnx(policy: Policy, metadata: Mapping[str, Json] | None = None) -> bytes:
    """Return the canonical ONNX file of a policy: dense, float32, dynamic batch, opset 17.

    Args:
        policy: Its arrays are written as float32 with pruned weights as +0.0.
        metadata: JSON values by key, stored in full precision beside what the format itself needs.

    Raises:
        InputError: If an array is not float32 by value, so that the file would change the policy.
    """
    graph = _GraphWriter()
    value = graph.node("Sub", [INPUT, graph.constant("obs_mean", policy.normaliser.mean)])
    value = graph.node("Div", [value, graph.constant("obs_scale", policy.normaliser.scale)])
    if math.isfinite(policy.normaliser.clip):
        limit = policy.normaliser.clip
        value = graph.clip(value, -limit, limit, STATE)
    else:
        value = graph.node("Identity", [value], STATE)
    for number, layer in enumerate(policy.layers, start=1):
        weight = graph.constant(f"weight_{number}", layer.weight)
        bias = graph.constant(f"bias_{number}", layer.bias)
        value = graph.node("Gemm", [value, weight, bias], transB=1)
        value = graph.activation(value, layer.activation)
    if isinstance(policy.head, GaussianHead):
        if policy.head.squash is Squash.TANH:
            value = graph.node("Tanh", [value])
        elif policy.head.squash is Squash.CLIP:
            value = graph.clip(value, -1.0, 1.0)
        value = graph.node("Mul", [value, graph.constant("half_range", policy.head.half_range)])
        graph.node("Add", [value, graph.constant("centre", policy.head.centre)], OUTPUT)
    else:
        graph.node("Identity", [value], OUTPUT)
    own: dict[str, Json] = {
        "format": {"version": 1, "code": __version__},
        "head": _head_metadata(policy),
        "weights_sha256": weights_sha256(policy),
    }
    return graph.model(policy, {**(metadata or {}), **own})


def policy_from_onnx(data: bytes, name: str = POLICY_FILE) -> ControllerFile:
    """Read a controller back from ONNX bytes, strictly: what is not understood is refused by name.

    Args:
        data: The bytes of the file.
        name: How error messages call it.

    Raises:
        InputError: If the file is no ONNX, holds an operator outside the controller set, a
            non-finite constant, or a chain that is not normaliser, layers, squash and scale.
        IntegrityError: If the file says a `weights_sha256` that its weights do not have, or is of
            surefoot and says none, or its metadata are damaged.
    """
    model = parse_onnx(data, name)
    policy, metadata = read_canonical(model, name)
    claimed = metadata.get("weights_sha256")
    # Metadata stand last in the file, so a truncated one can still be a valid graph.
    if claimed is None and model.producer_name == PRODUCER:
        raise IntegrityError(f"{name} names no weights_sha256, as every file of surefoot does")
    if claimed is not None and claimed != weights_sha256(policy):
        raise IntegrityError(f"{name} names weights_sha256 {claimed!r}, its weights have another")
    return ControllerFile(policy=policy, metadata=metadata, data=data)


def cut_at_state(data: bytes) -> bytes:
    """Return the same graph from `state` to `actions`, for perturbations of the state itself.

    The threat model perturbs after the normaliser and its clip and does not clip again. The nodes
    and weights that remain are those of the deployed file.

    Args:
        data: A canonical file, as :func:`policy_to_onnx` wrote it.

    Raises:
        InputError: If the file has no tensor called `state` right after the normaliser.
    """
    model = parse_onnx(data, "the ONNX file")
    nodes = list(model.graph.node)
    ends = [position for position, node in enumerate(nodes) if STATE in node.output]
    # A foreign file may call any of its tensors `state`, inside of its normaliser as well.
    kinds = [node.op_type for node in nodes]
    cut = ends[0] + 1 if ends else 0
    if not cut or not NORMALISER_OPS.issuperset(kinds[:cut]) or kinds[cut : cut + 1] != ["Gemm"]:
        raise InputError(
            f"the ONNX file has no tensor {STATE!r} after a normaliser: it is not a canonical file"
        )
    kept = nodes[cut:]
    used = {name for node in kept for name in node.input}
    constants = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)
    model.graph.input[0].name = STATE
    return bytes(model.SerializeToString(deterministic=True))


def save_policy(
    folder: Path,
    policy: Policy,
    *,
    metadata: Mapping[str, Json] | None = None,
    facts: Mapping[str, Json] | None = None,
    inputs: Mapping[str, str] | None = None,
    extra_files: Mapping[str, bytes] | None = None,
) -> bytes:
    """Write a policy folder (`policy.onnx`, extra files, manifest) and return the ONNX bytes.

    Raises:
        InputError: If the folder is not ours or cannot be written, or the policy is not float32.
    """
    data = policy_to_onnx(policy, metadata)
    files = {POLICY_FILE: data, **(extra_files or {})}
    write_artifact(
        folder, Artifact(kind="policy", files=files, facts=facts or {}, inputs=inputs or {})
    )
    return data


def load_policy(folder: Path) -> tuple[ControllerFile, Artifact]:
    """Read a policy folder back, with everything its manifest says.

    Raises:
        InputError: If there is no such folder, or its file is no controller.
        IntegrityError: If a file is missing or was changed.
    """
    artifact = read_artifact(folder, "policy")
    if POLICY_FILE not in artifact.files:
        raise IntegrityError(f"{folder}: {POLICY_FILE} is missing")
    return policy_from_onnx(artifact.files[POLICY_FILE], f"{folder / POLICY_FILE}"), artifact


def controller_from_onnx(data: bytes, name: str, output: str | None = None) -> ControllerFile:
    """Read any controller: a canonical file strictly, a stranger's as far as it is understood.

    Args:
        data: The bytes of the file.
        name: How error messages call it.
        output: Which output of a stranger's file are the actions, if it has several.

    Raises:
        InputError: If it is no controller, or no known one; the message names the node.
        IntegrityError: If it is a canonical file that was changed.
    """
    model = parse_onnx(data, name, OPSETS)
    ours = any(str(entry.key).startswith(PREFIX) for entry in model.metadata_props)
    if ours or model.producer_name == PRODUCER:
        if output not in (None, OUTPUT):
            raise InputError(f"{name} has no output {output!r}, only {OUTPUT!r}")
        return policy_from_onnx(data, name)
    policy, interface = import_policy(model, name, output)
    return ControllerFile(policy=policy, data=data, interface=interface)


def load_controller_file(path: Path, output: str | None = None) -> ControllerFile:
    """Read a controller from a run, a policy folder, a bundle or a bare `.onnx` file.

    Args:
        path: A folder, or an ONNX file that anybody wrote.
        output: Which output of a stranger's file are the actions, if it has several.

    Raises:
        InputError: If the path holds none of these.
        IntegrityError: If a manifest beside it does not hold.
    """
    if path.is_file():
        return controller_from_onnx(read_file(path), str(path), output)
    for folder in (path / "policy", path):
        if (folder / MANIFEST).is_file() or (folder / POLICY_FILE).is_file():
            kind = "bundle" if is_folder_of(folder, "bundle") else "policy"
            files = read_artifact(folder, kind).files
            if POLICY_FILE not in files:
                raise IntegrityError(f"{folder}: {POLICY_FILE} is missing")
            return policy_from_onnx(files[POLICY_FILE], str(folder / POLICY_FILE))
    raise InputError(f"{path} is no run, policy folder, bundle or .onnx file")


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
        self, op: str, inputs: Sequence[str], output: str | None = None, **attributes: float
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

    def activation(self, value: str, activation: AnyActivation) -> str:
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
            case _:
                return self.node(ACTIVATION_OPS[activation], [value])

    def model(self, policy: Policy, metadata: Mapping[str, Json]) -> bytes:
        float32 = onnx.TensorProto.FLOAT
        info = onnx.helper.make_tensor_value_info
        graph = onnx.helper.make_graph(
            self.nodes,
            "controller",
            [info(INPUT, float32, ["N", policy.obs_dim])],
            [info(OUTPUT, float32, ["N", policy.num_outputs])],
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
        onnx.helper.set_model_props(model, texts)
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))


def _head_metadata(policy: Policy) -> Json:
    if isinstance(policy.head, CategoricalHead):
        return {"kind": "categorical", "num_actions": policy.head.num_actions}
    std = policy.head.std
    return {"kind": "gaussian", "std": None if std is None else [float(value) for value in std]}
