"""A choice at the end of a file of others is read as its logits, and only a choice is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from support.onnx_graphs import Array, Graph, on_runtime
from support.policies import random_policy
from surefoot.errors import InputError
from surefoot.onnx_file import policy_to_onnx
from surefoot.policy import CategoricalHead
from surefoot.runtime.controller_file import load_controller_file

RNG = np.random.default_rng(0)
FIRST, LAST = RNG.normal(size=(8, 4)), RNG.normal(size=(3, 8))


def chooser(path: Path, end: Callable[[Graph, str], str], kind: int = TensorProto.INT64) -> Path:
    """A controller of three choices, whose end is written by the test."""
    graph = Graph()
    hidden = graph.node("Tanh", graph.dense("obs", FIRST))
    out = end(graph, graph.dense(hidden, LAST))
    model = graph.model({out: ("N",)}, {"obs": ("N", 4)})
    output = model.graph.output[0].type.tensor_type
    output.elem_type = kind
    output.ClearField("shape")
    output.shape.dim.add()
    path.write_bytes(model.SerializeToString())
    return path


def argmax(graph: Graph, logits: str) -> str:
    return graph.node("ArgMax", logits, axis=1, keepdims=0)


def argmax_of_softmax(graph: Graph, logits: str) -> str:
    largest = graph.node("ArgMax", graph.node("Softmax", logits, axis=-1), axis=-1)
    return graph.node("Squeeze", graph.node("Cast", largest, to=TensorProto.INT32), graph.whole(1))


@pytest.mark.parametrize("end", [argmax, argmax_of_softmax])
def test_the_runtime_chooses_what_the_file_chooses(
    tmp_path: Path, end: Callable[[Graph, str], str]
) -> None:
    kind = TensorProto.INT64 if end is argmax else TensorProto.INT32
    path = chooser(tmp_path / "actor.onnx", end, kind)
    file = load_controller_file(path, discrete=True)
    observations = np.random.default_rng(1).normal(size=(2000, 4)).astype(np.float32)
    said: Array = on_runtime(path.read_bytes(), {"obs": observations}).reshape(-1)
    logits = file.policy.outputs(observations)
    assert isinstance(file.policy.head, CategoricalHead)
    margin = np.diff(np.sort(logits, axis=1)[:, -2:], axis=1)[:, 0]
    clear = margin > 1e-5  # else rounding may choose
    assert clear.mean() > 0.99
    assert np.array_equal(file.policy.head.select(logits)[clear], said[clear])


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_probabilities_are_read_as_their_logits(tmp_path: Path, op: str) -> None:
    plain = chooser(tmp_path / "plain.onnx", lambda graph, x: x, TensorProto.FLOAT)
    path = chooser(
        tmp_path / "actor.onnx", lambda graph, x: graph.node(op, x, axis=1), TensorProto.FLOAT
    )
    first, second = (load_controller_file(file, discrete=True).policy for file in (plain, path))
    observations = np.random.default_rng(1).normal(size=(20, 4))
    assert np.array_equal(first.outputs(observations), second.outputs(observations))


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (lambda graph, x: graph.node("ArgMax", x, axis=0, keepdims=0), "chooses along axis 0"),
        (
            lambda graph, x: graph.node("ArgMax", x, axis=1, select_last_index=1),
            "chooses the last of equal logits",
        ),
        (lambda graph, x: graph.node("ArgMin", x, axis=1), "'ArgMin': not in the controller"),
        (
            lambda graph, x: graph.node("ArgMax", graph.cut(x, 0, 1), axis=1),
            "num_actions must be at least 2, got 1",
        ),
    ],
)
def test_another_choice_than_the_first_of_the_largest_is_refused(
    tmp_path: Path, end: Callable[[Graph, str], str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_controller_file(chooser(tmp_path / "actor.onnx", end), discrete=True)


def test_scales_behind_the_logits_are_part_of_the_network(tmp_path: Path) -> None:
    """A head of actuators would take them; logits have no head that could."""
    path = chooser(
        tmp_path / "actor.onnx",
        lambda graph, x: graph.node("Mul", x, graph.constant([2.0, 1.0, 0.5])),
        TensorProto.FLOAT,
    )
    policy = load_controller_file(path, discrete=True).policy
    observations = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
    there = on_runtime(path.read_bytes(), {"obs": observations})
    assert np.abs(policy.outputs(observations) - there).max() < 1e-5


def test_without_being_asked_a_choice_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = chooser(tmp_path / "actor.onnx", argmax)
    with pytest.raises(InputError, match=r"'ArgMax'.*: .* with --discrete$"):
        load_controller_file(path)


def test_actions_of_a_file_of_surefoot_are_no_logits(tmp_path: Path) -> None:
    path, rng = tmp_path / "policy.onnx", np.random.default_rng(0)
    path.write_bytes(policy_to_onnx(random_policy(rng, [3, 4, 2])))
    with pytest.raises(InputError, match="its outputs are actions, no logits"):
        load_controller_file(path, discrete=True)
    path.write_bytes(policy_to_onnx(random_policy(rng, [3, 4, 2], squash=None)))
    head = load_controller_file(path, discrete=True).policy.head
    assert head == CategoricalHead(num_actions=2)


def test_the_choice_among_several_outputs_is_chosen(tmp_path: Path) -> None:
    path = chooser(tmp_path / "actor.onnx", argmax)
    model = onnx.load(path)
    model.graph.output.append(
        onnx.helper.make_tensor_value_info(
            model.graph.node[0].output[0], TensorProto.FLOAT, ["N", 8]
        )
    )
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="has more than one output"):
        load_controller_file(path, discrete=True)
    name = model.graph.output[0].name
    assert load_controller_file(path, name, discrete=True).policy.num_outputs == 3
