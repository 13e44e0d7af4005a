"""Standard output holds results alone, in characters that it has, and nothing in them is markup.

Also of ``cli/console.py``, ``cli/standard_output.py`` and ``cli/tables.py``.
"""

import builtins
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.command_line import run_pipeline
from surefoot.cli.tables import Table, plain

ROBOT = """
import atexit, codecs, logging, os, subprocess, sys
import gymnasium
import numpy as np
from gymnasium import spaces

def shout(what):
    print("print", what)
    print("the first stream", what, file=sys.__stdout__)
    os.write(1, f"write {what}\\n".encode())
    subprocess.run(["echo", "process", what])

shout("import")
atexit.register(shout, "exit")
logging.captureWarnings(True)
sys.stdout = codecs.getwriter("utf-8")(sys.stdout.detach())

class Loud(gymnasium.Env):
    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._left = 8
        shout("reset")
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self._left -= 1
        return np.full(2, self._left / 8, np.float32), 1.0, self._left == 0, False, {}

if "Loud-v0" not in gymnasium.registry:
    gymnasium.register("Loud-v0", Loud, max_episode_steps=8)
"""


def command(*arguments: object, cwd: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Start the command line as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "surefoot", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Whoever runs the tests in the background ignores SIGINT, and so would the process.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def done(*arguments: object, cwd: Path, **environment: str) -> tuple[int, bytes, bytes]:
    """Run the command line as a process of its own; return its code and both streams."""
    process = command(*arguments, cwd=cwd, **environment)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.fixture
def loud(tmp_path: Path, tiny_config: Path) -> list[object]:
    """Return the arguments of a training in an environment that prints in every way."""
    (tmp_path / "loud_robot.py").write_text(ROBOT)
    return [
        *("train", "--config", tiny_config, "--env-module", "loud_robot.py", "--out", "run"),
        *("--set", 'train.env_id="Loud-v0"', "--set", "train.total_steps=128"),
        *("--set", "train.num_envs=2", "--set", "train.rollout_steps=64"),
        *("--set", "train.minibatch_size=128", "--set", "train.epochs=1"),
        *("--set", "train.visited_states=2", "--set", "train.num_evaluations=1"),
        *("--set", 'train.pruning={kind="none"}', "--set", 'train.defence={kind="none"}'),
    ]


def test_json_is_one_object_whoever_prints_and_however(loud: list[object], tmp_path: Path) -> None:
    code, out, err = done(*loud, "--json", cwd=tmp_path)
    assert code == 0, err
    assert json.loads(out)["env"] == "Loud-v0"
    for voice in (b"print", b"the first stream", b"write", b"process"):
        for time_of in (b"import", b"reset", b"exit"):
            assert voice + b" " + time_of in err


def test_an_error_is_said_where_print_is_silenced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builtins, "print", lambda *_, **__: None)
    done = run_pipeline("verify", tmp_path / "nothing")
    assert done.code != 0
    assert len(done.err.splitlines()) == 1


def test_without_json_the_tables_stand_alone_too(loud: list[object], tmp_path: Path) -> None:
    code, out, err = done(*loud, cwd=tmp_path)
    assert code == 0, err
    assert b"trained run" in out
    assert b"import" not in out


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_reader_who_goes_away_changes_no_exit_code(
    tiny_run: Path, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    budget = tmp_path / "budget.toml"
    budget.write_text('[[require]]\nquantity = "sparsity"\nat_least = 0.99\n')
    certify = ("certify", tiny_run, "--budget", budget, "--explain", *flags)
    with command(*certify, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        told = process.stderr.read().splitlines()
    assert [line for line in told if not line.startswith(b"certifying ")] == []
    assert process.returncode == 3
    assert (tmp_path / "certificate.json").is_file()


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_ascii_says_other_characters_as_escapes(tmp_path: Path, flags: tuple[str, ...]) -> None:
    code, out, err = done(
        "keygen",
        "--out",
        "schlüssel",
        *flags,
        cwd=tmp_path,
        PYTHONIOENCODING="ascii",
    )
    assert code == 0, err
    assert out.isascii()
    if flags:
        assert json.loads(out)["private"] == "schlüssel"
    else:
        assert rb"schl\xfcssel" in out


def test_a_name_that_is_no_text_is_said_all_the_same(tmp_path: Path) -> None:
    name = os.fsdecode(b"key\xff")
    code, out, err = done("keygen", "--out", name, "--json", cwd=tmp_path)
    assert code == 0, err
    assert json.loads(out)["private"] == name


@pytest.mark.parametrize("name", ["[lr=3e-4]b", "[red]x", "e[/b]", r"\[x", ":smile:", "a$b_c$"])
def test_names_are_no_markup(tiny_run: Path, tmp_path: Path, name: str) -> None:
    place = tmp_path / "x" / name
    shutil.copytree(tiny_run / "bundle", place)
    run = run_pipeline("verify", place)
    assert run.code == 0, run.err
    assert f"{name} verifies" in "".join(run.out.split("\n")[:3])
    key = tmp_path / f"key{name.replace('/', '')}"
    assert run_pipeline("keygen", "--out", key).code == 0


def test_a_table_shows_every_character_that_it_is_given() -> None:
    text = "[bold]x[/bold] [/] [link=file:///a]b[/link] \\[ :smile:"
    drawn = Table(text, ("what",), [(text,), ("\x1b[31mred\x07",)]).draw()
    assert drawn.count("[bold]x[/bold] [/] [link=file:///a]b[/link] \\[ :smile:") == 2
    assert r"\x1b[31mred\x07" in drawn


def test_plain_text_is_what_it_was_and_a_terminal_obeys_none_of_it() -> None:
    assert plain("ü [x] λ 1 %") == "ü [x] λ 1 %"
    assert plain("a\x1b]0;title\x07\r\n\u202eb\udcff").isprintable()


def test_an_interrupted_verb_says_so_in_one_line(tiny_run: Path, tmp_path: Path) -> None:
    process = command(
        *("bench", tiny_run / "bundle", "--set", "bench.paced_s=30", "--out", "b.json"),
        cwd=tmp_path,
    )
    time.sleep(6)  # it has begun, and is far from its end
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert err == (
        b"interrupted: what was written is whole; the same command begins this step again\n"
    )
    assert not (tmp_path / "b.json").exists()
