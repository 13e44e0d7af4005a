"""Laws of `surefoot.onnx_file.interface`: inputs, outputs and batches of files of others."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from support.onnx_graphs import Array, Graph, on_runtime
from surefoot.errors import InputError
from surefoot.onnx_file import ForeignFile, feeds, read_onnx

RNG = np.random.default_rng(0)


def read(data: bytes, output: str | None = None) -> ForeignFile:
    file = read_onnx(data, "controller.onnx", output)
    assert isinstance(file, ForeignFile)
    return file


def weights(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def test_several_inputs_are_one_observation_in_the_order_of_the_file() -> None:
    graph = Graph()
    history = graph.node("Reshape", "history", graph.whole(1, -1))
    joined = graph.node("Concat", history, "command", "sensors", axis=1)
    out = graph.node("Tanh", graph.dense(joined, weights(2, 12), weights(2)))
    inputs = {"sensors": (1, 4), "history": (1, 2, 3), "command": (1, 2)}
    file = read(graph.file({out: (1, 2)}, inputs))
    assert [part.name for part in file.interface.parts] == [*inputs]
    assert [part.size for part in file.interface.parts] == [4, 6, 2]
    obs = RNG.normal(size=12).astype(np.float32)
    fed = {
        "sensors": obs[None, :4],
        "history": obs[4:10].reshape(1, 2, 3),
        "command": obs[None, 10:],
    }
    given = feeds(file.interface, obs[None])
    for name, array in fed.items():
        np.testing.assert_array_equal(given[name], array)
    expected = on_runtime(file.data, fed)
    np.testing.assert_allclose(file.policy.outputs(obs[None]), expected, atol=1e-6)
    assert file.notes == (
        "the observation is 'sensors' (4), 'history' (6), 'command' (2), one behind the other",
    )


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING])
def test_an_input_on_which_no_action_depends_may_be_anything(kind: int) -> None:
    graph = Graph()
    out = graph.dense("obs", weights(2, 4))
    other = graph.node("Identity", "memory")
    model = graph.model({out: ("N", 2), other: ("N",)}, {"obs": ("N", 4)})
    model.graph.input.append(helper.make_tensor_value_info("memory", kind, ["N"]))
    model.graph.output[1].type.tensor_type.elem_type = kind
    file = read(model.SerializeToString(), out)
    assert file.policy.obs_dim == 4
    assert [entry.is_read for entry in file.interface.inputs] == [True, False]
    assert file.notes == ("no action depends on 'memory', which may be anything",)


def two_outputs() -> bytes:
    graph = Graph()
    actions, value = graph.dense("obs", weights(3, 4)), graph.dense("obs", weights(1, 4))
    graph.nodes.append(helper.make_node("Identity", [actions], ["actions"]))
    graph.nodes.append(helper.make_node("Identity", [value], ["value"]))
    return graph.file({"actions": ("N", 3), "value": ("N", 1)}, {"obs": ("N", 4)})


def test_the_value_function_is_not_taken_for_the_actions_without_a_word() -> None:
    assert read(two_outputs(), "actions").notes == ()
    (note,) = read(two_outputs(), "value").notes
    assert "with 1 number is taken for the actions" in note
    assert "--output may be 'actions'" in note


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (None, r"choose the actions among 'actions' \[\?, 3\], 'value' \[\?, 1\] with --output"),
        ("action", r"no output 'action'; did you mean 'actions'\?; choose .* with --output"),
    ],
)
def test_hints_name_the_outputs_their_sizes_and_the_flag(output: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(two_outputs(), output)


# --- a fixed leading size


@pytest.mark.parametrize("rows", [2, 16])
def test_a_fixed_batch_is_one_controller_and_not_one_of_many_sensors(rows: int) -> None:
    graph = Graph()
    hidden = graph.node("Relu", graph.dense("obs", weights(6, 5), weights(6)))
    out = graph.dense(hidden, weights(2, 6), weights(2))
    data = graph.file({out: (rows, 2)}, {"obs": (rows, 5)})
    file = read(data)
    assert (file.policy.obs_dim, file.policy.num_outputs, file.policy.sparsity) == (5, 2, 0)
    assert file.interface.rows == rows
    obs = RNG.normal(size=(rows, 5)).astype(np.float32)
    given = feeds(file.interface, obs)
    np.testing.assert_allclose(file.policy.outputs(obs), on_runtime(data, given), atol=1e-5)


def history(rows: int) -> bytes:
    """Rows of a history, which one controller takes together."""
    graph = Graph()
    flat = graph.node("Reshape", "obs", graph.whole(1, -1))
    out = graph.dense(flat, weights(2, rows * 5))
    return graph.file({out: (1, 2)}, {"obs": (rows, 5)})


def averaged(rows: int) -> bytes:
    """Rows that one controller averages: for a single row it would be something else."""
    graph = Graph()
    out = graph.dense(
        graph.node("MatMul", graph.constant(np.ones((1, rows))), "obs"), weights(2, 5)
    )
    return graph.file({out: (1, 2)}, {"obs": (rows, 5)})


def in_turn(rows: int) -> bytes:
    """Rows that are told apart by a constant."""
    graph = Graph()
    out = graph.dense(graph.node("Add", "obs", graph.constant(weights(rows, 5))), weights(2, 5))
    return graph.file({out: (rows, 2)}, {"obs": (rows, 5)})


@pytest.mark.parametrize("make", [history, averaged, in_turn])
def test_any_other_leading_size_is_refused_with_what_to_do(make: Callable[[int], bytes]) -> None:
    with pytest.raises(InputError, match=r"leading size 3 of input 'obs' .*leading size of 1"):
        read(make(3))


@pytest.mark.parametrize("shape", [(1, 16, 5), ("N", 16, 5)])
def test_a_map_of_each_row_of_a_history_is_as_dense_as_it_is(shape: tuple[int | str, ...]) -> None:
    graph = Graph()
    encoded = graph.node("Tanh", graph.node("MatMul", "obs", graph.constant(weights(5, 2))))
    out = graph.dense(graph.node("Flatten", encoded), weights(2, 32), weights(2))
    policy = read(graph.file({out: ("N", 2)}, {"obs": shape})).policy
    assert policy.layers[0].weight.shape == (32, 80)
    assert policy.sparsity == 0


@pytest.mark.parametrize(
    "shape", [("N", "D"), ("N", "N"), (1, "D"), ("D",), (5, "D"), ("N", "D", 1), ("N", 1, "D")]
)
def test_a_dynamic_size_is_no_number_of_sensors(shape: tuple[int | str, ...]) -> None:
    """A gain of each sensor is one of a single sensor, as a dynamic size counts as 1."""
    graph = Graph()
    out = graph.node("Mul", "obs", graph.constant(weights(1, 5)))
    with pytest.raises(InputError, match=r"input 'obs' must have fixed sizes behind that of its b"):
        read(graph.file({out: shape}, {"obs": shape}))


@pytest.mark.parametrize("size", [3, 5])
def test_a_column_is_one_observation(size: int) -> None:
    graph = Graph()
    shifted = graph.node("Sub", "obs", graph.constant(weights(size, 1)))
    out = graph.node("MatMul", graph.constant(weights(5, size)), shifted)
    data = graph.file({out: (5, 1)}, {"obs": (size, 1)})
    file = read(data)
    obs = weights(1, size)
    assert (file.policy.obs_dim, file.policy.num_outputs, file.interface.rows) == (size, 5, 1)
    expected = on_runtime(data, {"obs": obs.T}).reshape(1, -1)
    np.testing.assert_allclose(file.policy.outputs(obs), expected, atol=1e-5)


@pytest.mark.parametrize(("output", "num_notes"), [("actions", 0), ("value", 2)])
def test_sizes_are_held_against_what_the_metadata_say(output: str, num_notes: int) -> None:
    model = onnx.load_model_from_string(two_outputs())
    model.metadata_props.add(key="joint_names", value="left_hip,right_hip,knee")
    model.metadata_props.add(key="run_path", value="a,b")
    notes = read(model.SerializeToString(), output).notes
    assert len(notes) == num_notes
    if notes:
        assert "metadata have 3 entries in 'joint_names', output 'value' has 1" in notes[-1]
