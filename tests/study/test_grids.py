"""The grids of the repository are grids: every arm resolves, and no two are the same."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from support.studies import MAKER
from surefoot.study.cells import cells_of
from surefoot.study.grid import Purpose, read_grid

GRIDS = sorted((Path(__file__).parents[2] / "benchmarks" / "grids").glob("*.toml"))


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_every_grid_resolves_on_all_of_its_seeds(path: Path) -> None:
    grid = read_grid(path)
    seeds: Mapping[Purpose, tuple[int, ...]] = {
        "select": grid.file.seeds.select,
        "report": grid.file.seeds.report,
    }
    for purpose, numbers in seeds.items():
        cells = cells_of(grid, grid.arms, purpose, MAKER)
        assert len(cells) == len(grid.arms) * len(numbers)
        assert len({cell.digest for cell in cells}) == len(cells)


def test_no_seed_serves_two_grids_of_one_preset() -> None:
    held: dict[tuple[str, int], str] = {}
    for path in GRIDS:
        grid = read_grid(path).file
        for seed in (*grid.seeds.select, *grid.seeds.report):
            assert held.setdefault((grid.preset, seed), path.stem) == path.stem
