"""The surface of the command line is frozen: a new flag is a decision, made here."""

import subprocess
import sys

import typer.main

from surefoot.cli import app

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
        "--dense",
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
        "--config",
        "--set",
        "--allow-uncertified",
        "--json",
    },
    "keygen": {"--out", "--json"},
    "compress": {
        "policy",
        "--out",
        "--method",
        "--sparsity",
        "--allocation",
        "--refit",
        "--weights",
        "--max-control-error",
        "--over",
        "--epsilon",
        "--calibration",
        "--visited-states",
        "--env-module",
        "--json",
    },
    "quantise": {"policy", "--out", "--json"},
    "verify": {"bundle", "--key", "--policy", "--allow-uncertified", "--json"},
    "attack": {
        "bundle",
        "--out",
        "--suite",
        "--backend",
        "--config",
        "--set",
        "--env-module",
        "--allow-uncertified",
        "--json",
    },
    "bench": {"bundle", "--out", "--backend", "--config", "--set", "--allow-uncertified", "--json"},
    "run": {"--out", "--budget", *TRAINING},
    "report": {"run", "--out", "--json"},
}


def test_verbs_and_flags_are_the_agreed_ones() -> None:
    commands = typer.main.get_command(app).commands
    found = {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in commands.items()
    }
    assert found == FLAGS


def test_every_verb_and_flag_has_a_help_text() -> None:
    for command in typer.main.get_command(app).commands.values():
        assert command.help
        for parameter in command.params:
            assert getattr(parameter, "help", None), (command.name, parameter.name)


def test_help_loads_no_stage() -> None:
    code = (
        "import sys, surefoot.cli\n"
        "heavy = {'torch', 'mujoco', 'gymnasium', 'onnxruntime', 'matplotlib'} & set(sys.modules)\n"
        "print(*sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
