"""What is proved beside the requirements: the tables and claims of a certificate."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from surefoot.ball import Ball, Norm
from surefoot.budget import Budget, Scope
from surefoot.certificate import BOUNDS
from surefoot.certify.bounds.rounding import smooth_activations
from surefoot.certify.bounds.upward import Float, up
from surefoot.certify.distances import gaussian_w2, pinsker_tv
from surefoot.certify.proofs import Proofs
from surefoot.certify.radii import radius_claim
from surefoot.certify.return_claims import measured_claim, paper_claim, value_claim
from surefoot.certify.verdict import finite
from surefoot.claims import (
    Claims,
    DistributionClaim,
    LawNumbers,
    PerActuatorClaim,
    PerSensorClaim,
    Rows,
    RuntimeErrorClaim,
    SensorsClaim,
    TransportDistance,
    VisitedDeviationClaim,
)
from surefoot.errors import IntegrityError
from surefoot.policy import CategoricalHead
from surefoot.runtime.arithmetic import UNIT_ROUNDOFF
from surefoot.sensors import SensorScales
from surefoot.unknown import Unknown

_SMOOTH = (
    "smooth activations of the runtime err by at most {tau:g} * 2^-24 (SiLU, softplus and a scaled "
    "ELU by their size times max(1, |x|)), measured over every float32 of magnitude 2^-40 to 32 on "
    "x86-64, see benchmarks/activation_error.py"
)
_REAL = "real; the deployed one adds 2 runtime_error"

Table = dict[str, float | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class ProvedTables:
    """Every number of a certificate that is proved, the findings aside.

    Attributes:
        runtime_error: Rounding term, as in the certificate.
        lipschitz_l2: As in the certificate, without what was sampled.
        deviation_linf: Table of deviations, as in the certificate, without sampled values.
        claims: Claims as in the certificate, without sampled values.
    """

    runtime_error: tuple[float, ...]
    lipschitz_l2: Table
    deviation_linf: Table
    claims: Claims


def proved_tables(
    proofs: Proofs, epsilon: float, visited_epsilon: float, budget: Budget
) -> ProvedTables:
    """Prove the claims of a certificate beside its findings.

    Args:
        proofs: Proofs about the controller.
        epsilon: Size of the perturbation of the tables, linf, normalised units.
        visited_epsilon: Size of the perturbation of the deviations at visited states.
        budget: Its first limit on the deviation at visited states has certified radii.
    """
    ball, evidence = Ball(norm=Norm.LINF, epsilon=epsilon), proofs.evidence
    rounding = proofs.everywhere.rounding(epsilon)
    return ProvedTables(
        runtime_error=() if isinstance(rounding, Unknown) else tuple(rounding.action.tolist()),
        lipschitz_l2=_lipschitz(proofs),
        deviation_linf=_deviation(proofs, ball),
        claims=Claims(
            runtime_error=_runtime_error(proofs, epsilon),
            per_actuator=_per_actuator(proofs, ball),
            per_sensor=_per_sensor(proofs),
            distribution=_distribution(proofs, ball),
            value=value_claim(proofs, ball),
            paper=paper_claim(proofs, epsilon),
            measured=tuple(measured_claim(entry, evidence) for entry in evidence.measurements),
            visited_deviation=_visited_deviation(proofs, visited_epsilon),
            visited_radius=radius_claim(proofs, budget),
            sensors=_sensors(proofs, epsilon),
        ),
    )


def table_epsilon(budget: Budget, scope: Scope, default: float) -> float:
    """Return the perturbation of a table: that of the first linf requirement, of its scope if any.

    Args:
        budget: The requirements.
        scope: Scope of the table.
        default: Size where the budget names no linf perturbation.
    """
    named = [
        requirement
        for requirement in budget.requirements
        if requirement.about.proved and requirement.norm is Norm.LINF
    ]
    for requirement in sorted(named, key=lambda requirement: requirement.scope is not scope):
        if requirement.epsilon and requirement.perturb is None:  # of one size for all sensors
            return requirement.epsilon
    return default


def epsilon_of(table: Mapping[str, float | None]) -> float:
    """Return the epsilon that a saved table names, 0 if it names none.

    Raises:
        IntegrityError: If it is no size.
    """
    value = table.get("epsilon") or 0.0
    if not 0 <= value <= sys.float_info.max:
        raise IntegrityError("a table of the certificate names no epsilon, or none that is a size")
    return float(value)


def _lipschitz(proofs: Proofs) -> Table:
    bounds = proofs.everywhere.action.whole
    table = {name: finite(bounds.get(name, math.inf)) for name in BOUNDS}
    return table | {"best": finite(min(bounds.values()))}


def _deviation(proofs: Proofs, ball: Ball) -> Table:
    """Return bounds in real arithmetic; ``best`` includes the rounding of the runtime."""
    bounds = proofs.everywhere.deviations(ball)
    table = {name: finite(float(bounds[name].max())) if name in bounds else None for name in BOUNDS}
    deployed = proofs.deviation(ball)
    best = None if isinstance(deployed, Unknown) else finite(deployed.value)
    return table | {"best": best, "epsilon": ball.epsilon}


def _runtime_error(proofs: Proofs, epsilon: float) -> RuntimeErrorClaim:
    rounding, limit = proofs.everywhere.rounding(epsilon), proofs.evidence.state_limit
    assumption = _SMOOTH.format(tau=proofs.everywhere.arithmetic.tau / UNIT_ROUNDOFF)
    claim = RuntimeErrorClaim(
        units=_units(proofs),
        domain=f"|state| <= {proofs.policy.normaliser.clip:g} + {epsilon:g}",
        arithmetic=proofs.everywhere.arithmetic.meaning,
        values=None,
        assumption=assumption if smooth_activations(proofs.policy) else None,
    )
    if limit is not None:
        assumed = f"no state exceeds {limit:g} before it is perturbed: assumed"
        claim = replace(claim, state_limit=assumed)
    if isinstance(rounding, Unknown):
        return replace(claim, reason=rounding.reason)
    return replace(claim, values=tuple(rounding.action.tolist()))


def _per_actuator(proofs: Proofs, ball: Ball) -> PerActuatorClaim:
    bounds = proofs.everywhere.deviations(ball)
    return PerActuatorClaim(
        norm=ball.norm,
        epsilon=ball.epsilon,
        units=_units(proofs),
        domain="everywhere",
        arithmetic=_REAL,
        bounds={name: _rows(values) for name, values in bounds.items()},
    )


def _per_sensor(proofs: Proofs) -> PerSensorClaim:
    return PerSensorClaim(
        norm="each sensor by itself; the effects of several add up",
        units=f"{_units(proofs)} per normalised unit of the sensor",
        domain="everywhere",
        arithmetic=_REAL,
        bounds=tuple(_rows(column) for column in proofs.everywhere.action.absolute.T),
    )


def _sensors(proofs: Proofs, epsilon: float) -> SensorsClaim:
    sensors = SensorScales.of(proofs.policy.normaliser)
    steepest = proofs.everywhere.action.absolute.max(axis=0)
    with np.errstate(over="ignore"):
        per_raw_unit = up(steepest / sensors.scale, 2)
    return SensorsClaim(
        epsilon=epsilon,
        scale=tuple(sensors.scale.tolist()),
        epsilon_raw=tuple((epsilon * sensors.scale).tolist()),
        float32_step=_rows(sensors.float32_step),
        degenerate=sensors.degenerate,
        unresolved=sensors.unresolved(epsilon),
        per_raw_unit=_rows(per_raw_unit),
        units=f"{_units(proofs)} per raw unit of the sensor",
    )


def _visited_deviation(proofs: Proofs, epsilon: float) -> VisitedDeviationClaim | None:
    """Return the bound at each visited state, or None where none can be given."""
    if isinstance(proofs.visited, Unknown):
        return None
    ball = Ball(norm=Norm.LINF, epsilon=epsilon)
    bounds = proofs.visited.whole_deviation(ball)
    if isinstance(bounds, Unknown):
        return None
    return VisitedDeviationClaim(
        norm=ball.norm,
        epsilon=epsilon,
        units=_units(proofs),
        domain="the visited states, one per independent episode, in their order",
        arithmetic=f"{proofs.everywhere.arithmetic.name}, rounding included",
        certified=_rows(bounds.values),
        method=bounds.method,
        sampled=(),
    )


def _distribution(proofs: Proofs, ball: Ball) -> DistributionClaim:
    bound, head = proofs.distance(ball), proofs.policy.head
    claim = DistributionClaim(
        norm=ball.norm,
        epsilon=ball.epsilon,
        domain="everywhere",
        law="the policy that samples its actions, before the squash",
        total_variation=None,
        kl=None,
    )
    if isinstance(bound, Unknown):
        return replace(claim, reason=bound.reason)
    pinsker = finite(float(pinsker_tv(bound.kl)))
    claim = replace(
        claim,
        total_variation=finite(bound.total_variation),
        kl=finite(bound.kl),
        numbers=LawNumbers(pinsker_total_variation=pinsker, method=bound.method),
    )
    if isinstance(head, CategoricalHead):
        return claim
    w2 = float(gaussian_w2(bound.size * float(head.noise.max())))
    return replace(claim, transport=TransportDistance(w2=finite(w2)))


def _units(proofs: Proofs) -> str:
    return "logits" if isinstance(proofs.policy.head, CategoricalHead) else "action units"


def _rows(values: Float) -> Rows:
    return tuple(finite(float(value)) for value in values)
