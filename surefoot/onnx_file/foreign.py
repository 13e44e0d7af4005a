"""The reader of controllers that surefoot did not write.

The graph is walked once, for one observation (dynamic sizes are 1), and only where the output
depends on it. Whatever is not understood there is refused, with its node, in one line.

What is read is not yet known to be what a runtime computes: :mod:`surefoot.runtime.controller_file`
compares the two and makes a `ControllerFile` of it, which is all that the other stages take.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import version_converter

from surefoot.artifact import sha256_hex
from surefoot.errors import InputError
from surefoot.limits import MAX_OUTPUTS
from surefoot.onnx_file.choices import check_axes, cut_at_logits
from surefoot.onnx_file.computation import Computation, Computed, Numbers, Value
from surefoot.onnx_file.external import embed_external_data
from surefoot.onnx_file.finite import is_finite
from surefoot.onnx_file.graph import (
    OWN_DOMAINS,
    check_model,
    constant,
    dense_tensor,
    first_line,
    parse_unchecked,
    properties_of,
)
from surefoot.onnx_file.interface import (
    Interface,
    chosen_output,
    interface_of,
    memories_of,
    memory_of,
    notes_of,
    one_row_of,
    require_sizes,
)
from surefoot.onnx_file.node import Node
from surefoot.onnx_file.operators import CELLS, outputs_of
from surefoot.onnx_file.rebuild import rebuild
from surefoot.policy import Array, Policy

OPSETS = range(6, 27)
"""Up to the newest opset that ONNX Runtime 1.31 runs."""

_FIRST_RUN_OPSET = 7
"""The oldest that ONNX Runtime runs; older files are converted by the onnx package."""

_LARGEST_OBSERVATION = 2.0**100
"""Largest observation of a controller without a clip: about 1e30, in whatever unit."""

_UNREADABLE = (
    ArithmeticError,
    AttributeError,
    IndexError,
    KeyError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
    onnx.checker.ValidationError,
    onnx.defs.SchemaError,
    onnx.shape_inference.InferenceError,
)
"""What NumPy and the reference implementation of ONNX raise where a node is not as it must be."""

_PLAIN_ACTOR = (
    "export the plain actor, with torch.onnx.export(..., dynamo=False) where it is PyTorch"
)
_BEFORE_RUNTIME = "adopt the original, which ONNX Runtime did not optimise or quantise yet"


@dataclass(frozen=True, kw_only=True, slots=True)
class Original:
    """The bytes of a file that surefoot did not write.

    Attributes:
        data: Its own.
        beside: Those of the files that hold its constants, by the places that it names.
    """

    data: bytes
    beside: Mapping[str, bytes]

    @property
    def sha256(self) -> str:
        """Digest of the file, and of those beside it if there are any.

        `sha256sum policy.onnx policy.onnx.data | cut -c1-64 | sha256sum` prints it: the digests
        stand in a line each, the file's first and then in the order of the names.
        """
        if not self.beside:
            return sha256_hex(self.data)
        digests = [sha256_hex(data) for _, data in sorted(self.beside.items())]
        lines = (f"{digest}\n" for digest in (sha256_hex(self.data), *digests))
        return sha256_hex("".join(lines).encode())


@dataclass(frozen=True, kw_only=True, slots=True)
class ForeignFile:
    """What was understood of a file that surefoot did not write; no runtime has seen it yet.

    Attributes:
        policy: The function that the file computes.
        interface: How it is fed.
        data: The file for a runtime: with the constants of other files inside, and in an opset that
            ONNX Runtime runs.
        original: Its own bytes, and those of the files beside it.
        properties: Metadata of other tools, text by key.
        notes: Remarks for the user, a sentence each.
    """

    policy: Policy
    interface: Interface
    data: bytes
    original: Original
    properties: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Digest of the file, and of those beside it if there are any."""
        return self.original.sha256


def read_foreign(
    data: bytes,
    name: str,
    output: str | None = None,
    folder: Path | None = None,
    *,
    discrete: bool = False,
) -> ForeignFile:
    """Read a controller that somebody else wrote, as far as it is understood.

    Args:
        data: The bytes of the file.
        name: How error messages call it.
        output: Which of several outputs are the actions; whatever only the others need is ignored.
        folder: Where the file lies, for constants in files beside it.
        discrete: Read the output as a choice: logits, of which the largest is chosen. An ArgMax or
            Softmax at its end is left to whoever runs the controller.

    Raises:
        InputError: If it is no directed acyclic graph of affine maps and known activations, naming
            the node.
    """
    model = parse_unchecked(data, name)
    files = embed_external_data(model, folder, name)
    opset = check_model(model, name, OPSETS)
    runs = data if not files else model.SerializeToString()
    if opset < _FIRST_RUN_OPSET:
        model, opset = _converted(model, name), _FIRST_RUN_OPSET
        runs = model.SerializeToString()
    axes: Sequence[int] | None = None
    if discrete:
        axes, output = cut_at_logits(model, opset, name, output), None
        runs = model.SerializeToString()
    policy, interface = _Reader(model, name, opset, output, axes).policy()
    return ForeignFile(
        policy=policy,
        interface=interface,
        data=bytes(runs),
        original=Original(data=data, beside=files),
        properties=properties_of(model),
        notes=notes_of(interface, model, policy.num_outputs),
    )


def _converted(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Return a model of an old opset in the oldest one that ONNX Runtime runs.

    Raises:
        InputError: If the onnx package cannot convert it.
    """
    try:
        converted = version_converter.convert_version(model, _FIRST_RUN_OPSET)
        onnx.checker.check_model(converted)
    except Exception as error:  # of several classes, some of C++
        raise InputError(
            f"{name}: its old opset cannot be converted: {first_line(error)}"
        ) from error
    return converted


class _Reader:
    """One walk through one graph."""

    def __init__(
        self,
        model: onnx.ModelProto,
        name: str,
        opset: int,
        output: str | None,
        axes: Sequence[int] | None,
    ) -> None:
        """Find the nodes that the output depends on.

        Args:
            model: The parsed foreign model.
            name: How error messages call it.
            opset: Version of ONNX's own operators.
            output: Which of several outputs are the actions.
            axes: Those along which the largest output is chosen; None if they are no logits.

        Raises:
            InputError: If it is a training graph, or has no such output.
        """
        if model.training_info:
            raise InputError(f"{name}: training graphs are not read")
        self._graph, self._name, self._opset = model.graph, name, opset
        self._functions = {f.name for f in model.functions if f.domain in OWN_DOMAINS}
        self._constants: dict[str, Array] = {
            tensor.name: constant(tensor, name) for tensor in self._graph.initializer
        }
        for sparse in self._graph.sparse_initializer:
            self._constants[sparse.values.name] = constant(dense_tensor(sparse, name), name)
        self._output, self._axes = chosen_output(self._graph, name, output), axes
        memories = memories_of(self._graph)
        self._memories = {key: name for key, name in memories.items() if name != self._output}
        self._nodes = _needed_nodes(self._graph, {self._output, *self._memories.values()})

    def policy(self) -> tuple[Policy, Interface]:
        """Rebuild the policy that the graph computes, and the interface that feeds it.

        Raises:
            InputError: If it is not understood.
        """
        taken = {self._output, *(entry for _, node in self._nodes for entry in node.input)}
        interface = interface_of(self._graph, self._constants, self._name, self._output, taken)
        fixed = [part for part in interface.parts if len(part.shape) > 1 and part.shape[0] > 1]
        has_cells = any(node.op_type in CELLS for _, node in self._nodes)
        if not fixed or has_cells:  # a memory may have several layers
            policy = self._rebuilt(interface)
        else:
            policy, interface = self._of_one_row(interface)
        of_steps = {part.name for part in interface.parts} if has_cells else {*self._memories}
        require_sizes(self._graph, interface, self._name, of_steps)
        return policy, interface

    def _of_one_row(self, interface: Interface) -> tuple[Policy, Interface]:
        """Rebuild a graph with a fixed leading size from one row of its batch, or from a column.

        Raises:
            InputError: If it is neither.
        """
        reason = "its inputs and its output do not share it"
        row = one_row_of(interface, self._graph)
        if row is not None:
            try:
                return self._rebuilt(row), row
            except InputError as error:
                reason = str(error).removeprefix(f"{self._name}: ")
        if all(set(part.shape[1:]) <= {1} for part in interface.parts):
            return self._rebuilt(interface), interface
        first = next(part for part in interface.parts if part.shape[0] > 1)
        raise InputError(
            f"{self._name}: the leading size {first.shape[0]} of input {first.name!r} is no batch "
            f"({reason}), and is not read as one observation: export it with a leading size of 1"
        )

    def _rebuilt(self, interface: Interface) -> Policy:
        """Rebuild what the graph computes from one observation.

        Raises:
            InputError: If it is not understood.
        """
        computation = Computation(interface.obs_dim)
        numbers = self._walked(interface, computation)
        if interface.rows > 1 and numbers.ndim and numbers.shape[0] != 1:
            raise InputError(f"output {self._output!r} has no row for each of the input")
        if numbers.size > MAX_OUTPUTS:
            raise InputError(
                f"{self._name}: output {self._output!r} must have at most {MAX_OUTPUTS} entries,"
                f" has {numbers.size}"
            )
        try:
            check_axes(self._axes or (), numbers)
            flat = numbers.reshape(-1)
            memory = memory_of(computation, interface)
            policy = rebuild(computation, flat, memory, choice=self._axes is not None)
        except InputError as error:
            text = str(error)
            raise InputError(
                text if text.startswith(self._name) else f"{self._name}: {text}"
            ) from error
        limited = np.isfinite(policy.normaliser.clip)
        largest = float(np.finfo(np.float32).max) if limited else _LARGEST_OBSERVATION
        if not all(is_finite(computation, entry, largest) for entry in computation.ignored):
            raise InputError(
                f"{self._name}: a value that is multiplied by zero is not known to be finite, so "
                "the product may be NaN: choose an output before it with --output"
            )
        return policy

    def _walked(self, interface: Interface, computation: Computation) -> Numbers:
        """Return the numbers of the output, in its shape, with the steps of its computation.

        Raises:
            InputError: If a node is not understood.
        """
        values: dict[str, Value] = dict(self._constants)
        ends = np.cumsum([part.size for part in interface.parts])[:-1]
        for part, sensors in zip(interface.parts, np.split(computation.sensors, ends), strict=True):
            values[part.name] = Computed(sensors.reshape(part.shape))
        for position, node in self._nodes:
            self._take(position, node, values, computation)
        for before, later in self._memories.items():
            self._recall(before, later, values, computation)
        result = values.get(self._output)
        if not isinstance(result, Computed):
            raise InputError(
                f"{self._name}: output {self._output!r} does not depend on the observation"
            )
        return result.numbers

    def _recall(
        self, before: str, later: str, values: Mapping[str, Value], computation: Computation
    ) -> None:
        """Note that an output holds the next values of an input, where it is of the same size.

        Raises:
            InputError: If a cell gives other values.
        """
        memory, after = values.get(before), values.get(later)
        if not (isinstance(memory, Computed) and isinstance(after, Computed)):
            return
        if after.flat.shape != memory.flat.shape:
            return
        found = dict(zip(memory.flat.tolist(), after.flat.tolist(), strict=True))
        known = computation.recalled
        if any(known.get(number, value) != value for number, value in found.items()):
            raise InputError(
                f"{self._name}: output {later!r} is not what the cell remembers of {before!r}"
            )
        known.update(found)

    def _take(
        self,
        position: int,
        node: onnx.NodeProto,
        values: dict[str, Value],
        computation: Computation,
    ) -> None:
        own_name = f" ({repr(node.name)[1:-1]})" if node.name else ""  # in one line, whatever it is
        label = f"{self._name}: node {position} {node.op_type!r}{own_name}"
        if node.domain not in OWN_DOMAINS or node.op_type in self._functions:
            to_do = _BEFORE_RUNTIME if node.domain.startswith("com.microsoft") else _PLAIN_ACTOR
            raise InputError(
                f"{label}: functions and operators of domain {node.domain!r} are not read: {to_do}"
            )
        try:
            outputs = outputs_of(Node(node, values, computation, self._opset, label))
        except InputError as error:
            text = str(error).removeprefix(f"{label}: ")
            raise InputError(f"{label}: {text}") from error
        except _UNREADABLE as error:
            raise InputError(f"{label}: cannot be read: {first_line(error)}") from error
        values.update(zip(node.output, outputs, strict=False))


def _needed_nodes(
    graph: onnx.GraphProto, outputs: Collection[str]
) -> list[tuple[int, onnx.NodeProto]]:
    """Return the nodes that outputs depend on, in their order, with their positions."""
    wanted, needed = set(outputs), []  # an input or output that is left out has the empty name
    for position in range(len(graph.node) - 1, -1, -1):
        node = graph.node[position]
        if wanted.intersection(node.output) - {""}:
            wanted.update(node.input)
            needed.append((position, node))
    return needed[::-1]
