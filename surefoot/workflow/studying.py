"""A study: the cells of a grid side by side, and what they say as tables and pictures.

The cells of the selection seeds come first. Where only chosen levels are judged, those of the
report seeds follow once every selection cell is done or has failed, whoever made it.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from surefoot.artifact import write_file
from surefoot.atomic import make_folders
from surefoot.errors import InputError
from surefoot.output_path import check_run_folder
from surefoot.records import Record
from surefoot.study.cell_record import CellRecord, Maker
from surefoot.study.cells import (
    Cell,
    cell_digest,
    cells_of,
    chosen_cells,
    settings_of,
    this_maker,
)
from surefoot.study.grid import Grid, Purpose, read_grid
from surefoot.study.results import FailedCell, Results, chosen_levels, decided_claims
from surefoot.study.store import CellStore, StoreAsMade
from surefoot.study.study_pages import study_files
from surefoot.train.signals import StopRequest
from surefoot.workflow.cell_work import clear_done_cells
from surefoot.workflow.cell_workers import CellWorkers, LocalWorkers
from surefoot.workflow.listener import SILENCE, Listener
from surefoot.workflow.mlflow_mirror import MlflowMirror
from surefoot.workflow.ray_workers import RayWorkers


@dataclass(frozen=True, slots=True)
class Shard:
    """The part of the cells that one of several machines takes.

    Attributes:
        number: Number of the part, from 1.
        total: Number of parts.
    """

    number: int = 1
    total: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``i/n``.

        Raises:
            InputError: If it is no such text, or i is not in 1 to n.
        """
        number, slash, total = text.partition("/")
        if not (slash and number.isdecimal() and total.isdecimal()):
            raise InputError(f"shard must have the form i/n, got {text!r}")
        shard = cls(int(number), int(total))
        if not 1 <= shard.number <= shard.total:
            raise InputError(f"shard must be i/n with i from 1 to n, got {text!r}")
        return shard

    def of(self, cells: Sequence[Cell]) -> Sequence[Cell]:
        """Return every n-th cell."""
        return cells[self.number - 1 :: self.total]


@dataclass(frozen=True, kw_only=True, slots=True)
class StudySummary(Record):
    """What became of a study.

    Attributes:
        done: Number of cells that are done.
        left: Number of cells that are left.
        failed: Errors of the cells that failed, by arm/seed.
        stale: Number of stored cells of other code, libraries or settings, which do not count.
        claims: Verdicts by claim.
    """

    done: int
    left: int
    failed: Mapping[str, str]
    stale: int
    claims: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Study:
    """A grid and the cells that it has for one code.

    Attributes:
        grid: The grid.
        store: Folder of the cells.
        maker: Code and libraries whose cells count.
    """

    grid: Grid
    store: CellStore
    maker: Maker

    def cells(self) -> list[Cell]:
        """Return the cells, as far as they are known: levels are chosen from finished ones.

        Raises:
            InputError: If a setting is wrong, or two arms are the same.
        """
        select = cells_of(self.grid, self.grid.arms, "select", self.maker)
        # Wrong settings are refused before the first cell, not after the last selection.
        everything = cells_of(self.grid, self.grid.arms, "report", self.maker)
        if self.grid.file.report.arms == "all":
            return select + everything
        if not all(self._is_over(cell) for cell in select):
            return select + self._of(self.grid.named_arms)
        judged = {*self.grid.named_arms, *chosen_levels(self.results(select))}
        return select + self._of([name for name in self.grid.arms if name in judged])

    def results(self, cells: Iterable[Cell]) -> Results:
        """Read what is done of some cells.

        Raises:
            IntegrityError: If a stored cell was changed.
        """
        found: dict[Purpose, dict[str, list[CellRecord]]] = {"select": {}, "report": {}}
        failed, missing = [], 0
        for cell in cells:
            failure = self.store.failure(cell.digest)
            if self.store.holds(cell.digest):
                record = self.store.read(cell.digest)
                found[cell.purpose].setdefault(cell.arm, []).append(record)
            elif failure is not None:
                failed.append(FailedCell(cell.name, failure))
            else:
                missing += 1
        return Results(grid=self.grid, cells=found, failed=failed, missing=missing)

    def done(self) -> list[tuple[Cell, CellRecord]]:
        """Read the cells that are done.

        Raises:
            IntegrityError: If a stored cell was changed.
        """
        return [
            (cell, self.store.read(cell.digest))
            for cell in self.cells()
            if self.store.holds(cell.digest)
        ]

    def write(self) -> StudySummary:
        """Write tables and pictures of what is done, and return what became of the study."""
        cells = self.cells()
        results = self.results(cells)
        stale = self.store.others({cell.digest for cell in cells})
        for name, data in study_files(results).items():
            make_folders((self.store.path / name).parent)
            write_file(self.store.path / name, data)
        claims = {entry.claim.id: entry.decision.value for entry in decided_claims(results)}
        return StudySummary(
            done=len(cells) - results.missing - len(results.failed),
            left=results.missing,
            failed={entry.name: entry.failure.error for entry in results.failed},
            stale=len(stale),
            claims=claims,
        )

    def _of(self, arms: Iterable[str]) -> list[Cell]:
        return cells_of(self.grid, arms, "report", self.maker)

    def _is_over(self, cell: Cell) -> bool:
        return self.store.holds(cell.digest) or self.store.failure(cell.digest) is not None


def open_study(grid: Path, out: Path) -> Study:
    """Read a grid, and the cells that a folder has for it.

    Raises:
        InputError: If the grid is wrong, or the folder is somebody else's.
    """
    check_run_folder(out)
    study = Study(read_grid(grid), CellStore(out), this_maker())
    study.cells()
    return study


def stored_study(grid: Path, out: Path) -> Study:
    """Return a study of the cells that a folder holds, whichever code made them.

    Those count that the code and the libraries made which made most. What they did not know of the
    settings counts as its default.

    Args:
        grid: A grid file.
        out: Folder of the study.

    Raises:
        InputError: If the grid is wrong, or the folder holds no cells.
        IntegrityError: If a stored cell was changed.
    """
    store = CellStore(out)
    records = [store.read(digest) for digest in store.digests]
    if not records:
        raise InputError(f"{out} must hold cells of a study, it has none")
    most, _ = Counter(record.maker.to_json() for record in records).most_common(1)[0]
    kept = {
        cell_digest(settings_of(dict(record.settings), "a stored cell"), record.maker): record
        for record in records
    }
    return Study(read_grid(grid), StoreAsMade(out, kept), Maker.from_json(most, "maker"))


def redraw_study(grid: Path, out: Path) -> StudySummary:
    """Write what the cells of a study say, whichever code made them, and make none.

    Args:
        grid: A grid file.
        out: Folder of the study.

    Raises:
        InputError: If the grid is wrong, or the folder holds no cells.
        IntegrityError: If a stored cell was changed.
    """
    return stored_study(grid, out).write()


def run_study(
    grid: Path,
    out: Path,
    *,
    jobs: int = 1,
    shard: Shard | None = None,
    only: str | None = None,
    ray: str | None = None,
    mlflow: str | None = None,
    listener: Listener = SILENCE,
) -> StudySummary:
    """Make the cells of a grid that are not done, and write what all of them say.

    Args:
        grid: A grid file.
        out: Folder of the study; one that was begun goes on, and several machines may share it.
        jobs: Cells side by side, each on one core.
        shard: The part of the cells that is made here.
        only: Shell pattern of the cells, arm/seed, that are made here.
        ray: Address of a Ray cluster that makes the cells, in place of this machine.
        mlflow: Tracking store of MLflow in which the cells that are done are shown as well.
        listener: Is told of progress.

    Returns:
        What became of the cells; those that failed every time are among them.

    Raises:
        InputError: If the grid is wrong, the folder is somebody else's or goes away, no cell
            matches, or no cluster or tracking store answers.
        MissingLibraryError: If Ray or MLflow is asked for and not installed.
        IntegrityError: If a stored cell was changed.
        InterruptedRun: If a signal asked to stop; the same command goes on.
    """
    if jobs < 1:
        raise InputError(f"jobs must be at least 1, got {jobs}")
    study = open_study(grid, out)
    wanted = _wanted(shard or Shard(), only)
    wanted(study.cells())
    mirror = None if mlflow is None else MlflowMirror(mlflow, grid.stem)
    study.store.claim()
    clear_done_cells(study.store)
    with StopRequest() as stop:
        workers: CellWorkers = (
            LocalWorkers(study.store, jobs, stop)
            if ray is None
            else RayWorkers(study.store, ray, stop)
        )
        _make_all(study, wanted, workers, listener)
    summary = study.write()
    if mirror is not None:
        mirror.show(study.done())
    return summary


Wanted = Callable[[Sequence[Cell]], Sequence[Cell]]
"""From all cells to those that are made here."""


def _wanted(shard: Shard, only: str | None) -> Wanted:
    return lambda cells: chosen_cells(shard.of(cells), only)


def _make_all(study: Study, wanted: Wanted, workers: CellWorkers, listener: Listener) -> None:
    """Make cells until none is left; chosen levels add cells once they are chosen."""
    tried: set[str] = set()
    while True:
        cells = [cell for cell in wanted(study.cells()) if cell.digest not in tried]
        todo = [cell for cell in cells if not study.store.holds(cell.digest)]
        if not todo:
            return
        tried |= {cell.digest for cell in todo}
        with listener.progress("study", len(todo)) as update:
            clock = _TimeLeft(len(todo))
            for outcome in workers.make(todo):
                if outcome.failure is not None:
                    study.store.fail(outcome.cell.digest, outcome.failure)
                    listener.remark(f"{outcome.cell.name} failed: {outcome.failure.error}")
                update(clock.count(), f"{outcome.cell.name}, {clock.words}")


class _TimeLeft:
    """How long the cells that are left take, at the pace of those before."""

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self._began = time.monotonic()

    def count(self) -> int:
        """Count one more and return how many are done."""
        self._done += 1
        return self._done

    @property
    def words(self) -> str:
        """The time that is left, in words."""
        pace = (time.monotonic() - self._began) / self._done
        minutes = round(pace * (self._total - self._done) / 60)
        return f"{minutes // 60}:{minutes % 60:02d} hours left"
