"""Claims about the states that a policy visits: a bound per state, and a share with a confidence.

The states must be independent: one per episode. "With confidence 1 - delta at least a share p of
the visited states holds the limit" follows from the number that provably do (Clopper-Pearson).
"""

import numpy as np

from surefoot.artifact import Json
from surefoot.budget import Requirement
from surefoot.certificate import Finding
from surefoot.certify.facts import Facts
from surefoot.certify.statistics import success_rate_upper, successes_needed, trials_needed
from surefoot.certify.upward import Float
from surefoot.certify.verdicts import conclude, perturbation_of, witness_at
from surefoot.errors import CheckError


def visited_finding(facts: Facts, requirement: Requirement, delta: float) -> Finding:
    """Return what is known about a requirement at visited states.

    Args:
        facts: Bounds and searches of the controller.
        requirement: A requirement of scope ``visited``.
        delta: Chance of error allowed to it.

    Raises:
        CheckError: If a search exceeds a proved bound.
    """
    states = facts.visited_states
    if states is None:
        return conclude(
            requirement, None, None, "none", "no visited observations are given", statistical=True
        )
    bounds, method = _bounds(facts, requirement)
    if isinstance(bounds, str):
        return conclude(requirement, None, None, method, bounds, statistical=True)
    sampled, witness = _sampled(facts, requirement, delta)
    if (sampled > bounds * (1 + 1e-9)).any():
        raise CheckError(f"{requirement.describe()}: a search exceeds a proved bound: a bug")
    count, fraction = len(states), requirement.fraction or 0.0
    held = int((bounds <= requirement.limit).sum())
    reason = f"{held} of {count} states hold the limit, error {delta:g}"
    rank = successes_needed(count, fraction, delta)
    if rank is None:
        least = trials_needed(fraction, delta)
        reason = f"{count} states cannot prove a share of {fraction:g}; at least {least} can"
        return conclude(requirement, None, None, method, reason, witness, statistical=True)
    return conclude(
        requirement,
        float(np.sort(bounds)[rank - 1]),
        float(np.sort(sampled)[rank - 1]),
        method,
        reason,
        witness,
        statistical=True,
    )


def _bounds(facts: Facts, requirement: Requirement) -> tuple[Float | str, str]:
    """Return a proved bound of the quantity at each visited state, or why there is none."""
    if requirement.quantity == "compression_error":
        return "the dense policy is not given", "none"
    epsilon, norm = perturbation_of(requirement)
    if requirement.quantity == "action_deviation":
        bound = facts.visited_deviation(epsilon, norm)
        return (bound, "none") if isinstance(bound, str) else bound
    laws = facts.visited_distance(epsilon, norm)
    if isinstance(laws, str):
        return laws, "none"
    return laws[0 if requirement.quantity == "total_variation" else 1], "crown"


def _sampled(
    facts: Facts, requirement: Requirement, delta: float
) -> tuple[Float, dict[str, Json] | None]:
    """Return the worst found at each state, and a witness if too many states violate."""
    epsilon, norm = perturbation_of(requirement)
    name = requirement.quantity
    measure = "deviation" if name == "action_deviation" else name
    found = facts.at_visited(epsilon, norm, distribution=name != "action_deviation")
    values = found.values[measure]
    violated = int((values > requirement.limit).sum())
    share = success_rate_upper(len(values) - violated, len(values), delta)
    if requirement.fraction is None or share >= requirement.fraction:
        return values, None
    worst = witness_at(facts, found, measure, int(values.argmax()))
    return values, worst | {"violated": violated, "states": len(values), "share_at_most": share}
