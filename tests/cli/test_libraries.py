"""A library that cannot be loaded is one line before the work, and a picture ends nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.command_line import BRIEF_BENCH, run_pipeline
from surefoot.cli import libraries
from surefoot.errors import InputError, MissingLibraryError
from surefoot.installation import how_to_install


def run(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "surefoot", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("variable", "library"), [("MUJOCO_GL", "mujoco"), ("TORCH_LOGS", "torch")]
)
def test_a_variable_that_a_library_refuses_is_named_before_the_work(
    tiny_config: Path, tmp_path: Path, variable: str, library: str
) -> None:
    train = ("train", "--config", tiny_config, "--out", "run")
    done = run(*train, cwd=tmp_path, **{variable: "nonsense"})
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {library} cannot be loaded here: ")
    assert f"{variable}=nonsense" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_the_backend_of_a_notebook_changes_nothing(
    tiny_run: Path, tmp_path: Path, backend: str
) -> None:
    done = run("bench", tiny_run / "bundle", *BRIEF_BENCH, cwd=tmp_path, MPLBACKEND=backend)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("verb", ["certify", "attack", "bench"])
def test_a_picture_that_cannot_be_drawn_is_a_remark(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    fast = {
        "certify": ("--set=certify.search_states=4", "--set=certify.search_steps=2"),
        "attack": ("--set=attack.episodes=1", "--set=attack.selection_episodes=1"),
        "bench": BRIEF_BENCH,
    }[verb]
    given = tiny_run if verb == "certify" else tiny_run / "bundle"
    done = run_pipeline(verb, given, "--out", tmp_path / "result.json", *fast)
    assert done.code == 0, done.err
    assert f"no picture: a picture needs matplotlib: {how_to_install('train')}" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_what_no_extra_brings_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    assert libraries.hint_to_install(ModuleNotFoundError(name="surefoot.nothing")) is None
    hint = libraries.hint_to_install(ModuleNotFoundError(name="torch.nn"))
    assert hint == f"torch is not installed: {how_to_install('train')}"
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingLibraryError, match="torch is not installed"):
        libraries.load_simulation()


def test_an_error_without_words_is_said_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> object:
        raise OSError

    monkeypatch.setattr("surefoot.cli.libraries.importlib.import_module", refuse)
    with pytest.raises(InputError, match="torch cannot be loaded here: OSError"):
        libraries.load_simulation()
