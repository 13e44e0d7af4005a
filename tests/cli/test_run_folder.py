"""What becomes of a run folder in which others work, or other versions or a loss of power did."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE, Popen
from sys import executable

import pytest

from support.command_line import run_pipeline
from surefoot.artifact import MANIFEST, Json, read_artifact, write_artifact

HOLDER = """
import sys
from pathlib import Path
from surefoot.ownership import hold_folder
with hold_folder(Path(sys.argv[1]), "run"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def copy(tiny_run: Path, tmp_path: Path) -> Path:
    """Return a finished run that a test may change."""
    return shutil.copytree(tiny_run, tmp_path / "run")


@pytest.mark.parametrize("verb", ["train", "run"])
def test_two_processes_do_not_work_in_one_folder(copy: Path, tiny_config: Path, verb: str) -> None:
    with Popen([executable, "-c", HOLDER, str(copy)], stdin=PIPE, stdout=PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
        done = run_pipeline(verb, "--config", tiny_config, "--seed", 7, "--out", copy)
        assert done.code == 2
        assert f"is in use by process {holder.pid} on " in done.err
        assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


def rewrite_config(folder: Path, kind: str, change: Callable[[dict[str, Json]], object]) -> None:
    """Change the configuration that an artifact names, as if another version had written it."""
    artifact = read_artifact(folder, kind)
    config = dict(artifact.facts["config"])
    change(config)
    facts = {**artifact.facts, "config": config}
    write_artifact(folder, replace(artifact, facts=facts, code_version="0.0.1"))


def rewrite_configs(run: Path, change: Callable[[dict[str, Json]], object]) -> None:
    """Change the configuration that policy and checkpoints of a run name."""
    rewrite_config(run / "policy", "policy", change)
    for entry in (run / "checkpoints").iterdir():
        if entry.is_dir():
            rewrite_config(entry, "checkpoint", change)


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_of_a_version_that_knew_a_key_less_goes_on(
    copy: Path, tiny_run: Path, tiny_config: Path, finished: bool
) -> None:
    rewrite_configs(copy, lambda config: config.pop("reward_clip"))
    if not finished:
        shutil.rmtree(copy / "policy")
    done = run_pipeline("train", "--config", tiny_config, "--out", copy)
    assert done.code == 0, done.err
    for name in ("policy.onnx", "critic.safetensors", "visited.npz"):
        again, before = ((run / "policy" / name).read_bytes() for run in (copy, tiny_run))
        assert again == before


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_of_a_version_that_knew_another_key_says_in_one_line_what_to_do(
    copy: Path, tiny_config: Path, finished: bool
) -> None:
    rewrite_configs(copy, lambda config: config.update(tempo=3))
    if not finished:
        shutil.rmtree(copy / "policy")
    done = run_pipeline("train", "--config", tiny_config, "--out", copy)
    assert done.code == 2
    assert (
        "unknown key 'train.tempo'; resume with that version, or use another output folder"
        in done.err
    )
    assert done.err.count("\n") == 1


def test_a_checkpoint_of_another_version_that_is_not_understood_says_what_to_do(
    copy: Path, tiny_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite_configs(copy, lambda config: None)
    shutil.rmtree(copy / "policy")

    def refuse(*_: object) -> None:
        raise KeyError("momentum")

    monkeypatch.setattr("surefoot.train.training_run.Run.load_checkpoint", refuse)
    done = run_pipeline("train", "--config", tiny_config, "--out", copy)
    assert done.code == 2
    assert "the checkpoints that surefoot 0.0.1 wrote" in done.err
    assert "(KeyError('momentum')): resume with the code that wrote them" in done.err


@pytest.mark.parametrize("name", ["policy/policy.onnx", f"policy/{MANIFEST}"])
def test_a_policy_that_was_torn_is_made_again_from_the_checkpoints(
    copy: Path, tiny_run: Path, tiny_config: Path, name: str
) -> None:
    (copy / name).write_bytes((tiny_run / name).read_bytes()[:100])
    done = run_pipeline("train", "--config", tiny_config, "--out", copy)
    assert done.code == 0, done.err
    assert (copy / name).read_bytes() == (tiny_run / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bundle/policy.onnx", nullcontext()),
        (f"bundle/{MANIFEST}", nullcontext()),
        ("stages.json", pytest.warns(UserWarning, match="is damaged, so that no stage counts")),
    ],
)
def test_what_was_torn_after_the_training_is_made_again(
    copy: Path,
    tiny_run: Path,
    tiny_config: Path,
    name: str,
    said: AbstractContextManager[object],
) -> None:
    (copy / name).write_bytes((tiny_run / name).read_bytes()[:100])
    with said:
        done = run_pipeline("run", "--config", tiny_config, "--out", copy)
    assert done.code == 0, done.err
    assert run_pipeline("verify", copy / "bundle").code == 0
    for path in (copy / "bundle").iterdir():
        assert path.read_bytes() == (tiny_run / "bundle" / path.name).read_bytes()
