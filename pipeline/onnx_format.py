"""How a controller looks as an ONNX graph, written and read: the only module that knows.

    obs -Sub-Div-Clip-> state -Gemm-Tanh-> ... -Gemm-> network output -Clip-Mul-Add-> actions

The normaliser, the clip, the layers, the squash and the scale are all inside. `policy.onnx` in a
policy folder is the canonical file: it is certified, attacked and deployed byte for byte.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from surefoot import __version__
from surefoot.artifact import (
    MANIFEST,
    MAX_FILE_BYTES,
    Artifact,
    Json,
    from_json,
    is_folder_of,
    read_artifact,
    read_file,
    write_artifact,
)
from surefoot.errors import InputError, IntegrityError
from surefoot.policy import (
    Activation,
    Array,
    CategoricalHead,
    GaussianHead,
    Layer,
    Normaliser,
    Policy,
    Squash,
    weights_sha256,
)

POLICY_FILE, SPARSE_FILE = "policy.onnx", "policy.sparse.onnx"
INPUT, STATE, OUTPUT = "obs", "state", "actions"
# ONNX Runtime 1.31 refuses what the onnx package writes by default (IR 14, opset 28).
OPSET, IR_VERSION = 17, 8
# From Clip with limits as inputs to the newest opset that ONNX Runtime 1.31 runs; within it the
# operators of the controller set mean the same.
_READ_OPSETS = range(11, 27)
_SPARSE_BYTES = 12  # of a weight in a sparse file: 4 for its value, 8 for its index
_PRODUCER = "surefoot"
_PREFIX = "surefoot."

_ACTIVATION_OPS = {
    Activation.RELU: "Relu",
    Activation.TANH: "Tanh",
    Activation.SIGMOID: "Sigmoid",
    Activation.ELU: "Elu",
    Activation.SOFTPLUS: "Softplus",
}
_OPS_TO_ACTIVATION = {op: activation for activation, op in _ACTIVATION_OPS.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class ControllerFile:
    """A controller read back from the bytes of an ONNX file.

    Attributes:
        policy: What the file computes.
        metadata: What it says about itself (environment, origin, training), parsed JSON by key.
        data: The bytes themselves.
    """

    policy: Policy
    metadata: Mapping[str, Json] = field(default_factory=dict)
    data: bytes


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
        value = graph.clip(value, policy.normaliser.clip, STATE)
    else:
        value = graph.node("Identity", [value], STATE)
    for number, layer in enumerate(policy.layers, start=1):
        weight = graph.constant(f"weight_{number}", layer.weight)
        bias = graph.constant(f"bias_{number}", layer.bias)
        value = graph.node("Gemm", [value, weight, bias], transB=1)
        if layer.activation is Activation.SILU:
            value = graph.node("Mul", [value, graph.node("Sigmoid", [value])])
        elif layer.activation is not Activation.IDENTITY:
            value = graph.node(_ACTIVATION_OPS[layer.activation], [value])
    if isinstance(policy.head, GaussianHead):
        if policy.head.squash is Squash.TANH:
            value = graph.node("Tanh", [value])
        elif policy.head.squash is Squash.CLIP:
            value = graph.clip(value, 1.0)
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
    model = _parse(data, name)
    metadata = _read_metadata(model, name)
    policy = _assemble(_Chain.read(model, name), metadata.get("head"), name)
    claimed = metadata.get("weights_sha256")
    # Metadata stand last in the file, so a truncated one can still be a valid graph.
    if claimed is None and model.producer_name == _PRODUCER:
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
    model = _parse(data, "the ONNX file")
    nodes = list(model.graph.node)
    ends = [position for position, node in enumerate(nodes) if STATE in node.output]
    # A foreign file may call any of its tensors `state`.
    if not ends or any(node.op_type not in _NORMALISER_OPS for node in nodes[: ends[0] + 1]):
        raise InputError(
            f"the ONNX file has no tensor {STATE!r} after a normaliser: it is not a canonical file"
        )
    kept = nodes[ends[0] + 1 :]
    used = {name for node in kept for name in node.input}
    constants = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)
    model.graph.input[0].name = STATE
    return bytes(model.SerializeToString(deterministic=True))


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
    model = _parse(data, "the ONNX file")
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
        raise InputError("the ONNX file is not canonical: its sparse form does not lead back to it")
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
    model = _parse(data, name)
    tensors = [*model.graph.initializer]
    tensors += [_dense_tensor(sparse, name) for sparse in model.graph.sparse_initializer]
    by_name = {tensor.name: tensor for tensor in tensors}
    computed = {INPUT, *(entry for node in model.graph.node for entry in node.output)}
    used = [entry for node in model.graph.node for entry in node.input if entry not in computed]
    if len(by_name) != len(tensors) or sorted(by_name) != sorted(used):
        raise InputError(f"{name}: its constants are not those that its nodes take")
    del model.graph.initializer[:]
    del model.graph.sparse_initializer[:]
    # The canonical file has its constants in the order in which the nodes take them.
    model.graph.initializer.extend(by_name[entry] for entry in used)
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


def load_controller_file(path: Path) -> ControllerFile:
    """Read a controller from a run, a policy folder, a bundle or a bare `.onnx` file.

    Raises:
        InputError: If the path holds none of these.
        IntegrityError: If a manifest beside it does not hold.
    """
    if path.is_file():
        return policy_from_onnx(read_file(path), str(path))
    for folder in (path / "policy", path):
        if (folder / MANIFEST).is_file() or (folder / POLICY_FILE).is_file():
            kind = "bundle" if is_folder_of(folder, "bundle") else "policy"
            files = read_artifact(folder, kind).files
            if POLICY_FILE not in files:
                raise IntegrityError(f"{folder}: {POLICY_FILE} is missing")
            return policy_from_onnx(files[POLICY_FILE], str(folder / POLICY_FILE))
    raise InputError(f"{path} is no run, policy folder, bundle or .onnx file")


def _parse(data: bytes, name: str) -> onnx.ModelProto:
    """Parse and check ONNX bytes.

    Raises:
        InputError: If they are no ONNX file, or one whose opset is not read.
    """
    try:
        model = onnx.load_model_from_string(data)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's own errors differ between its implementations
        raise InputError(f"{name} is not a valid ONNX file: {_first_line(error)}") from error
    opsets = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if len(opsets) != 1 or opsets[0] not in _READ_OPSETS:
        raise InputError(
            f"{name}: opset must be {_READ_OPSETS[0]} to {_READ_OPSETS[-1]}, got {opsets}"
        )
    return model


def _sparse_tensor(tensor: onnx.TensorProto) -> onnx.SparseTensorProto | None:
    """Return a matrix as a sparse tensor, or None where that is no smaller."""
    array = numpy_helper.to_array(tensor)
    places = np.flatnonzero(array)  # sorted and unique
    if array.ndim != 2 or _SPARSE_BYTES * len(places) >= 4 * array.size:
        return None
    values = numpy_helper.from_array(array.reshape(-1)[places], tensor.name)
    indices = numpy_helper.from_array(places.astype(np.int64))
    return onnx.helper.make_sparse_tensor(values, indices, list(array.shape))


def _dense_tensor(sparse: onnx.SparseTensorProto, name: str) -> onnx.TensorProto:
    """Return a sparse tensor as a dense one.

    Raises:
        InputError: If its indices are not strictly increasing and in range, or it is no matrix.
    """
    label = f"{name}: sparse constant {sparse.values.name!r}"
    size = math.prod(sparse.dims)
    if len(sparse.dims) != 2 or not 0 < size <= MAX_FILE_BYTES // 4:
        raise InputError(f"{label} must be a matrix, has shape {list(sparse.dims)}")
    if sparse.indices.data_type != onnx.TensorProto.INT64:
        raise InputError(f"{label}: indices must be INT64 (7), have {sparse.indices.data_type}")
    values = _constant(sparse.values, name)
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
        self, op: str, inputs: Sequence[str], output: str | None = None, **attributes: int
    ) -> str:
        output = output or f"{op.lower()}_{len(self.nodes)}"
        node = onnx.helper.make_node(op, list(inputs), [output], name=output)
        node.attribute.extend(onnx.helper.make_attribute(*pair) for pair in attributes.items())
        self.nodes.append(node)
        return output

    def clip(self, value: str, limit: float, output: str | None = None) -> str:
        number = len(self.nodes)
        low = self.constant(f"clip_{number}_low", np.array(-limit, dtype=np.float64))
        high = self.constant(f"clip_{number}_high", np.array(limit, dtype=np.float64))
        return self.node("Clip", [value, low, high], output)

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
            producer_name=_PRODUCER,
            producer_version=__version__,
        )
        try:
            texts = {
                _PREFIX + key: json.dumps(metadata[key], sort_keys=True, allow_nan=False)
                for key in sorted(metadata)
            }
        except ValueError as error:
            raise InputError(f"metadata must be JSON values: {error}") from error
        onnx.helper.set_model_props(model, texts)
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))


@dataclass(frozen=True, slots=True)
class _Step:
    """One node of the chain, with its constants resolved."""

    op: str
    constants: tuple[Array, ...]
    label: str


class _Chain:
    """The one path of nodes from the input to the output, walked once."""

    def __init__(self, steps: list[_Step], obs_dim: int, num_outputs: int) -> None:
        self._steps = steps
        self._position = 0
        self.obs_dim = obs_dim
        self.num_outputs = num_outputs

    @classmethod
    def read(cls, model: onnx.ModelProto, name: str) -> "_Chain":
        """Check that the graph is one chain of known operators and resolve its constants.

        Raises:
            InputError: If it is not, naming the node and the rule.
        """
        graph = model.graph
        if model.functions or model.training_info or graph.sparse_initializer:
            raise InputError(
                f"{name}: local functions, training graphs and sparse initialisers are not read"
            )
        # An initialiser that is an input too can be overridden by whoever runs the file.
        if len(graph.input) != 1 or len(graph.output) != 1:
            raise InputError(
                f"{name} must have one input and one output, "
                f"has {len(graph.input)} and {len(graph.output)}"
            )
        constants = {tensor.name: _constant(tensor, name) for tensor in graph.initializer}
        steps = list(cls._walk(graph, constants, graph.input[0].name, name))
        layers = [step.constants[0].shape for step in steps if step.op == "Gemm"]
        if not layers:
            raise InputError(f"{name}: no Gemm layer after the normaliser")
        if any(len(shape) != 2 for shape in layers):
            raise InputError(f"{name}: every Gemm must have a weight of two dimensions")
        _check_value(graph.input[0], layers[0][1], f"{name}: input")
        _check_value(graph.output[0], layers[-1][0], f"{name}: output")
        return cls(steps, layers[0][1], layers[-1][0])

    @staticmethod
    def _walk(
        graph: onnx.GraphProto, constants: dict[str, Array], value: str, name: str
    ) -> Iterator[_Step]:
        nodes = list(graph.node)
        position = 0
        while position < len(nodes):
            node = nodes[position]
            label = f"{name}: node {position} {node.op_type!r}"
            if node.domain or node.op_type not in _OPERATORS:
                raise InputError(f"{label}: not in the controller operator set")
            if len(node.output) != 1 or node.input[0] != value:
                raise InputError(f"{label}: must take the result of the node before it")
            _refuse_attributes(node, label)
            pair = nodes[position + 1] if position + 1 < len(nodes) else None
            if pair is not None and _is_silu(node, pair):
                yield _Step("Silu", (), label)
                value, position = pair.output[0], position + 2
                continue
            if any(entry not in constants for entry in node.input[1:]):
                raise InputError(f"{label}: every input but the first must be a constant")
            yield _Step(node.op_type, tuple(constants[entry] for entry in node.input[1:]), label)
            value, position = node.output[0], position + 1
        if value != graph.output[0].name:
            raise InputError(f"{name}: the chain must end in the output {graph.output[0].name!r}")

    def take(self, *ops: str) -> _Step | None:
        """Return the next step and move on if it is one of ``ops``, else None."""
        if self._position < len(self._steps) and self._steps[self._position].op in ops:
            self._position += 1
            return self._steps[self._position - 1]
        return None

    def remaining(self) -> _Step | None:
        """Return the first step that was not taken."""
        return self._steps[self._position] if self._position < len(self._steps) else None


def _is_silu(node: onnx.NodeProto, pair: onnx.NodeProto) -> bool:
    """Return whether two nodes are x * sigmoid(x); any other product of two values is refused."""
    operators = (node.op_type, pair.op_type, pair.domain) == ("Sigmoid", "Mul", "")
    return (
        operators
        and not pair.attribute
        and sorted(pair.input) == sorted([node.input[0], node.output[0]])
    )


_NORMALISER_OPS = {"Sub", "Div", "Clip", "Identity"}
_OPERATORS = {*_NORMALISER_OPS, "Mul", "Add", "Gemm", *_OPS_TO_ACTIVATION}


def _assemble(chain: _Chain, head: Json, name: str) -> Policy:
    """Turn a chain into normaliser, layers and head.

    Raises:
        InputError: If a step is left over or in the wrong place.
    """
    normaliser = _take_normaliser(chain)
    layers: list[Layer] = []
    while step := chain.take("Gemm"):
        if len(step.constants) != 2:
            raise InputError(f"{step.label}: must have a weight and a bias")
        weight, bias = step.constants
        activation = Activation.IDENTITY
        if follow := chain.take("Silu", *_OPS_TO_ACTIVATION):
            activation = _OPS_TO_ACTIVATION.get(follow.op, Activation.SILU)
        layers.append(Layer(weight=weight, bias=bias, activation=activation))
    if (rest := chain.remaining()) is not None and not layers:
        raise InputError(f"{rest.label}: does not fit normaliser, layers, squash, scale")
    squash = Squash.IDENTITY
    if layers[-1].activation is Activation.TANH:
        squash = Squash.TANH
        last = layers[-1]
        layers[-1] = Layer(weight=last.weight, bias=last.bias, activation=Activation.IDENTITY)
    elif step := chain.take("Clip"):
        if _clip_limit(step) != 1.0:
            raise InputError(f"{step.label}: the squash of an action must clip to [-1, 1]")
        squash = Squash.CLIP
    scaled = chain.take("Mul")
    shifted = chain.take("Add")
    chain.take("Identity")
    if (rest := chain.remaining()) is not None:
        raise InputError(f"{rest.label}: does not fit normaliser, layers, squash, scale")
    num_outputs = chain.num_outputs
    if head == {"kind": "categorical", "num_actions": num_outputs}:
        if squash is not Squash.IDENTITY or scaled or shifted:
            raise InputError(f"{name}: the logits of a categorical head must not be transformed")
        return Policy(
            normaliser=normaliser,
            layers=tuple(layers),
            head=CategoricalHead(num_actions=num_outputs),
        )
    return Policy(
        normaliser=normaliser,
        layers=tuple(layers),
        head=GaussianHead(
            std=_std(head, num_outputs, name),
            squash=squash,
            half_range=_vector(scaled, num_outputs, 1.0),
            centre=_vector(shifted, num_outputs, 0.0),
        ),
    )


def _std(head: Json, num_outputs: int, name: str) -> Array | None:
    """Return the standard deviation that the metadata says, None if it says nothing.

    Raises:
        InputError: If the metadata is about another head than the graph's.
    """
    if head is None or head == {"kind": "gaussian", "std": None}:
        return None
    std = head.get("std") if isinstance(head, dict) and head.get("kind") == "gaussian" else None
    if (
        not isinstance(std, list)
        or len(std) != num_outputs
        or any(type(entry) is not float for entry in std)
    ):
        raise InputError(f"{name}: metadata 'surefoot.head' does not fit the graph, got {head!r}")
    return np.array(std)


def _take_normaliser(chain: _Chain) -> Normaliser:
    centred, scaled = chain.take("Sub"), chain.take("Div")
    clipped = chain.take("Clip")
    chain.take("Identity")
    return Normaliser(
        mean=_vector(centred, chain.obs_dim, 0.0),
        scale=_vector(scaled, chain.obs_dim, 1.0),
        clip=_clip_limit(clipped) if clipped else math.inf,
    )


def _vector(step: _Step | None, size: int, default: float) -> Array:
    if step is None:
        return np.full(size, default, dtype=np.float32)
    # Other shapes broadcast over the batch, or to more dimensions.
    if (shape := step.constants[0].shape) not in ((), (1,), (size,), (1, 1), (1, size)):
        raise InputError(f"{step.label}: constant must have {size} entries, has shape {shape}")
    return np.array(np.broadcast_to(step.constants[0].reshape(-1), (size,)))


def _check_value(value: onnx.ValueInfoProto, size: int, label: str) -> None:
    """Check that an input or output is declared as what the layers compute.

    Raises:
        InputError: If its type or shape is another.
    """
    tensor = value.type.tensor_type
    dims = [dim.dim_value for dim in tensor.shape.dim]
    if tensor.elem_type != onnx.TensorProto.FLOAT or len(dims) != 2 or dims[1] != size:
        raise InputError(f"{label} must be float32 of shape [N, {size}], got {dims}")


def _clip_limit(step: _Step) -> float:
    if len(step.constants) != 2 or any(constant.ndim for constant in step.constants):
        raise InputError(f"{step.label}: must have a lower and an upper limit, both scalars")
    low, high = (float(constant) for constant in step.constants)
    if low != -high:
        raise InputError(f"{step.label}: limits must be symmetric, got [{low}, {high}]")
    return high


def _constant(tensor: onnx.TensorProto, name: str) -> Array:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise InputError(f"{name}: constant {tensor.name!r} lies in another file")
    if tensor.data_type != onnx.TensorProto.FLOAT:
        raise InputError(
            f"{name}: constant {tensor.name!r} must be FLOAT (1), has type {tensor.data_type}"
        )
    try:
        array = numpy_helper.to_array(tensor)
    except ValueError as error:
        raise InputError(f"{name}: constant {tensor.name!r} cannot be read: {error}") from error
    if not np.isfinite(array).all():
        raise InputError(f"{name}: constant {tensor.name!r} must be finite, has NaN or infinity")
    return array


def _refuse_attributes(node: onnx.NodeProto, label: str) -> None:
    """Check that no attribute changes the meaning of a node.

    Raises:
        InputError: If one does.
    """
    allowed = {
        ("Gemm", "transB"): 1,
        ("Gemm", "transA"): 0,
        ("Gemm", "alpha"): 1.0,
        ("Gemm", "beta"): 1.0,
        ("Elu", "alpha"): 1.0,
    }
    values = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    for key, value in values.items():
        if allowed.get((node.op_type, key)) != value:
            raise InputError(f"{label}: attribute {key} = {value} is not read")
    if node.op_type == "Gemm" and "transB" not in values:
        raise InputError(f"{label}: attribute transB must be 1")


def _head_metadata(policy: Policy) -> Json:
    if isinstance(policy.head, CategoricalHead):
        return {"kind": "categorical", "num_actions": policy.head.num_actions}
    std = policy.head.std
    return {"kind": "gaussian", "std": None if std is None else [float(value) for value in std]}


def _read_metadata(model: onnx.ModelProto, name: str) -> dict[str, Json]:
    metadata: dict[str, Json] = {}
    for entry in model.metadata_props:
        # protobuf gives bytes instead of a string where they are not UTF-8
        if isinstance(entry.key, str) and entry.key.startswith(_PREFIX):
            value = from_json(entry.value, f"{name}: metadata {entry.key!r}")
            metadata[entry.key.removeprefix(_PREFIX)] = value
    return metadata


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
