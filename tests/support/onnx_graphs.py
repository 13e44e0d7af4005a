"""ONNX graphs of controllers as strangers write them, built node by node or at random."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
Dims = Sequence[int | str]


class Graph:
    """Collects nodes and constants; every method returns the name of its result."""

    def __init__(self, opset: int = 17) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._count = 0

    def name(self) -> str:
        self._count += 1
        return f"t{self._count}"

    def node(self, op: str, *inputs: str, **attributes: object) -> str:
        return self.nodes_of(op, 1, *inputs, **attributes)[0]

    def nodes_of(self, op: str, count: int, *inputs: str, **attributes: object) -> list[str]:
        outputs = [self.name() for _ in range(count)]
        self.nodes.append(helper.make_node(op, inputs, outputs, **attributes))
        return outputs

    def constant(self, array: object, dtype: type = np.float32) -> str:
        name = self.name()
        self.constants.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def whole(self, *numbers: int) -> str:
        return self.constant(numbers, np.int64)

    def cut(self, x: str, start: int, end: int, axis: int = 1, step: int = 1) -> str:
        return self.node("Slice", x, *(self.whole(number) for number in (start, end, axis, step)))

    def dense(self, x: str, weight: Array, bias: Array | None = None) -> str:
        inputs = [self.constant(weight), *([] if bias is None else [self.constant(bias)])]
        return self.node("Gemm", x, *inputs, transB=1)

    def model(
        self,
        outputs: Mapping[str, Dims] | str,
        inputs: Mapping[str, Dims],
        *,
        listed: bool = False,
        kind: int = TensorProto.FLOAT,
    ) -> onnx.ModelProto:
        named = {outputs: ("N", "M")} if isinstance(outputs, str) else outputs
        given = [helper.make_tensor_value_info(n, kind, list(d)) for n, d in inputs.items()]
        if listed:
            given += [
                helper.make_tensor_value_info(entry.name, entry.data_type, entry.dims)
                for entry in self.constants
            ]
        graph = helper.make_graph(
            self.nodes,
            "controller",
            given,
            [helper.make_tensor_value_info(n, kind, list(d)) for n, d in named.items()],
            self.constants,
        )
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def file(self, outputs: Mapping[str, Dims] | str, inputs: Mapping[str, Dims]) -> bytes:
        return bytes(self.model(outputs, inputs).SerializeToString())


def on_runtime(data: bytes, feeds: Mapping[str, Array], output: str | None = None) -> Array:
    """Return what ONNX Runtime computes, in one thread."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    fed = {name: np.asarray(array, np.float32) for name, array in feeds.items()}
    return np.asarray(session.run(None if output is None else [output], fed)[0])


class RandomController(Graph):
    """A random feed-forward controller: affine maps, elementwise steps, activations, a squash.

    Sizes, constants and operators are drawn so that terms cancel, are scaled back and forth, and
    normalised in more than one place.

    Args:
        rng: Draws everything.
        norms: Chance that a layer is normalised over its neurons, in one of its forms.
        products: Chance that a value is the product of two computed ones.
    """

    ACTIVATIONS = ("Relu", "Tanh", "Sigmoid", "Elu", "Softplus", "LeakyRelu", "Silu", "Clip")

    def __init__(self, rng: np.random.Generator, norms: float = 0.0, products: float = 0.0) -> None:
        super().__init__()
        self.rng = rng
        self.norms = norms
        self.products = products

    def maybe(self, chance: float = 0.5) -> bool:
        return bool(self.rng.random() < chance)

    def vector(self, size: int, spread: float = 1.0) -> Array:
        return (spread * self.rng.normal(size=size)).astype(np.float32)

    def factors(self, size: int) -> Array:
        signs = self.rng.choice([-1, 1], size) if self.maybe(0.3) else np.ones(size)
        return (signs * 2.0 ** self.rng.uniform(-4, 4, size)).astype(np.float32)

    def elementwise(self, x: str, size: int) -> str:
        """One elementwise affine step; shifts may be large, so that sums cancel."""
        spread = float(self.rng.choice([1.0, 1e3]))
        kind = self.rng.integers(6)
        if kind == 0:
            return self.node("Sub", x, self.constant(self.vector(size, spread)))
        if kind == 1:
            return self.node("Add", self.constant(self.vector(size, spread)), x)
        if kind == 2:
            return self.node("Div", x, self.constant(self.factors(size)))
        if kind == 3:
            return self.node("Mul", x, self.constant(self.factors(size)))
        if kind == 4:
            return self.node("Sub", self.constant(self.vector(size, spread)), x)
        positive = np.abs(self.factors(size))
        arrays = (self.factors(size), self.vector(size), self.vector(size, spread), positive)
        return self.node("BatchNormalization", x, *map(self.constant, arrays))

    def steps(self, x: str, size: int, most: int) -> str:
        for _ in range(self.rng.integers(most + 1)):
            x = self.elementwise(x, size)
        return x

    def linear(self, x: str, fan_in: int, fan_out: int) -> str:
        weight = (self.rng.normal(size=(fan_out, fan_in)) / np.sqrt(fan_in)).astype(np.float32)
        if self.maybe(0.2):  # a map that only selects and scales
            weight *= np.arange(fan_in) == self.rng.integers(fan_in, size=(fan_out, 1))
        bias = self.vector(fan_out)
        if self.maybe():
            return self.dense(x, weight, bias if self.maybe() else None)
        product = self.node("MatMul", x, self.constant(weight.T))
        return self.node("Add", product, self.constant(bias)) if self.maybe() else product

    def activation(self, x: str) -> str:
        kind = str(self.rng.choice(self.ACTIVATIONS))
        if kind == "Silu":
            return self.node("Mul", x, self.node("Sigmoid", x))
        if kind == "Clip":
            return self.node("Clip", x, self.constant(-0.5), self.constant(2.0))
        return self.node(kind, x, **({"alpha": 0.125} if kind == "LeakyRelu" else {}))

    def norm(self, x: str, size: int) -> str:
        """Perhaps a normalisation over neurons: as operator, or written out in one of its forms."""
        if not self.norms or size < 2 or not self.maybe(self.norms):
            return x
        gain, offset = self.constant(self.factors(size)), self.constant(self.vector(size))
        epsilon = float(np.float32(10.0 ** self.rng.uniform(-6, -1)))
        if self.maybe():
            return self.node("LayerNormalization", x, gain, offset, axis=-1, epsilon=epsilon)
        if self.maybe(0.7):
            x = self.node("Sub", x, self.node("ReduceMean", x, axes=[-1]))
        square = self.node("Mul", x, x)
        if self.maybe():
            square = self.node("Pow", x, self.constant(2.0))
        mean = self.node("ReduceMean", square, axes=[-1])
        root = self.node("Sqrt", self.node("Add", mean, self.constant(epsilon)))
        if self.maybe():
            x = self.node("Div", x, root)
        else:
            x = self.node("Mul", self.node("Reciprocal", root), x)
        return self.node("Add", self.node("Mul", x, gain), offset)

    def squash(self, x: str, size: int) -> str:
        kind = self.rng.integers(4)
        if kind == 0:
            return self.node("Tanh", x)
        if kind == 1:
            return self.node("Clip", x, self.constant(-1.0), self.constant(1.0))
        if kind == 2:
            middle, radius = self.vector(size), np.abs(self.factors(size))
            least = self.node("Max", x, self.constant(middle - radius))
            return self.node("Min", self.constant(middle + radius), least)
        return x

    def chain(self, num_sensors: int) -> tuple[bytes, str]:
        """Return a controller without branches, and the name of its output."""
        x = self.steps("obs", num_sensors, 4)
        if self.maybe():
            x = self.node("Clip", x, self.constant(-5.0), self.constant(5.0))
        sizes = [num_sensors, *self.rng.integers(2, 8, self.rng.integers(1, 4)).tolist()]
        for fan_in, fan_out in pairwise(sizes):
            x = self.steps(self.linear(self.steps(x, fan_in, 1), fan_in, fan_out), fan_out, 2)
            x = self.norm(x, fan_out)
            x = self.activation(x) if self.maybe(0.8) else x
        x = self.steps(self.linear(x, sizes[-1], 2), 2, 2)
        x = self.node("Identity", self.steps(self.squash(x, 2), 2, 2))
        return self.file({x: ("N", 2)}, {"obs": ("N", num_sensors)}), x

    def branched(self, num_sensors: int) -> tuple[bytes, str]:
        """Return a controller with encoders, skips and sums, and the name of its output."""
        front = self.steps("obs", num_sensors, 2)
        if self.maybe():
            front = self.node("Clip", front, self.constant(-5.0), self.constant(5.0))
        values = [("obs", num_sensors), (front, num_sensors)]
        for _ in range(self.rng.integers(2, 6)):
            values.append(self._next(values))
        last, width = self._concatenated(values)
        last = self.norm(last, width)
        x = self.steps(self.linear(last, width, 2), 2, 2)
        x = self.node("Identity", self.steps(self.squash(x, 2), 2, 1))
        return self.file({x: ("N", 2)}, {"obs": ("N", num_sensors)}), x

    def _next(self, values: list[tuple[str, int]]) -> tuple[str, int]:
        """One more value, of one or two that are there."""
        x, size = values[self.rng.integers(len(values))]
        if self.products and self.maybe(self.products):
            make = self._cell if self.maybe(0.3) else self._product
            return make(x, size, values), size
        kind = self.rng.integers(5)
        if kind == 0 and size > 1:  # a part
            start = int(self.rng.integers(size - 1))
            return self.cut(x, start, size), size - start
        if kind == 1:
            return self._concatenated(values)
        if kind == 2:  # a residual: of the same size, through a layer of its own
            other, other_size = values[self.rng.integers(len(values))]
            projected = self.linear(other, other_size, size)
            if self.maybe():
                projected = self.activation(projected)
            op = str(self.rng.choice(["Add", "Sub"]))
            return self.node(op, *self.rng.permutation([x, projected]).tolist()), size
        if kind == 3:
            return self.steps(x, size, 2), size
        fan_out = int(self.rng.integers(2, 6))
        x = self.norm(self.steps(self.linear(x, size, fan_out), fan_out, 1), fan_out)
        return self.activation(x), fan_out

    def _product(self, x: str, size: int, values: list[tuple[str, int]]) -> str:
        """A value times one of the same size: behind a sigmoid, or as it is."""
        other, other_size = values[self.rng.integers(len(values))]
        factor = self.linear(other, other_size, size)
        if self.maybe(0.7):
            factor = self.node("Sigmoid", factor)
        if self.maybe(0.3):  # one minus it
            factor = self.node("Sub", self.constant(1.0), factor)
        return self.node("Mul", *self.rng.permutation([x, factor]).tolist())

    def _cell(self, x: str, size: int, values: list[tuple[str, int]]) -> str:
        """A GRU, written out, whose hidden state is a value and whose input is another one."""
        other, other_size = values[self.rng.integers(len(values))]

        def total() -> str:
            return self.node(
                "Add", self.linear(x, size, size), self.linear(other, other_size, size)
            )

        reset, update = (self.node("Sigmoid", total()) for _ in range(2))
        recalled = self.node("Mul", reset, self.linear(x, size, size))
        new = self.node("Tanh", self.node("Add", self.linear(other, other_size, size), recalled))
        kept = self.node("Mul", update, x)
        taken = self.node("Mul", self.node("Sub", self.constant(1.0), update), new)
        return self.node("Add", taken, kept)

    def _concatenated(self, values: list[tuple[str, int]]) -> tuple[str, int]:
        count = int(self.rng.integers(2, 4))
        chosen = [values[k] for k in self.rng.integers(len(values), size=count)]
        chosen[-1] = values[-1]
        return self.node("Concat", *[x for x, _ in chosen], axis=1), sum(n for _, n in chosen)
