"""Pages and pictures are a pure function of the results, and hide nothing of them.

Also of ``study/study_figures.py``.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
from matplotlib.figure import Figure

from support.studies import cell_of, grid_from, results_of
from surefoot.study import study_figures
from surefoot.study.cell_record import Failure
from surefoot.study.results import FailedCell, Results
from surefoot.study.study_pages import claims_page, study_files, sweet_spots_page

CLAIM = {
    "id": "E9",
    "sentence": "a | b",
    "arms": ["magnitude-0.5", "magnitude-0.9"],
    "metric": "mad",
}


def some_results() -> Results:
    select = {
        arm: [
            cell_of([100.0 + seed + bonus] * 3, [50.0 - seed + bonus] * 3, sparsity=sparsity)
            for seed in range(3)
        ]
        for arm, sparsity, bonus in (
            ("dense", 0.0, 0.0),
            ("magnitude-0.5", 0.5, 9.0),
            ("magnitude-0.9", 0.9, -9.0),
        )
    }
    failed = FailedCell("dense/3", Failure(error="killed by signal 9", attempts=2))
    return replace(results_of(grid_from(claim=[CLAIM]), select), failed=[failed], missing=4)


def test_the_same_results_give_the_same_files() -> None:
    files = study_files(some_results())
    assert files == study_files(some_results())
    names = {"frontier", "profiles", "attacks", "bounds"}
    assert set(files) == {"claims.md", "sweetspots.md"} | {f"figures/{n}.png" for n in names}
    assert all(data.startswith(b"\x89PNG") for name, data in files.items() if name.endswith(".png"))


def test_every_arm_of_a_claim_has_a_row_and_all_together_have_one() -> None:
    page = claims_page(some_results())
    rows = [line for line in page.splitlines() if line.startswith("| E9")]
    assert len(rows) == 3
    assert r"a \| b" in rows[0]
    assert "reproduced" in rows[0]
    assert "refuted" in rows[1]
    assert "conditional" in rows[2]


def test_what_failed_and_what_is_left_is_said() -> None:
    page = claims_page(some_results())
    assert "| dense/3 | 2 | killed by signal 9 |" in page
    assert "4 cells are left." in page


def test_rows_of_a_table_have_as_many_cells_as_its_head() -> None:
    for page in (claims_page(some_results()), sweet_spots_page(some_results())):
        tables = [block for block in page.split("\n\n") if block.startswith("|")]
        assert tables
        for block in tables:
            widths = {line.replace(r"\|", "").count("|") for line in block.splitlines()}
            assert len(widths) == 1


@pytest.mark.parametrize("odd", [r"$\frac{$", "_2"])
def test_a_legend_names_every_arm_as_it_is_called(
    odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = {"name": odd, "cross": {"train.pruning.sparsity": [0.5]}}
    cells = [cell_of([100.0] * 3, [50.0] * 3, sparsity=0.0)] * 3
    results = results_of(
        grid_from(arm=[{"name": "dense"}, family]), {"dense": cells, f"{odd}-0.5": cells}
    )
    legends: list[list[str]] = []

    def drawn(width: float, height: float, paint: Callable[[Figure], None]) -> bytes:
        figure = Figure((width, height))
        paint(figure)
        figure.draw_without_rendering()
        legends.append([text.get_text().strip() for text in figure.legends[0].get_texts()])
        return b""

    monkeypatch.setattr(study_figures, "draw_png", drawn)
    study_figures.study_figures(results)
    assert len(legends) == 4
    assert all(any(entry.startswith(odd) for entry in legend) for legend in legends)


def test_a_study_without_cells_has_pages_and_no_pictures() -> None:
    files = study_files(Results(grid=grid_from(), cells={}, missing=9))
    assert set(files) == {"claims.md", "sweetspots.md"}
    assert "The grid makes no claims." in files["claims.md"].decode()
