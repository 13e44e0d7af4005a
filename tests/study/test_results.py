"""What is chosen and decided follows from the cells by rule.

Also of ``study/metrics.py``.
"""

from dataclasses import replace

import pytest

from support.studies import cell_of, grid_from, results_of
from surefoot.study.cell_record import CellRecord
from surefoot.study.contrasts import Contrast
from surefoot.study.grid import Claim, Rule
from surefoot.study.metrics import METRICS
from surefoot.study.results import (
    Decision,
    chosen_level,
    chosen_levels,
    decided_claims,
    joined,
    judge,
)

Cells = dict[str, list[CellRecord]]


def three(clean: float, attacked: float, deviation: float = 0.5) -> list[CellRecord]:
    """Three agents that differ a little."""
    return [
        cell_of([clean + step] * 2, [attacked + step] * 2, deviation=deviation)
        for step in (-1.0, 0.0, 1.0)
    ]


SELECT: Cells = {
    "dense": three(1000, 500, deviation=0.5),
    "magnitude-0.5": three(960, 700, deviation=0.4),
    "magnitude-0.9": three(500, 600, deviation=0.1),
}


def test_the_score_of_the_paper_chooses_its_best_level() -> None:
    results = results_of(grid_from(), SELECT)
    assert chosen_level(results, "magnitude", "published") == "magnitude-0.5"


def test_the_certificate_chooses_the_least_deviation_that_keeps_the_clean_return() -> None:
    assert chosen_level(results_of(grid_from(), SELECT), "magnitude", "certified") == (
        "magnitude-0.5"
    )
    lenient = results_of(grid_from(keep_clean=0.4), SELECT)
    assert chosen_level(lenient, "magnitude", "certified") == "magnitude-0.9"


def test_the_baseline_is_a_candidate_of_every_rule() -> None:
    worse: Cells = SELECT | {name: three(900, 400, 0.9) for name in SELECT if name != "dense"}
    results = results_of(grid_from(), worse)
    assert chosen_levels(results) == ["dense"]


def test_without_cells_nothing_is_chosen() -> None:
    assert chosen_levels(results_of(grid_from(), {})) == []


CLAIM = {"id": "E9", "sentence": "s", "arms": ["magnitude"], "metric": "mad", "printed": 1.3}


def test_a_claim_about_a_family_is_about_its_chosen_level_on_the_seeds_that_judge() -> None:
    grid = grid_from(seeds={"select": [0, 1, 2], "report": [3, 4, 5]}, claim=[CLAIM])
    report = {"dense": three(1000, 500), "magnitude-0.5": three(1000, 550)}
    results = results_of(grid, SELECT, **report)
    (decided,) = decided_claims(results)
    (part,) = decided.parts
    assert part.arm == "magnitude-0.5"
    assert part.contrast is not None
    assert part.contrast.ratio == pytest.approx(1.1)  # 1.4 on the seeds that chose it
    assert decided.decision is Decision.REFUTED


def test_p_values_are_adjusted_for_every_comparison_of_the_grid() -> None:
    claims = [CLAIM | {"id": name, "arms": ["magnitude-0.5"]} for name in ("E1", "E2", "E3")]
    decided = decided_claims(results_of(grid_from(claim=claims), SELECT))
    for entry in decided:
        (part,) = entry.parts
        assert part.contrast is not None
        assert part.contrast.p is not None
        assert part.p_holm == pytest.approx(min(1.0, 3 * part.contrast.p))


def test_a_claim_without_cells_is_undecided_and_says_why() -> None:
    (decided,) = decided_claims(results_of(grid_from(claim=[CLAIM]), {}))
    assert decided.decision is Decision.UNDECIDED
    assert decided.parts[0].reason == "nothing to compare"


def found(low: float | None, high: float | None) -> Contrast:
    return Contrast(
        num_arm=3,
        num_baseline=3,
        ratio=1.0,
        low=low,
        high=high,
        p=0.5,
        smallest_effect=0.2,
        improvement=0.5,
    )


@pytest.mark.parametrize(
    ("rule", "low", "high", "decision"),
    [
        ("at_least", 1.2, 1.5, Decision.REPRODUCED),
        ("at_least", 1.1, 1.5, Decision.UNDECIDED),
        ("at_least", 1.0, 1.1, Decision.REFUTED),
        ("at_most", 0.9, 1.2, Decision.REPRODUCED),
        ("at_most", 1.1, 1.3, Decision.UNDECIDED),
        ("at_most", 1.3, 1.4, Decision.REFUTED),
        ("equal", 1.15, 1.25, Decision.REPRODUCED),
        ("equal", 1.0, 1.25, Decision.UNDECIDED),
        ("equal", 1.3, 1.4, Decision.REFUTED),
        ("at_least", None, None, Decision.UNDECIDED),
    ],
)
def test_the_interval_alone_decides(
    rule: Rule, low: float | None, high: float | None, decision: Decision
) -> None:
    claim = Claim(id="x", sentence="s", arms=("a",), metric="clean", rule=rule, printed=1.2)
    assert judge(claim, found(low, high))[0] is decision


def test_arms_that_contradict_each_other_make_a_claim_conditional() -> None:
    yes, no, open_ = Decision.REPRODUCED, Decision.REFUTED, Decision.UNDECIDED
    assert joined([yes, yes]) is yes
    assert joined([no, no]) is no
    assert joined([yes, no, open_]) is Decision.CONDITIONAL
    assert joined([yes, open_]) is open_


def test_the_surrogate_grows_from_the_first_evaluation_to_the_last() -> None:
    grown = replace(cell_of([1.0]), curve={"paper_surrogate": (None, 4.0, 9.0, 6.0)})
    assert METRICS["surrogate_growth"].of(grown) == (1.5,)
    for curve in ({}, {"paper_surrogate": (4.0,)}, {"paper_surrogate": (0.0, 1.0)}):
        assert METRICS["surrogate_growth"].of(replace(grown, curve=curve)) is None
