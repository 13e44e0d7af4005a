"""What others write about their robot is understood where it can be, and kept as it is."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from support.adopted import MJLAB, written_actor
from support.policies import random_policy
from surefoot.errors import InputError
from surefoot.onnx_file import Description, load_policy, policy_from_onnx, policy_to_onnx
from surefoot.onnx_file.graph import PREFIX
from surefoot.policy import Squash
from surefoot.runtime.controller_file import load_controller_file
from surefoot.workflow.compressing import quantise_controller

EXPLOY = {
    "update_rate": json.dumps(50.0),
    "output.joint_targets": json.dumps(
        {"names": ["hip", "knee"], "stiffness": [20.0, 21.5], "damping": [0.5, 0.6]}
    ),
    "obj.robot.joint.pos": json.dumps({"names": ["hip", "knee"]}),
    "cmd.se2_velocity": json.dumps({"ranges": {"lin_vel_x": [-1.5, 1.5]}}),
}
"""What the exporter of exploy writes: JSON by input and output."""


GROUPS = {
    "obs_term_names": json.dumps(["joint_pos", "joint_vel"]),
    "decimation": "4",
    "sim_dt": "0.005",
    "update_rate": "200.0",
    "obj.robot.joints": json.dumps({"joint_names": ["hip", "knee"]}),
    "output.joint_targets.legs": json.dumps({"type": "joint_targets", "names": ["hip", "knee"]}),
}
"""What exploy writes since its groups (commit 63cacaa): the rate is that of the simulation."""

MJLAB_TERMS = {
    "observation_names": "base_ang_vel,joint_pos",
    "observation_terms_scale": "0.250;0.250;0.500,1.000",
    "observation_terms_flatten_history_dim": "1.000,1.000",
    "observation_terms_history_length": "0.000,3.000",
    "observation_terms_clip": "-inf;inf,-1.000;1.000",
    "action_scale": "0.5",
}
"""What mjlab 1.6.0 writes of the terms: numbers of one term with semicolons between them."""


def test_lists_of_mjlab_are_numbers_and_names() -> None:
    robot = Description.of(MJLAB)
    assert robot.joint_names == ("hip", "knee")
    assert robot.stiffness == (20.0, 21.5)
    assert robot.damping == (0.5, 0.6)
    assert robot.default_positions == (0.1, -0.2)
    assert robot.action_scale == (0.25, 0.5)
    assert robot.observation_names == ("base_ang_vel", "joint_pos")
    assert robot.history_lengths == (1, 3)
    assert robot.command_names == ("twist",)
    assert robot.unread == ()


def test_objects_of_exploy_name_tensors_gains_and_the_rate() -> None:
    robot = Description.of(EXPLOY)
    assert robot.joint_names == ("hip", "knee")
    assert (robot.stiffness, robot.damping) == ((20.0, 21.5), (0.5, 0.6))
    assert robot.rate_hz == 50.0
    assert robot.tensors["obj.robot.joint.pos"] == ("hip", "knee")
    assert "cmd.se2_velocity" not in robot.tensors


def test_a_period_below_the_smallest_number_is_no_rate() -> None:
    assert Description.of({"sim_dt": "1e-200", "decimation": "1e-200"}).rate_hz is None


def test_terms_of_mjlab_keep_their_scales_clips_and_histories() -> None:
    robot = Description.of(MJLAB_TERMS)
    assert robot.history_lengths == (0, 3)
    assert robot.term_scales == ("0.250;0.250;0.500", "1.000")
    assert robot.term_clips == ("-inf;inf", "-1.000;1.000")
    assert robot.action_scale == (0.5,)
    assert robot.others == {"observation_terms_flatten_history_dim": "1.000,1.000"}
    policy = random_policy(np.random.default_rng(0), [3, 4, 2])
    assert "sensors are in scaled units" in robot.left_to_do(policy)[0]
    unscaled = Description.of({**MJLAB_TERMS, "observation_terms_scale": "1.000,1.000;1.000"})
    assert "observation" not in " ".join(unscaled.left_to_do(policy))


def test_groups_of_exploy_name_their_tensors_and_the_simulation_s_rate_is_divided() -> None:
    robot = Description.of(GROUPS)
    assert robot.joint_names == ("hip", "knee")
    assert robot.observation_names == ("joint_pos", "joint_vel")
    assert robot.entries_of("obj.robot.joints.vel") == ("hip", "knee")
    assert robot.entries_of("obj.robot.base.lin_vel") == ()
    assert robot.rate_hz == 50
    assert robot.others.keys() == GROUPS.keys() - {"obs_term_names"}


@pytest.mark.parametrize("text", ["fast", "0.25,", "nan", "1e999", "[0.25, null]"])
def test_what_is_no_number_is_named_and_not_guessed(text: str) -> None:
    robot = Description.of({"action_scale": text})
    assert (robot.action_scale, robot.unread) == ((), ("action_scale",))


@pytest.mark.parametrize(
    ("said", "held", "is_contradicted"),
    [
        ("0.250,0.500", [0.25, 0.5], False),
        ("0.250,0.500", [0.25, 0.75], True),
        ("0.333", [1 / 3, 1 / 3], False),
        ("0.333", [0.25, 0.25], True),
        ("0.250,0.500", None, False),
        ("0.250,0.500,0.500", [0.25, 0.75], False),
    ],
)
def test_a_scale_that_the_graph_contradicts_is_said(
    tmp_path: Path, said: str, held: list[float] | None, is_contradicted: bool
) -> None:
    """Where the graph shows no scale, or the lists differ in length, nothing is compared."""
    path = written_actor(tmp_path / "actor.onnx", {"action_scale": said}, scale=held)
    file = load_controller_file(path)
    words = Description.of(file.properties).contradictions(file.policy)
    assert bool(words) == is_contradicted
    assert all("action_scale" in sentence for sentence in words)


def test_scales_of_another_number_of_actions_are_not_said_to_be_applied(tmp_path: Path) -> None:
    said = {"action_scale": "0.250,0.500,0.500"}
    file = load_controller_file(written_actor(tmp_path / "actor.onnx", said, scale=[0.25, 0.75]))
    assert Description.of(file.properties).left_to_do(file.policy) == ()


def test_default_positions_are_held_against_the_centre_of_the_actions() -> None:
    policy = random_policy(np.random.default_rng(0), [3, 4, 2], squash=Squash.TANH)
    words = Description.of({"default_joint_pos": "5.000,5.000"}).contradictions(policy)
    assert len(words) == 1
    assert "default position of output 0 is 5" in words[0]


def test_texts_of_others_survive_writing_reading_and_quantising(tmp_path: Path) -> None:
    texts = {**MJLAB, **EXPLOY, "empty": "", "umlaut": "Gelenkstellung ü"}
    policy = random_policy(np.random.default_rng(0), [3, 4, 2])
    data = policy_to_onnx(policy, {"env": {"id": "X-v0"}}, texts)
    file = policy_from_onnx(data)
    assert file.properties == texts
    assert file.env_id == "X-v0"
    assert policy_to_onnx(file.policy, {"env": {"id": "X-v0"}}, file.properties) == data
    path = tmp_path / "policy.onnx"
    path.write_bytes(data)
    quantised = quantise_controller(path, tmp_path / "out")
    assert load_policy(quantised.folder)[0].properties == texts


def test_no_text_of_others_takes_the_place_of_what_surefoot_says() -> None:
    policy = random_policy(np.random.default_rng(0), [3, 4, 2])
    data = policy_to_onnx(policy, {"env": {"id": "X-v0"}}, {f"{PREFIX}env": '{"id": "Y-v0"}'})
    file = policy_from_onnx(data)
    assert (file.env_id, file.properties) == ("X-v0", {})


def test_two_texts_of_one_key_are_refused(tmp_path: Path) -> None:
    path = written_actor(tmp_path / "actor.onnx", MJLAB)
    model = onnx.load(path)
    model.metadata_props.append(onnx.StringStringEntryProto(key="joint_names", value="knee,hip"))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="duplicate keys in metadata"):
        load_controller_file(path)


def test_what_is_no_text_is_left_out_and_said(tmp_path: Path) -> None:
    path = written_actor(tmp_path / "actor.onnx", {"joint_names": "h\x7fp,knee", "note": "ok"})
    path.write_bytes(path.read_bytes().replace(b"h\x7fp", b"h\xffp"))
    file = load_controller_file(path)
    assert file.properties == {"note": "ok"}
    assert file.origin is not None
    assert file.origin.notes == ("1 of its metadata are not UTF-8 text and are left out",)
