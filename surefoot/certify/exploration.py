"""What could be required of a controller: bounds at several sizes beside what a search finds.

Nothing is required here, so nothing is proved in the sense of a certificate.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from surefoot.ball import Ball, Norm
from surefoot.budget import Requirement, Scope
from surefoot.certificate import proved_text
from surefoot.certify.analysis import Analysis
from surefoot.certify.at_states import AtStates
from surefoot.certify.verdict import finite
from surefoot.config import to_toml
from surefoot.quantities.base.proof import StateBounds
from surefoot.unknown import Unknown

EPSILONS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Sizes of the perturbation, linf, normalised units."""

FRACTION, CONFIDENCE = 0.9, 0.95
"""What is asked of visited states."""

_DIGITS = 3
"""Significant digits of a limit: a proved number, rounded up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SizedDeviation:
    """The largest change of one action at one size of the perturbation, action units.

    Attributes:
        epsilon: Size of the perturbation, linf, normalised units.
        found: Worst that a search found in any state.
        proved: Bound in every state, rounding included; None where there is none.
        found_at_states: Worst that a search found at the given states; None without states.
        proved_at_states: Bound at the share of the states, or at each; None where there is none.
        vacuous: Whether the bound in every state says no more than the actuators' range.
        found_lead: Largest lead of another choice that a search found at the given states, logits;
            None without states or choices.
        proved_lead: Bound on it at the share of the states, or at each; None where there is none.
    """

    epsilon: float
    found: float
    proved: float | None
    found_at_states: float | None
    proved_at_states: float | None
    vacuous: bool
    found_lead: float | None = None
    proved_lead: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A requirement that this controller meets, and what a tighter one would run into.

    Attributes:
        requirement: Its limit is a proved bound, rounded up.
        found: Worst that a search found: no limit below it can be proved.
    """

    requirement: Requirement
    found: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Exploration:
    """What could be required of a controller.

    Attributes:
        deviations: By size of the perturbation.
        scope: About which states the numbers at states are; None without states.
        num_states: Number of these states.
        action_range: Largest change of any action; None where nothing limits the actions.
        lipschitz: Bound on the l2 Lipschitz constant, action units per normalised unit.
        steepest: Steepest slope that a search found.
        reason: Why nothing is proved in every state; empty where something is.
        candidates: Requirements that could be proved and say something.
    """

    deviations: tuple[SizedDeviation, ...]
    scope: Scope | None
    num_states: int
    action_range: float | None
    lipschitz: float | None
    steepest: float
    reason: str
    candidates: tuple[Candidate, ...]


def explore(
    analysis: Analysis,
    epsilons: Sequence[float] = EPSILONS,
    watch: Callable[[int], None] = lambda done: None,
) -> Exploration:
    """Bound and search deviations at several sizes, and say which limits could be proved.

    Args:
        analysis: Proofs and searches about the controller.
        epsilons: Sizes of the perturbation, linf, normalised units, ascending.
        watch: Is told how many sizes are done.

    Raises:
        InputError: If the evidence does not fit the policy.
    """
    analysis.controller.require_read()
    proofs, place = analysis.proofs, _place(analysis)
    limits = proofs.everywhere.action_range
    action_range = None if limits is None else float(limits.max())
    rows = []
    for done, epsilon in enumerate(epsilons, start=1):
        rows.append(_deviation(analysis, epsilon, place, action_range))
        watch(done)
    bound = proofs.deviation(Ball(norm=Norm.LINF, epsilon=epsilons[0]))
    steepest, _, _ = analysis.searches.steepest_slope
    lipschitz = finite(proofs.lipschitz(Norm.L2).value)
    exploration = Exploration(
        deviations=tuple(rows),
        scope=None if place is None else place[0],
        num_states=0 if place is None else len(place[1].states),
        action_range=action_range,
        lipschitz=lipschitz,
        steepest=steepest,
        reason=bound.reason if isinstance(bound, Unknown) else "",
        candidates=(),
    )
    return replace(exploration, candidates=_candidates(exploration))


def _place(analysis: Analysis) -> tuple[Scope, AtStates] | None:
    """Return the states that numbers are given at: visited ones, else recorded ones."""
    if not isinstance(independent := analysis.proofs.independent_states, Unknown):
        return Scope.VISITED, independent
    if not isinstance(recorded := analysis.proofs.recorded_states, Unknown):
        return Scope.RECORDED, recorded
    return None


def _deviation(
    analysis: Analysis,
    epsilon: float,
    place: tuple[Scope, AtStates] | None,
    action_range: float | None,
) -> SizedDeviation:
    ball, searches = Ball(norm=Norm.LINF, epsilon=epsilon), analysis.searches
    bound = analysis.proofs.deviation(ball)
    proved = None if isinstance(bound, Unknown) else finite(bound.value)
    found_there = proved_there = found_lead = proved_lead = None
    if place is not None:
        scope, there = place
        worst = searches.worst_at(scope, ball).values
        found_there = float(worst["deviation"].max())
        proved_there = _proved_at(scope, there, there.whole_deviation(ball))
        if "choice_lead" in worst:
            found_lead = float(worst["choice_lead"].max())
            proved_lead = _proved_at(scope, there, there.choice_lead(ball))
    return SizedDeviation(
        epsilon=epsilon,
        found=float(searches.worst_anywhere(ball).values["deviation"].max()),
        proved=proved,
        found_at_states=found_there,
        proved_at_states=proved_there,
        vacuous=proved is not None and action_range is not None and proved >= action_range,
        found_lead=found_lead,
        proved_lead=proved_lead,
    )


def _proved_at(scope: Scope, there: AtStates, bounds: StateBounds | Unknown) -> float | None:
    if isinstance(bounds, Unknown):
        return None
    if scope is Scope.RECORDED:
        return finite(there.at_every(bounds).value)
    return finite(there.at_share(bounds, FRACTION, math.inf, 1 - CONFIDENCE).value)


def _candidates(exploration: Exploration) -> tuple[Candidate, ...]:
    """Return what could be required, at the largest size at which it says something."""
    found: list[Candidate] = []
    rows = exploration.deviations[::-1]
    everywhere = next((row for row in rows if row.proved is not None and not row.vacuous), None)
    if everywhere is not None and everywhere.proved is not None:
        requirement = _requirement(
            "action_deviation", everywhere, Scope.EVERYWHERE, everywhere.proved
        )
        found.append(Candidate(requirement=requirement, found=everywhere.found))
    limit = exploration.action_range or math.inf
    for row in rows:
        proved, worst = row.proved_at_states, row.found_at_states
        if exploration.scope and proved is not None and worst is not None and proved < limit:
            requirement = _requirement("action_deviation", row, exploration.scope, proved)
            found.append(Candidate(requirement=requirement, found=worst))
            break
    for row in rows:
        proved, worst = row.proved_lead, row.found_lead
        # Above 0 it says of no choice that it stays.
        if exploration.scope and proved is not None and worst is not None and proved <= 0:
            requirement = _requirement("choice_lead", row, exploration.scope, proved)
            found.append(Candidate(requirement=requirement, found=worst))
            break
    if exploration.lipschitz is not None:
        requirement = Requirement(
            quantity="lipschitz", norm=Norm.L2, at_most=_limit(exploration.lipschitz)
        )
        found.append(Candidate(requirement=requirement, found=exploration.steepest))
    return tuple(found)


def _requirement(quantity: str, row: SizedDeviation, scope: Scope, proved: float) -> Requirement:
    by_share = scope is Scope.VISITED
    return Requirement(
        quantity=quantity,
        epsilon=row.epsilon,
        norm=Norm.LINF,
        scope=scope,
        fraction=FRACTION if by_share else None,
        confidence=CONFIDENCE if by_share else None,
        at_most=_limit(proved),
    )


def _limit(proved: float) -> float:
    return float(proved_text(proved, digits=_DIGITS))


def draft_budget(exploration: Exploration, name: str) -> str:
    """Return a budget to start from, with what to know about each of its lines.

    Args:
        exploration: Exploration of a controller; each of its candidates is a requirement.
        name: What the controller is called.

    Returns:
        TOML; empty without a candidate, since a budget that requires nothing is none.
    """
    if not exploration.candidates:
        return ""
    lines = [
        f"# A budget to start from, for {name!a}.",
        "# Each limit is what was proved, rounded up. Loosen it to what your robot tolerates, or",
        "# tighten it down to what a search found: no limit below that can be proved.",
    ]
    if exploration.reason:
        lines += [
            "#",
            f"# In every state nothing is proved: {' '.join(exploration.reason.split())}",
        ]
    for candidate in exploration.candidates:  # each by itself: its last line gets a comment
        lines += ["", "[[require]]", *_lines(candidate)]
    lines += [
        "",
        "# What is measured is asked for in the same way: sparsity, latency_us (with --bench),",
        "# clean_return and attacked_return (with --attack).",
    ]
    return "\n".join(lines) + "\n"


def _lines(candidate: Candidate) -> list[str]:
    *others, limit = to_toml(candidate.requirement.to_table()).splitlines()
    return [*others, f"{limit}  # a search found {candidate.found:.{_DIGITS}g}"]
