"""From numbers to a verdict, with the reason and the witness.

PROVED needs a bound, rounding included, that holds the limit; REFUTED needs a concrete input,
replayed in the deployed arithmetic, that breaks it; everything else is UNKNOWN with the reason.
"""

import math
from dataclasses import replace

import numpy as np

from surefoot.budget import Requirement, Scope
from surefoot.certificate import Finding, Verdict, proved_text
from surefoot.certify.confidence_limits import success_rate_upper, successes_needed
from surefoot.errors import CheckError
from surefoot.quantities.base.measurement import Limits, Value
from surefoot.quantities.base.proof import Bound
from surefoot.quantities.base.search import Found
from surefoot.quantities.base.witness import Witness
from surefoot.unknown import Unknown

HOLDS = "the bound holds the limit"
"""The reason of a finding about which there is nothing else to say."""

_SEARCH_ROUNDING = 1e-9
"""Share of a bound that covers the rounding of a search's own float64 numbers."""


def conclude(
    requirement: Requirement, bound: Bound | Unknown, found: Found | None, delta: float
) -> Finding:
    """Return the finding that a proof and a search imply.

    Args:
        requirement: A line of the budget.
        bound: Proved bound.
        found: Worst value that a search found; None if none was made.
        delta: Chance of error allowed to the requirement, if it is statistical.

    Raises:
        CheckError: If a search exceeds the bound, or the requirement is proved and refuted: a bug.
    """
    if isinstance(bound, Unknown):
        bound = Bound(value=math.inf, method="none", note=bound.reason)
    value = finite(bound.value)
    holds = value is not None and requirement.holds(value)
    sampled, witness = _sampled(requirement, found, delta)
    _check_against(requirement, bound, found)
    if holds and witness is not None:
        raise CheckError(f"{requirement.describe()}: proved and refuted, which is a bug")
    if witness is not None:
        verdict, words = Verdict.REFUTED, ["the witness violates it"]
    elif holds:
        verdict, words = Verdict.PROVED, []
    else:
        verdict, words = Verdict.UNKNOWN, [] if bound.note else ["no finite bound is known"]
        if value is not None:
            proved = proved_text(value, at_most=requirement.about.at_most, digits=6)
            short = f"bound {proved} does not meet the limit {requirement.limit:g}"
            words = [short, f"no violation was {'looked for' if found is None else 'found'}"]
        words.append(bound.still_open)
    return Finding(
        requirement=requirement,
        certified=value,
        sampled=sampled,
        method=bound.method,
        verdict=verdict,
        reason="; ".join(filter(None, [*words, bound.note])) or HOLDS,
        witness=witness,
        statistical=requirement.confidence is not None,
    )


def _check_against(requirement: Requirement, bound: Bound, found: Found | None) -> None:
    """Check that no search exceeds the bound, state by state where there is one for each.

    Raises:
        CheckError: If one does: one of the two is wrong.
    """
    statistical = requirement.confidence is not None
    if found is None or (statistical and bound.per_state is None):
        return
    proved = bound.value if bound.per_state is None else bound.per_state
    if (found.values > proved + _SEARCH_ROUNDING * np.abs(proved)).any():
        raise CheckError(
            f"{requirement.describe()}: the search found {found.values.max()}, more than the "
            f"proved bound {np.max(proved)}, which is a bug"
        )


def _sampled(
    requirement: Requirement, found: Found | None, delta: float
) -> tuple[float | None, Witness | None]:
    """Return the worst value that counts, and a witness if it refutes the requirement."""
    if found is None:
        return None, None
    if requirement.scope is not Scope.VISITED:
        return float(found.values.max()), found.violation(requirement.limit)
    # The same rank of the sampled values as that of the certified one.
    rank = successes_needed(len(found.values), requirement.fraction or 0.0, delta)
    sampled = float(np.sort(found.values)[(rank or len(found.values)) - 1])
    return sampled, _violated_share(requirement, found, delta)


def _violated_share(requirement: Requirement, found: Found, delta: float) -> Witness | None:
    """Return a witness if, with confidence, too small a share of the states can hold the limit."""
    count = len(found.values)
    violated = int((found.values > requirement.limit).sum())
    share = success_rate_upper(count - violated, count, delta)
    if share >= (requirement.fraction or 0.0):
        return None
    witness = found.violation(requirement.limit) or Witness()
    return replace(witness, violated=violated, states=count, share_at_most=share)


def conclude_measured(
    requirement: Requirement, known: Value | Limits | Unknown, delta: float
) -> Finding:
    """Return the finding about a quantity that is measured and not proved.

    Args:
        requirement: A line of the budget.
        known: Measurement on the file.
        delta: Chance that a limit is wrong.
    """
    match known:
        case Value():
            return _of_value(requirement, known)
        case Limits():
            return _of_limits(requirement, known, delta)
        case Unknown(reason):
            return Finding(
                requirement=requirement,
                certified=None,
                sampled=None,
                method="none",
                verdict=Verdict.UNKNOWN,
                reason=reason,
                measured=True,
            )


def _of_value(requirement: Requirement, known: Value) -> Finding:
    holds = requirement.holds(known.value)
    unproved = ", not proved" if holds else ""
    return Finding(
        requirement=requirement,
        certified=None,
        sampled=known.value,
        method=known.method,
        verdict=Verdict.PROVED if holds else Verdict.REFUTED,
        reason=f"measured {known.value:g}{unproved}",
        witness=None if holds else Witness(value=known.value, source=known.source),
        measured=True,
    )


def _of_limits(requirement: Requirement, known: Limits, delta: float) -> Finding:
    """Return the finding about a measured quantity that counts by its lower limit."""
    beyond = "" if requirement.ball is None else " for the whole ball"
    confidence = f"with confidence {1 - delta:.12g}"
    reason = f"measured under {known.source}, not proved{beyond}: {known.seen}, "
    reason += f"lower limit {confidence}"
    verdict, refutation = Verdict.UNKNOWN, None
    if requirement.holds(known.lower):
        verdict = Verdict.PROVED
    elif not requirement.holds(known.upper):
        verdict = Verdict.REFUTED
        reason = f"measured under {known.source}: {known.seen}, "
        reason += f"at most {proved_text(known.upper)} {confidence}"
        refutation = Witness(seen=known.seen, at_most=known.upper, source=known.source)
    return Finding(
        requirement=requirement,
        certified=None,
        sampled=known.lower,
        method=known.method,
        verdict=verdict,
        reason=reason,
        witness=refutation,
        statistical=True,
        measured=True,
    )


def finite(value: float) -> float | None:
    """Return ``value``, or None where it proves nothing (JSON has no infinity)."""
    return value if math.isfinite(value) else None
