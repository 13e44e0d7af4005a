"""A cell is trained, certified and attacked, kept whole, and leaves nothing behind.

Also of ``workflow/cell_process.py``.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from surefoot.artifact import sha256_hex
from surefoot.atomic import discard_folder
from surefoot.config import to_toml
from surefoot.errors import CheckError, FolderInUseError, InputError, InterruptedRun
from surefoot.runtime.controller_file import load_controller_file
from surefoot.study.cells import CellSettings, cell_digest, settings_of, settings_table, this_maker
from surefoot.study.store import CellStore
from surefoot.workflow import cell_process, cell_work
from surefoot.workflow.configuration import Configuration


@pytest.fixture
def settings(configuration: Configuration) -> CellSettings:
    tables = {name: configuration.tables[name] for name in ("train", "certify", "require")}
    attack = configuration.tables["attack"] | {"attacks": ["random"]}
    return settings_of(
        tables | {"attack": attack, "stages": ["train", "certify", "attack"]}, "cell"
    )


def asked(folder: Path, settings: CellSettings) -> tuple[CellStore, str]:
    """A study in which a cell is asked for."""
    store, digest = CellStore(folder), cell_digest(settings, this_maker())
    store.claim()
    store.request(digest).parent.mkdir()
    store.request(digest).write_text(to_toml(settings_table(settings)))
    return store, digest


def test_a_cell_goes_on_after_an_interruption_and_is_kept_whole(
    settings: CellSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, digest = asked(tmp_path / "study", settings)

    def interrupted(*given: object) -> None:
        raise InterruptedRun("interrupted")

    with monkeypatch.context() as patch:
        patch.setattr(cell_work, "attack_deployed", interrupted)
        with pytest.raises(InterruptedRun):
            cell_work.make_cell(store.path, digest)
    assert not store.holds(digest)
    made = json.loads((store.run(digest) / "stages.json").read_text())
    assert set(made) == {"train", "certify"}

    with monkeypatch.context() as patch:  # it is not trained again
        patch.setattr("surefoot.workflow.training.train_policy", interrupted)
        cell_work.make_cell(store.path, digest)
    record = store.read(digest)
    assert record.maker == this_maker()
    assert record.settings == settings_table(settings)
    assert set(record.stages) == {"train", "certify", "attack"}
    assert record.stages["train"].to_table() == made["train"]
    assert record.attack is not None
    assert set(record.attack.attacks) == {"clean", "random"}
    assert record.certificate is not None
    assert len(record.curve["clean_return"]) == settings.train.num_evaluations
    onnx = store.path / "cells" / digest / "policy.onnx"
    assert record.train.onnx_sha256 == record.attack.onnx_sha256 == sha256_hex(onnx.read_bytes())
    assert load_controller_file(onnx).sha256 == record.train.onnx_sha256
    assert record.size_bytes == onnx.stat().st_size
    assert list((store.path / "work").iterdir()) == []


def test_a_cell_of_other_code_is_not_made_by_this_one(
    settings: CellSettings, tmp_path: Path
) -> None:
    store, digest = asked(tmp_path / "study", settings)
    other = "0" * len(digest)
    shutil.copyfile(store.request(digest), store.request(other))
    with pytest.raises(CheckError, match="the code changed since the study began"):
        cell_work.make_cell(store.path, other)
    assert not store.holds(other)


def test_a_stage_that_was_left_out_leaves_nothing(settings: CellSettings, tmp_path: Path) -> None:
    store, digest = asked(tmp_path / "study", replace(settings, stages=("train",)))
    cell_work.make_cell(store.path, digest)
    record = store.read(digest)
    assert record.certificate is None
    assert record.attack is None
    assert set(record.stages) == {"train"}


@pytest.mark.parametrize("killed_at", ["discard_folder", "unlink"])
def test_what_a_killed_process_left_of_a_done_cell_is_cleared(
    settings: CellSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    store, digest = asked(tmp_path / "study", replace(settings, stages=("train",)))

    def killed(*given: object, **options: object) -> NoReturn:
        raise KeyboardInterrupt

    def in_use(folder: Path, kind: str) -> NoReturn:
        raise FolderInUseError("in use")

    with monkeypatch.context() as patch:
        patch.setattr(cell_work, "discard_folder", killed)
        with pytest.raises(KeyboardInterrupt):
            cell_work.make_cell(store.path, digest)
    if killed_at == "unlink":
        discard_folder(store.run(digest))
    assert store.holds(digest)
    assert store.request(digest).is_file()
    with monkeypatch.context() as patch:
        patch.setattr(cell_work, "hold_folder", in_use)
        cell_work.clear_done_cells(store)  # left to the process that works there
        assert store.request(digest).is_file()
    cell_work.clear_done_cells(store)
    assert list((store.path / "work").iterdir()) == []
    assert store.holds(digest)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (None, 0, ""),
        (InputError("a\nb"), 2, "a b\n"),
        (CheckError("it diverged"), 3, "it diverged\n"),
        (FolderInUseError("in use"), cell_process.ELSEWHERE, ""),
        (InterruptedRun("stop"), 75, ""),
    ],
)
def test_a_process_ends_with_the_code_of_its_error_and_says_it_last(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception | None,
    code: int,
    said: str,
) -> None:
    def make_cell(folder: Path, digest: str) -> None:
        if error is not None:
            raise error

    monkeypatch.setattr(cell_work, "make_cell", make_cell)
    monkeypatch.setattr(cell_process, "_end_with_the_study", lambda: None)
    assert cell_process.main(Path("study"), "a1") == code
    assert capsys.readouterr().err == said


def test_a_bug_is_a_row_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def make_cell(folder: Path, digest: str) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(cell_work, "make_cell", make_cell)
    monkeypatch.setattr(cell_process, "_end_with_the_study", lambda: None)
    assert cell_process.main(Path("study"), "a1") == 1
    assert capsys.readouterr().err.splitlines()[-1] == "ZeroDivisionError: division by zero"
