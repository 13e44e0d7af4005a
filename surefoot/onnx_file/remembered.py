"""The next memory in a canonical file: a second output beside the actions, read and written.

    layer 3 -Gather-\
    layer 7 -Gather-- Concat -Gather-> memory

Each Gather takes neurons of a layer; the last one brings them into the order of the sensors.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from surefoot.errors import InputError
from surefoot.onnx_file.graph import MEMORY
from surefoot.policy import Memory


class MemoryWriter:
    """Collects what the layers of a graph give of the next memory.

    Attributes:
        nodes: Nodes of the graph, to which those of the memory are appended.
        constants: Its constants, likewise.
    """

    def __init__(
        self, memory: Memory, nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]
    ) -> None:
        self._memory = memory
        self._nodes, self._constants = nodes, constants
        self._parts: list[str] = []
        self._places: list[int] = []

    def take(self, value: str, number: int) -> None:
        """Write what a layer gives, counted from 1."""
        places, neurons = self._memory.of_layer(number)
        if places:
            name = f"memory_{number}"
            self._gather(value, f"{name}_neurons", neurons, name)
            self._parts.append(name)
            self._places += places

    def finish(self) -> None:
        """Write the output."""
        self._nodes.append(helper.make_node("Concat", self._parts, ["memory_parts"], axis=1))
        self._gather("memory_parts", "memory_order", np.argsort(self._places).tolist(), MEMORY)

    def _gather(self, value: str, name: str, numbers: Sequence[int], output: str) -> None:
        self._constants.append(numpy_helper.from_array(np.array(numbers, np.int64), name))
        self._nodes.append(helper.make_node("Gather", [value, name], [output], axis=1))


def split_memory(model: onnx.ModelProto, name: str) -> tuple[onnx.ModelProto, Memory | None]:
    """Return a graph without the output of the next memory, and what that holds.

    Args:
        model: Parsed and checked.
        name: How error messages call it.

    Raises:
        InputError: If the output is no neurons of layers.
    """
    if [entry.name for entry in model.graph.output[1:]] != [MEMORY]:
        return model, None
    rest = onnx.ModelProto()
    rest.CopyFrom(model)
    graph = rest.graph
    del graph.output[1]
    makers = {output: node for node in graph.node for output in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    layers = {
        node.input[0]: number
        for number, node in enumerate(node for node in graph.node if node.op_type == "Gemm")
    }
    last, order = _gathered(makers.get(MEMORY), constants, name)
    joined = makers.get(last)
    if joined is None or joined.op_type != "Concat" or joined.domain or not _is_along(joined):
        raise InputError(f"{name}: output {MEMORY!r} must join neurons along axis 1")
    gone, numbers, neurons = [joined, makers[MEMORY]], list[int](), list[int]()
    for part in joined.input:
        value, places = _gathered(makers.get(part), constants, name)
        if layers.get(value, 0) < 1:
            raise InputError(f"{name}: output {MEMORY!r} must hold neurons of layers")
        gone.append(makers[part])
        numbers += [layers[value]] * len(places)
        neurons += places
    if sorted(order) != [*range(len(neurons))]:
        raise InputError(f"{name}: output {MEMORY!r} must hold each of its neurons once")
    _remove(graph, gone)
    return rest, Memory(
        layers=tuple(numbers[place] for place in order),
        neurons=tuple(neurons[place] for place in order),
    )


def _gathered(
    node: onnx.NodeProto | None, constants: Mapping[str, onnx.TensorProto], name: str
) -> tuple[str, list[int]]:
    """Return the value of a Gather along the neurons, and its places.

    Raises:
        InputError: If it is none.
    """
    index = None if node is None or len(node.input) != 2 else constants.get(node.input[1])
    if node is None or index is None or node.op_type != "Gather" or not _is_along(node):
        raise InputError(f"{name}: output {MEMORY!r} must be neurons, gathered along axis 1")
    if node.domain or index.data_type != onnx.TensorProto.INT64 or len(index.dims) != 1:
        raise InputError(f"{name}: output {MEMORY!r} must name its neurons as a row of INT64 (7)")
    return str(node.input[0]), numpy_helper.to_array(index).tolist()


def _is_along(node: onnx.NodeProto) -> bool:
    return [(entry.name, entry.i) for entry in node.attribute] == [("axis", 1)]


def _remove(graph: onnx.GraphProto, gone: Sequence[onnx.NodeProto]) -> None:
    """Remove nodes and the constants that they alone take."""
    names = {output for node in gone for output in node.output}
    kept = [node for node in graph.node if not names.intersection(node.output)]
    taken = {entry for node in gone for entry in node.input}
    taken -= {entry for node in kept for entry in node.input}
    constants = [tensor for tensor in graph.initializer if tensor.name not in taken]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(constants)
