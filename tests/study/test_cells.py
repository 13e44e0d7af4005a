"""A cell is known by all that its numbers depend on, and by nothing else.

Also of ``study/cell_record.py``.
"""

from dataclasses import replace

import pytest

from support.studies import LEVELS, MAKER, cell_of, grid_from
from surefoot.errors import InputError
from surefoot.study.cell_record import CellRecord
from surefoot.study.cells import (
    cell_digest,
    cells_of,
    chosen_cells,
    settings_of,
    settings_table,
    this_maker,
)
from surefoot.train.defence_config import StateAdversarial


def test_every_arm_has_every_seed_and_its_own_digest() -> None:
    grid = grid_from()
    cells = cells_of(grid, grid.arms, "select", MAKER)
    assert [cell.name for cell in cells[:3]] == ["dense/0", "magnitude-0.5/0", "magnitude-0.9/0"]
    assert len({cell.digest for cell in cells}) == len(cells) == 9
    assert cells_of(grid, grid.arms, "report", MAKER) == []


def test_a_defence_in_the_words_of_a_robot_is_no_part_of_a_study() -> None:
    settings = cells_of(grid_from(), ["dense"], "select", MAKER)[0].settings
    defence = StateAdversarial(perturb="noise", kappa=0.1)
    with pytest.raises(InputError, match="must have epsilon in a study, got perturb"):
        replace(settings, train=replace(settings.train, defence=defence))


def test_the_digest_is_that_of_the_settings_the_code_and_the_libraries() -> None:
    cell = cells_of(grid_from(), ["dense"], "select", MAKER)[0]
    others = [
        replace(cell.settings, train=replace(cell.settings.train, gamma=0.5)),
        replace(cell.settings, attack=replace(cell.settings.attack, episodes=3)),
        replace(cell.settings, stages=("train",)),
    ]
    digests = {cell_digest(settings, MAKER) for settings in others}
    digests.add(cell_digest(cell.settings, replace(MAKER, code_sha256="d" * 64)))
    digests.add(cell_digest(cell.settings, replace(MAKER, versions={"numpy": "3"})))
    assert len(digests | {cell.digest}) == 6


def test_what_no_number_depends_on_changes_no_digest() -> None:
    cell = cells_of(grid_from(), ["dense"], "select", MAKER)[0]
    train = replace(cell.settings.train, num_threads=7, checkpoint_steps=99)
    attack = replace(cell.settings.attack, num_threads=7)
    assert cell_digest(replace(cell.settings, train=train, attack=attack), MAKER) == cell.digest


def test_settings_are_read_back_as_they_were() -> None:
    cell = cells_of(grid_from(), ["magnitude-0.5"], "select", MAKER)[0]
    again = settings_of(settings_table(cell.settings), "cell")
    assert again == cell.settings
    assert cell_digest(again, MAKER) == cell.digest


def test_the_report_seeds_may_be_attacked_otherwise() -> None:
    seeds = {"select": [0], "report": [1]}
    grid = grid_from(seeds=seeds, report={"attack": {"suite": "full"}})
    suites = [
        cells_of(grid, ["dense"], purpose, MAKER)[0].settings.attack.suite
        for purpose in ("select", "report")
    ]
    assert suites == ["quick", "full"]


def test_two_arms_of_one_digest_are_refused() -> None:
    same = {"name": "same", "train": {"pruning": {"kind": "none"}}}
    grid = grid_from(arm=[*LEVELS["arm"], same])
    with pytest.raises(InputError, match="arms dense and same must differ"):
        cells_of(grid, grid.arms, "select", MAKER)


def test_a_wrong_setting_names_the_arm() -> None:
    arm = {"name": "odd", "train": {"pruning": {"kind": "magnitude", "sparsity": 1.5}}}
    grid = grid_from(arm=[*LEVELS["arm"], arm])
    with pytest.raises(InputError, match=r"arm odd.train.pruning: sparsity must be in"):
        cells_of(grid, grid.arms, "select", MAKER)


def test_cells_are_chosen_by_a_pattern_that_must_match() -> None:
    grid = grid_from()
    cells = cells_of(grid, grid.arms, "select", MAKER)
    assert [cell.name for cell in chosen_cells(cells, "*-0.9/[01]")] == [
        "magnitude-0.9/0",
        "magnitude-0.9/1",
    ]
    assert chosen_cells(cells, None) == cells
    with pytest.raises(InputError, match="only must match a cell, such as dense/0, got 'x'"):
        chosen_cells(cells, "x")


def test_a_record_is_read_back_as_it_was() -> None:
    record = cell_of([1.0, 2.0], [0.5, 1.0], sparsity=0.5)
    again = CellRecord.from_json(record.to_json(), "cell.json")
    assert again.to_json() == record.to_json()
    assert again.attack == record.attack


def test_the_maker_is_the_same_for_the_same_code() -> None:
    assert this_maker() == this_maker()
    assert set(this_maker().versions) >= {"numpy", "torch", "mujoco"}
