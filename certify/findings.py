"""One finding per requirement: what is proved, what a search found, and the verdict.

PROVED needs a bound with rounding included that holds the limit; REFUTED needs a concrete input,
replayed in the deployed arithmetic, that breaks it; everything else is UNKNOWN with the reason.
"""

from collections.abc import Callable, Mapping

import numpy as np

from surefoot.artifact import Json
from surefoot.budget import QUANTITIES, Norm, Requirement, Scope
from surefoot.certificate import Finding
from surefoot.certify.facts import Facts
from surefoot.certify.global_bounds import least
from surefoot.certify.search import attainable_states
from surefoot.certify.statistics import success_rate_lower, success_rate_upper
from surefoot.certify.upward import vector_norm_up
from surefoot.certify.value import coupling_bound, finite_horizon_bound
from surefoot.certify.verdicts import (
    conclude,
    conclude_found,
    measured,
    perturbation_of,
    unknown_measurement,
    witness,
)
from surefoot.certify.visited import visited_finding


def find(facts: Facts, requirement: Requirement, delta: float) -> Finding:
    """Return what is known about one requirement.

    Args:
        facts: Bounds and searches of the controller.
        requirement: A line of the budget.
        delta: Chance of error allowed to this requirement, if it is statistical.

    Raises:
        CheckError: If a search exceeds a proved bound: one of the two is wrong.
    """
    if requirement.scope is Scope.VISITED:
        return visited_finding(facts, requirement, delta)
    if requirement.quantity == "success_rate":
        return _success_rate(facts, requirement, delta)
    return _FINDERS[requirement.quantity](facts, requirement)


def _lipschitz(facts: Facts, requirement: Requirement) -> Finding:
    norm = requirement.norm or Norm.L2
    certified, method = least(facts.action.lipschitz(norm))
    sampled, state, direction = facts.steepest
    reason = "in real arithmetic; the deployed one adds 2 runtime_error to every deviation"
    # |d|_inf <= |d|_2, so a slope in l2 is a lower bound of the slope in linf as well.
    steep = _slope_witness(facts, state, direction, requirement.limit)
    return conclude(requirement, certified, sampled, method, reason, steep)


def _slope_witness(
    facts: Facts, state: np.ndarray, direction: np.ndarray, limit: float
) -> dict[str, Json] | None:
    """Return a pair of states whose slope exceeds ``limit`` even after 2 e_rt is taken off."""
    observations, states = attainable_states(facts.policy, state[None])
    for length in (1.0, 0.3, 0.1, 0.03, 0.01):
        rounding = facts.rounding(length)
        if isinstance(rounding, str):
            return None
        moved = (states + direction * length).astype(np.float32)
        pair = facts.replay.outputs_at(np.concatenate([states, moved])).astype(np.float64)
        step = moved.astype(np.float64) - states.astype(np.float64)
        distance = float(np.linalg.norm(step))
        slack = 2 * vector_norm_up(rounding.action)
        slope = (float(np.linalg.norm(pair[1] - pair[0])) - slack) / distance * (1 - 1e-12)
        if slope > limit:
            return witness(facts, observations[0], states[0], moved[0]) | {"slope": slope}
    return None


def _action_deviation(facts: Facts, requirement: Requirement) -> Finding:
    epsilon, norm = perturbation_of(requirement)
    found = facts.anywhere(epsilon, norm)
    bound = facts.deployed_deviation(epsilon, norm)
    if isinstance(bound, str):
        return conclude_found(facts, requirement, None, "none", bound, found, "deviation")
    rows, method = bound
    return conclude_found(facts, requirement, float(rows.max()), method, "", found, "deviation")


def _distance(facts: Facts, requirement: Requirement) -> Finding:
    epsilon, norm = perturbation_of(requirement)
    found = facts.anywhere(epsilon, norm, distribution=True)
    bound = facts.distance(epsilon, norm)
    name = requirement.quantity
    if isinstance(bound, str):
        return conclude_found(facts, requirement, None, "none", bound, found, name)
    certified: float = getattr(bound, name)
    reason = "of the policy that samples its actions"
    return conclude_found(facts, requirement, certified, bound.method, reason, found, name)


def _return_loss(facts: Facts, requirement: Requirement) -> Finding:
    epsilon, norm = perturbation_of(requirement)
    evidence = facts.evidence
    bound = facts.distance(epsilon, norm)
    if isinstance(bound, str):
        return conclude(requirement, None, None, "none", bound)
    if evidence.reward_range is None:
        return conclude(requirement, None, None, "none", "no reward_range is assumed")
    low, high = evidence.reward_range
    span = max(high, 0.0) - min(low, 0.0)
    if evidence.discount is not None:
        value = coupling_bound(bound.total_variation, span, evidence.discount)
        method = f"coupling, discount {evidence.discount:g}"
    elif evidence.horizon is not None:
        value = finite_horizon_bound(bound.total_variation, span, evidence.horizon)
        method = f"coupling, horizon {evidence.horizon}"
    else:
        return conclude(requirement, None, None, "none", "neither discount nor horizon is given")
    reason = "of the policy that samples its actions, rewards inside reward_range"
    if value.vacuous:
        reason = "vacuous: no better than the reward range alone"
    return conclude(requirement, value.bound, None, method, reason)


def _compression_error(facts: Facts, requirement: Requirement) -> Finding:
    if facts.evidence.dense_policy is None:
        return conclude(requirement, None, None, "none", "the dense policy is not given")
    return conclude(requirement, None, None, "none", "no bound is computed everywhere")


def _sparsity(facts: Facts, requirement: Requirement) -> Finding:
    return measured(requirement, facts.policy.sparsity, "count", "the weights in the file")


def _size_bytes(facts: Facts, requirement: Requirement) -> Finding:
    return measured(requirement, float(len(facts.controller.data)), "size", "the file")


def _from_measurement(facts: Facts, requirement: Requirement) -> Finding:
    """Take the worst measurement that is about this file and this perturbation."""
    fitting = [
        entry
        for entry in facts.evidence.measurements
        if entry.quantity == requirement.quantity
        and entry.epsilon == requirement.epsilon
        and entry.norm == requirement.norm
    ]
    own = [entry for entry in fitting if entry.onnx_sha256 == facts.onnx_sha256]
    if not own:
        reason = "it was measured on another file" if fitting else "it was not measured"
        return unknown_measurement(requirement, reason)
    pick = max if QUANTITIES[requirement.quantity].at_most else min
    worst = pick(own, key=lambda entry: entry.value)
    return measured(requirement, worst.value, "measurement", worst.source)


def _success_rate(facts: Facts, requirement: Requirement, delta: float) -> Finding:
    own = [
        entry
        for entry in facts.evidence.measurements
        if entry.quantity == "success_rate"
        and entry.epsilon == requirement.epsilon
        and entry.norm == requirement.norm
        and entry.onnx_sha256 == facts.onnx_sha256
    ]
    if not own:
        return conclude(requirement, None, None, "none", "no episodes were run on this file")
    worst = min(own, key=lambda entry: entry.value)
    trials = worst.episodes or 0
    successes = round(worst.value * trials)
    certified = success_rate_lower(successes, trials, delta)
    refutation: dict[str, Json] | None = None
    if success_rate_upper(successes, trials, delta) < requirement.limit:
        refutation = {"successes": successes, "episodes": trials, "source": worst.source}
    reason = f"{successes} of {trials} episodes, error {delta:g}, under the attack that was run"
    return conclude(
        requirement, certified, worst.value, "Clopper-Pearson", reason, refutation, statistical=True
    )


_FINDERS: Mapping[str, Callable[[Facts, Requirement], Finding]] = {
    "lipschitz": _lipschitz,
    "action_deviation": _action_deviation,
    "total_variation": _distance,
    "kl": _distance,
    "return_loss": _return_loss,
    "compression_error": _compression_error,
    "attacked_return": _from_measurement,
    "latency_us": _from_measurement,
    "sparsity": _sparsity,
    "size_bytes": _size_bytes,
}
