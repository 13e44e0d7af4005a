"""A grid is crossed as it says, and whatever is wrong with it is refused in one line."""

from pathlib import Path

import pytest

from support.studies import LEVELS, TINY, grid_from
from surefoot.errors import InputError
from surefoot.study.grid import read_grid


def test_lists_are_crossed_and_every_level_belongs_to_its_family() -> None:
    crossed = {
        "name": "wide",
        "cross": {"train.hidden": [[64, 64], [256, 256]], "train.pruning.sparsity": [0.5, 0.9]},
    }
    grid = grid_from(arm=[*LEVELS["arm"], crossed])
    wide = ["wide-64x64-0.5", "wide-64x64-0.9", "wide-256x256-0.5", "wide-256x256-0.9"]
    assert list(grid.arms) == ["dense", "magnitude-0.5", "magnitude-0.9", *wide]
    assert grid.families == {"magnitude": ["magnitude-0.5", "magnitude-0.9"], "wide": wide}
    assert grid.arms["wide-256x256-0.9"].tables["train"]["hidden"] == [256, 256]
    assert grid.arms["wide-256x256-0.9"].tables["train"]["pruning"]["sparsity"] == 0.9


def test_an_arm_lies_over_the_grid_and_the_grid_over_the_preset() -> None:
    grid = grid_from(train={"gamma": 0.5, "epochs": 3})
    table = grid.arms["dense"].tables["train"]
    assert (table["gamma"], table["epochs"], table["env_id"]) == (0.5, 3, "Hopper-v5")
    assert table["pruning"] == {"kind": "none"}


CLAIM = {"id": "E9", "sentence": "s", "arms": ["magnitude"], "metric": "clean"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"seed": [1]}, r"unknown key 'grid.toml.seed'; did you mean 'grid.toml.seeds'"),
        ({"arm": []}, r"arm must hold at least one \[\[arm\]\]"),
        ({"seeds": {"select": []}}, "select must hold at least one seed"),
        ({"seeds": {"select": [1, 1]}}, "select must hold each seed once, got 1 twice"),
        ({"seeds": {"select": [1, 2], "report": [2]}}, "other seeds than select, got 2 in both"),
        ({"baseline": "densse"}, "names the arm 'densse', which is not there; did you mean"),
        ({"baseline": "magnitude"}, "names the arm 'magnitude', which is not there"),
        ({"stages": ["certify", "train"]}, "stages must be some of train, certify, attack in this"),
        ({"stages": ["certify"]}, "stages must begin with train"),
        ({"keep_clean": 0.0}, r"keep_clean must be in \(0, 1\], got 0"),
        ({"arm": [*LEVELS["arm"], {"name": "dense"}]}, "each arm must have another name"),
        ({"arm": [{"name": "a/b"}]}, "name must be a word"),
        ({"arm": [{"name": ".."}]}, "name must be a word"),
        ({"arm": [{"name": "a\0b"}]}, "name must be a word"),
        ({"arm": [{"name": "a\rb"}]}, "name must be a word"),
        ({"arm": [{"name": "a", "cross": {"train.gamma": []}}]}, "must be a list of values"),
        ({"arm": [{"name": "a", "cross": {"bench.num": [1]}}]}, "cross must name keys of train"),
        ({"claim": [CLAIM, CLAIM]}, "each claim must have another name, got 'E9' twice"),
        ({"claim": [CLAIM | {"arms": []}]}, "arms of claim E9 must name at least one arm"),
        ({"claim": [CLAIM | {"arms": ["x"]}]}, "claim E9 names the arm 'x', which is not there"),
        ({"claim": [CLAIM | {"baseline": "x"}]}, "claim E9 names the arm 'x', which is not"),
        ({"claim": [CLAIM | {"metric": "clen"}]}, "metric must be one of .*did you mean 'clean'"),
        ({"claim": [CLAIM | {"printed": 0}]}, "printed must be positive"),
        ({"preset": "hoper"}, "unknown preset 'hoper'"),
    ],
)
def test_what_is_wrong_with_a_grid_is_one_line(changed: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        grid_from(**changed)
    assert "\n" not in str(caught.value)


def test_a_grid_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    grid = read_grid(path)
    assert list(grid.arms) == ["dense", "random"]
    assert not grid.families
    assert grid.judged_on == "select"
