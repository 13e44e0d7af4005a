"""No verb destroys what it was not asked to make, whatever ``--out`` says."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support.command_line import BRIEF_BENCH, Done, run_pipeline


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder in which the commands run."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


def arguments_of(verb: str, run: Path, config: Path) -> list[object]:
    """Return a command that would succeed, without its output."""
    commands: dict[str, list[object]] = {
        "train": ["train", "--config", config],
        "run": ["run", "--config", config],
        "compress": ["compress", run, "--sparsity", 0.9],
        "quantise": ["quantise", run],
        "certify": ["certify", run],
        "export": ["export", run, "--certificate", run / "certificate.json"],
        "keygen": ["keygen"],
        "attack": ["attack", run / "bundle"],
        "bench": ["bench", run / "bundle"],
        "report": ["report", run],
    }
    return commands[verb]


VERBS = ["train", "run", "compress", "quantise", "certify", "export", "keygen", "attack", "bench"]
every_verb = pytest.mark.parametrize("verb", [*VERBS, "report"])


def everything_in(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def refused(*arguments: object) -> str:
    """Run a command that is bad input, and return its one line."""
    done: Done = run_pipeline(*arguments)
    assert (done.code, done.out) == (2, ""), done
    (line,) = done.err.splitlines()
    return line


@every_verb
@pytest.mark.parametrize("out", ["", "/", "."])
def test_an_output_has_a_name(
    tiny_run: Path, tiny_config: Path, work: Path, verb: str, out: str
) -> None:
    (work / "notes.txt").write_text("mine")
    line = refused(*arguments_of(verb, tiny_run, tiny_config), "--out", out)
    assert "out must name a f" in line
    assert everything_in(work) == {work / "notes.txt": b"mine"}


@every_verb
def test_nothing_is_written_into_an_artifact(
    tiny_run: Path, tiny_config: Path, work: Path, verb: str
) -> None:
    shutil.copytree(tiny_run / "bundle", work / "bundle")
    before = everything_in(work)
    line = refused(*arguments_of(verb, tiny_run, tiny_config), "--out", "bundle/result")
    assert "would no longer verify" in line
    assert everything_in(work) == before


@pytest.mark.parametrize("verb", ["certify", "attack", "bench"])
def test_neither_is_it_by_default(
    tiny_run: Path, tiny_config: Path, work: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    shutil.copytree(tiny_run / "bundle", work / "bundle")
    monkeypatch.chdir(work / "bundle")
    line = refused(*arguments_of(verb, tiny_run, tiny_config))
    assert "give another --out" in line
    assert run_pipeline("verify", ".").code == 0


FILES = pytest.mark.parametrize("verb", ["certify", "attack", "bench", "report"])


@FILES
@pytest.mark.parametrize("what", ["text", "link", "pipe", "controller", "budget"])
def test_a_file_that_is_not_ours_stays_as_it_is(
    tiny_run: Path, tiny_config: Path, work: Path, verb: str, what: str
) -> None:
    out = work / "out.json"
    if what == "link":
        (work / "latest.json").write_bytes((tiny_run / f"{verb}.json").read_bytes()) if (
            verb in ("attack", "bench")
        ) else (work / "latest.json").write_text("")
        out.symlink_to(work / "latest.json")
    elif what == "pipe":
        os.mkfifo(out)
    else:
        source = {"controller": "policy/policy.onnx", "budget": "bundle/budget.toml"}.get(what)
        out.write_bytes(b"mine" if source is None else (tiny_run / source).read_bytes())
    before = out.lstat().st_ino, everything_in(work)
    assert "out must be a" in refused(*arguments_of(verb, tiny_run, tiny_config), "--out", out)
    assert (out.lstat().st_ino, everything_in(work)) == before


@pytest.mark.parametrize("verb", ["certify", "attack", "bench"])
def test_a_picture_that_is_not_ours_stays_as_it_is(
    tiny_run: Path, tiny_config: Path, work: Path, verb: str
) -> None:
    (work / "notes.png").write_bytes(b"a photograph")
    line = refused(*arguments_of(verb, tiny_run, tiny_config), "--out", "notes.json")
    assert "notes.png is neither" in line
    assert everything_in(work) == {work / "notes.png": b"a photograph"}


@pytest.mark.parametrize("verb", ["export", "compress", "quantise"])
def test_the_folder_in_which_one_works_is_not_replaced(
    tiny_run: Path, tiny_config: Path, work: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    folder = "bundle" if verb == "export" else "policy"
    shutil.copytree(tiny_run / folder, work / folder)
    monkeypatch.chdir(work / folder)
    before = everything_in(work)
    line = refused(*arguments_of(verb, tiny_run, tiny_config), "--out", work / folder)
    assert "out must not be the current folder" in line
    assert everything_in(work) == before


def test_what_is_ours_is_made_again(tiny_run: Path, work: Path) -> None:
    bench: Callable[[], Done] = lambda: run_pipeline("bench", tiny_run / "bundle", *BRIEF_BENCH)  # noqa: E731
    assert bench().code == 0
    first = (work / "bench.json").read_bytes()
    assert bench().code == 0
    assert (work / "bench.json").read_bytes() != first
