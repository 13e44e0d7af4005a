"""A budget is drafted from a data sheet: it holds what that says, and replaces nothing.

Also of ``cli/budget.py``.
"""

import tomllib
from pathlib import Path

import numpy as np
import pytest

from support.adopted import written_actor
from support.command_line import run_pipeline
from support.heard import Heard
from support.policies import draw_policy
from surefoot.budget import Scope
from surefoot.certify import CertifyConfig
from surefoot.errors import InputError
from surefoot.onnx_file import policy_to_onnx
from surefoot.workflow.budget_draft import init_budget
from surefoot.workflow.certifying import certify_controller

LEG = """
control_period_s = 0.02

[[sensor]]
name = "gyro"
count = 2
unit = "rad/s"
noise = 0.03
resolution = 0.1

[[sensor]]
name = "encoder"
unit = "rad"
resolution = 0.001

[[sensor]]
name = "temperature"
unit = "K"

[[actuator]]
name = "hip"
unit = "rad"
max_rate = 12.0
range = [-1.0, 1.0]

[[actuator]]
name = "knee"
unit = "rad"
range = [-1.0, 2.0]
"""
FAST = CertifyConfig(search_states=8, search_steps=2, lipsdp_iterations=2, lipsdp_per_actuator=0)


@pytest.fixture(scope="module", name="leg")
def _leg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("leg")
    (folder / "robot.toml").write_text(LEG)
    return written_actor(folder / "actor.onnx", scale=[1.0, 2.0]).parent


def test_the_numbers_are_those_of_the_data_sheet(leg: Path, tmp_path: Path) -> None:
    heard, out = Heard(), tmp_path / "budget.toml"
    draft = init_budget(leg / "actor.onnx", out, robot=leg / "robot.toml", listener=heard)
    (table,) = tomllib.loads(out.read_text())["require"]
    assert table["perturb"] == {"gyro": 0.03, "encoder": 0.001}
    assert table["at_most"] == pytest.approx({"hip": 12.0 * 0.02, "knee": 0.1 * 3.0})
    assert [need.scope for need in draft.budget.requirements] == [Scope.EVERYWHERE] * 2
    text = out.read_text()
    for words in (
        "rad/s, its noise; ",
        "rad, its resolution; ",
        "# temperature: neither noise nor resolution is known",
        "its max_rate of 12 rad/s over 0.02 s",
        "10% of its range",
    ):
        assert words in text
    assert [words for words in heard.remarks if "gyro[1]: its resolution" in words]


def test_a_bias_stands_beside_the_noise(leg: Path, tmp_path: Path) -> None:
    sheet, out = tmp_path / "robot.toml", tmp_path / "budget.toml"
    sheet.write_text(LEG.replace("noise = 0.03", "noise = 0.03\nbias = 0.01"))
    init_budget(leg / "actor.onnx", out, robot=sheet, listener=Heard())
    (table,) = tomllib.loads(out.read_text())["require"]
    assert table["perturb"] == {"gyro": {"linf": 0.03, "bias": 0.01}, "encoder": 0.001}
    assert "rad/s, its noise and its bias; " in out.read_text()


def test_the_draft_can_be_held_against_the_controller(leg: Path, tmp_path: Path) -> None:
    out = tmp_path / "budget.toml"
    actor, robot = leg / "actor.onnx", leg / "robot.toml"
    budget = init_budget(actor, out, robot=robot).budget
    certificate = certify_controller(
        actor, budget, tmp_path / "certificate.json", config=FAST, robot=robot, draw=False
    )
    assert [finding.requirement.actuator for finding in certificate.findings] == ["hip", "knee"]
    assert all(finding.certified is not None for finding in certificate.findings)


def test_the_draft_of_a_controller_without_a_clip_says_what_it_assumes(
    leg: Path, tmp_path: Path
) -> None:
    actor, out = tmp_path / "free.onnx", tmp_path / "budget.toml"
    free = draw_policy(np.random.default_rng(0), [4, 3, 2], clip=np.inf)
    actor.write_bytes(policy_to_onnx(free))
    init_budget(actor, out, robot=leg / "robot.toml")
    text = out.read_text()
    assert "state_limit = ..." in text
    assert "normalised" not in text
    assert tomllib.loads(text)["require"][0]["perturb"] == {"gyro": 0.03, "encoder": 0.001}


def test_a_budget_that_is_there_is_not_replaced(leg: Path, tmp_path: Path) -> None:
    out = tmp_path / "budget.toml"
    out.write_text("mine")
    with pytest.raises(InputError, match="is not replaced"):
        init_budget(leg / "actor.onnx", out, robot=leg / "robot.toml")
    assert out.read_text() == "mine"


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        (("noise", "resolution"), "needs a sensor with a noise or a resolution"),
        (("range", "max_rate"), "needs an actuator with a range or a max_rate"),
    ],
)
def test_a_data_sheet_that_says_too_little_writes_nothing(
    leg: Path, tmp_path: Path, gone: tuple[str, ...], message: str
) -> None:
    robot = tmp_path / "robot.toml"
    lines = [line for line in LEG.splitlines() if not line.startswith(gone)]
    robot.write_text("\n".join(lines))
    with pytest.raises(InputError, match=message):
        init_budget(leg / "actor.onnx", tmp_path / "budget.toml", robot=robot)
    assert not (tmp_path / "budget.toml").exists()


def test_a_controller_without_a_description_needs_one(leg: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give --robot"):
        init_budget(leg / "actor.onnx", tmp_path / "budget.toml")


def test_the_verb_prints_what_it_requires(leg: Path, tmp_path: Path) -> None:
    out = tmp_path / "budget.toml"
    done = run_pipeline(
        "budget", "init", leg / "actor.onnx", "--robot", leg / "robot.toml", "--out", out
    )
    assert done.code == 0
    assert "action_deviation of hip under encoder 0.001, gyro 0.03" in done.out
