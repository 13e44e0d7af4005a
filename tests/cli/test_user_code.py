"""Code of the user at the command line: one line, exit 3, nothing written, and never exit 0."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import pytest

from support.command_line import Done, run_pipeline
from surefoot.envs import process_settings

ROBOT = """
import gymnasium
import numpy as np


class Robot(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-9.0, 9.0, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    num_steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.normal(size=2), {{}}

    def step(self, action):
        Robot.num_steps += 1
        {step}
        return self.np_random.normal(size=2), 1.0, False, False, {{}}


gymnasium.register("Robot-v3", lambda: Robot(), max_episode_steps=50)
"""

LEAVES = "if Robot.num_steps > {after}: raise SystemExit(0)"


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    registered, modules = dict(gymnasium.registry), set(sys.modules)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(registered)
    for name in set(sys.modules) - modules:
        if name.startswith("robot"):
            del sys.modules[name]


@pytest.fixture
def settings(tiny_config: Path) -> tuple[str, ...]:
    Path("tiny.toml").write_text(tiny_config.read_text())
    quick = ("--set", "train.total_steps=2048", "--set", "train.env_id=Robot-v3")
    return ("--config", "tiny.toml", *quick, "--env-module", "robot.py")


def robot(step: str = "pass") -> None:
    Path("robot.py").write_text(ROBOT.format(step=step))


def one_line(done: Done) -> str:
    assert done.code == 3, done
    assert done.out == ""
    (line,) = [line for line in done.err.splitlines() if not line.startswith("WARNING")]
    return str(line)


@pytest.mark.parametrize("verb", ["train", "run"])
def test_an_environment_that_leaves_does_not_end_the_command_as_done(
    settings: tuple[str, ...], verb: str
) -> None:
    robot(LEAVES.format(after=1500))
    line = one_line(run_pipeline(verb, *settings, "--out", "run"))
    assert line.startswith("error: Robot-v3: environment ")
    assert line.endswith(" of its episode: SystemExit: 0")
    assert not Path("run/policy").exists()
    assert not Path("run/summary.json").exists()


@pytest.mark.parametrize("step", [LEAVES.format(after=0), "return 1, 2, 3, 4", "1 / 0"])
def test_an_unfit_environment_is_refused_before_anything_is_written(
    settings: tuple[str, ...], step: str
) -> None:
    robot(step)
    assert one_line(run_pipeline("run", *settings, "--out", "run")).startswith(
        "error: Robot-v3 failed"
    )
    assert not Path("run").exists()


def test_a_module_that_leaves_at_its_import_does_not_end_the_command_as_done(
    settings: tuple[str, ...],
) -> None:
    Path("robot.py").write_text("raise SystemExit")
    line = one_line(run_pipeline("run", *settings, "--out", "run"))
    assert line == "error: env_module 'robot.py' cannot be imported: SystemExit"
    assert not Path("run").exists()


def test_a_module_that_replaces_the_way_out_does_not_end_the_command_as_done(
    settings: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "exit", sys.exit)  # so that it is put back
    Path("robot.py").write_text("import sys\nsys.exit = lambda code: None\nraise SystemExit\n")
    line = one_line(run_pipeline("train", *settings, "--out", "run"))
    assert line == "error: env_module 'robot.py' cannot be imported: SystemExit"


def test_an_error_of_the_system_in_an_environment_is_the_environments(
    settings: tuple[str, ...],
) -> None:
    robot('raise ConnectionResetError(104, "Connection reset by peer")')
    line = one_line(run_pipeline("train", *settings, "--out", "run"))
    assert line.startswith("error: Robot-v3 failed at step 1: ConnectionResetError: ")


def test_the_traceback_is_shown_where_it_is_asked_for(
    settings: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    robot("1 / 0")
    monkeypatch.setenv("SUREFOOT_TRACEBACK", "1")
    done = run_pipeline("train", *settings, "--out", "run")
    assert done.code == 3
    assert "Traceback (most recent call last)" in done.err
    assert 'robot.py", line ' in done.err
    assert done.err.splitlines()[-1].startswith("error: Robot-v3 failed at step 1: ZeroDivision")


def test_a_controller_is_not_attacked_in_an_environment_that_leaves(
    settings: tuple[str, ...],
) -> None:
    robot()
    assert run_pipeline("train", *settings, "--out", "run").code == 0
    del sys.modules["robot"], gymnasium.registry["Robot-v3"]
    robot(LEAVES.format(after=100))
    attack = ("attack", "run", "--allow-uncertified", "--env-module", "robot.py")
    epsilon = ("--set", "attack.epsilon=0.1")
    line = one_line(run_pipeline(*attack, *epsilon, "--out", "attack.json"))
    assert line.endswith(" of its episode: SystemExit: 0")
    assert not Path("attack.json").exists()


def test_a_task_that_cannot_be_replayed_is_told_what_helps(settings: tuple[str, ...]) -> None:
    robot("self.np_random = np.random.default_rng()")
    train = ("train", *settings, "--out", "run", "--json")
    assert 'train.resume = "new_episodes"' in one_line(run_pipeline(*train))
    assert not Path("run").exists()
    assert run_pipeline(*train, "--set", "train.resume=new_episodes").code == 0


def test_a_finished_training_goes_on_to_more_steps(settings: tuple[str, ...]) -> None:
    robot()
    train = ("train", *settings, "--out", "run", "--json")
    assert json.loads(run_pipeline(*train).out)["steps"] == 2048
    longer = ("--set", "train.total_steps=3072")
    with pytest.warns(UserWarning, match="a training of 2048 steps is continued from step 2048"):
        done = run_pipeline(*train, *longer)
    assert json.loads(done.out)["steps"] == 3072
    again = run_pipeline(*train, *longer)  # which is done
    assert json.loads(again.out) == json.loads(done.out)
    assert run_pipeline(*train).code == 2  # a training is not shortened


SELFISH = """
import os, sys, warnings
import numpy as np
import torch

os.chdir("/")
sys.stdout = sys.stderr = None
warnings.simplefilter("error")
np.seterr(all="raise")
torch.set_default_dtype(torch.float64)
torch.set_num_threads(2)
"""


def test_what_a_module_sets_for_its_process_changes_no_training(
    settings: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_settings, "_of_user", {})
    robot()
    Path("robot_selfish.py").write_text(SELFISH + Path("robot.py").read_text())
    train = ("train", *settings, "--json")
    expected = run_pipeline(*train, "--out", "run")
    del gymnasium.registry["Robot-v3"]
    found = run_pipeline(*train, "--env-module", "robot_selfish.py", "--out", "other")
    assert found.code == 0, found.err
    weights = [json.loads(done.out)["weights_sha256"] for done in (expected, found)]
    assert weights[0] == weights[1]


AT_EXIT = """
import atexit, os
atexit.register(lambda: os._exit(0))
"""


@pytest.mark.parametrize(
    ("before", "step"),
    [
        ("", "import os; os._exit(0)"),
        ("", "import ctypes; ctypes.CDLL(None).exit(0)"),
        (AT_EXIT, "1 / 0"),
    ],
)
def test_an_exit_past_every_handler_does_not_end_the_command_as_done(
    settings: tuple[str, ...], before: str, step: str
) -> None:
    robot(step)
    Path("robot.py").write_text(before + Path("robot.py").read_text())
    done = subprocess.run(
        [sys.executable, "-m", "surefoot", "train", *settings, "--out", "run"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done
    assert "error: Robot-v3 failed at step 1: " in done.stderr
    assert not Path("run").exists()
