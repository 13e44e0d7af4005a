"""Small controllers in the forms that exporters and simulators write, with random weights."""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper

from support.onnx_graphs import Array, Dims, Graph

Form = Callable[[], onnx.ModelProto]
_SIZE = 6


class Written(Graph):
    """A graph whose weights are drawn, and whose actions are called ``actions``."""

    def __init__(self, opset: int = 17) -> None:
        super().__init__(opset)
        self.rng = np.random.default_rng(0)

    def weight(self, *shape: int) -> Array:
        return np.asarray(self.rng.normal(size=shape) / np.sqrt(shape[-1]), np.float32)

    def drawn(self, *shape: int) -> str:
        return self.constant(self.weight(*shape))

    def positive(self, *shape: int) -> str:
        return self.constant(np.abs(self.weight(*shape)) + 0.5)

    def mlp(self, x: str, size: int, count: int = 2, activation: str = "Tanh") -> str:
        hidden = self.node(activation, self.dense(x, self.weight(8, size), self.weight(8)))
        return self.dense(hidden, self.weight(count, 8), self.weight(count))

    def ending(
        self,
        actions: str,
        inputs: dict[str, Dims],
        dims: Dims = ("N", 2),
        *,
        others: dict[str, Dims] | None = None,
        listed: bool = False,
        ir_version: int = 8,
    ) -> onnx.ModelProto:
        self.nodes.append(helper.make_node("Identity", [actions], ["actions"]))
        model = self.model({"actions": dims, **(others or {})}, inputs, listed=listed)
        model.ir_version = ir_version
        return model


def matlab() -> onnx.ModelProto:
    """MATLAB's exporter: opset 8, its constants listed as inputs."""
    graph = Written(opset=8)
    centred = graph.node("Sub", "in", graph.constant(np.zeros((1, 1, 1, 5))))
    flat = graph.node("Flatten", centred, axis=1)
    product = graph.node("MatMul", flat, graph.drawn(5, 8))
    hidden = graph.node("Relu", graph.node("Add", product, graph.drawn(8)))
    product = graph.node("MatMul", hidden, graph.drawn(8, 2))
    out = graph.node("Add", product, graph.drawn(2))
    return graph.ending(out, {"in": (1, 1, 1, 5)}, (1, 2), listed=True, ir_version=3)


def kernel_is_input() -> onnx.ModelProto:
    """A Conv whose kernel covers its whole input, as ARCH-COMP's controllers have."""
    graph = Written(opset=9)
    kernels = {"kernel_shape": [1, 4], "strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1]}
    image = graph.node("Conv", "in", graph.drawn(8, 1, 1, 4), graph.drawn(8), group=1, **kernels)
    hidden = graph.node("Relu", image)
    image = graph.node("Conv", hidden, graph.drawn(2, 8, 1, 1), graph.drawn(2), kernel_shape=[1, 1])
    out = graph.node("Flatten", image, axis=1)
    return graph.ending(out, {"in": ("N", 1, 1, 4)}, ir_version=4)


def unused_input() -> onnx.ModelProto:
    """A second input and output beside the actions, as godot_rl_agents writes them."""
    graph = Written()
    out = graph.mlp("obs", _SIZE)
    graph.nodes.append(helper.make_node("Identity", ["state_ins"], ["state_outs"]))
    inputs: dict[str, Dims] = {"obs": ("N", _SIZE), "state_ins": ("N",)}
    return graph.ending(out, inputs, others={"state_outs": ("N",)})


def concat_of_one() -> onnx.ModelProto:
    """A Concat of one tensor, as ML-Agents writes it."""
    graph = Written()
    return graph.ending(
        graph.mlp(graph.node("Concat", "obs", axis=1), _SIZE), {"obs": ("N", _SIZE)}
    )


def two_names_of_the_domain() -> onnx.ModelProto:
    """The default domain under both of its names, as ``onnx.utils.extract_model`` leaves it."""
    graph = Written(opset=11)
    model = graph.ending(graph.mlp("obs", _SIZE), {"obs": ("N", _SIZE)}, ir_version=6)
    model.opset_import.append(helper.make_opsetid("ai.onnx", 11))
    return model


def observation_and_history() -> onnx.ModelProto:
    """An observation and its history as two inputs."""
    graph = Written()
    flat = graph.node("Reshape", "hist", graph.whole(1, -1))
    out = graph.mlp(graph.node("Concat", "obs", flat, axis=1), 16)
    return graph.ending(out, {"obs": (1, 4), "hist": (1, 3, 4)}, (1, 2))


def encoder() -> onnx.ModelProto:
    """An encoder of the history beside the newest observation, as estimators have."""
    graph = Written()
    latent = graph.mlp("obs", 12, 3, "Elu")
    joined = graph.node("Concat", graph.cut("obs", 8, 12), latent, axis=1)
    return graph.ending(graph.mlp(joined, 7, 2, "Elu"), {"obs": ("N", 12)})


def layer_norm() -> onnx.ModelProto:
    """LayerNorm as one operator."""
    graph = Written()
    parts = (graph.constant(np.ones(_SIZE)), graph.constant(np.zeros(_SIZE)))
    state = graph.node("LayerNormalization", "obs", *parts, axis=-1)
    return graph.ending(graph.mlp(state, _SIZE), {"obs": ("N", _SIZE)})


def batch_norm() -> onnx.ModelProto:
    """BatchNormalization in inference."""
    graph = Written()
    mean = (graph.positive(_SIZE), graph.drawn(_SIZE), graph.drawn(_SIZE))
    state = graph.node("BatchNormalization", "obs", *mean, graph.positive(_SIZE))
    return graph.ending(graph.mlp(state, _SIZE), {"obs": ("N", _SIZE)})


def broadcast_of_opset_6() -> onnx.ModelProto:
    """Opset 6 with the attribute ``broadcast``."""
    graph = Written(opset=6)
    centred = graph.node("Sub", "in", graph.constant(np.zeros((1, 5))), broadcast=1)
    out = graph.node("Gemm", centred, graph.drawn(2, 5), graph.drawn(2), broadcast=1, transB=1)
    return graph.ending(out, {"in": (1, 5)}, (1, 2), listed=True, ir_version=3)


def multiplying_normaliser() -> onnx.ModelProto:
    """A normaliser that multiplies by 1/std, as brax and MuJoCo Playground write it."""
    graph = Written()
    centred = graph.node("Sub", "obs", graph.drawn(_SIZE))
    state = graph.node("Mul", centred, graph.positive(_SIZE))
    out = graph.node("Tanh", graph.mlp(state, _SIZE, 2, "Elu"))
    return graph.ending(out, {"obs": ("N", _SIZE)})


def wide(*, squashed: bool) -> onnx.ModelProto:
    """An actor of three ELU layers, as legged robots have."""
    graph, x, width = Written(), "obs", 45
    for size in (64, 32, 16):
        x = graph.node("Elu", graph.dense(x, 1.6 * graph.weight(size, width), np.zeros(size)))
        width = size
    x = graph.dense(x, 1.6 * graph.weight(12, width), np.zeros(12))
    out = graph.node("Tanh", x) if squashed else x
    return graph.ending(out, {"obs": ("N", 45)}, ("N", 12))


def affine_first() -> onnx.ModelProto:
    """An affine map without activation before the first layer."""
    graph = Written()
    state = graph.node("MatMul", "obs", graph.constant(np.diag([0.001, 0.001, 1, 1])))
    return graph.ending(graph.mlp(state, 4), {"obs": ("N", 4)})


def noise_times_zero() -> onnx.ModelProto:
    """A deterministic SAC of Stable-Baselines3: the mean and ``exp(..) * 0``."""
    graph = Written()
    mean, spread = graph.mlp("obs", _SIZE), graph.node("Exp", graph.mlp("obs", _SIZE))
    none = graph.node("Mul", spread, graph.constant(np.zeros((1, 2))))
    out = graph.node("Tanh", graph.node("Add", mean, none))
    return graph.ending(out, {"obs": ("N", _SIZE)})


def keras() -> onnx.ModelProto:
    """tf2onnx of a Keras model: MatMul and Add, Transpose of the input, names with slashes."""
    graph = Written(opset=13)
    turned = graph.node("Transpose", "obs", perm=[1, 0])
    x = graph.node("Transpose", turned, perm=[1, 0])
    x = graph.node("Add", graph.node("MatMul", x, graph.drawn(_SIZE, 8)), graph.drawn(8))
    x = graph.node("Add", graph.node("MatMul", graph.node("Relu", x), graph.drawn(8, 2)), "bias")
    graph.constants.append(onnx.numpy_helper.from_array(graph.weight(1, 2), "bias"))
    return graph.ending(x, {"obs": ("N", _SIZE)}, ir_version=7)


FORMS: dict[str, Form] = {
    "01 opset 8, listed constants": matlab,
    "02 Conv over the whole input": kernel_is_input,
    "03 an input that is not read": unused_input,
    "04 Concat of one": concat_of_one,
    "06 both names of the domain": two_names_of_the_domain,
    "07 two inputs": observation_and_history,
    "08 encoder": encoder,
    "09 LayerNorm": layer_norm,
    "10 BatchNorm": batch_norm,
    "11 opset 6": broadcast_of_opset_6,
    "12 normaliser that multiplies": multiplying_normaliser,
    "13a wide": lambda: wide(squashed=False),
    "13b wide, tanh": lambda: wide(squashed=True),
    "14 affine map first": affine_first,
    "15 noise times zero": noise_times_zero,
    "Keras": keras,
}
"""Forms by name; 05, weights beside the file, is what the exporter of PyTorch writes."""
