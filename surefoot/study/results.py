"""What a study's cells say: choices of levels, contrasts and verdicts, a pure function of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from surefoot.study.cell_record import CellRecord, Failure
from surefoot.study.contrasts import Contrast, contrast, holm, ratio_of_means
from surefoot.study.grid import Choice, Claim, Grid, Purpose
from surefoot.study.metrics import METRICS, Parts


@dataclass(frozen=True, slots=True)
class FailedCell:
    """A cell that failed every time.

    Attributes:
        name: The cell, arm/seed.
        failure: Why.
    """

    name: str
    failure: Failure


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """The cells of a grid that are done.

    Attributes:
        grid: The grid.
        cells: Records by purpose and arm, in the order of the seeds.
        failed: The cells that failed.
        missing: Number of cells that are neither done nor failed.
    """

    grid: Grid
    cells: Mapping[Purpose, Mapping[str, Sequence[CellRecord]]]
    failed: Sequence[FailedCell] = ()
    missing: int = 0

    def of(self, purpose: Purpose, arm: str) -> Sequence[CellRecord]:
        """Return the records of an arm on one set of seeds."""
        return self.cells.get(purpose, {}).get(arm, ())

    def sample(self, purpose: Purpose, arm: str, metric: str) -> list[Parts]:
        """Return the parts of a metric for each agent that has it."""
        found = (METRICS[metric].of(cell) for cell in self.of(purpose, arm))
        return [parts for parts in found if parts is not None]

    def contrast(self, purpose: Purpose, arm: str, baseline: str, metric: str) -> Contrast | None:
        """Hold an arm against another."""
        return contrast(self.sample(purpose, arm, metric), self.sample(purpose, baseline, metric))

    def mean(self, purpose: Purpose, arm: str, metric: str) -> float | None:
        """Return the mean over agents of a metric of one part, None without agents."""
        means = [parts[0].mean() for parts in self.sample(purpose, arm, metric)]
        return float(np.mean(means)) if means else None


def chosen_level(results: Results, family: str, choice: Choice) -> str | None:
    """Return the arm that the selection seeds choose; the baseline, unpruned, is a candidate.

    By the paper's rule it is the arm of the highest score. By the certificate it is the arm of the
    least certified deviation at visited states, among those that keep enough clean return.

    Args:
        results: The cells.
        family: Name of the family of levels.
        choice: The rule.

    Returns:
        None where no candidate has been measured.
    """
    baseline = results.grid.file.baseline
    candidates = [baseline, *results.grid.families[family]]
    if choice == "published":
        scored = _ratios(results, candidates, "published")
        return max(scored, key=lambda arm: scored[arm], default=None)
    kept = _ratios(results, candidates, "clean")
    scored = _ratios(results, candidates, "visited_certified")
    enough = [
        arm for arm in scored if arm == baseline or kept.get(arm, 0) >= results.grid.file.keep_clean
    ]
    return min(enough, key=lambda arm: scored[arm], default=None)


def _ratios(results: Results, arms: Sequence[str], metric: str) -> dict[str, float]:
    """Return the ratio of each arm to the baseline on the selection seeds."""
    baseline = results.grid.file.baseline
    base = results.sample("select", baseline, metric)
    found = {arm: ratio_of_means(results.sample("select", arm, metric), base) for arm in arms}
    return {arm: ratio for arm, ratio in found.items() if ratio is not None}


def chosen_levels(results: Results) -> list[str]:
    """Return the arms that some rule chooses in some family."""
    choices: tuple[Choice, ...] = ("published", "certified")
    found = {
        chosen_level(results, family, choice)
        for family in results.grid.families
        for choice in choices
    }
    return [arm for arm in results.grid.arms if arm in found]


class Decision(StrEnum):
    """What became of a claim."""

    REPRODUCED = "reproduced"
    REFUTED = "refuted"
    CONDITIONAL = "conditional"
    UNDECIDED = "undecided"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimPart:
    """A claim about one of its arms.

    Attributes:
        arm: The arm; of a family the chosen level, None where none was chosen.
        contrast: The comparison; None where there is nothing to compare.
        p_holm: Its p, adjusted for all comparisons of the grid.
        decision: What the rule says.
        reason: Why, in one line.
    """

    arm: str | None
    contrast: Contrast | None
    p_holm: float | None
    decision: Decision
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DecidedClaim:
    """A claim and its verdict.

    Attributes:
        claim: The claim.
        parts: One for each arm that it names.
        decision: The verdict.
    """

    claim: Claim
    parts: tuple[ClaimPart, ...]
    decision: Decision


def decided_claims(results: Results) -> list[DecidedClaim]:
    """Decide every claim of the grid on the seeds that judge."""
    compared = [
        [(arm, _compared(results, claim, arm)) for arm in _arms_of(results, claim)]
        for claim in results.grid.file.claim
    ]
    flat = [entry for entries in compared for _, entry in entries]
    tested = [entry.p for entry in flat if entry is not None and entry.p is not None]
    adjusted = iter(holm(tested))
    decided = []
    for claim, entries in zip(results.grid.file.claim, compared, strict=True):
        parts = []
        for arm, entry in entries:
            has_p = entry is not None and entry.p is not None
            p_holm = next(adjusted) if has_p else None
            decision, reason = judge(claim, entry)
            parts.append(
                ClaimPart(arm=arm, contrast=entry, p_holm=p_holm, decision=decision, reason=reason)
            )
        decided.append(
            DecidedClaim(
                claim=claim,
                parts=tuple(parts),
                decision=joined([part.decision for part in parts]),
            )
        )
    return decided


def _arms_of(results: Results, claim: Claim) -> list[str | None]:
    """Return the arms of a claim, the chosen level in place of a family."""
    return [
        name if name in results.grid.arms else chosen_level(results, name, claim.choice)
        for name in claim.arms
    ]


def _compared(results: Results, claim: Claim, arm: str | None) -> Contrast | None:
    if arm is None:
        return None
    baseline = claim.baseline or results.grid.file.baseline
    return results.contrast(results.grid.judged_on, arm, baseline, claim.metric)


def judge(claim: Claim, found: Contrast | None) -> tuple[Decision, str]:
    """Decide a claim about one arm by its interval alone, and say why."""
    if found is None:
        return Decision.UNDECIDED, "nothing to compare"
    if found.low is None or found.high is None:
        return Decision.UNDECIDED, "fewer than two agents an arm"
    interval = f"[{found.low:.2f}, {found.high:.2f}]"
    held, broken = _sides(claim, found.low, found.high)
    if held:
        return Decision.REPRODUCED, f"{interval} lies where the claim has it"
    if broken:
        return Decision.REFUTED, f"{interval} lies beyond {claim.printed:g}"
    seen = "any" if found.smallest_effect is None else f"{found.smallest_effect:.0%}"
    return Decision.UNDECIDED, f"{interval} holds {claim.printed:g}; an effect of {seen} is seen"


def _sides(claim: Claim, low: float, high: float) -> tuple[bool, bool]:
    """Return whether an interval lies wholly where the claim has it, and wholly elsewhere."""
    if claim.rule == "at_least":
        return low >= claim.printed, high < claim.printed
    if claim.rule == "at_most":
        return high <= claim.printed, low > claim.printed
    least, most = (claim.printed * (1 + sign * claim.margin) for sign in (-1, 1))
    return least <= low and high <= most, high < least or most < low


def joined(decisions: Sequence[Decision]) -> Decision:
    """Return the verdict on a claim about several arms: conditional where they contradict."""
    found = set(decisions)
    if len(found) == 1:
        return decisions[0]
    if {Decision.REPRODUCED, Decision.REFUTED} <= found:
        return Decision.CONDITIONAL
    return Decision.UNDECIDED
