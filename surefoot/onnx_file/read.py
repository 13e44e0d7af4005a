"""The strict reader of canonical files: one chain of known nodes in one order, and nothing else."""

import math
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
import onnx

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
from surefoot.artifact import Json, from_json
from surefoot.errors import InputError
from surefoot.onnx_file.graph import PREFIX, constant, float_constant
from surefoot.onnx_file.remembered import split_memory
from surefoot.onnx_file.structure import with_weight_blocks
from surefoot.policy import CategoricalHead, GaussianHead, Layer, Normaliser, Policy, Squash

ACTIVATION_OPS = {
    Activation.RELU: "Relu",
    Activation.TANH: "Tanh",
    Activation.SIGMOID: "Sigmoid",
    Activation.ELU: "Elu",
    Activation.SOFTPLUS: "Softplus",
}
_OPS_TO_ACTIVATION = {op: activation for activation, op in ACTIVATION_OPS.items()}
_PARAMETERS = {"LeakyRelu": ("alpha",), "Selu": ("alpha", "gamma")}
"""Activations whose parameters are attributes, always written."""


def read_canonical(model: onnx.ModelProto, name: str) -> tuple[Policy, dict[str, Json]]:
    """Read a canonical graph: the policy and the file's metadata.

    Args:
        model: Parsed and checked.
        name: How error messages call it.

    Raises:
        InputError: If the graph is not normaliser, layers, squash and scale.
        IntegrityError: If its metadata are damaged.
    """
    metadata = _read_metadata(model, name)
    rest, memory = split_memory(model, name)
    policy = _assemble(_Chain.read(rest, name), metadata.get("head"), name)
    policy = replace(policy, memory=memory)
    return with_weight_blocks(policy, metadata.get("weights"), name), metadata


@dataclass(frozen=True, slots=True)
class _Node:
    """One node of the chain, with its constants resolved."""

    op: str
    constants: tuple[Array, ...]
    attributes: dict[str, float]
    label: str
    parts: "tuple[_Node | None, ...]" = ()
    """What each part of a mixture applies, None for the identity."""


class _Walk:
    """A walk along the nodes of a graph, each of which takes the result of the one before it."""

    def __init__(self, graph: onnx.GraphProto, constants: dict[str, Array], name: str) -> None:
        self._nodes = list(graph.node)
        self._constants = constants
        self._name = name
        self._value = graph.input[0].name
        self._output = graph.output[0].name
        self._position = 0

    def steps(self) -> Iterator[_Node]:
        """Yield the steps from the input to the output.

        Raises:
            InputError: If they are not known operators in one chain.
        """
        while self._position < len(self._nodes):
            is_split = self._nodes[self._position].op_type == "Split"
            yield self._mixture() if is_split else self._step(_OPERATORS)
        if self._value != self._output:
            raise InputError(f"{self._name}: the chain must end in the output {self._output!r}")

    @property
    def _label(self) -> str:
        op = self._nodes[self._position].op_type
        return f"{self._name}: node {self._position} {op!r}"

    def _step(self, known: Set[str]) -> _Node:
        """Return one step, of one node, for SiLU of two and for a normalisation of five.

        Raises:
            InputError: If it is no known one.
        """
        node, label = self._nodes[self._position], self._label
        if node.op_type == "Mul" and list(node.input) == [self._value] * 2:
            return self._rms_norm()
        if node.domain or node.op_type not in known:
            raise InputError(f"{label}: not in the controller operator set")
        if len(node.output) != 1 or node.input[0] != self._value:
            raise InputError(f"{label}: must take the result of the node before it")
        attributes = _read_attributes(node, label)
        pair = self._nodes[self._position + 1 : self._position + 2]
        if pair and _is_silu(node, pair[0]):
            self._value, self._position = pair[0].output[0], self._position + 2
            return _Node("Silu", (), {}, label)
        if any(entry not in self._constants for entry in node.input[1:]):
            raise InputError(f"{label}: every input but the first must be a constant")
        entries = tuple(self._constants[entry] for entry in node.input[1:])
        if any(entry.dtype.kind == "i" for entry in entries):
            raise InputError(f"{label}: its constants must be FLOAT (1)")
        self._value, self._position = node.output[0], self._position + 1
        return _Node(node.op_type, entries, attributes, label)

    def _rms_norm(self) -> _Node:
        """Return the step of x / sqrt(mean(x * x) + epsilon).

        Raises:
            InputError: If the nodes are others, or in another order.
        """
        label, nodes = self._label, self._nodes[self._position : self._position + 5]
        found = [(node.op_type, node.domain, [*node.input], _attributes(node)) for node in nodes]
        results = [node.output[0] if len(node.output) == 1 else "" for node in nodes]
        epsilon = self._constants.get(nodes[2].input[-1]) if len(nodes) == 5 else None
        if epsilon is None or found != _rms_norm_nodes(self._value, nodes[2].input[-1], results):
            raise InputError(f"{label}: its square must be of a normalisation over the neurons")
        if epsilon.dtype.kind == "i" or epsilon.ndim:
            raise InputError(f"{label}: its epsilon must be one FLOAT (1)")
        self._value, self._position = results[-1], self._position + 5
        return _Node("RmsNorm", (epsilon,), {}, label)

    def _mixture(self) -> _Node:
        """Return the step of Split, an activation of some of its parts, and Concat.

        Raises:
            InputError: If the nodes are others, or in another order.
        """
        split, label = self._nodes[self._position], self._label
        sizes = self._constants.get(split.input[1]) if len(split.input) == 2 else None
        if split.domain or split.input[0] != self._value or not _is_along_neurons(split):
            raise InputError(f"{label}: must split the result of the node before it along axis 1")
        if sizes is None or sizes.dtype.kind != "i" or len(sizes) != len(split.output):
            raise InputError(f"{label}: must have a constant size for each part")
        self._position += 1
        parts, values, counts = self._parts(split.output, sizes.tolist(), label)
        joined = self._nodes[self._position] if self._position < len(self._nodes) else None
        if joined is None or joined.op_type != "Concat" or list(joined.input) != values:
            raise InputError(f"{label}: its parts must be joined again in their order")
        if joined.domain or not _is_along_neurons(joined):
            raise InputError(f"{self._label}: must join along axis 1")
        self._value, self._position = joined.output[0], self._position + 1
        return _Node("Mixture", (np.array(counts),), {}, label, tuple(parts))

    def _parts(
        self, names: Sequence[str], sizes: Sequence[int], label: str
    ) -> tuple[list[_Node | None], list[str], list[int]]:
        """Return the parts of a mixture, their results, and their numbers of neurons.

        Raises:
            InputError: If one is no known activation.
        """
        parts: list[_Node | None] = []
        values, counts, rest = list[str](), list[int](), list(zip(names, sizes, strict=True))
        while rest:
            self._value, count = rest.pop(0)
            if rest and rest[0][1] == count and self._multiplied(rest[0][0]):
                parts.append(_Node("Product", (), {}, label))
                values += [self._value, rest.pop(0)[0]]
                counts.append(2 * count)
                continue
            taken = self._nodes[self._position : self._position + 1]
            applies = taken and taken[0].op_type != "Concat" and taken[0].input[:1] == [self._value]
            parts.append(self._step(_PART_OPERATORS) if applies else None)
            values.append(self._value)
            counts.append(count)
        return parts, values, counts

    def _multiplied(self, partner: str) -> bool:
        """Move on and return True if the next node multiplies the value by a partner."""
        taken = self._nodes[self._position : self._position + 1]
        found = [(node.op_type, node.domain, [*node.input], len(node.output)) for node in taken]
        if found != [("Mul", "", [self._value, partner], 1)] or taken[0].attribute:
            return False
        self._value, self._position = taken[0].output[0], self._position + 1
        return True


def _attributes(node: onnx.NodeProto) -> dict[str, object]:
    return {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}


def _is_along_neurons(node: onnx.NodeProto) -> bool:
    """Return True if axis = 1 is the only attribute of a node."""
    return _attributes(node) == {"axis": 1}


def _rms_norm_nodes(
    x: str, epsilon: str, results: Sequence[str]
) -> list[tuple[str, str, list[str], dict[str, object]]]:
    """Return operator, domain, inputs and attributes of the nodes of a normalisation of ``x``."""
    square, mean, total, root, _ = results
    return [
        ("Mul", "", [x, x], {}),
        ("ReduceMean", "", [square], {"axes": [1], "keepdims": 1}),
        ("Add", "", [mean, epsilon], {}),
        ("Sqrt", "", [total], {}),
        ("Div", "", [x, root], {}),
    ]


def _sizes(tensor: onnx.TensorProto, name: str) -> Array:
    """Return the sizes of the parts of a mixture.

    Raises:
        InputError: If they are no row of positive numbers.
    """
    sizes = constant(tensor, name)
    if sizes.ndim != 1 or not (sizes > 0).all():
        raise InputError(f"{name}: constant {tensor.name!r} must be a row of positive sizes")
    return sizes


class _Chain:
    """The one path of nodes from the input to the output, walked once."""

    def __init__(self, steps: list[_Node], obs_dim: int, num_outputs: int) -> None:
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
        constants = {
            tensor.name: _sizes(tensor, name)
            if tensor.data_type == onnx.TensorProto.INT64
            else float_constant(tensor, name)
            for tensor in graph.initializer
        }
        if (given := graph.input[0].name) in constants:
            # What is fed would stand in for the constant wherever a node names it.
            raise InputError(f"{name}: input {given!r} is a constant as well")
        steps = list(_Walk(graph, constants, name).steps())
        layers = [step.constants[0].shape for step in steps if step.op == "Gemm"]
        if not layers:
            raise InputError(f"{name}: no Gemm layer after the normaliser")
        if any(len(shape) != 2 for shape in layers):
            raise InputError(f"{name}: every Gemm must have a weight of two dimensions")
        _check_value(graph.input[0], layers[0][1], f"{name}: input")
        _check_value(graph.output[0], layers[-1][0], f"{name}: output")
        return cls(steps, layers[0][1], layers[-1][0])

    def take(self, *ops: str) -> _Node | None:
        """Return the next step and move on if it is one of ``ops``, else None."""
        if self._position < len(self._steps) and self._steps[self._position].op in ops:
            self._position += 1
            return self._steps[self._position - 1]
        return None

    def take_before(self, op: str, following: str) -> _Node | None:
        """Return the next step and move on if it is ``op`` and ``following`` comes after it."""
        ahead = self._steps[self._position : self._position + 2]
        return self.take(op) if [step.op for step in ahead] == [op, following] else None

    def remaining(self) -> _Node | None:
        """Return the first step that was not taken."""
        return self._steps[self._position] if self._position < len(self._steps) else None


def _is_silu(node: onnx.NodeProto, pair: onnx.NodeProto) -> bool:
    """Return True if two nodes are x * sigmoid(x); any other product of two values is refused."""
    operators = (node.op_type, pair.op_type, pair.domain) == ("Sigmoid", "Mul", "")
    return (
        operators
        and not pair.attribute
        and sorted(pair.input) == sorted([node.input[0], node.output[0]])
    )


NORMALISER_OPS = {"Sub", "Div", "Mul", "Clip", "Identity"}
_PART_OPERATORS = {"Clip", *_OPS_TO_ACTIVATION, *_PARAMETERS}
_OPERATORS = {*NORMALISER_OPS, *_PART_OPERATORS, "Add", "Gemm"}


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
        layers.append(Layer(weight=weight, bias=bias, activation=_take_activation(chain)))
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
    if isinstance(head, dict) and head.get("kind") == "categorical":
        if squash is not Squash.IDENTITY or scaled or shifted:
            raise InputError(f"{name}: the logits of a categorical head must not be transformed")
        return Policy(
            normaliser=normaliser,
            layers=tuple(layers),
            head=CategoricalHead(num_actions=num_outputs, start=_start(head, num_outputs, name)),
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


def _take_activation(chain: _Chain) -> AnyActivation:
    if step := chain.take("Mixture"):
        functions = [*map(_activation, step.parts)]
        if functions == [Product()]:
            return functions[0]
        return Mixed(tuple(zip(functions, step.constants[0].tolist(), strict=True)))
    if step := chain.take(*_OPS_TO_ACTIVATION, "RmsNorm", "Silu", *_PARAMETERS):
        return _activation(step)
    # Behind the last layer a Clip is the squash.
    return _activation(chain.take_before("Clip", "Gemm"))


def _activation(step: _Node | None) -> OneActivation:
    """Return the activation that a step is; the identity for none."""
    if step is None:
        return Activation.IDENTITY
    match step.op:
        case "Silu":
            return Activation.SILU
        case "RmsNorm":
            return RmsNorm(float(step.constants[0]))
        case "Product":
            return Product()
        case "LeakyRelu":
            return LeakyRelu(**step.attributes)
        case "Selu":
            return ScaledElu(**step.attributes)
        case "Clip":
            return Clamp(*_limits(step))
    return _OPS_TO_ACTIVATION[step.op]


def _start(head: dict[str, Json], num_outputs: int, name: str) -> int:
    """Return the number of the first discrete action, which is written if it is not zero.

    Raises:
        InputError: If the metadata is about another head than the graph's.
    """
    start = head.get("start", 0)
    known = {"kind": "categorical", "num_actions": num_outputs}
    fits = type(start) is int and head == (known | {"start": start} if start else known)
    _require_fit(fits, head, name)
    return int(start)


def _std(head: Json, num_outputs: int, name: str) -> Array | None:
    """Return the standard deviation that the metadata says, None if it says nothing.

    Raises:
        InputError: If the metadata is about another head than the graph's.
    """
    if head is None or head == {"kind": "gaussian", "std": None}:
        return None
    std = head.get("std") if isinstance(head, dict) and head.get("kind") == "gaussian" else None
    is_vector = isinstance(std, list) and len(std) == num_outputs
    _require_fit(is_vector and all(type(entry) is float for entry in std or ()), head, name)
    return np.array(std)


def _require_fit(fits: bool, head: Json, name: str) -> None:
    if not fits:
        raise InputError(f"{name}: metadata 'surefoot.head' does not fit the graph, got {head!r}")


def _take_normaliser(chain: _Chain) -> Normaliser:
    centred, divided, multiplied = chain.take("Sub"), chain.take("Div"), chain.take("Mul")
    clipped = chain.take("Clip")
    chain.take("Identity")
    mean = _vector(centred, chain.obs_dim, 0.0)
    clip = _clip_limit(clipped) if clipped else math.inf
    if multiplied is None:
        return Normaliser(mean=mean, scale=_vector(divided, chain.obs_dim, 1.0), clip=clip)
    if divided is not None:
        raise InputError(f"{multiplied.label}: does not fit normaliser, layers, squash, scale")
    return Normaliser.multiplying(mean, _vector(multiplied, chain.obs_dim, 1.0), clip)


def _vector(step: _Node | None, size: int, default: float) -> Array:
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


def _limits(step: _Node) -> tuple[float, float]:
    if len(step.constants) != 2 or any(constant.ndim for constant in step.constants):
        raise InputError(f"{step.label}: must have a lower and an upper limit, both scalars")
    return float(step.constants[0]), float(step.constants[1])


def _clip_limit(step: _Node) -> float:
    low, high = _limits(step)
    if low != -high:
        raise InputError(f"{step.label}: limits must be symmetric, got [{low}, {high}]")
    return high


def _read_attributes(node: onnx.NodeProto, label: str) -> dict[str, float]:
    """Return the parameters of an activation.

    Raises:
        InputError: If one is missing, or any other attribute changes the meaning of the node.
    """
    allowed = {
        ("Gemm", "transB"): 1,
        ("Gemm", "transA"): 0,
        ("Gemm", "alpha"): 1.0,
        ("Gemm", "beta"): 1.0,
        ("Elu", "alpha"): 1.0,
    }
    needed = _PARAMETERS.get(node.op_type, ())
    values = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    for key, value in values.items():
        if key not in needed and allowed.get((node.op_type, key)) != value:
            raise InputError(f"{label}: attribute {key} = {value} is not read")
    if node.op_type == "Gemm" and "transB" not in values:
        raise InputError(f"{label}: attribute transB must be 1")
    if any(key not in values for key in needed):
        raise InputError(f"{label}: must name {' and '.join(needed)}")
    return {key: values[key] for key in needed}


def _read_metadata(model: onnx.ModelProto, name: str) -> dict[str, Json]:
    metadata: dict[str, Json] = {}
    for entry in model.metadata_props:
        # protobuf gives bytes instead of a string where they are not UTF-8
        if isinstance(entry.key, str) and entry.key.startswith(PREFIX):
            value = entry.value if isinstance(entry.value, bytes) else entry.value.encode()
            value = from_json(value, f"{name}: metadata {entry.key!r}")
            metadata[entry.key.removeprefix(PREFIX)] = value
    return metadata
