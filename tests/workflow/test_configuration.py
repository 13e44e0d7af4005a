"""A configuration is its tables, each checked, and nothing in them is ignored."""

from pathlib import Path

import pytest

from surefoot.budget import Budget
from surefoot.errors import InputError
from surefoot.requirement import Scope
from surefoot.runtime import Backend
from surefoot.workflow.configuration import TABLES, Configuration

SPARSITY = '[[require]]\nquantity = "sparsity"\nat_least = 0.5\n'


def test_the_later_one_wins_table_by_table() -> None:
    base = Configuration({"bench": {"num_calls": 5, "paced_s": 1.0}, "certify": {"seed": 1}})
    over = Configuration({"bench": {"num_calls": 7}})
    merged = over.over(base)
    assert merged.tables == {"bench": {"num_calls": 7, "paced_s": 1.0}, "certify": {"seed": 1}}
    assert base.tables["bench"]["num_calls"] == 5


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"trian": {}}, "unknown table 'trian'; did you mean 'train'"),
        ({"bench": 3}, "bench must be a table, got 3"),
        ({"export": []}, "export must be a table"),
        ({"require": {"quantity": "sparsity"}}, "require must be an array of tables"),
    ],
)
def test_a_table_that_is_none_is_refused(tables: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Configuration(tables)


def test_the_configuration_of_a_run_is_checked_like_any_other(tmp_path: Path) -> None:
    assert Configuration.beside(tmp_path).tables == {}
    (tmp_path / "config.toml").write_text("[certify]\nseed = 3\n")
    assert Configuration.beside(tmp_path).certification().seed == 3
    (tmp_path / "config.toml").write_text("[certifi]\nseed = 3\n")
    with pytest.raises(InputError, match=r"config\.toml: unknown table 'certifi'; did you mean"):
        Configuration.beside(tmp_path)


@pytest.mark.parametrize("name", [name for name in TABLES if name != "require"])
def test_a_key_that_a_stage_does_not_know_is_refused(name: str) -> None:
    configuration = Configuration({name: {"nonsense": 1}})
    stage = {
        "train": configuration.training,
        "certify": configuration.certification,
        "assume": configuration.assumptions,
        "export": configuration.exporting,
        "gate": configuration.gating,
        "attack": configuration.attacking,
        "bench": configuration.benchmarking,
    }[name]
    with pytest.raises(InputError, match=f"unknown key '{name}.nonsense'"):
        stage()


def test_all_stands_for_whatever_is_at_hand() -> None:
    some = Configuration({"bench": {"backends": ["c"]}, "export": {"targets": ["c"]}})
    assert some.benchmarking().backends == (Backend.C,)
    assert not (some.wants_every_backend)
    assert not (some.wants_every_target)
    every = Configuration({"bench": {"backends": ["all"]}, "export": {"targets": ["all"]}})
    assert every.wants_every_backend
    assert every.wants_every_target
    assert every.benchmarking() == Configuration().benchmarking()
    assert every.exporting() == Configuration().exporting()


def test_the_budget_is_that_of_a_file_or_else_of_the_tables(tmp_path: Path) -> None:
    (tmp_path / "budget.toml").write_text(SPARSITY)
    given = Budget.parse(SPARSITY)
    assert Configuration().budget(tmp_path / "budget.toml") == given
    assert Configuration().with_budget(given).budget().requirements == given.requirements
    with pytest.raises(InputError, match="a certificate needs --budget or a configuration with"):
        Configuration().budget()
    with pytest.raises(InputError, match="a training needs --preset or a configuration with"):
        Configuration().training()


def test_the_demo_asks_a_question_and_for_a_claim_behind_its_gate() -> None:
    budget = Configuration.resolve(preset="demo").budget()
    assert budget.gate is not None
    assert Scope.GATE in {requirement.scope for requirement in budget.requirements}
    assert any(requirement.region is not None for requirement in budget.requirements)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_an_editor_puts_before_the_text_does_not_count(tmp_path: Path, encoding: str) -> None:
    budget, config = tmp_path / "budget.toml", tmp_path / "config.toml"
    budget.write_text(SPARSITY, encoding=encoding)
    config.write_text("[certify]\nseed = 3\n", encoding=encoding)
    if encoding == "utf-16":
        with pytest.raises(InputError, match="begins with a byte order mark of UTF-16"):
            Configuration().budget(budget)
        return
    assert Configuration().budget(budget).text == SPARSITY
    assert Configuration.resolve(config=config).certification().seed == 3
