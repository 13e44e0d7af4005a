"""What a certificate says beside the requirements: tables, distances and values.

Each claim names its norm, units, domain and arithmetic, so that it can be read alone.
"""

import math
import sys
from collections.abc import Mapping

from surefoot.artifact import Json
from surefoot.ball import Ball, Norm
from surefoot.budget import Budget
from surefoot.certificate import BOUNDS
from surefoot.certify.bounds.rounding import smooth_activations
from surefoot.certify.bounds.upward import Float
from surefoot.certify.confidence_limits import success_rate_lower
from surefoot.certify.distances import gaussian_w2, pinsker_tv
from surefoot.certify.evidence import Evidence
from surefoot.certify.proofs import Proofs
from surefoot.certify.radii import radius_claim
from surefoot.certify.return_claims import DELTA, measured_claim, paper_claim, value_claim
from surefoot.certify.verdict import finite
from surefoot.errors import IntegrityError
from surefoot.policy import CategoricalHead, GaussianHead
from surefoot.unknown import Unknown

_SMOOTH = (
    "smooth activations of the runtime err by at most 10 * 2^-24 (SiLU, softplus and a scaled ELU "
    "by their size times max(1, |x|)), measured over every float32 of magnitude 2^-40 to 32 on "
    "x86-64, see benchmarks/activation_error.py"
)


def proved_tables(
    proofs: Proofs, epsilon: float, visited_epsilon: float, budget: Budget
) -> dict[str, Json]:
    """Return every number of a certificate that is proved, the findings aside, as JSON values.

    Args:
        proofs: Proofs about the controller.
        epsilon: Perturbation of the tables, linf, normalised units.
        visited_epsilon: That of the deviations at visited states.
        budget: Its first limit on the deviation at visited states has certified radii.
    """
    ball, evidence = Ball(norm=Norm.LINF, epsilon=epsilon), proofs.evidence
    rounding = proofs.everywhere.rounding(epsilon)
    visited = _visited_deviation(proofs, visited_epsilon)
    radius = radius_claim(proofs, budget)
    return {
        "runtime_error": [] if isinstance(rounding, Unknown) else rounding.action.tolist(),
        "lipschitz_l2": _lipschitz(proofs),
        "deviation_linf": _deviation(proofs, ball),
        "claims": {
            "runtime_error": _runtime_error(proofs, epsilon, evidence.state_limit),
            "per_actuator": _per_actuator(proofs, ball),
            "per_sensor": _per_sensor(proofs),
            "distribution": _distribution(proofs, ball),
            "value": value_claim(proofs, ball),
            "paper": paper_claim(proofs, epsilon),
            "measured": [measured_claim(entry, evidence) for entry in evidence.measurements],
            **({} if visited is None else {"visited_deviation": visited}),
            **({} if radius is None else {"visited_radius": radius | _share(radius, evidence)}),
        },
    }


def epsilon_of(table: Json) -> float:
    """Return the epsilon that a saved table names, 0 if it names none.

    Raises:
        IntegrityError: If it is no such table, or the epsilon no size.
    """
    value = (table.get("epsilon") or 0.0) if isinstance(table, Mapping) else None
    if not isinstance(value, (int, float)) or not 0 <= value <= sys.float_info.max:
        raise IntegrityError("a table of the certificate names no epsilon, or none that is a size")
    return float(value)


def _share(radius: dict[str, Json], evidence: Evidence) -> dict[str, Json]:
    """Return the share of visited states that tolerate epsilon, as a limit with a confidence."""
    if evidence.num_repeated:  # copies are no further evidence
        return {}
    held = sum(value >= radius["epsilon"] for value in radius["certified"])
    lower = success_rate_lower(held, len(radius["certified"]), DELTA)
    return {"share_proved": lower, "confidence": 1 - DELTA}


def _lipschitz(proofs: Proofs) -> dict[str, float | None]:
    bounds = proofs.everywhere.action.whole
    table: dict[str, float | None] = {name: finite(bounds.get(name, math.inf)) for name in BOUNDS}
    return table | {"best": finite(min(bounds.values()))}


def _deviation(proofs: Proofs, ball: Ball) -> dict[str, float | None]:
    """Return bounds in real arithmetic; ``best`` includes the rounding of the runtime."""
    bounds = proofs.everywhere.deviations(ball)
    table: dict[str, float | None] = {
        name: finite(float(bounds[name].max())) if name in bounds else None for name in BOUNDS
    }
    deployed = proofs.deviation(ball)
    best = None if isinstance(deployed, Unknown) else finite(deployed.value)
    return table | {"best": best, "epsilon": ball.epsilon}


def _runtime_error(proofs: Proofs, epsilon: float, state_limit: float | None) -> Json:
    rounding = proofs.everywhere.rounding(epsilon)
    head: dict[str, Json] = {
        "units": _units(proofs),
        "domain": f"|state| <= {proofs.policy.normaliser.clip:g} + {epsilon:g}",
        "arithmetic": proofs.everywhere.arithmetic.meaning,
    }
    if smooth_activations(proofs.policy):
        head["assumption"] = _SMOOTH
    if state_limit is not None:
        head["state_limit"] = f"no state exceeds {state_limit:g} before it is perturbed: assumed"
    if isinstance(rounding, Unknown):
        return head | {"values": None, "reason": rounding.reason}
    return head | {"values": rounding.action.tolist()}


def _per_actuator(proofs: Proofs, ball: Ball) -> Json:
    bounds = proofs.everywhere.deviations(ball)
    return {
        "norm": "linf",
        "epsilon": ball.epsilon,
        "units": _units(proofs),
        "domain": "everywhere",
        "arithmetic": "real; the deployed one adds 2 runtime_error",
        "bounds": {name: _numbers(rows) for name, rows in bounds.items()},
    }


def _per_sensor(proofs: Proofs) -> Json:
    return {
        "norm": "each sensor by itself; the effects of several add up",
        "units": f"{_units(proofs)} per normalised unit of the sensor",
        "domain": "everywhere",
        "arithmetic": "real; the deployed one adds 2 runtime_error",
        "bounds": [_numbers(column) for column in proofs.everywhere.action.absolute.T],
    }


def _visited_deviation(proofs: Proofs, epsilon: float) -> Json:
    """Return the bound at each visited state, or None where none can be given."""
    if isinstance(proofs.visited, Unknown):
        return None
    bounds = proofs.visited.whole_deviation(Ball(norm=Norm.LINF, epsilon=epsilon))
    if isinstance(bounds, Unknown):
        return None
    return {
        "norm": "linf",
        "epsilon": epsilon,
        "units": _units(proofs),
        "domain": "the visited states, one per independent episode, in their order",
        "arithmetic": f"{proofs.everywhere.arithmetic.name}, rounding included",
        "certified": _numbers(bounds.values),
        "method": bounds.method,
    }


def _distribution(proofs: Proofs, ball: Ball) -> Json:
    bound = proofs.distance(ball)
    head: dict[str, Json] = {
        "norm": "linf",
        "epsilon": ball.epsilon,
        "domain": "everywhere",
        "law": "the policy that samples its actions, before the squash",
    }
    if isinstance(bound, Unknown):
        return head | {"total_variation": None, "kl": None, "reason": bound.reason}
    table = head | {
        "total_variation": finite(bound.total_variation),
        "kl": finite(bound.kl),
        "pinsker_total_variation": finite(float(pinsker_tv(bound.kl))),
        "method": bound.method,
    }
    if isinstance(proofs.policy.head, GaussianHead):
        largest = float(proofs.policy.head.noise.max())
        table["w2"] = finite(float(gaussian_w2(bound.size * largest)))
    return table


def _units(proofs: Proofs) -> str:
    return "logits" if isinstance(proofs.policy.head, CategoricalHead) else "action units"


def _numbers(values: Float) -> list[float | None]:
    return [finite(float(value)) for value in values]
