"""GRU and LSTM cells: what is read is what PyTorch and ONNX Runtime compute, memory and all.

Also of ``onnx_file/remembered.py``.
"""

import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from support.onnx_graphs import Array, Graph, on_runtime
from support.recurrent import ACTIONS, HIDDEN, SENSORS, Actor, cell_file
from surefoot.activation import Product, parts_of
from surefoot.ball import Ball, Norm
from surefoot.certify.at_states import AtStates, Effort
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.counterexamples import climb, objectives
from surefoot.certify.everywhere import Everywhere, shares_of
from surefoot.errors import InputError
from surefoot.onnx_file import ForeignFile, policy_from_onnx, policy_to_onnx, read_onnx
from surefoot.onnx_file.graph import parse_onnx
from surefoot.onnx_file.read import read_canonical
from surefoot.policy import Policy, weights_sha256
from surefoot.runtime.arithmetic import runtime_error_at
from surefoot.unknown import Unknown

TRIALS = int(os.environ.get("SUREFOOT_TRIALS", "2"))
ACTORS = [("GRU", 1), ("LSTM", 2), ("GRU", 2), ("LSTM", 1)]
CELLS = [("GRU", {"linear_before_reset": 1}), ("GRU", {}), ("LSTM", {})]


def read(data: bytes, output: str | None = None) -> ForeignFile:
    file = read_onnx(data, "actor.onnx", output)
    assert isinstance(file, ForeignFile)
    return file


def rows_of(rng: np.random.Generator, count: int, width: int) -> Array:
    """Observations that end in a memory within [-1, 1]."""
    rows = rng.uniform(-1, 1, (count, width))
    rows[:, :SENSORS] *= 3
    return rows.astype(np.float32)


def feeds_of(rows: Array, names: list[str], num_layers: int = 1) -> dict[str, Array]:
    """One row as the inputs of a file."""
    obs, *parts = np.split(rows, [SENSORS + k * num_layers * HIDDEN for k in range(len(names))], 1)
    shape = (num_layers, 1, HIDDEN)
    return {"obs": obs} | {
        f"{name}_in": part.reshape(shape) for name, part in zip(names, parts, strict=True)
    }


@pytest.mark.parametrize(("kind", "num_layers"), ACTORS[:2])
def test_an_export_of_pytorch_is_what_pytorch_computes(kind: str, num_layers: int) -> None:
    actor = Actor(kind, num_layers)
    data = actor.file(dynamic=num_layers == 1)
    policy = read(data).policy
    assert policy.obs_dim == actor.width
    assert any(Product() in parts_of(layer.activation) for layer in policy.layers)
    rows = rows_of(np.random.default_rng(0), 40, actor.width)
    actions, memory = actor.step(rows)
    states = policy.state(rows)
    bound = runtime_error_at(policy, states)
    assert (np.abs(actions - policy.outputs(rows)) <= bound).all()
    np.testing.assert_allclose(policy.next_memory_at(states), memory, rtol=0, atol=1e-6)
    for row, expected, most in zip(rows, policy.outputs(rows), bound, strict=True):
        found = on_runtime(data, feeds_of(row[None], actor.names, num_layers), "actions")
        assert (np.abs(found - expected) <= most).all()


@pytest.mark.parametrize(("kind", "attributes"), CELLS)
def test_a_cell_is_what_onnx_runtime_computes(kind: str, attributes: dict[str, object]) -> None:
    rng = np.random.default_rng(1)
    data = cell_file(kind, rng, **attributes)
    output = parse_onnx(data, "cell").graph.output[0].name
    policy = read(data, output).policy
    names = ["h", "c"] if kind == "LSTM" else ["h"]
    session = onnxruntime.InferenceSession(data)
    for row in rows_of(rng, 40, SENSORS + HIDDEN * len(names)):
        found, *later = session.run(None, feeds_of(row[None], names))
        states = policy.state(row[None])
        assert (np.abs(found - policy.outputs(row[None])) <= runtime_error_at(policy, states)).all()
        memory = np.concatenate([part.reshape(1, -1) for part in later], axis=1)
        np.testing.assert_allclose(policy.next_memory_at(states), memory, rtol=0, atol=2e-6)


def test_a_cell_that_is_written_out_has_its_memory_by_the_names_of_input_and_output() -> None:
    """h_out = h_in sigmoid(z) + tanh(n) (1 - sigmoid(z)), of products that stand alone."""
    rng, graph = np.random.default_rng(2), Graph()
    both = graph.node("Concat", "obs", "h_in", axis=1)
    weights = rng.normal(size=(2, HIDDEN, SENSORS + HIDDEN)).astype(np.float32)
    update = graph.node("Sigmoid", graph.dense(both, weights[0]))
    new = graph.node("Tanh", graph.dense(both, weights[1]))
    kept = graph.node("Mul", "h_in", update)
    taken = graph.node("Mul", new, graph.node("Sub", graph.constant(1.0), update))
    graph.nodes.append(onnx.helper.make_node("Add", [kept, taken], ["h_out"]))
    last = rng.normal(size=(ACTIONS, HIDDEN)).astype(np.float32)
    actions = graph.dense("h_out", last)
    data = graph.file(
        {actions: ("N", ACTIONS), "h_out": ("N", HIDDEN)},
        {"obs": ("N", SENSORS), "h_in": ("N", HIDDEN)},
    )
    policy = read(data).policy
    rows = rows_of(rng, 30, SENSORS + HIDDEN)
    inputs = {"obs": rows[:, :SENSORS], "h_in": rows[:, SENSORS:]}
    bound = runtime_error_at(policy, policy.state(rows))
    assert (np.abs(on_runtime(data, inputs) - policy.outputs(rows)) <= bound).all()
    found = policy.next_memory_at(policy.state(rows))
    np.testing.assert_allclose(found, on_runtime(data, inputs, "h_out"), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("kind", "num_layers"), ACTORS[2:])
def test_a_canonical_file_carries_the_memory_from_step_to_step(kind: str, num_layers: int) -> None:
    actor = Actor(kind, num_layers, seed=1)
    policy = read(actor.file()).policy
    data = policy_to_onnx(policy)
    assert weights_sha256(policy_from_onnx(data).policy) == weights_sha256(policy)
    session = onnxruntime.InferenceSession(data)
    rng = np.random.default_rng(0)
    memory = np.zeros((1, actor.width - SENSORS), np.float32)
    theirs = memory.astype(np.float64)
    for _ in range(8):
        obs = rng.normal(size=(1, SENSORS)).astype(np.float32)
        actions, memory = session.run(None, {"obs": np.concatenate([obs, memory], axis=1)})
        expected, theirs = actor.step(np.concatenate([obs.astype(np.float64), theirs], axis=1))
        np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(memory, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_a_hidden_state_in_the_unit_box_stays_there(kind: str) -> None:
    rng, actor = np.random.default_rng(3), Actor(kind)
    policy = read(actor.file()).policy
    rows = rng.normal(0, 30, (500, actor.width))
    rows[:, SENSORS : SENSORS + HIDDEN] = rng.choice([-1.0, 0.3, 1.0], (500, HIDDEN))
    hidden = policy.next_memory_at(rows)[:, :HIDDEN]
    assert np.abs(hidden).max() <= 1 + 1e-12


def test_no_search_exceeds_what_is_proved_of_one_step() -> None:
    """Deviations on the reference in float32, around states whose memory stays."""
    for seed in range(TRIALS):
        rng, actor = np.random.default_rng(seed), Actor(*ACTORS[seed % len(ACTORS)], seed=seed)
        policy = policy_from_onnx(policy_to_onnx(read(actor.file()).policy)).policy
        states = rows_of(rng, 6, actor.width)
        ball = Ball(norm=Norm.LINF, epsilon=float(10.0 ** rng.uniform(-2, 0)))
        around = AtStates(
            Everywhere(policy, ARITHMETICS["float32"]), states, Effort(), Unknown("not compared")
        )
        bound = around.whole_deviation(ball)
        assert not isinstance(bound, Unknown)
        reachable = policy.reachable(ball)
        for objective in objectives(policy, distribution=False):
            step = climb(policy, states.astype(np.float64), reachable, objective, steps=5)
            assert not step[:, SENSORS:].any()
            moved = reachable.perturbed(states, step)
            change = np.abs(policy.outputs_at(moved) - policy.outputs_at(states)).max(axis=1)
            assert (change <= bound.values).all()


def test_a_ball_of_linf_leaves_the_memory_alone_unless_it_names_it() -> None:
    policy = read(Actor("GRU").file()).policy
    plain = Ball(norm=Norm.LINF, epsilon=0.1)
    shares = shares_of(plain, policy)
    assert shares is not None
    assert shares.tolist() == [1.0] * SENSORS + [0.0] * HIDDEN
    of_all = replace(plain, sensors=(1.0,) * policy.obs_dim)
    for other in (Ball(norm=Norm.L2, epsilon=0.1), of_all):
        assert policy.reachable(other) is other


# --- what is refused


Change = Callable[[onnx.NodeProto], None]


def attribute(name: str, value: object) -> Change:
    return lambda node: node.attribute.append(onnx.helper.make_attribute(name, value))


def without_memory(node: onnx.NodeProto) -> None:
    node.input[5] = ""


def of_three_neurons(node: onnx.NodeProto) -> None:
    next(entry for entry in node.attribute if entry.name == "hidden_size").i = 3


REFUSED: list[tuple[str, str, Change]] = [
    (
        "GRU",
        "activations must be Sigmoid and Tanh, got Sigmoid, Relu",
        attribute("activations", ["Sigmoid", "Relu"]),
    ),
    ("LSTM", "clip must be no limit of what is summed, got 3", attribute("clip", 3.0)),
    ("GRU", "direction must be forward, got reverse", attribute("direction", "reverse")),
    ("LSTM", "input_forget must be 0, got 1", attribute("input_forget", 1)),
    ("GRU", "layout must be 0, got 1", attribute("layout", 1)),
    ("GRU", "initial_h must be an input of the file", without_memory),
    ("GRU", "hidden_size must be 5, got 3", of_three_neurons),
]


@pytest.mark.parametrize(("kind", "reason", "change"), REFUSED)
def test_what_is_no_plain_cell_is_refused_by_name(kind: str, reason: str, change: Change) -> None:
    model = onnx.load_model_from_string(cell_file(kind, np.random.default_rng(0)))
    node = next(node for node in model.graph.node if node.op_type == kind)
    change(node)
    output = model.graph.output[0].name
    with pytest.raises(InputError, match=reason) as raised:
        read_onnx(model.SerializeToString(), "actor.onnx", output)
    assert f"{kind!r}" in str(raised.value)
    assert "export" in str(raised.value)


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
@pytest.mark.parametrize(("place", "name"), [(1, "W"), (2, "R"), (3, "B")])
def test_weights_of_another_cell_are_refused_by_name(kind: str, place: int, name: str) -> None:
    model = onnx.load_model_from_string(cell_file(kind, np.random.default_rng(0)))
    node = next(node for node in model.graph.node if node.op_type == kind)
    tensor = next(each for each in model.graph.initializer if each.name == node.input[place])
    shorter = onnx.numpy_helper.to_array(tensor)[..., :-1]
    tensor.CopyFrom(onnx.numpy_helper.from_array(shorter, tensor.name))
    with pytest.raises(InputError, match=rf"{kind!r}: {name} must have shape \[1, "):
        read_onnx(model.SerializeToString(), "actor.onnx", model.graph.output[0].name)


def test_peepholes_and_cells_without_gates_are_refused_by_name() -> None:
    model = onnx.load_model_from_string(cell_file("LSTM", np.random.default_rng(0)))
    node = next(node for node in model.graph.node if node.op_type == "LSTM")
    peepholes = onnx.numpy_helper.from_array(np.ones((1, 3 * HIDDEN), np.float32), "P")
    model.graph.initializer.append(peepholes)
    node.input.append("P")
    with pytest.raises(InputError, match="P must be no weights from the memory"):
        read_onnx(model.SerializeToString(), "actor.onnx", model.graph.output[0].name)
    data = cell_file("RNN", np.random.default_rng(0))
    with pytest.raises(InputError, match="GRU and LSTM are read"):
        read_onnx(data, "actor.onnx", parse_onnx(data, "rnn").graph.output[0].name)


def test_a_sequence_of_steps_is_refused() -> None:
    model = onnx.load_model_from_string(cell_file("GRU", np.random.default_rng(0)))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3
    axes = next(t for t in model.graph.initializer if t.dims == [1] and t.data_type == 7)
    axes.CopyFrom(onnx.numpy_helper.from_array(np.array([1]), axes.name))
    with pytest.raises(InputError, match=r"sequence must have shape .* export one step"):
        read_onnx(model.SerializeToString(), "actor.onnx", model.graph.output[0].name)


def test_a_memory_in_front_of_the_observation_is_refused() -> None:
    model = onnx.load_model_from_string(cell_file("GRU", np.random.default_rng(0)))
    first, second = model.graph.input
    inputs = [onnx.ValueInfoProto.FromString(each.SerializeToString()) for each in (second, first)]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    with pytest.raises(InputError, match="behind the observation"):
        read_onnx(model.SerializeToString(), "actor.onnx", model.graph.output[0].name)


def test_an_output_that_is_not_what_the_cell_remembers_is_refused() -> None:
    model = onnx.load_model_from_string(Actor("LSTM").file())
    names = [entry.name for entry in model.graph.output]
    swap = {"h_out": "c_out", "c_out": "h_out"}
    for node in model.graph.node:
        node.output[:] = [swap.get(name, name) for name in node.output]
        node.input[:] = [swap.get(name, name) for name in node.input]
    assert names == ["actions", "h_out", "c_out"]
    with pytest.raises(InputError, match="'h_out' is not what the cell remembers of 'h_in'"):
        read_onnx(model.SerializeToString(), "actor.onnx")


def forge_order(model: onnx.ModelProto) -> None:
    order = next(t for t in model.graph.initializer if t.name == "memory_order")
    order.raw_data = np.zeros(order.dims[0], np.int64).tobytes()


def forge_layer(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.output[0].startswith("memory_"))
    node.input[0] = next(n.output[0] for n in model.graph.node if n.op_type == "Sigmoid")


def forge_neuron(model: onnx.ModelProto) -> None:
    neurons = next(t for t in model.graph.initializer if t.name.endswith("_neurons"))
    neurons.raw_data = np.full(neurons.dims[0], 999, np.int64).tobytes()


def forge_join(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.output[0] == "memory_parts")
    node.attribute[0].i = 0


@pytest.mark.parametrize("forge", [forge_order, forge_layer, forge_neuron, forge_join])
def test_a_memory_that_is_no_neurons_of_layers_is_refused(
    forge: Callable[[onnx.ModelProto], None],
) -> None:
    policy: Policy = read(Actor("GRU").file()).policy
    model = parse_onnx(policy_to_onnx(policy), "policy.onnx")
    forge(model)
    with pytest.raises(InputError, match="memory"):
        read_canonical(model, "policy.onnx")
