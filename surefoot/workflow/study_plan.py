"""What a study would do: its cells, the core-hours at measured speeds, and what it could see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from surefoot.records import Record
from surefoot.study.cell_record import CellRecord
from surefoot.study.cells import Cell, chosen_cells
from surefoot.study.contrasts import effect_seen
from surefoot.study.grid import Purpose
from surefoot.workflow.studying import Shard, Study, open_study

_SPREADS = (0.1, 0.2, 0.3)
"""Standard deviations between agents, as shares of their mean."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedCell:
    """A cell of the plan.

    Attributes:
        name: The cell, arm/seed.
        purpose: What its seed serves for.
        state: Whether it is done, failed before or is to be made.
        digest: Digest of the cell.
    """

    name: str
    purpose: Purpose
    state: Literal["done", "failed", "to make"]
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyPlan(Record):
    """What a study would do.

    Attributes:
        cells: The cells that are known by now; levels that are chosen later add more.
        core_hours: Time of those that are left, at the speed of stored cells; None without any.
        hours: The same divided by the jobs.
        stale: Number of stored cells of other code, libraries or settings.
        effects: Change of a ratio that the seeds show with a power of 80 %, by spread.
    """

    cells: tuple[PlannedCell, ...]
    core_hours: float | None
    hours: float | None
    stale: int
    effects: Mapping[str, float]

    @property
    def num_to_make(self) -> int:
        """Number of cells that are not done."""
        return sum(cell.state != "done" for cell in self.cells)


def plan_study(
    grid: Path, out: Path, *, jobs: int = 1, shard: Shard | None = None, only: str | None = None
) -> StudyPlan:
    """Plan a study, and do nothing.

    Args:
        grid: A grid file.
        out: Folder of the study, which need not be there.
        jobs: Cells side by side.
        shard: The part of the cells that is made here.
        only: Shell pattern of the cells that are made here.

    Raises:
        InputError: If the grid is wrong, the folder is somebody else's, or no cell matches.
    """
    study = open_study(grid, out)
    everything = study.cells()
    cells = chosen_cells((shard or Shard()).of(everything), only)
    left = [cell for cell in cells if not study.store.holds(cell.digest)]
    seconds = _seconds(study, everything, left)
    hours = None if seconds is None else seconds / 3600
    return StudyPlan(
        cells=tuple(_planned(study, cell) for cell in cells),
        core_hours=hours,
        hours=None if hours is None else hours / jobs,
        stale=len(study.store.others({cell.digest for cell in everything})),
        effects=effects_seen(len(_judged_seeds(study))),
    )


def effects_seen(num_seeds: int) -> dict[str, float]:
    """Return the change of a ratio that two arms of so many seeds show, by spread of the seeds."""
    if num_seeds < 2:
        return {}
    found = {
        f"{spread:.0%}": effect_seen([spread**2 / num_seeds] * 2, [num_seeds] * 2)
        for spread in _SPREADS
    }
    return {spread: effect for spread, effect in found.items() if effect is not None}


def _judged_seeds(study: Study) -> Sequence[int]:
    seeds = study.grid.file.seeds
    return seeds.report or seeds.select


def _planned(study: Study, cell: Cell) -> PlannedCell:
    failed = study.store.failure(cell.digest) is not None
    done = study.store.holds(cell.digest)
    return PlannedCell(
        name=cell.name,
        purpose=cell.purpose,
        state="done" if done else "failed" if failed else "to make",
        digest=cell.digest,
    )


def _seconds(study: Study, cells: Sequence[Cell], left: Sequence[Cell]) -> float | None:
    """Return the seconds of the cells that are left, as long as those of their arm took."""
    done = [(cell, study.store.read(cell.digest)) for cell in cells if _is_done(study, cell)]
    if not left:
        return 0.0
    if not done:
        return None
    everybody = float(np.mean([record.seconds for _, record in done]))
    return sum(
        float(np.mean(alike)) if (alike := _of_arm(done, cell)) else everybody for cell in left
    )


def _of_arm(done: Sequence[tuple[Cell, CellRecord]], cell: Cell) -> list[float]:
    same = [record for one, record in done if (one.arm, one.purpose) == (cell.arm, cell.purpose)]
    return [record.seconds for record in same]


def _is_done(study: Study, cell: Cell) -> bool:
    return study.store.holds(cell.digest)
