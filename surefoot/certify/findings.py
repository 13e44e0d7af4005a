"""One finding per requirement: what is proved, what a search found, and the verdict.

PROVED needs a bound with rounding included that holds the limit; REFUTED needs a concrete input,
replayed in the deployed arithmetic, that breaks it; everything else is UNKNOWN with the reason.
"""

import numpy as np

from surefoot.artifact import Json
from surefoot.budget import QUANTITIES, Requirement, Scope
from surefoot.certificate import Finding
from surefoot.certify.bounds.upward import Float, vector_norm_up
from surefoot.certify.certified import Certified, certified, perturbation_of
from surefoot.certify.compression import incomparable
from surefoot.certify.confidence_limits import success_rate_upper, successes_needed
from surefoot.certify.counterexamples import attainable_states
from surefoot.certify.facts import Facts
from surefoot.certify.verdicts import (
    conclude,
    measured,
    measured_with_confidence,
    unknown_measurement,
    witness,
    witness_at,
)
from surefoot.errors import CheckError
from surefoot.unknown import Unknown


def find(facts: Facts, requirement: Requirement, delta: float) -> Finding:
    """Return what is known about one requirement.

    Args:
        facts: Proofs and searches of the controller.
        requirement: A line of the budget.
        delta: Chance of error allowed to this requirement, if it is statistical.

    Raises:
        CheckError: If a search exceeds a proved bound: one of the two is wrong.
    """
    facts = facts.within(requirement.sensors)
    quantity = requirement.quantity
    if not QUANTITIES[quantity].proved:
        return _measured(facts, requirement, delta)
    proved = certified(facts.proofs, requirement, facts.evidence, delta)
    if requirement.scope is Scope.VISITED and quantity != "compression_error":
        return _at_visited_states(facts, requirement, proved, delta)
    if quantity == "lipschitz":
        sampled, state, direction = facts.steepest
        # |d|_inf <= |d|_2, so a slope in l2 is a lower bound of the slope in linf as well.
        steep = _slope_witness(facts, state, direction, requirement.limit)
        return conclude(requirement, proved, sampled, steep)
    if quantity == "compression_error":
        return _compression(facts, requirement, proved, delta)
    measure = _measure(requirement)
    if quantity == "return_loss":
        return conclude(requirement, proved, None, statistical=requirement.confidence is not None)
    if measure != "deviation" and not facts.proofs.has_law:
        return conclude(requirement, proved, None)
    epsilon, norm = perturbation_of(requirement)
    found = facts.anywhere(epsilon, norm, distribution=measure != "deviation")
    worst = int(found.values[measure].argmax())
    sampled = float(found.values[measure][worst])
    breaks = not requirement.holds(sampled)
    return conclude(
        requirement, proved, sampled, witness_at(facts, found, measure, worst) if breaks else None
    )


def _measure(requirement: Requirement) -> str:
    """Return the name under which a search keeps the quantity."""
    return "deviation" if requirement.quantity == "action_deviation" else requirement.quantity


def _slope_witness(
    facts: Facts, state: Float, direction: Float, limit: float
) -> dict[str, Json] | None:
    """Return a pair of states whose slope exceeds ``limit`` even after 2 e_rt is taken off."""
    observations, states = attainable_states(facts.policy, state[None])
    for length in (1.0, 0.3, 0.1, 0.03, 0.01):
        rounding = facts.proofs.rounding(length)
        if isinstance(rounding, Unknown):
            return None
        moved = (states + direction * length).astype(np.float32)
        pair = facts.replay.outputs_at(np.concatenate([states, moved])).astype(np.float64)
        step = moved.astype(np.float64) - states.astype(np.float64)
        slack = 2 * vector_norm_up(rounding.action)
        distance = float(np.linalg.norm(step))
        slope = (float(np.linalg.norm(pair[1] - pair[0])) - slack) / distance * (1 - 1e-12)
        if slope > limit:
            return witness(facts, observations[0], states[0], moved[0]) | {"slope": slope}
    return None


def _at_visited_states(
    facts: Facts, requirement: Requirement, proved: Certified, delta: float
) -> Finding:
    """Compare bound and search state by state; refute if too many states provably violate.

    Raises:
        CheckError: If the search exceeds the bound at a state.
    """
    if proved.per_state is None:
        return conclude(requirement, proved, None, statistical=True)
    measure = _measure(requirement)
    epsilon, norm = perturbation_of(requirement)
    found = facts.at_visited(epsilon, norm, distribution=measure != "deviation")
    values = found.values[measure]
    if (values > proved.per_state * (1 + 1e-9)).any():
        raise CheckError(f"{requirement.describe()}: a search exceeds a proved bound: a bug")
    share = _share(requirement, values, delta)
    refutation = None
    if share is not None:
        refutation = witness_at(facts, found, measure, int(values.argmax())) | share
    sampled = _order_statistic(requirement, values, delta)
    return conclude(requirement, proved, sampled, refutation, statistical=True)


def _compression(
    facts: Facts, requirement: Requirement, proved: Certified, delta: float
) -> Finding:
    """Compare both controllers at states; a search for the worst state is not made."""
    statistical = requirement.scope is Scope.VISITED
    dense, states = facts.evidence.dense_policy, facts.proofs.states
    repeated = statistical and facts.evidence.num_repeated > 0
    if dense is None or incomparable(facts.policy, dense) is not None or repeated:
        return conclude(requirement, proved, None, statistical=statistical)
    observations = facts.evidence.observations
    if states is None or observations is None or not statistical:
        observations, states = attainable_states(facts.policy, facts.start_states)
    gaps = np.abs(
        facts.replay.outputs_at(states).astype(np.float64)
        - dense.outputs_at(states).astype(np.float64)
    ).max(axis=1)
    worst = int(gaps.argmax())
    example: dict[str, Json] = {
        "observation": observations[worst].tolist(),
        "value": float(gaps[worst]),
    }
    if statistical:
        share = _share(requirement, gaps, delta)
        refutation = None if share is None else example | share
        sampled = _order_statistic(requirement, gaps, delta)
        return conclude(requirement, proved, sampled, refutation, statistical=True)
    refutation = None if requirement.holds(float(gaps[worst])) else example
    return conclude(requirement, proved, float(gaps[worst]), refutation)


def _share(requirement: Requirement, values: Float, delta: float) -> dict[str, Json] | None:
    """Return the counts if, with confidence, too small a share of the states can hold the limit."""
    violated = int((values > requirement.limit).sum())
    share = success_rate_upper(len(values) - violated, len(values), delta)
    if share >= (requirement.fraction or 0.0):
        return None
    return {"violated": violated, "states": len(values), "share_at_most": share}


def _order_statistic(requirement: Requirement, values: Float, delta: float) -> float:
    """Return the sampled partner of the certified value: the same rank of the sampled values."""
    rank = successes_needed(len(values), requirement.fraction or 0.0, delta)
    return float(np.sort(values)[(rank or len(values)) - 1])


def _measured(facts: Facts, requirement: Requirement, delta: float) -> Finding:
    """Return the finding about a quantity that is counted or measured, not proved."""
    if requirement.quantity == "sparsity":
        return measured(requirement, facts.policy.sparsity, "count", "the weights in the file")
    if requirement.quantity == "size_bytes":
        return measured(requirement, float(len(facts.controller.data)), "size", "the file")
    if requirement.confidence is not None:
        limits = facts.evidence.limits(requirement, facts.onnx_sha256, delta)
        if isinstance(limits, Unknown):
            return unknown_measurement(requirement, limits.reason)
        return measured_with_confidence(requirement, limits, delta)
    if failed := facts.evidence.failed(requirement, facts.onnx_sha256):
        return unknown_measurement(requirement, failed.reason)
    worst = facts.evidence.worst_measurement(requirement, facts.onnx_sha256)
    if worst is not None:
        return measured(requirement, worst.value, "measurement", worst.source)
    elsewhere = facts.evidence.fitting_measurements(requirement)
    where = "it was measured on another file" if elsewhere else "it was not measured"
    return unknown_measurement(requirement, where)
