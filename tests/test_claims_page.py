"""The page of the papers' claims: every claim once, held by what exists, and numbers from data."""

import importlib.util
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
NUMBERS = [
    *(f"A{number}" for number in range(1, 16)),
    *(f"E{number}" for number in range(1, 26)),
    *(f"S{number}" for number in range(1, 7)),
    *(f"R{number}" for number in range(1, 5)),
]
VERDICTS = {"reproduced", "refuted", "conditional", "undecided", "not checkable here"}


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    """The script, which imports others beside it."""
    sys.path.append(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("claims_page", BENCHMARKS / "claims_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    sys.path.remove(str(BENCHMARKS))
    return module


def test_the_page_is_what_the_data_make_of_it(pages: ModuleType) -> None:
    text = pages.page(
        pages.read_claims(), pages.numbers(), pages.decisions(pages.RESULTS / "studies")
    )
    assert (pages.RESULTS / "claims.md").read_text() == text


def test_every_claim_of_the_papers_stands_once_with_a_verdict(pages: ModuleType) -> None:
    claims = pages.read_claims()
    assert [claim.id for claim in claims.claim] == NUMBERS
    assert {claim.verdict for claim in claims.claim} == VERDICTS
    assert {number for entry in claims.abstract for number in entry.claims} <= {*NUMBERS}


def test_what_holds_or_decides_a_claim_exists(pages: ModuleType) -> None:
    claims = pages.read_claims()
    for claim in claims.claim:
        for test in claim.tests:
            path, _, name = test.partition("::")
            assert f"def {name}(" in (ROOT / path).read_text(), test
        for grid in claim.grids:
            assert (BENCHMARKS / "grids" / f"{grid}.toml").is_file()
            assert grid in claims.core_hours


def test_what_is_decided_without_a_study_rests_on_a_test_or_a_number(pages: ModuleType) -> None:
    settings = {"E1", "E2", "E15"}  # taken over, or printed by the paper itself
    for claim in pages.read_claims().claim:
        if claim.verdict in ("reproduced", "refuted", "conditional") and claim.id not in settings:
            assert claim.tests or re.search(r"\{[\w.]+", claim.why), claim.id


def test_a_number_that_is_not_there_is_no_number(pages: ModuleType) -> None:
    assert pages.filled("{a.b[1]:.1f}, {c}", {"a": {"b": [0, 2.25]}, "c": 3}) == "2.2, 3"
    with pytest.raises(KeyError):
        pages.filled("{a.b}", {"a": {}})


def test_a_study_that_is_not_finished_decides_nothing(pages: ModuleType, tmp_path: Path) -> None:
    published = pages.RESULTS / "studies" / "g1-hopper"
    cell = min(path.name for path in (published / "cells").iterdir())
    shutil.copytree(published / "cells" / cell, tmp_path / "g1-hopper" / "cells" / cell)
    shutil.copy(published / "surefoot.json", tmp_path / "g1-hopper")
    assert pages.decisions(tmp_path) == {}
