"""Cells are tried as often as they should be, so many at once, and never outlive the study.

The processes are played, so that each ends as the test says.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.studies import MAKER, cell_of, grid_from
from surefoot.errors import InputError, InterruptedRun
from surefoot.study.cells import Cell, cells_of
from surefoot.study.store import CellStore
from surefoot.train.signals import StopRequest
from surefoot.workflow import cell_workers
from surefoot.workflow.cell_process import ELSEWHERE
from surefoot.workflow.cell_workers import LocalWorkers, Outcome

DONE = 0


class Played:
    """Processes that end with the codes of a script, one after the other for each cell."""

    def __init__(self) -> None:
        self.cells: dict[str, Cell] = {}
        self.script: dict[str, list[int]] = {}
        self.started: list[str] = []
        self.alive = self.most_alive = 0
        self.stopped: list[str] = []
        self.ends = True

    def start(self, folder: Path, digest: str) -> "PlayedProcess":
        cell = self.cells[digest]
        self.started.append(cell.name)
        self.alive += 1
        self.most_alive = max(self.most_alive, self.alive)
        code = self.script.get(cell.name, [DONE]).pop(0)
        if code == DONE:
            CellStore(folder).add(digest, cell_of([1.0]), {})
        return PlayedProcess(self, cell.name, code)


class PlayedProcess:
    """One of them."""

    def __init__(self, played: Played, name: str, code: int) -> None:
        self._played, self._name, self.code = played, name, code
        self.error = f"ended with {code}"

    @property
    def has_ended(self) -> bool:
        return self._played.ends

    def stop(self) -> None:
        self._played.stopped.append(self._name)

    def wait(self) -> None:
        self.close()

    def close(self) -> None:
        self._played.alive -= 1


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    played = Played()
    monkeypatch.setattr(cell_workers, "CellProcess", played.start)
    monkeypatch.setattr(cell_workers, "_POLL_S", 0.0)
    monkeypatch.setattr(cell_workers, "_ELSEWHERE_S", 0.01)
    return played


@pytest.fixture
def store(tmp_path: Path) -> CellStore:
    store = CellStore(tmp_path / "study")
    store.claim()
    return store


@pytest.fixture
def cells(played: Played) -> list[Cell]:
    grid = grid_from()
    cells = cells_of(grid, grid.arms, "select", MAKER)
    played.cells = {cell.digest: cell for cell in cells}
    return cells


def made(store: CellStore, cells: list[Cell], jobs: int = 2) -> Iterator[Outcome]:
    return LocalWorkers(store, jobs, StopRequest()).make(cells)


def test_every_cell_is_made_once_and_no_more_at_a_time_than_there_are_jobs(
    played: Played, store: CellStore, cells: list[Cell]
) -> None:
    outcomes = list(made(store, cells))
    assert {one.cell.name for one in outcomes} == {cell.name for cell in cells}
    assert all(one.failure is None for one in outcomes)
    assert sorted(played.started) == sorted(cell.name for cell in cells)
    assert (played.most_alive, played.alive) == (2, 0)


@pytest.mark.parametrize("code", [1, 3, -9, 75])
def test_a_cell_that_fails_every_time_is_tried_twice_and_the_others_go_on(
    played: Played, store: CellStore, cells: list[Cell], code: int
) -> None:
    played.script["dense/0"] = [code, code]
    failures = {one.cell.name: one.failure for one in made(store, cells) if one.failure}
    assert list(failures) == ["dense/0"]
    assert failures["dense/0"].attempts == 2
    assert failures["dense/0"].error == f"ended with {code}"
    assert sum(store.holds(cell.digest) for cell in cells) == len(cells) - 1


def test_a_second_attempt_counts_as_if_it_were_the_first(
    played: Played, store: CellStore, cells: list[Cell]
) -> None:
    played.script["dense/0"] = [-9, DONE]
    assert all(one.failure is None for one in made(store, cells))


def test_wrong_input_is_wrong_every_time(
    played: Played, store: CellStore, cells: list[Cell]
) -> None:
    played.script["dense/0"] = [2]
    failures = [one.failure for one in made(store, cells) if one.failure]
    assert [failure.attempts for failure in failures] == [1]


def test_a_cell_that_another_process_works_at_is_waited_for(
    played: Played, store: CellStore, cells: list[Cell]
) -> None:
    played.script["dense/0"] = [ELSEWHERE, ELSEWHERE, ELSEWHERE, DONE]
    assert all(one.failure is None for one in made(store, cells))
    assert played.started.count("dense/0") == 4


def test_a_cell_that_another_process_has_made_is_not_made_again(
    played: Played, store: CellStore, cells: list[Cell]
) -> None:
    store.add(cells[0].digest, cell_of([1.0]), {})
    assert len(list(made(store, cells))) == len(cells)
    assert cells[0].name not in played.started


def test_who_is_asked_to_stop_asks_every_process(
    played: Played, store: CellStore, cells: list[Cell]
) -> None:
    played.ends = False
    stop = StopRequest()
    workers = LocalWorkers(store, 2, stop)

    class StopsLater:
        """A stop request that comes once two processes run."""

        @property
        def requested(self) -> bool:
            return played.alive == 2

    workers._stop = StopsLater()  # type: ignore[assignment]
    with pytest.raises(InterruptedRun, match="what is finished of each cell is kept"):
        list(workers.make(cells))
    assert played.stopped == played.started
    assert played.alive == 0


def test_a_folder_that_goes_away_ends_the_study_and_its_processes(
    played: Played, store: CellStore, cells: list[Cell], tmp_path: Path
) -> None:
    outcomes = made(store, cells, jobs=1)
    next(outcomes)
    store.path.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="has gone away"):
        list(outcomes)
    assert played.alive == 0
