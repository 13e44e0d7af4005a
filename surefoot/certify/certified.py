"""What is proved about each requirement: the number, what gives it, and what to know about it.

The stage and the checker both ask here; neither a search nor an optimiser takes part.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from surefoot.artifact import Json
from surefoot.ball import Norm
from surefoot.budget import Requirement, Scope
from surefoot.certify.bounds.global_bounds import least
from surefoot.certify.bounds.upward import Float
from surefoot.certify.confidence_limits import successes_needed, trials_needed
from surefoot.certify.evidence import Evidence
from surefoot.certify.proofs import Proofs
from surefoot.certify.return_loss import (
    ValueBound,
    coupling_bound,
    finite_horizon_bound,
    measured_average_bound,
    measured_path_bound,
)
from surefoot.errors import IntegrityError
from surefoot.unknown import Unknown


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Certified:
    """A proved bound.

    Attributes:
        value: In the unit of the quantity; infinite where nothing is proved.
        method: What gives it.
        reason: What the reader has to know about the claim, or why there is no bound.
        per_state: For visited requirements the bound at each state, shape (n,).
    """

    value: float
    method: str
    reason: str = ""
    per_state: Float | None = None


def _nothing(reason: str) -> Certified:
    return Certified(value=np.inf, method="none", reason=reason)


def certified(
    proofs: Proofs, requirement: Requirement, evidence: Evidence, delta: float
) -> Certified:
    """Return what is proved about a requirement whose quantity can be proved.

    Args:
        proofs: Of the policy.
        requirement: A line of the budget.
        evidence: Assumptions and measurements.
        delta: Chance of error allowed to this requirement, if it is statistical.
    """
    proofs = proofs.within(requirement.sensors)
    if requirement.scope is Scope.VISITED:
        return _visited(proofs, requirement, evidence, delta)
    if requirement.quantity == "return_loss":
        return _return_loss(proofs, requirement, evidence, delta)
    found = _PROVERS[requirement.quantity](proofs, requirement, evidence)
    limit = evidence.state_limit
    everywhere = requirement.quantity == "lipschitz" or limit != proofs.policy.normaliser.clip
    if everywhere or not np.isfinite(found.value):
        return found
    assumed = f"for states of magnitude up to {limit:g} before they are perturbed, as assumed"
    return replace(found, reason="; ".join(filter(None, (found.reason, assumed))))


def error_shares(requirements: Sequence[Requirement]) -> list[float]:
    """Return the chance of error of each requirement, 0 for those that hold always.

    The chance that a confidence leaves is split evenly over all statistical requirements, so that
    all of them hold at once.
    """
    count = sum(requirement.confidence is not None for requirement in requirements)
    return [
        0.0 if requirement.confidence is None else (1 - requirement.confidence) / count
        for requirement in requirements
    ]


def perturbation_of(requirement: Requirement) -> tuple[float, Norm]:
    """Return size and norm of the perturbation of a requirement that has one."""
    # Requirement holds that both are set; the defaults only tell the type checker.
    return requirement.epsilon or 0.0, requirement.norm or Norm.LINF


def pair_of(witness: Mapping[str, Json] | None, obs_dim: int) -> tuple[Float, Float]:
    """Return state and perturbation of a saved witness, each of shape (obs_dim,).

    Raises:
        IntegrityError: If it holds no such numbers.
    """
    try:
        state, step = (np.array((witness or {})[key], float) for key in ("state", "perturbation"))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise IntegrityError(f"the witness is malformed: {error}") from error
    if state.shape != (obs_dim,) or step.shape != (obs_dim,):
        raise IntegrityError(f"the witness must be {obs_dim} numbers and as many, it is not")
    return state, step


def epsilon_of(table: Json) -> float:
    """Return the epsilon that a saved table names, 0 if it names none.

    Raises:
        IntegrityError: If it is no such table, or the epsilon no size.
    """
    value = (table.get("epsilon") or 0.0) if isinstance(table, Mapping) else None
    if not isinstance(value, (int, float)) or not 0 <= value <= sys.float_info.max:
        raise IntegrityError("a table of the certificate names no epsilon, or none that is a size")
    return float(value)


def _lipschitz(proofs: Proofs, requirement: Requirement, evidence: Evidence) -> Certified:
    value, method = least(proofs.action.lipschitz(requirement.norm or Norm.L2))
    reason = "in real arithmetic; the deployed one adds 2 runtime_error to every deviation"
    return Certified(value=value, method=method, reason=reason)


def _action_deviation(proofs: Proofs, requirement: Requirement, evidence: Evidence) -> Certified:
    bound = proofs.deployed_deviation(*perturbation_of(requirement))
    if isinstance(bound, Unknown):
        return _nothing(bound.reason)
    return Certified(value=float(bound[0].max()), method=bound[1])


def _distance(proofs: Proofs, requirement: Requirement, evidence: Evidence) -> Certified:
    bound = proofs.distance(*perturbation_of(requirement))
    if isinstance(bound, Unknown):
        return _nothing(bound.reason)
    value: float = getattr(bound, requirement.quantity)
    reason = "of the policy that samples its actions"
    return Certified(value=value, method=bound.method, reason=reason)


def _return_loss(
    proofs: Proofs, requirement: Requirement, evidence: Evidence, delta: float
) -> Certified:
    bound = proofs.distance(*perturbation_of(requirement))
    if isinstance(bound, Unknown):
        return _nothing(bound.reason)
    if evidence.reward_range is None:
        return _nothing("no reward_range is assumed")
    if evidence.contradicts_rewards:
        return _nothing("a clean return contradicts the assumed reward_range")
    span = evidence.reward_span
    if evidence.discount is not None:
        value = coupling_bound(bound.total_variation, span, evidence.discount)
        method = f"coupling, discount {evidence.discount:g}"
    elif evidence.horizon is not None:
        value = finite_horizon_bound(bound.total_variation, span, evidence.horizon)
        method = f"coupling, horizon {evidence.horizon}"
    else:
        return _nothing("neither discount nor horizon is given")
    reason = "of the policy that samples its actions, rewards inside reward_range"
    if requirement.confidence is not None:
        measured = _measured_loss(proofs, requirement, evidence, delta)
        if isinstance(measured, Unknown):
            reason += f"; {measured.reason}"
        elif measured[0].bound < value.bound:
            value, method = measured
            reason += f", error {delta:g}"
    if value.vacuous:
        reason = "vacuous: no better than the reward range alone"
    return Certified(value=value.bound, method=method, reason=reason)


def _measured_loss(
    proofs: Proofs, requirement: Requirement, evidence: Evidence, delta: float
) -> tuple[ValueBound, str] | Unknown:
    """Return the bound from clean episodes of the sampling policy, or why there is none."""
    episodes, states = evidence.sampled, evidence.sampled_states(proofs.policy)
    if episodes is None or states is None:
        return Unknown("no clean episodes of the sampling policy are given")
    clean = proofs.clean_tv(episodes, states, *perturbation_of(requirement))
    if isinstance(clean, Unknown):
        return clean
    words = f"of {len(clean.steps)} clean episodes"
    if evidence.discount is not None:
        span = evidence.reward_span
        bound = measured_average_bound(clean, span, evidence.discount, delta)
        return bound, f"average {words}, discount {evidence.discount:g}"
    if evidence.horizon != clean.horizon:
        return Unknown(f"the clean episodes have a horizon of {clean.horizon}")
    return (
        measured_path_bound(clean, evidence.reward_span, delta),
        f"path {words}, horizon {clean.horizon}",
    )


def _compression_error(proofs: Proofs, requirement: Requirement, evidence: Evidence) -> Certified:
    if evidence.dense_policy is None:
        return _nothing("the dense policy is not given")
    bound = proofs.compression(evidence.dense_policy)
    if isinstance(bound, Unknown):
        return _nothing(bound.reason)
    return Certified(value=float(bound.max()), method="telescoped layers")


def _visited(
    proofs: Proofs, requirement: Requirement, evidence: Evidence, delta: float
) -> Certified:
    """Return the value that provably holds at enough visited states to prove the share."""
    if proofs.states is None:
        return _nothing("no visited observations are given")
    if evidence.num_repeated:
        # Independent draws of real-valued states do not repeat; copies are no further evidence.
        return _nothing(f"{evidence.num_repeated} of {len(proofs.states)} visited states repeat")
    bounds = _at_states(proofs, requirement, evidence)
    if isinstance(bounds, Unknown):
        return _nothing(bounds.reason)
    method = proofs.effort.method
    if requirement.quantity == "compression_error":
        method = "evaluation"
    count, fraction = len(bounds), requirement.fraction or 0.0
    rank = successes_needed(count, fraction, delta)
    if rank is None:
        reason = f"{count} states cannot prove a share of {fraction:g}; at least "
        reason += f"{trials_needed(fraction, delta)} can"
        return Certified(value=np.inf, method=method, reason=reason, per_state=bounds)
    held = int((bounds <= requirement.limit).sum())
    return Certified(
        value=float(np.sort(bounds)[rank - 1]),
        method=method,
        reason=f"{held} of {count} states hold the limit, error {delta:g}",
        per_state=bounds,
    )


def _at_states(proofs: Proofs, requirement: Requirement, evidence: Evidence) -> Float | Unknown:
    """Return a proved bound of the quantity at each visited state, or why there is none."""
    if requirement.quantity == "compression_error":
        if evidence.dense_policy is None:
            return Unknown("the dense policy is not given")
        return proofs.visited_compression(evidence.dense_policy)
    epsilon, norm = perturbation_of(requirement)
    if requirement.quantity == "action_deviation":
        bounds = proofs.visited_deviation(epsilon, norm)
        if isinstance(bounds, Unknown):
            return bounds
        return proofs.split_visited_deviation(bounds, epsilon, norm, requirement.limit)
    laws = proofs.visited_distance(epsilon, norm)
    if isinstance(laws, Unknown):
        return laws
    return laws[0 if requirement.quantity == "total_variation" else 1]


_PROVERS: Mapping[str, Callable[[Proofs, Requirement, Evidence], Certified]] = {
    "lipschitz": _lipschitz,
    "action_deviation": _action_deviation,
    "total_variation": _distance,
    "kl": _distance,
    "compression_error": _compression_error,
}
