"""What a description leaves open its file says, and where the two differ that is said."""

from pathlib import Path

import pytest

from support.adopted import MJLAB, written_actor
from support.heard import Heard
from surefoot.artifact import read_artifact
from surefoot.budget import Budget
from surefoot.certify import CertifyConfig
from surefoot.certify.explain import explain
from surefoot.robot import ROBOT_FILE, Robot
from surefoot.runtime.controller_file import load_controller_file
from surefoot.workflow.adopting import adopt_controller
from surefoot.workflow.budget_draft import init_budget
from surefoot.workflow.certifying import certify_controller
from surefoot.workflow.exporting import export_controller
from surefoot.workflow.inspecting import inspect_controller
from surefoot.workflow.robot_metadata import completed, robot_of_metadata
from surefoot.workflow.verifying import verify_bundle

LEFT_OPEN = """
[[sensor]]
name = "gyro"
count = 2
unit = "rad/s"
noise = 0.01

[[sensor]]
name = "joint_position"
count = 2   # of the leg
unit = "rad"

[[actuator]]
name = "torque"
count = 2
unit = "N m"
range = [-9.0, 9.0]
"""
SAID = MJLAB | {"update_rate": "50", "observation_names": "gyro.x,gyro.y,hip,knee"}
FAST = CertifyConfig(search_states=8, search_steps=2, lipsdp_iterations=2, lipsdp_per_actuator=0)
BUDGET = Budget.parse("""
[[require]]
quantity = "property"
all_of = ["action[torque[knee]] <= 50 N m"]
region = { kind = "states", sensors = { "gyro[x]" = [-0.1, 0.1], joint_position = [0, 0.1] } }
""")


def test_rate_and_names_of_entries_are_those_of_the_file(tmp_path: Path) -> None:
    file = load_controller_file(written_actor(tmp_path / "actor.onnx", SAID))
    whole = completed(Robot.parse(LEFT_OPEN), file)
    assert whole.control_period_s == 1 / 50
    assert whole.sensor_labels == (
        "gyro[x]",
        "gyro[y]",
        "joint_position[hip]",
        "joint_position[knee]",
    )
    assert whole.actuator_labels == ("torque[hip]", "torque[knee]")
    assert [sensor.noise for sensor in whole.sensors] == [0.01, None]
    assert len(whole.by_metadata) == 4
    assert completed(whole, file) == whole
    own = whole.text.replace("0.02", "0.03").replace('"hip", "knee"', '"a", "b"')
    assert completed(Robot.parse(own), file).text == own


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"joint_names": "hip,hip"},
        {"joint_names": "hip,knee,foot", "update_rate": "0"},
        {"joint_names": "+,knee", "update_rate": "1e-320"},
    ],
)
def test_what_names_no_entries_is_left_open(tmp_path: Path, said: dict[str, str]) -> None:
    file = load_controller_file(written_actor(tmp_path / "actor.onnx", said))
    assert completed(Robot.parse(LEFT_OPEN), file).text == LEFT_OPEN


def test_a_table_that_is_written_in_one_line_stays_as_it_is(tmp_path: Path) -> None:
    file = load_controller_file(written_actor(tmp_path / "actor.onnx", MJLAB))
    inline = LEFT_OPEN.partition("[[actuator]]")[0]
    inline = 'actuator = [{ name = "torque", count = 2, unit = "N m" }]\n' + inline
    assert completed(Robot.parse(inline), file).text == inline


def test_the_whole_description_goes_from_the_file_to_the_bundle_and_is_said(
    tmp_path: Path,
) -> None:
    (tmp_path / "robot.toml").write_text(LEFT_OPEN)
    actor, heard = written_actor(tmp_path / "actor.onnx", SAID, scale=[1.0, 2.0]), Heard()
    run = tmp_path / "run"
    adopt_controller(actor, run, robot=tmp_path / "robot.toml", listener=heard)
    kept = read_artifact(run / "policy", "policy").files[ROBOT_FILE].decode()
    certificate = certify_controller(run, BUDGET, run / "certificate.json", config=FAST, draw=False)
    assert certificate.robot == Robot.parse(kept)
    bundle = export_controller(run, certificate, tmp_path / "bundle").path
    assert verify_bundle(bundle).proved == (0,)
    said = 'of the robot the metadata of the file say: entries = ["hip", "knee"]'
    assert said in heard.remarks
    assert said in inspect_controller(run).understood
    assert said in explain(certificate)


def test_a_contradiction_is_a_warning_of_every_verb_that_reads_both(tmp_path: Path) -> None:
    unit, swapped = '\nunit = "N m"', 'entries = ["knee", "hip"]'
    other = LEFT_OPEN.replace(f"count = 2{unit}", swapped + unit)
    (tmp_path / "robot.toml").write_text("control_period_s = 0.01\n" + other)
    actor = written_actor(tmp_path / "actor.onnx", SAID, scale=[1.0, 2.0])
    adopt_controller(actor, tmp_path / "run", robot=tmp_path / "robot.toml")
    certifying, drafting = Heard(), Heard()
    out = tmp_path / "certificate.json"
    certify_controller(tmp_path / "run", BUDGET, out, config=FAST, draw=False, listener=certifying)
    init_budget(tmp_path / "run", tmp_path / "budget.toml", listener=drafting)
    heard = (certifying.remarks, drafting.remarks, inspect_controller(tmp_path / "run").understood)
    for remarks in heard:
        for said in (
            "call output 0 hip, the robot calls it torque[knee]",
            "say 50 Hz, the robot a control period of 0.01 s",
        ):
            assert sum(said in one for one in remarks) == 1


def test_without_a_description_the_file_names_the_robot_in_certificate_and_bundle(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    adopt_controller(written_actor(tmp_path / "actor.onnx", SAID, scale=[1.0, 2.0]), run)
    by_name = BUDGET.text.replace("torque[knee]", "knee").replace(" N m", "")
    budget = Budget.parse(by_name.replace("joint_position", "hip"))
    certificate = certify_controller(run, budget, run / "certificate.json", config=FAST, draw=False)
    words = explain(certificate)
    assert "action[knee] <= 50.0 for states with gyro[x] in [-0.1, 0.1]" in words
    assert "with an excess of at most" in words
    assert " action units, where 0 would still hold" in words
    assert "the metadata of the file say: names of sensors and actuators" in words
    assert certificate.robot is not None
    assert certificate.robot.control_period_s == 1 / 50
    bundle = export_controller(run, certificate, tmp_path / "bundle").path
    assert verify_bundle(bundle).proved == (0,)


@pytest.mark.parametrize("names", ["hip,hip", "+,knee", "hip,knee,foot", ""])
def test_names_that_are_not_those_of_all_actuators_name_no_robot(
    tmp_path: Path, names: str
) -> None:
    actor = written_actor(tmp_path / "actor.onnx", {"joint_names": names})
    assert robot_of_metadata(load_controller_file(actor)) is None
