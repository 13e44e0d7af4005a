"""The surface of the command line is frozen: a new flag is a decision, made here.

Also of ``cli/main.py`` and ``cli/options.py``.
"""

import subprocess
import sys

import pytest
import typer.main
from typer.core import TyperGroup

from surefoot.cli import app
from surefoot.version import __version__

LIBRARIES = {"torch", "mujoco", "gymnasium", "onnxruntime", "matplotlib", "numpy", "scipy", "onnx"}
TRAINING = {"--preset", "--config", "--set", "--seed", "--device", "--env-module", "--json"}
FLAGS = {
    "train": {"--out", *TRAINING},
    "certify": {
        "controller",
        "--budget",
        "--out",
        "--attack",
        "--explain",
        "--bench",
        "--output",
        "--discrete",
        "--dense",
        "--robot",
        "--states",
        "--columns",
        "--episode-column",
        "--draft-budget",
        "--vnnlib",
        "--timeout",
        "--no-picture",
        "--config",
        "--set",
        "--json",
    },
    "export": {
        "policy",
        "--certificate",
        "--target",
        "--sign",
        "--out",
        "--dense",
        "--gate",
        "--config",
        "--set",
        "--allow-uncertified",
        "--json",
    },
    "keygen": {"--out", "--json"},
    "robot": {"controller", "--out", "--json"},
    "budget init": {"controller", "--robot", "--out", "--json"},
    "compress": {
        "policy",
        "--out",
        "--method",
        "--sparsity",
        "--allocation",
        "--block-rows",
        "--refit",
        "--weights",
        "--max-control-error",
        "--over",
        "--epsilon",
        "--calibration",
        "--columns",
        "--visited-states",
        "--output",
        "--discrete",
        "--env-module",
        "--json",
    },
    "quantise": {"policy", "--out", "--output", "--discrete", "--json"},
    "adopt": {
        "source",
        "--out",
        "--output",
        "--discrete",
        "--env",
        "--env-module",
        "--robot",
        "--states",
        "--columns",
        "--episode-column",
        "--visited-states",
        "--json",
    },
    "inspect": {"controller", "--output", "--discrete", "--epsilon", "--json"},
    "verify": {"bundle", "--key", "--policy", "--dense", "--allow-uncertified", "--json"},
    "attack": {
        "bundle",
        "--out",
        "--suite",
        "--backend",
        "--output",
        "--discrete",
        "--env",
        "--config",
        "--set",
        "--env-module",
        "--allow-uncertified",
        "--json",
    },
    "watch": {
        "bundle",
        "--out",
        "--suite",
        "--width",
        "--height",
        "--output",
        "--env",
        "--config",
        "--set",
        "--env-module",
        "--allow-uncertified",
        "--json",
    },
    "bench": {
        "bundle",
        "--out",
        "--backend",
        "--output",
        "--config",
        "--set",
        "--allow-uncertified",
        "--json",
    },
    "run": {"--out", "--budget", *TRAINING},
    "report": {"run", "--out", "--json"},
    "study": {
        "grid",
        "--out",
        "--jobs",
        "--shard",
        "--ray",
        "--mlflow",
        "--only",
        "--dry-run",
        "--redraw",
        "--json",
    },
}


def application() -> TyperGroup:
    """Return the application as the library of the command line sees it."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return group


def test_verbs_and_flags_are_the_agreed_ones() -> None:
    verbs = {
        f"{name} {inner}".strip(): one
        for name, command in application().commands.items()
        for inner, one in (
            command.commands.items() if isinstance(command, TyperGroup) else [("", command)]
        )
    }
    found = {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in verbs.items()
    }
    assert found == FLAGS


def test_the_application_itself_has_three_options() -> None:
    options = {option for parameter in application().params for option in parameter.opts}
    assert options == {"--version", "--install-completion", "--show-completion"}


def test_every_verb_and_flag_has_a_help_text() -> None:
    for command in (application(), *application().commands.values()):
        assert command.help
        for parameter in command.params:
            assert getattr(parameter, "help", None), (command.name, parameter.name)


def test_help_loads_no_stage_and_no_library_of_numbers() -> None:
    code = f"import sys, surefoot.cli; print(*sorted({LIBRARIES} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "command", [("-c", "from surefoot.cli import main; main()"), ("-m", "surefoot")]
)
def test_the_version_is_said_however_it_is_started(command: tuple[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, *command, "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"surefoot {__version__}\n"), done.stderr
