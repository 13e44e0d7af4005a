"""``pipeline study``: what it prints, and the exit codes."""

import json
from pathlib import Path

import pytest

from support.command_line import run_pipeline
from support.studies import TINY


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "grid.toml"
    path.write_text(TINY)
    return path


def test_a_dry_run_prints_the_cells_and_makes_nothing(grid: Path, tmp_path: Path) -> None:
    done = run_pipeline("study", grid, "--out", tmp_path / "study", "--dry-run")
    assert done.code == 0, done.err
    for name in ("dense/0", "dense/1", "random/0", "random/1"):
        assert name in done.out
    assert "unknown until a cell is done" in done.out
    assert not (tmp_path / "study").exists()


def test_a_study_prints_what_became_of_its_cells(grid: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    done = run_pipeline("study", grid, "--out", out, "--only", "dense/0", "--json")
    assert done.code == 0, done.err
    table = json.loads(done.out)
    assert (table["done"], table["left"], table["failed"]) == (1, 3, {})
    assert (out / "claims.md").is_file()


def test_a_study_in_which_a_cell_failed_ends_with_3(grid: Path, tmp_path: Path) -> None:
    grid.write_text(TINY.replace("CartPole-v1", "No-v0"))
    done = run_pipeline("study", grid, "--out", tmp_path / "study", "--only", "dense/0")
    assert done.code == 3
    assert "dense/0 failed:" in done.err
    assert "FAILED dense/0" in done.out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--shard", "3/2"), "error: shard must be i/n with i from 1 to n, got '3/2'"),
        (("--jobs", "0"), "error: jobs must be at least 1, got 0"),
        (("--only", "x/1"), "error: only must match a cell, such as dense/0, got 'x/1'"),
    ],
)
def test_bad_input_is_one_line_and_exits_with_2(
    grid: Path, tmp_path: Path, given: tuple[str, str], said: str
) -> None:
    done = run_pipeline("study", grid, "--out", tmp_path / "study", *given)
    assert (done.code, done.err.strip()) == (2, said)
