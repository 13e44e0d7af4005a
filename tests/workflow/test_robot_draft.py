"""A robot is drafted from what a file says of it: nothing is guessed, and nothing replaced.

Also of ``cli/robot.py``.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from support.adopted import MJLAB, written_actor
from support.command_line import run_pipeline
from support.heard import Heard
from support.policies import draw_policy, random_policy
from surefoot.errors import InputError
from surefoot.onnx_file import policy_to_onnx
from surefoot.robot import Robot
from surefoot.runtime.controller_file import load_controller_file
from surefoot.workflow.budget_draft import init_budget
from surefoot.workflow.robot_draft import init_robot

SAID = MJLAB | {"update_rate": "50", "action_scale": "1.0,2.0", "default_joint_pos": "0.0,0.0"}


def test_the_draft_says_what_metadata_and_graph_say(tmp_path: Path) -> None:
    actor = written_actor(tmp_path / "actor.onnx", SAID, scale=[1.0, 2.0])
    draft, heard = init_robot(actor, tmp_path / "robot.toml"), Heard()
    text = draft.path.read_text()
    assert Robot.parse(text) == draft.robot
    assert draft.robot.control_period_s == pytest.approx(1 / 50)
    assert draft.robot.actuator_labels == ("hip", "knee")
    assert [part.range for part in draft.robot.actuators] == [(-1.0, 1.0), (-2.0, 2.0)]
    # Two terms of four numbers: which is how long, the file does not say.
    assert draft.robot.sensor_labels == ("obs[0]", "obs[1]", "obs[2]", "obs[3]")
    assert "of sizes that no file says: 'base_ang_vel, joint_pos'" in text
    assert {part.unit for part in (*draft.robot.sensors, *draft.robot.actuators)} == {"1"}
    assert "# action_scale 2, by the metadata" in text
    assert not heard.remarks


def test_sensors_that_a_file_names_one_by_one_have_these_names(tmp_path: Path) -> None:
    names = {"observation_names": "gyro.x,gyro.y,foot force,foot"}
    actor = written_actor(tmp_path / "actor.onnx", names)
    draft = init_robot(actor, tmp_path / "robot.toml")
    assert draft.robot.sensor_labels == ("gyro[x]", "gyro[y]", "foot_force", "foot")
    assert draft.robot.actuator_labels == ("action_0", "action_1")
    assert draft.robot.control_period_s is None
    twice = written_actor(tmp_path / "twice.onnx", {"observation_names": "a,b,a,c"})
    assert init_robot(twice, tmp_path / "other.toml").robot.sensor_labels[0] == "obs[0]"


@pytest.mark.parametrize(
    "said",
    [
        {"joint_names": "+,knee"},
        {"observation_names": "gyro.+,gyro.x,c,d"},
        {"update_rate": "-50"},
        {"update_rate": "1e-320"},
    ],
)
def test_what_no_robot_can_be_called_or_run_at_is_left_to_its_user(
    tmp_path: Path, said: dict[str, str]
) -> None:
    actor = written_actor(tmp_path / "actor.onnx", MJLAB | said)
    draft = init_robot(actor, tmp_path / "robot.toml").robot
    assert draft.control_period_s is None
    assert draft.actuator_labels in {("hip", "knee"), ("action_0", "action_1")}
    assert draft.sensor_labels == ("obs[0]", "obs[1]", "obs[2]", "obs[3]")


def test_what_a_draft_cannot_say_is_refused_and_nothing_is_replaced(tmp_path: Path) -> None:
    actor = written_actor(tmp_path / "actor.onnx")
    (tmp_path / "robot.toml").write_text("mine")
    with pytest.raises(InputError, match=r"robot\.toml"):
        init_robot(actor, tmp_path / "robot.toml")
    assert (tmp_path / "robot.toml").read_text() == "mine"
    choice = tmp_path / "choice.onnx"
    chooser = draw_policy(np.random.default_rng(0), [3, 4, 2], categorical=True)
    choice.write_bytes(policy_to_onnx(chooser))
    with pytest.raises(InputError, match="chooses among actions"):
        init_robot(choice, tmp_path / "choice.toml")
    assert not (tmp_path / "choice.toml").exists()


def test_a_file_of_ones_own_has_a_draft_too(tmp_path: Path) -> None:
    own = tmp_path / "policy.onnx"
    own.write_bytes(policy_to_onnx(random_policy(np.random.default_rng(0), (3, 4, 2))))
    draft = init_robot(own, tmp_path / "robot.toml")
    draft.robot.check_fits(load_controller_file(own).policy)


def test_contradictions_of_file_and_robot_are_said_where_a_budget_begins(tmp_path: Path) -> None:
    actor, heard = written_actor(tmp_path / "actor.onnx", SAID, scale=[1.0, 2.0]), Heard()
    text = init_robot(actor, tmp_path / "robot.toml").path.read_text()
    swapped = text.replace('"hip"', '"x"').replace('"knee"', '"hip"').replace('"x"', '"knee"')
    wrong = swapped.replace("0.02", "0.01").replace('unit = "1"', 'unit = "1"\nnoise = 0.1', 1)
    (tmp_path / "wrong.toml").write_text(wrong)
    draft = init_budget(
        actor, tmp_path / "budget.toml", robot=tmp_path / "wrong.toml", listener=heard
    )
    for words in ("call output 0 hip, the robot calls it knee", "say 50 Hz, the robot a control"):
        assert [remark for remark in heard.remarks if words in remark]
        assert [warning for warning in draft.warnings if words in warning]
    with pytest.raises(InputError, match="which pipeline robot starts"):
        init_budget(actor, tmp_path / "none.toml")


def test_the_command_line_writes_it(tmp_path: Path) -> None:
    actor = written_actor(tmp_path / "actor.onnx", SAID, scale=[1.0, 2.0])
    out = tmp_path / "robot.toml"
    done = run_pipeline("robot", actor, "--out", out, "--json")
    assert json.loads(done.out)["actuators"] == ["hip", "knee"]
    assert out.is_file()
