"""A description of a robot travels with its controller, from the adopted file to the bundle."""

from pathlib import Path

import pytest

from support.adopted import MJLAB, written_actor
from support.heard import Heard
from surefoot.artifact import Artifact, read_artifact, write_artifact
from surefoot.budget import Budget
from surefoot.certify import CertifyConfig
from surefoot.compress import Method, OneShotConfig
from surefoot.errors import InputError, VerificationError
from surefoot.robot import ROBOT_FILE, Robot
from surefoot.workflow.adopting import adopt_controller
from surefoot.workflow.certifying import certify_controller
from surefoot.workflow.compressing import compress_controller
from surefoot.workflow.exporting import export_controller
from surefoot.workflow.inspecting import inspect_controller
from surefoot.workflow.robot_file import robot_of
from surefoot.workflow.verifying import verify_bundle

LEG = """
control_period_s = 0.02

[[sensor]]
name = "gyro"
count = 2
unit = "rad/s"
noise = 0.01

[[sensor]]
name = "joint_position"
entries = ["hip", "knee"]
unit = "rad"

[[actuator]]
name = "torque"
entries = ["hip", "knee"]
unit = "N m"
"""
BUDGET = Budget.parse("""
[[require]]
quantity = "action_deviation"
perturb = { gyro = 0.01, joint_position = 0.002 }
scope = "everywhere"
at_most = { "torque[hip]" = 50.0, "torque[knee]" = 60.0 }
""")
FAST = CertifyConfig(search_states=8, search_steps=2, lipsdp_iterations=2, lipsdp_per_actuator=0)


@pytest.fixture(scope="module", name="leg")
def _leg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a robot."""
    folder = tmp_path_factory.mktemp("leg")
    (folder / "leg.toml").write_text(LEG)
    actor = written_actor(folder / "actor.onnx", MJLAB, scale=[1.0, 2.0])
    adopt_controller(actor, folder / "run", robot=folder / "leg.toml")
    return folder / "run"


@pytest.fixture(scope="module", name="bundle")
def _bundle(leg: Path) -> Path:
    certificate = certify_controller(leg, BUDGET, leg / "certificate.json", config=FAST, draw=False)
    return export_controller(leg, certificate, leg / "bundle").path


def test_the_folder_keeps_the_description_byte_for_byte(leg: Path) -> None:
    assert read_artifact(leg / "policy", "policy").files[ROBOT_FILE] == LEG.encode()
    assert robot_of(leg) == Robot.parse(LEG)


def test_inspecting_names_sensors_and_outputs_as_the_robot_does(leg: Path) -> None:
    inspection = inspect_controller(leg)
    assert [(sensor.name, sensor.unit) for sensor in inspection.sensors] == [
        ("gyro[0]", "rad/s"),
        ("gyro[1]", "rad/s"),
        ("joint_position[hip]", "rad"),
        ("joint_position[knee]", "rad"),
    ]
    assert [(output.name, output.unit) for output in inspection.outputs] == [
        ("torque[hip]", "N m"),
        ("torque[knee]", "N m"),
    ]


def test_a_bundle_verifies_in_the_words_of_its_robot(bundle: Path) -> None:
    verified = verify_bundle(bundle)
    assert verified.proved == (0, 1)
    assert verified.bundle.certificate.robot == Robot.parse(LEG)
    assert robot_of(bundle) == Robot.parse(LEG)


@pytest.mark.parametrize("text", [LEG.replace("rad/s", "deg/s"), None])
def test_a_bundle_with_another_description_does_not_verify(
    bundle: Path, tmp_path: Path, text: str | None
) -> None:
    whole = read_artifact(bundle, "bundle")
    files = {name: data for name, data in whole.files.items() if name != ROBOT_FILE}
    if text is not None:
        files[ROBOT_FILE] = text.encode()
    write_artifact(tmp_path / "bundle", Artifact(kind="bundle", files=files, facts=whole.facts))
    with pytest.raises(VerificationError, match=r"another robot\.toml"):
        verify_bundle(tmp_path / "bundle")


def test_a_compressed_controller_keeps_its_robot(leg: Path, tmp_path: Path) -> None:
    config = OneShotConfig(method=Method.MAGNITUDE)
    out = tmp_path / "small"
    compress_controller(leg, out, sparsity=0.2, config=config, visited_states=0)
    assert robot_of(tmp_path / "small") == Robot.parse(LEG)


def test_a_description_that_is_given_comes_before_that_of_the_folder(
    leg: Path, tmp_path: Path
) -> None:
    other = tmp_path / "robot.toml"
    other.write_text(LEG.replace("rad/s", "deg/s"))
    assert robot_of(leg, other) == Robot.parse(other.read_text())


def test_a_description_of_another_robot_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "leg.toml").write_text(LEG.replace("count = 2", "count = 3"))
    actor = written_actor(tmp_path / "actor.onnx")
    with pytest.raises(InputError, match="sensors must have the 4 entries"):
        adopt_controller(actor, tmp_path / "run", robot=tmp_path / "leg.toml")
    assert not (tmp_path / "run").exists()


def test_another_order_than_that_of_the_metadata_is_a_warning(tmp_path: Path) -> None:
    torque = 'name = "torque"\nentries = '
    swapped = LEG.replace(f'{torque}["hip", "knee"]', f'{torque}["knee", "hip"]')
    (tmp_path / "leg.toml").write_text(swapped)
    heard = Heard()
    actor = written_actor(tmp_path / "actor.onnx", {**MJLAB, "update_rate": "100"})
    adopted = adopt_controller(actor, tmp_path / "run", robot=tmp_path / "leg.toml", listener=heard)
    order, rate = adopted.warnings
    assert "call output 0 hip, the robot calls it torque[knee]" in order
    assert "100 Hz, the robot a control period of 0.02 s" in rate
    assert f"WARNING: {order}" in heard.remarks
