"""The reader of controllers that surefoot did not write.

The graph is walked once, for one observation (dynamic sizes are 1), and only where the output
depends on it. Whatever is not understood there is refused, with its node, in one line.
"""

import math
from dataclasses import dataclass

import onnx

from surefoot.errors import InputError
from surefoot.onnx_file.graph import constant, dense_tensor, first_line
from surefoot.onnx_file.operators import FLOATS, MOST_WEIGHTS, Data, HalfClip, Node, Operator, Value
from surefoot.onnx_file.rebuild import Step, rebuild
from surefoot.policy import Policy

OPSETS = range(9, 27)
"""Up to the newest opset that ONNX Runtime 1.31 runs."""

_OPERATORS = ("", "ai.onnx")
"""Both names of the domain of ONNX's own operators."""

_UNREADABLE = (ValueError, IndexError, TypeError, OverflowError, MemoryError, onnx.defs.SchemaError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Interface:
    """How a runtime feeds a file that surefoot did not write.

    Attributes:
        input: Name of the observation.
        shape: Its shape for one observation.
        batched: Whether its first size is dynamic.
        double: Whether it is float64.
        output: Name of the actions.
    """

    input: str
    shape: tuple[int, ...]
    batched: bool
    double: bool
    output: str


def import_policy(
    model: onnx.ModelProto, name: str, output: str | None = None
) -> tuple[Policy, Interface]:
    """Return what a graph computes for one observation, and how it is fed.

    Args:
        model: Parsed and checked, of an opset in ``OPSETS``.
        name: How error messages call it.
        output: Which of several outputs are the actions; whatever only the others need is ignored.

    Raises:
        InputError: If it is no chain of affine maps and known activations, naming the node.
    """
    graph = model.graph
    if model.training_info:
        raise InputError(f"{name}: training graphs are not read")
    constants = {tensor.name: constant(tensor, name) for tensor in graph.initializer}
    for sparse in graph.sparse_initializer:
        constants[sparse.values.name] = constant(dense_tensor(sparse, name), name)
    interface = _interface(graph, set(constants), name, output)
    size = math.prod(interface.shape)
    values: dict[str, Value] = {**constants, interface.input: Data(Node(size), interface.shape)}
    functions = {function.name for function in model.functions if function.domain in _OPERATORS}
    opset = next(entry.version for entry in model.opset_import if entry.domain in _OPERATORS)
    for position, node in _needed(graph, interface.output):
        own_name = f" ({repr(node.name)[1:-1]})" if node.name else ""  # in one line, whatever it is
        label = f"{name}: node {position} {node.op_type!r}{own_name}"
        if node.domain not in _OPERATORS or node.op_type in functions:
            raise InputError(
                f"{label}: functions and operators of domain {node.domain!r} are not read"
            )
        try:
            outputs = Operator(node, values, opset, label).outputs()
        except InputError as error:
            text = str(error)
            raise InputError(text if text.startswith(name) else f"{label}: {text}") from error
        except _UNREADABLE as error:
            raise InputError(f"{label}: cannot be read: {first_line(error)}") from error
        values.update(zip(node.output, outputs, strict=False))
    result = values.get(interface.output)
    if not isinstance(result, Data):
        raise InputError(f"{name}: output {interface.output!r} does not depend on the observation")
    steps: list[Step] = []
    for step in result.node.steps():
        if isinstance(step, HalfClip):
            raise InputError(f"{step.label}: a clip needs two finite limits, or [0, inf]")
        steps.insert(0, step)
    try:
        return rebuild(steps, size), interface
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _interface(
    graph: onnx.GraphProto, constants: set[str], name: str, output: str | None
) -> Interface:
    """Return the one data input and the chosen output.

    Raises:
        InputError: If there is not exactly one of them, or the input is no float vector.
    """
    inputs = [entry for entry in graph.input if entry.name not in constants]
    outputs = [entry.name for entry in graph.output]
    if len(inputs) != 1:
        names = ", ".join(repr(entry.name) for entry in inputs)
        raise InputError(f"{name} must have one input beside its constants, has {names or 'none'}")
    chosen = outputs[0] if output is None and len(outputs) == 1 else output
    if chosen is None or chosen not in outputs:
        wanted = "more than one output" if output is None else f"no output {output!r}"
        names = ", ".join(repr(entry) for entry in outputs)
        raise InputError(f"{name} has {wanted}; choose the actions among {names} with --output")
    tensor = inputs[0].type.tensor_type
    if tensor.elem_type not in FLOATS:
        known = {number: kind for kind, number in onnx.TensorProto.DataType.items()}
        kind = known.get(tensor.elem_type, tensor.elem_type)
        raise InputError(f"{name}: input {inputs[0].name!r} must be FLOAT or DOUBLE, is {kind}")
    dims = list(tensor.shape.dim)
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else 1 for dim in dims)
    if not shape or min(shape) < 1 or math.prod(shape) > MOST_WEIGHTS:
        raise InputError(f"{name}: input {inputs[0].name!r} must name its size, has {list(shape)}")
    return Interface(
        input=inputs[0].name,
        shape=shape,
        batched=len(dims) > 1 and not dims[0].HasField("dim_value"),
        double=tensor.elem_type == onnx.TensorProto.DOUBLE,
        output=chosen,
    )


def _needed(graph: onnx.GraphProto, output: str) -> list[tuple[int, onnx.NodeProto]]:
    """Return the nodes that an output depends on, in their order, with their positions."""
    wanted, needed = {output}, []  # an input or output that is left out has the empty name
    for position in range(len(graph.node) - 1, -1, -1):
        node = graph.node[position]
        if wanted & set(node.output) - {""}:
            wanted |= set(node.input)
            needed.append((position, node))
    return needed[::-1]
