"""Limits of one side each are the clip; a diagonal matrix is a scale."""

from collections.abc import Callable

import numpy as np
import pytest

from support.onnx_graphs import Array, Graph, on_runtime
from surefoot.activation import Activation, Clamp
from surefoot.errors import InputError
from surefoot.onnx_file import ForeignFile, read_onnx, split_limits
from surefoot.policy import GaussianHead, Squash
from surefoot.runtime.arithmetic import runtime_error

RNG = np.random.default_rng(0)
FIRST = RNG.normal(size=(8, 3)).astype(np.float32)
LAST = RNG.normal(size=(2, 8)).astype(np.float32)
Clip = Callable[[Graph, str, float, float], str]


def read(front: Callable[[Graph, str], str], hidden: Callable[[Graph, str], str]) -> ForeignFile:
    graph = Graph()
    value = hidden(graph, graph.dense(front(graph, "obs"), FIRST))
    file = read_onnx(graph.file(graph.dense(value, LAST), {"obs": ("N", 3)}), "actor.onnx")
    assert isinstance(file, ForeignFile)
    return file


def relu(graph: Graph, x: str) -> str:
    return graph.node("Relu", x)


def same(graph: Graph, x: str) -> str:
    return x


def above_then_below(graph: Graph, x: str, low: float, high: float) -> str:
    """high - relu(high - low - relu(x - low))"""
    above = relu(graph, graph.node("Sub", x, graph.constant(low)))
    below = relu(graph, graph.node("Sub", graph.constant(high - low), above))
    return graph.node("Sub", graph.constant(high), below)


def maximum_then_relu(graph: Graph, x: str, low: float, high: float) -> str:
    """high - relu(high - max(x, low))"""
    above = graph.node("Max", x, graph.constant(low))
    below = relu(graph, graph.node("Sub", graph.constant(high), above))
    return graph.node("Sub", graph.constant(high), below)


def scaled_between(graph: Graph, x: str, low: float, high: float) -> str:
    """min(4 max(x, low), 4 high) / 4"""
    above = graph.node("Mul", graph.node("Max", x, graph.constant(low)), graph.constant(4.0))
    below = graph.node("Min", above, graph.constant(4 * high))
    return graph.node("Mul", below, graph.constant(0.25))


def saturated(graph: Graph, x: str, low: float, high: float) -> str:
    """(high - low) hard_sigmoid(x) + low, with the slope and offset that make it the clip."""
    width = high - low
    unit = graph.node("HardSigmoid", x, alpha=1 / width, beta=-low / width)
    return graph.node("Add", graph.node("Mul", unit, graph.constant(width)), graph.constant(low))


CLIPS = [above_then_below, maximum_then_relu, scaled_between, saturated]
OBSERVATIONS = (10.0 ** RNG.uniform(-3, 3, (2000, 1)) * RNG.normal(size=(2000, 3))).astype(
    np.float32
)


def errors(file: ForeignFile) -> Array:
    error = on_runtime(file.data, {"obs": OBSERVATIONS}) - file.policy.outputs(OBSERVATIONS)
    return np.abs(error)


@pytest.mark.parametrize("clip", CLIPS)
def test_in_front_it_is_the_clip_of_the_state(clip: Clip) -> None:
    file = read(lambda graph, x: clip(graph, x, -4.0, 4.0), lambda g, x: g.node("Tanh", x))
    assert file.policy.normaliser.clip == 4
    assert [layer.weight.shape for layer in file.policy.layers] == [(8, 3), (2, 8)]
    assert (errors(file) <= runtime_error(file.policy, state_limit=4.0)).all()


@pytest.mark.parametrize("clip", CLIPS)
def test_between_layers_it_is_an_activation(clip: Clip) -> None:
    file = read(same, lambda graph, x: clip(graph, x, -2.0, 6.0))
    first = file.policy.layers[0].activation
    assert isinstance(first, Clamp)
    assert [layer.weight.shape for layer in file.policy.layers] == [(8, 3), (2, 8)]
    largest = float(np.abs(OBSERVATIONS).max())
    assert (errors(file) <= runtime_error(file.policy, state_limit=largest)).all()


def test_a_relu_that_is_turned_around_is_a_relu() -> None:
    def turned(graph: Graph, x: str) -> str:
        return graph.node("Neg", graph.node("Min", graph.node("Neg", x), graph.constant(0.0)))

    file = read(same, turned)
    assert file.policy.layers[0].activation is Activation.RELU
    assert np.array_equal(
        file.policy.outputs(OBSERVATIONS), read(same, relu).policy.outputs(OBSERVATIONS)
    )


@pytest.mark.parametrize("amount", [0.1, 1e-9])
def test_an_end_that_float32_would_round_stays_where_it_is(amount: float) -> None:
    """3 * 0.1 and 1 + 1e-9 are no float32 numbers; in double precision the file would keep them."""

    def clip(graph: Graph, x: str) -> str:
        above = graph.node("Max", x, graph.constant(amount))
        moved = graph.node(
            "Add", graph.node("Mul", above, graph.constant(3.0)), graph.constant(1.0)
        )
        return graph.node("Min", moved, graph.constant(6.0))

    with pytest.raises(InputError, match="'Max': a clip needs two finite limits"):
        read(same, clip)


def test_halves_beyond_those_of_any_robot_are_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs a walk over the whole file, so that thousands would take minutes."""
    monkeypatch.setattr(split_limits, "_MOST", 2)

    def clips(graph: Graph, x: str) -> str:
        return maximum_then_relu(graph, x, -2.0, 6.0)

    def twice(graph: Graph, x: str) -> str:
        return maximum_then_relu(graph, clips(graph, x), -1.0, 5.0)

    assert isinstance(read(same, clips).policy.layers[0].activation, Clamp)
    with pytest.raises(InputError, match="'Max': a clip needs two finite limits"):
        read(same, twice)


def test_a_value_that_somebody_else_takes_is_not_moved() -> None:
    graph = Graph()
    hidden = relu(graph, graph.dense("obs", FIRST))
    below = relu(graph, graph.node("Sub", graph.constant(6.0), hidden))
    out = graph.dense(graph.node("Add", hidden, below), LAST)
    file = read_onnx(graph.file(out, {"obs": ("N", 3)}), "actor.onnx")
    assert isinstance(file, ForeignFile)
    assert errors(file).max() < 1e-3


@pytest.mark.parametrize("op", ["MatMul", "Gemm"])
def test_a_matrix_of_one_entry_each_is_a_scale_at_both_ends(op: str) -> None:
    """A normaliser or the ranges of the actuators as a matrix; its zeros are no weights."""
    scale, half = np.array([0.5, 2.0, -0.75], np.float32), np.array([2.0, 0.5], np.float32)

    def diagonal(graph: Graph, x: str, entries: Array, order: list[int]) -> str:
        matrix = np.diag(entries)[order]
        if op == "Gemm":
            return graph.dense(x, matrix, np.ones(len(entries)))
        return graph.node("MatMul", x, graph.constant(matrix.T))

    graph = Graph()
    state = diagonal(graph, "obs", scale, [1, 0, 2])
    state = graph.node("Clip", state, graph.constant(-5.0), graph.constant(5.0))
    raw = graph.dense(graph.node("Tanh", graph.dense(state, FIRST)), LAST)
    out = diagonal(graph, graph.node("Tanh", raw), half, [0, 1])
    file = read_onnx(graph.file(out, {"obs": ("N", 3)}), "actor.onnx")
    assert isinstance(file, ForeignFile)
    policy = file.policy
    assert isinstance(policy.head, GaussianHead)
    assert policy.head.squash is Squash.TANH
    np.testing.assert_array_equal(policy.head.half_range, half)
    np.testing.assert_allclose(policy.normaliser.scale, 1 / np.abs(scale), rtol=1e-6)
    assert (policy.normaliser.clip, policy.sparsity) == (5, 0)
    assert [layer.weight.shape for layer in policy.layers] == [(8, 3), (2, 8)]
    assert (errors(file) <= runtime_error(policy, state_limit=5.0)).all()


def test_a_leaky_relu_of_slope_one_is_nothing() -> None:
    file = read(same, lambda graph, x: relu(graph, graph.node("LeakyRelu", x, alpha=1.0)))
    assert [layer.activation for layer in file.policy.layers] == [
        Activation.RELU,
        Activation.IDENTITY,
    ]
