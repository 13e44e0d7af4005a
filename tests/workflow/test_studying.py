"""A study ends in the same tables however often it was killed, and hides no cell that failed.

Also of ``workflow/study_plan.py``.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from support.heard import Heard
from support.studies import LEVELS, TINY, cell_of
from surefoot.artifact import claim_folder
from surefoot.config import to_toml
from surefoot.errors import InputError
from surefoot.study import study_pages
from surefoot.study.cell_record import Failure, Maker
from surefoot.study.cells import Cell, settings_table
from surefoot.study.store import CellStore
from surefoot.train.signals import StopRequest
from surefoot.workflow import studying
from surefoot.workflow.cell_work import make_cell
from surefoot.workflow.cell_workers import Outcome, ask_for
from surefoot.workflow.study_plan import effects_seen, plan_study
from surefoot.workflow.studying import Shard, redraw_study, run_study

PAGES = ("claims.md", "sweetspots.md")
ONE_SEED = TINY.replace("[0, 1]", "[0]")


def grid_file(folder: Path, text: str = TINY) -> Path:
    path = folder / "grid.toml"
    path.write_text(text)
    return path


@pytest.fixture(autouse=True)
def _pages_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a study draws is looked at in ``tests/study``, and takes longer than its pages."""
    monkeypatch.setattr(study_pages, "study_figures", lambda results: {})


class WorkersHere:
    """Workers that make every cell in this process, which nobody kills."""

    def __init__(self, store: CellStore, jobs: int, stop: StopRequest) -> None:
        self._store = store

    def make(self, cells: Iterable[Cell]) -> Iterator[Outcome]:
        """Make them."""
        for cell in cells:
            ask_for(self._store, cell)
            make_cell(self._store.path, cell.digest)
            yield Outcome(cell, None)


def test_a_killed_study_goes_on_to_the_same_tables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    grid, killed = grid_file(tmp_path, ONE_SEED), tmp_path / "killed"
    command = [sys.executable, "-m", "surefoot", "study", str(grid), "--out", str(killed)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        while not list(killed.glob("cells/[!.]*/cell.json")):
            assert process.poll() is None
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    cells = killed.glob("cells/[!.]*/cell.json")
    kept = {path.parent.name: path.stat().st_mtime_ns for path in cells}
    assert len(kept) == 1

    heard = Heard()
    summary = run_study(grid, killed, listener=heard)
    assert (summary.done, summary.left, summary.failed, summary.stale) == (2, 0, {}, 0)
    for name, made in kept.items():  # what was done is not done again
        assert (killed / "cells" / name / "cell.json").stat().st_mtime_ns == made

    whole = tmp_path / "whole"
    monkeypatch.setattr(studying, "LocalWorkers", WorkersHere)
    assert run_study(grid, whole) == summary
    for page in PAGES:
        assert (killed / page).read_bytes() == (whole / page).read_bytes()
    policies = sorted(path.relative_to(whole) for path in whole.glob("cells/*/policy.onnx"))
    assert len(policies) == 2
    for policy in policies:
        assert (killed / policy).read_bytes() == (whole / policy).read_bytes()


def test_a_cell_that_fails_is_a_row_and_the_rest_is_complete(tmp_path: Path) -> None:
    text = ONE_SEED.replace("pruning = {", 'env_id = "No-v0"\ntrain.pruning = {')
    summary = run_study(grid_file(tmp_path, text), tmp_path / "study")
    assert (summary.done, summary.left) == (1, 0)
    assert list(summary.failed) == ["random/0"]
    assert "No" in summary.failed["random/0"]
    assert "| random/0 | 1 |" in (tmp_path / "study" / "claims.md").read_text()


class PlayedWorkers:
    """Workers that make every cell at once, of the returns that a test gives its arm."""

    def __init__(self, returns: Mapping[str, float]) -> None:
        self.returns = returns
        self.made: list[str] = []
        self.store: CellStore | None = None
        self.maker: Maker | None = None

    def hired(self, store: CellStore, jobs: int, stop: StopRequest) -> "PlayedWorkers":
        """Stand in for the class of the workers."""
        self.store, self.maker = store, studying.this_maker()
        return self

    def make(self, cells: Iterable[Cell]) -> Iterator[Outcome]:
        """Make them; an arm of a negative return fails."""
        assert self.store is not None
        assert self.maker is not None
        for cell in cells:
            self.made.append(cell.name)
            value = self.returns[cell.arm] + cell.seed % 3
            if value > 0:
                record = replace(
                    cell_of([value] * 2, seed=cell.seed),
                    settings=settings_table(cell.settings),
                    maker=self.maker,
                )
                self.store.add(cell.digest, record, {})
            failure = None if value > 0 else Failure(error="it diverged", attempts=2)
            yield Outcome(cell, failure)


RETURNS = {"dense": 100.0, "magnitude-0.5": 120.0, "magnitude-0.9": 110.0}


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> PlayedWorkers:
    workers = PlayedWorkers(dict(RETURNS))
    monkeypatch.setattr(studying, "LocalWorkers", workers.hired)
    return workers


def levels(folder: Path, **changed: object) -> Path:
    seeds = {"select": [0, 1, 2], "report": [3, 4, 5]}
    chosen = {"seeds": seeds, "report": {"arms": "chosen"}}
    return grid_file(folder, to_toml({**LEVELS, **chosen, **changed}))


def test_only_chosen_levels_and_the_baseline_are_judged(
    workers: PlayedWorkers, tmp_path: Path
) -> None:
    summary = run_study(levels(tmp_path), tmp_path / "study")
    report = [name for name in workers.made if name.split("/")[1] in "345"]
    assert {name.split("/")[0] for name in report} == {"dense", "magnitude-0.5"}
    assert (summary.done, summary.left) == (9 + 6, 0)
    page = (tmp_path / "study" / "sweetspots.md").read_text()
    assert "`magnitude-0.5`" in page


def test_a_done_study_makes_nothing(workers: PlayedWorkers, tmp_path: Path) -> None:
    summary = run_study(levels(tmp_path), tmp_path / "study")
    workers.made.clear()
    assert run_study(levels(tmp_path), tmp_path / "study") == summary
    assert workers.made == []


def test_a_study_begins_by_clearing_what_was_left_of_done_cells(
    workers: PlayedWorkers, tmp_path: Path
) -> None:
    run_study(levels(tmp_path), tmp_path / "study")
    store = CellStore(tmp_path / "study")
    done, other = store.digests[0], "0" * 64
    for digest in (done, other):
        claim_folder(store.run(digest), "run")
        store.request(digest).touch()
    run_study(levels(tmp_path), tmp_path / "study")
    left = {path.name for path in (store.path / "work").iterdir()}
    assert left == {other, f"{other}.toml"}  # it is not done


def test_shards_make_every_cell_once_between_them(workers: PlayedWorkers, tmp_path: Path) -> None:
    grid, out = levels(tmp_path, report={"arms": "all"}), tmp_path / "study"
    summaries = [run_study(grid, out, shard=Shard(number, 3)) for number in (1, 2, 3)]
    assert [entry.left for entry in summaries] == [12, 6, 0]
    assert len(workers.made) == len(set(workers.made)) == 18


def test_levels_wait_for_the_selection_cells_of_other_machines(
    workers: PlayedWorkers, tmp_path: Path
) -> None:
    grid, out = levels(tmp_path), tmp_path / "study"
    run_study(grid, out, only="*/[0]")
    assert {name.split("/")[1] for name in workers.made} == {"0"}
    run_study(grid, out)
    assert sum(name.endswith(("/3", "/4", "/5")) for name in workers.made) == 6


def test_a_failed_level_is_no_candidate_and_is_tried_again_next_time(
    workers: PlayedWorkers, tmp_path: Path
) -> None:
    grid, out, heard = levels(tmp_path), tmp_path / "study", Heard()
    workers.returns = RETURNS | {"magnitude-0.5": -9.0}
    summary = run_study(grid, out, listener=heard)
    assert len(summary.failed) == 3
    assert "magnitude-0.5/0 failed: it diverged" in heard.remarks
    assert "`magnitude-0.9`" in (out / "sweetspots.md").read_text()
    workers.returns = RETURNS
    assert run_study(grid, out).failed == {}


def test_cells_of_other_code_are_counted_and_never_mixed(
    workers: PlayedWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, out = levels(tmp_path, report={"arms": "all"}), tmp_path / "study"
    run_study(grid, out)
    other = replace(studying.this_maker(), code_sha256="0" * 64)
    monkeypatch.setattr(studying, "this_maker", lambda: other)
    summary = run_study(grid, out)
    assert (summary.done, summary.stale) == (18, 18)
    assert len(workers.made) == 36


def test_tables_are_redrawn_from_the_cells_of_other_code(
    workers: PlayedWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, out = levels(tmp_path), tmp_path / "study"
    summary = run_study(grid, out)
    pages = {page: (out / page).read_bytes() for page in PAGES}
    (out / "claims.md").unlink()
    other = replace(studying.this_maker(), code_sha256="0" * 64)
    monkeypatch.setattr(studying, "this_maker", lambda: other)
    assert redraw_study(grid, out) == summary
    assert {page: (out / page).read_bytes() for page in PAGES} == pages


def test_nothing_is_redrawn_where_there_are_no_cells(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must hold cells of a study, it has none"):
        redraw_study(levels(tmp_path), tmp_path / "study")


def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    grid, out = levels(tmp_path), tmp_path / "study"
    with pytest.raises(InputError, match="jobs must be at least 1, got 0"):
        run_study(grid, out, jobs=0)
    with pytest.raises(InputError, match="only must match a cell"):
        run_study(grid, out, only="nothing")
    assert not out.exists()


@pytest.mark.parametrize("text", ["", "1", "1/", "a/2", "0/2", "3/2", "1/0", "-1/2"])
def test_a_shard_is_a_part_of_a_whole(text: str) -> None:
    with pytest.raises(InputError, match="shard must"):
        Shard.parse(text)
    assert Shard.parse("2/3") == Shard(2, 3)


def test_a_plan_counts_what_is_left_at_the_speed_of_what_is_done(
    workers: PlayedWorkers, tmp_path: Path
) -> None:
    grid, out = levels(tmp_path, report={"arms": "all"}), tmp_path / "study"
    plan = plan_study(grid, out)
    assert (plan.num_to_make, plan.core_hours) == (18, None)
    assert not out.exists()
    run_study(grid, out, only="dense/*")
    plan = plan_study(grid, out, jobs=2)
    assert {cell.state for cell in plan.cells if cell.name.startswith("dense")} == {"done"}
    assert plan.num_to_make == 12
    assert plan.core_hours == pytest.approx(12 * 3.0 / 3600)  # every played cell says 3 s
    assert plan.hours == pytest.approx(plan.core_hours / 2)
    assert plan.effects == effects_seen(3)


def test_more_seeds_see_smaller_effects_and_one_sees_none() -> None:
    assert effects_seen(1) == {}
    assert effects_seen(10)["10%"] < effects_seen(5)["10%"] < effects_seen(5)["20%"]
    # Two groups of 17 at a spread of 10 %: 0.99 of a standard deviation (Cohen 1988, table 2.3.5).
    assert effects_seen(17)["10%"] == pytest.approx(0.099, abs=0.001)
