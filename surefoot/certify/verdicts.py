"""From numbers to a verdict, with the reason and the witness."""

import math
from collections.abc import Mapping

import numpy as np

from surefoot.artifact import Json
from surefoot.budget import Requirement
from surefoot.certificate import Finding, Verdict
from surefoot.certify.certified import Certified
from surefoot.certify.counterexamples import Found, Single
from surefoot.certify.facts import Facts
from surefoot.certify.measurements import Limits
from surefoot.certify.proofs import finite
from surefoot.errors import CheckError


def conclude(
    requirement: Requirement,
    proved: Certified,
    sampled: float | None,
    witness: Mapping[str, Json] | None = None,
    *,
    statistical: bool = False,
) -> Finding:
    """Return the finding that the numbers imply.

    Args:
        requirement: A line of the budget.
        proved: What is proved about it.
        sampled: Worst value that was found.
        witness: A violation of the requirement, where one was found.
        statistical: Whether the claim holds with a confidence.

    Raises:
        CheckError: If the requirement is proved and refuted, or the search exceeds the bound.
    """
    value = finite(proved.value)
    holds = value is not None and requirement.holds(value)
    if holds and witness is not None:
        raise CheckError(f"{requirement.describe()}: proved and refuted, which is a bug")
    # The last factor is the rounding of the search's own float64 numbers.
    highest = math.inf if value is None or statistical else value * (1 + 1e-9)
    if sampled is not None and sampled > highest:
        raise CheckError(
            f"{requirement.describe()}: the search found {sampled}, more than the proved bound "
            f"{value}, which is a bug"
        )
    reason = proved.reason
    if witness is not None:
        verdict = Verdict.REFUTED
        reason = "; ".join(filter(None, ["the witness violates it", reason]))
    elif holds:
        verdict = Verdict.PROVED
    else:
        verdict = Verdict.UNKNOWN
        if value is not None:
            short = f"bound {value:.6g} does not meet the limit {requirement.limit:g}"
            reason = "; ".join(filter(None, [short, "no violation was found", reason]))
    return Finding(
        requirement=requirement,
        certified=value,
        sampled=sampled,
        method=proved.method,
        verdict=verdict,
        reason=reason or "the bound holds the limit",
        witness=witness,
        statistical=statistical,
    )


def measured(requirement: Requirement, value: float, method: str, source: str) -> Finding:
    """Return the finding about a quantity that is measured and not proved."""
    holds = requirement.holds(value)
    return Finding(
        requirement=requirement,
        certified=None,
        sampled=value,
        method=method,
        verdict=Verdict.PROVED if holds else Verdict.REFUTED,
        reason=f"measured {value:g}, not proved",
        witness=None if holds else {"value": value, "source": source},
        measured=True,
    )


def measured_with_confidence(requirement: Requirement, limits: Limits, delta: float) -> Finding:
    """Return the finding about a measured quantity that counts by its lower limit.

    Args:
        requirement: A line of the budget.
        limits: The worst that was measured on the file.
        delta: Chance that a limit is wrong.
    """
    reason = f"measured under {limits.source}, not proved for the whole ball: {limits.seen}, "
    reason += f"lower limit with confidence {1 - delta:.12g}"
    verdict, refutation = Verdict.UNKNOWN, None
    if requirement.holds(limits.lower):
        verdict = Verdict.PROVED
    elif not requirement.holds(limits.upper):
        verdict = Verdict.REFUTED
        refutation = {"seen": limits.seen, "at_most": limits.upper, "source": limits.source}
    return Finding(
        requirement=requirement,
        certified=None,
        sampled=limits.lower,
        method=limits.method,
        verdict=verdict,
        reason=reason,
        witness=refutation,
        statistical=True,
        measured=True,
    )


def unknown_measurement(requirement: Requirement, reason: str) -> Finding:
    """Return the finding about a quantity that was not measured on this file."""
    return Finding(
        requirement=requirement,
        certified=None,
        sampled=None,
        method="none",
        verdict=Verdict.UNKNOWN,
        reason=reason,
        measured=True,
    )


def witness_at(facts: Facts, found: Found, measure: str, index: int) -> dict[str, Json]:
    """Return what reproduces one of the violations that a search found."""
    state, moved = found.states[index], found.perturbed[measure][index]
    return witness(facts, found.observations[index], state, moved) | {
        "measure": measure,
        "value": float(found.values[measure][index]),
    }


def witness(facts: Facts, observation: Single, state: Single, moved: Single) -> dict[str, Json]:
    """Return a pair of states with both replayed actions, as JSON values.

    Args:
        facts: Of the controller.
        observation: Raw observation of the state, shape (obs_dim,).
        state: Normalised units, float32, shape (obs_dim,).
        moved: The perturbed state, normalised units, float32, shape (obs_dim,).
    """
    outputs = facts.replay.outputs_at(np.stack([state, moved])).astype(np.float64)
    change = np.abs(outputs[1] - outputs[0])
    return {
        "observation": observation.astype(np.float64).tolist(),
        "state": state.astype(np.float64).tolist(),
        "perturbation": (moved.astype(np.float64) - state.astype(np.float64)).tolist(),
        "action": outputs[0].tolist(),
        "perturbed_action": outputs[1].tolist(),
        "actuator": int(change.argmax()),
        "deviation": float(change.max()),
        "runtime": facts.replay.name,
    }
