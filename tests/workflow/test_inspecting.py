"""What is said of a controller before any proof is what its file computes."""

import json
from pathlib import Path

import numpy as np
import pytest

from support.adopted import MJLAB, written_actor
from support.onnx_graphs import Graph, on_runtime
from support.policies import bare_states, random_policy
from surefoot.errors import InputError
from surefoot.onnx_file import Description, InputPart, load_policy, save_policy
from surefoot.policy import NO_SLOPES, Normaliser, Squash
from surefoot.visited import Visited
from surefoot.workflow.adopting import adopt_controller
from surefoot.workflow.inspecting import inspect_controller, sensor_names


def test_a_normalised_epsilon_is_what_moves_the_state_by_it(tmp_path: Path) -> None:
    """Against ONNX Runtime: a file that gives its state, and one sensor moved at a time."""
    mean, scale = np.array([0.5, -3, 100], np.float32), np.array([0.25, 4, 7], np.float32)
    graph = Graph()
    centred = graph.node("Sub", "obs", graph.constant(mean))
    out = graph.dense(graph.node("Div", centred, graph.constant(scale)), np.eye(3))
    path = tmp_path / "state.onnx"
    path.write_bytes(graph.file({out: ("N", 3)}, {"obs": ("N", 3)}))
    inspection = inspect_controller(path, epsilon=0.05)
    for sensor in inspection.sensors:
        moved = mean.copy()
        moved[sensor.number] += np.float32(sensor.epsilon)
        before, after = on_runtime(path.read_bytes(), {"obs": np.stack([mean, moved])})
        assert (after - before)[sensor.number] == pytest.approx(0.05, rel=1e-3)
        assert sensor.mean == mean[sensor.number]


def test_no_action_leaves_the_range_that_is_said(tmp_path: Path) -> None:
    path = written_actor(tmp_path / "actor.onnx", scale=[0.25, 0.75])
    inspection = inspect_controller(path)
    obs = np.random.default_rng(0).normal(size=(1000, 4)) * 100
    actions = on_runtime(path.read_bytes(), {"obs": obs})
    for output, column in zip(inspection.outputs, actions.T, strict=True):
        assert output.low is not None
        assert output.high is not None
        assert output.low <= column.min() <= output.low + 0.1
        assert output.high - 0.1 <= column.max() <= output.high
        assert output.squash is Squash.TANH


def test_sensors_that_never_moved_are_too_coarse_or_idle_are_flagged(tmp_path: Path) -> None:
    policy = random_policy(np.random.default_rng(0), [4, 5, 2])
    policy.layers[0].weight[:, 3] = 0
    normaliser = Normaliser(
        mean=np.array([0, 24, 5e6, 0], np.float32),
        scale=np.array([1, 1e-8, 1, 1], np.float32),
        clip=10.0,
    )
    save_policy(
        tmp_path / "policy",
        type(policy)(normaliser=normaliser, layers=policy.layers, head=policy.head),
    )
    flags = [sensor.flags for sensor in inspect_controller(tmp_path / "policy").sensors]
    assert flags == [(), ("constant", "unresolved"), ("unresolved",), ("unread",)]


@pytest.mark.parametrize(
    ("op", "name"), [("LayerNormalization", "LayerNorm"), ("RMSNormalization", "RMSNorm")]
)
def test_a_normalisation_is_named_and_is_no_layer_of_its_own(
    tmp_path: Path, op: str, name: str
) -> None:
    rng, graph = np.random.default_rng(0), Graph(opset=23)
    hidden = graph.dense("obs", rng.normal(size=(16, 4)))
    gain, offset = graph.constant(rng.normal(size=16)), graph.constant(rng.normal(size=16))
    inputs = (gain, offset) if op == "LayerNormalization" else (gain,)
    hidden = graph.node("Tanh", graph.node(op, hidden, *inputs, axis=-1, epsilon=1e-5))
    out = graph.dense(hidden, rng.normal(size=(2, 16)))
    path = tmp_path / "actor.onnx"
    path.write_bytes(graph.file({out: ("N", 2)}, {"obs": ("N", 4)}))
    assert inspect_controller(path).network == f"4-16-2, {name} (epsilon 1e-05), tanh"


def test_names_come_from_the_file_or_are_none() -> None:
    one, two = (
        (InputPart(name="obs", size=2),),
        (InputPart(name="pos", size=2), InputPart(name="cmd", size=1)),
    )
    said = Description.of({"pos": json.dumps({"names": ["hip", "knee"]})})
    assert sensor_names(one, Description.of({})) == (None, None)
    assert sensor_names(one, Description.of({"observation_names": "hip,knee"})) == ("hip", "knee")
    assert sensor_names(one, Description.of({"observation_names": "base"})) == (None, None)
    assert sensor_names(two, said) == ("pos.hip", "pos.knee", "cmd[0]")


def test_an_adopted_controller_keeps_the_names_of_its_original(tmp_path: Path) -> None:
    path = written_actor(tmp_path / "actor.onnx", MJLAB)
    adopt_controller(path, tmp_path / "run")
    before, after = inspect_controller(path), inspect_controller(tmp_path / "run")
    assert [output.name for output in after.outputs] == ["hip", "knee"]
    assert (before.sensors, before.outputs) == (after.sensors, after.outputs)
    assert before.description == after.description
    assert (before.kind, after.kind) == ("a file of others", "a run")


def test_what_is_not_known_is_said_and_what_is_known_is_not(trained: Path, tmp_path: Path) -> None:
    graph = Graph()
    path = tmp_path / "actor.onnx"
    out = graph.dense("obs", np.eye(3))
    path.write_bytes(graph.file({out: ("N", 3)}, {"obs": ("N", 3)}))
    lacking = " ".join(inspect_controller(path).unknown)
    for word in ("state_limit", "no states", "no noise", "no environment"):
        assert word in lacking
    inspection = inspect_controller(trained)
    assert inspection.unknown == ()
    assert inspection.recorded_states > 8
    assert (inspection.env_id, inspection.visited_states) == ("CartPole-v1", 8)
    assert {output.squash for output in inspection.outputs} == {None}


def test_a_normalisation_over_neurons_is_said_to_have_no_bound_everywhere(tmp_path: Path) -> None:
    graph = Graph()
    hidden = graph.node("LayerNormalization", "obs", graph.constant(np.ones(3)), axis=-1)
    path = tmp_path / "actor.onnx"
    path.write_bytes(graph.file({graph.dense(hidden, np.eye(3)): ("N", 3)}, {"obs": ("N", 3)}))
    unknown = inspect_controller(path).unknown
    assert NO_SLOPES in unknown
    assert "state_limit" not in " ".join(unknown)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan"), float("inf")])
def test_epsilon_must_be_a_size(tmp_path: Path, epsilon: float) -> None:
    with pytest.raises(InputError, match="epsilon must be positive and finite"):
        inspect_controller(written_actor(tmp_path / "actor.onnx"), epsilon=epsilon)


def test_a_file_that_lies_about_its_inputs_is_refused(tmp_path: Path) -> None:
    policy = random_policy(np.random.default_rng(0), [4, 5, 2])
    table = {"sha256": "0" * 64, "inputs": [{"name": "obs", "size": 3}], "output": "actions"}
    save_policy(tmp_path / "policy", policy, metadata={"adopted": table})
    with pytest.raises(InputError, match="must name 4 sensors"):
        inspect_controller(tmp_path / "policy")
    assert load_policy(tmp_path / "policy")[0].policy.obs_dim == 4


def test_states_of_bare_observations_have_unit_scales(tmp_path: Path) -> None:
    policy = random_policy(np.random.default_rng(0), [3, 4, 2])
    bare = type(policy)(normaliser=bare_states(3), layers=policy.layers, head=policy.head)
    save_policy(tmp_path / "policy", bare)
    sensors = inspect_controller(tmp_path / "policy").sensors
    assert {(sensor.mean, sensor.scale, sensor.clip) for sensor in sensors} == {(0.0, 1.0, 10.0)}


def test_states_without_episodes_are_recorded_and_not_visited(tmp_path: Path) -> None:
    pool = np.random.default_rng(0).normal(size=(6, 4))
    states = Visited(independent=pool[:0], steps=np.arange(0), num_discarded=0, pool=pool)
    adopt_controller(written_actor(tmp_path / "actor.onnx"), tmp_path / "run", visited=states)
    inspection = inspect_controller(tmp_path / "run")
    assert (inspection.visited_states, inspection.recorded_states) == (0, 6)
    assert "no independent states" in " ".join(inspection.unknown)
    assert "no states" not in " ".join(inspection.unknown)
