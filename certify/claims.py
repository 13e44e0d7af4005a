"""What a certificate says beside the requirements: tables, distances and values.

Each claim names its norm, units, domain and arithmetic, so that it can be read alone.
"""

import math

import numpy as np

from surefoot.artifact import Json
from surefoot.budget import Budget, Norm
from surefoot.certificate import BOUNDS
from surefoot.certify.chain import network_chain
from surefoot.certify.distances import (
    gaussian_w2,
    paper_categorical_tv,
    paper_gaussian_tv,
    pinsker_tv,
)
from surefoot.certify.evidence import Evidence
from surefoot.certify.global_bounds import paper_surrogate
from surefoot.certify.measurements import Measurement, worst_rate
from surefoot.certify.proofs import Proofs, finite
from surefoot.certify.radii import radius_claim
from surefoot.certify.rounding import smooth_activations
from surefoot.certify.statistics import (
    betting_mean_limit,
    distribution_band,
    mean_lower_dkw,
    mean_lower_hoeffding,
    quantile_rank,
)
from surefoot.certify.upward import Float
from surefoot.certify.value import (
    CleanTv,
    ValueBound,
    average_bound,
    coupling_bound,
    finite_horizon_bound,
    measured_average_bound,
    measured_path_bound,
    paper_alpha_bound,
)
from surefoot.policy import NO_NOISE, CategoricalHead, GaussianHead
from surefoot.visited import SampledEpisodes

_SMOOTH = (
    "smooth activations of the runtime err by at most 10 * 2^-24 (SiLU and softplus times "
    "max(1, |x|)), measured over every float32 of magnitude 2^-40 to 32 on x86-64, see "
    "benchmarks/activation_error.py"
)


_DELTA, _QUANTILE = 0.05, 0.05
"""Chance of error of each statistical claim by itself, and the quantile of returns that is told.
The requirements of a budget share one chance instead; see ``certified.error_shares``."""


def proved_tables(
    proofs: Proofs, evidence: Evidence, epsilon: float, visited_epsilon: float, budget: Budget
) -> dict[str, Json]:
    """Return every number of a certificate that is proved, the findings aside, as JSON values.

    Args:
        proofs: Of the policy.
        evidence: Assumptions about rewards.
        epsilon: Perturbation of the tables, linf, normalised units.
        visited_epsilon: That of the deviations at visited states.
        budget: Its first limit on the deviation at visited states has certified radii.
    """
    rounding = proofs.rounding(epsilon)
    visited = _visited_deviation(proofs, visited_epsilon)
    radius = radius_claim(proofs, budget)
    return {
        "runtime_error": [] if isinstance(rounding, str) else rounding.action.tolist(),
        "lipschitz_l2": _lipschitz(proofs),
        "deviation_linf": _deviation(proofs, epsilon),
        "claims": {
            "runtime_error": _runtime_error(proofs, epsilon),
            "per_actuator": _per_actuator(proofs, epsilon),
            "per_sensor": _per_sensor(proofs),
            "distribution": _distribution(proofs, epsilon),
            "value": _value(proofs, evidence, epsilon),
            "paper": _paper(proofs, evidence, epsilon),
            "measured": [_measured(entry, evidence) for entry in evidence.measurements],
            **({} if visited is None else {"visited_deviation": visited}),
            **({} if radius is None else {"visited_radius": radius}),
        },
    }


def _lipschitz(proofs: Proofs) -> dict[str, float | None]:
    bounds = proofs.action.whole
    table: dict[str, float | None] = {name: finite(bounds.get(name, math.inf)) for name in BOUNDS}
    return table | {"best": finite(min(bounds.values()))}


def _deviation(proofs: Proofs, epsilon: float) -> dict[str, float | None]:
    """Return bounds in real arithmetic; ``best`` includes the rounding of the runtime."""
    bounds = proofs.deviations(epsilon, Norm.LINF)
    table: dict[str, float | None] = {
        name: finite(float(bounds[name].max())) if name in bounds else None for name in BOUNDS
    }
    deployed = proofs.deployed_deviation(epsilon, Norm.LINF)
    best = None if isinstance(deployed, str) else finite(float(deployed[0].max()))
    return table | {"best": best, "epsilon": epsilon}


def _runtime_error(proofs: Proofs, epsilon: float) -> Json:
    rounding = proofs.rounding(epsilon)
    head: dict[str, Json] = {
        "units": _units(proofs),
        "domain": f"|state| <= {proofs.policy.normaliser.clip:g} + {epsilon:g}",
        "arithmetic": proofs.arithmetic.meaning,
    }
    if smooth_activations(proofs.policy):
        head["assumption"] = _SMOOTH
    if isinstance(rounding, str):
        return head | {"values": None, "reason": rounding}
    return head | {"values": rounding.action.tolist()}


def _per_actuator(proofs: Proofs, epsilon: float) -> Json:
    bounds = proofs.deviations(epsilon, Norm.LINF)
    return {
        "norm": "linf",
        "epsilon": epsilon,
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
        "bounds": [_numbers(column) for column in proofs.action.absolute.T],
    }


def _visited_deviation(proofs: Proofs, epsilon: float) -> Json:
    """Return the bound at each visited state, or None where none can be given."""
    if proofs.states is None:
        return None
    bounds = proofs.visited_deviation(epsilon, Norm.LINF)
    if isinstance(bounds, str):
        return None
    return {
        "norm": "linf",
        "epsilon": epsilon,
        "units": _units(proofs),
        "domain": "the visited states, one per independent episode, in their order",
        "arithmetic": f"{proofs.arithmetic.name}, rounding included",
        "certified": _numbers(bounds),
        "method": proofs.effort.method,
    }


def _distribution(proofs: Proofs, epsilon: float) -> Json:
    bound = proofs.distance(epsilon, Norm.LINF)
    head: dict[str, Json] = {
        "norm": "linf",
        "epsilon": epsilon,
        "domain": "everywhere",
        "law": "the policy that samples its actions, before the squash",
    }
    if isinstance(bound, str):
        return head | {"total_variation": None, "kl": None, "reason": bound}
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


def _value(proofs: Proofs, evidence: Evidence, epsilon: float) -> Json:
    bound = proofs.distance(epsilon, Norm.LINF)
    if isinstance(bound, str) or evidence.reward_range is None:
        return None
    low, high = evidence.reward_range
    span = evidence.reward_span
    tv = bound.total_variation
    table: dict[str, Json] = {
        "norm": "linf",
        "epsilon": epsilon,
        "units": "reward",
        "assumption": f"every reward lies in [{low:g}, {high:g}]",
        "law": "the policy that samples its actions",
        "adversary": "may depend on the whole history",
    }
    if evidence.discount is not None:
        table["coupling"] = _value_bound(coupling_bound(tv, span, evidence.discount))
        largest = max(abs(low), abs(high))
        table["paper_alpha"] = _value_bound(paper_alpha_bound(tv, largest, evidence.discount)) | {
            "flaw": "not a bound: a two-state chain violates it"
        }
    if evidence.horizon is not None:
        table["horizon"] = _value_bound(finite_horizon_bound(tv, span, evidence.horizon))
    return table | _from_clean_episodes(proofs, evidence, epsilon)


def _from_clean_episodes(proofs: Proofs, evidence: Evidence, epsilon: float) -> dict[str, Json]:
    """Return the value bounds that rest on clean episodes of the sampling policy, if there are."""
    episodes, states = evidence.sampled, evidence.sampled_states(proofs.policy)
    if episodes is None or states is None:
        return {}
    clean = proofs.clean_tv(episodes, states, epsilon, Norm.LINF)
    if isinstance(clean, str):
        return {}
    head: dict[str, Json] = {
        "confidence": 1 - _DELTA,
        "episodes": len(clean.steps),
        "mean_total_variation": float(clean.values.mean()),
        "assumption": "independent clean episodes of the policy that samples its actions, in the "
        "simulator of the claim, one state of each at a step drawn beforehand",
    }
    span, found = evidence.reward_span, dict[str, Json]()
    if evidence.discount is not None:
        average = measured_average_bound(clean, span, evidence.discount, _DELTA)
        found["average"] = head | _value_bound(average)
    if evidence.horizon == clean.horizon:
        path = measured_path_bound(clean, span, _DELTA)
        found["path"] = head | _value_bound(path)
        found["attacked_return"] = _attacked_return(episodes, evidence, clean)
    return found


def _attacked_return(
    episodes: SampledEpisodes, evidence: Evidence, clean: CleanTv
) -> dict[str, Json]:
    """Return a lower bound on the undiscounted return under any attack, by either loss."""
    low, high = evidence.return_range or (0.0, 0.0)
    if not ((episodes.returns >= low) & (episodes.returns <= high)).all():
        return {"bound": None, "reason": "a clean return contradicts the assumed reward_range"}
    # One half of the error for the clean return, one for the loss.
    before = betting_mean_limit(episodes.returns, low, high, _DELTA / 2)
    path = measured_path_bound(clean, evidence.reward_span, _DELTA / 2)
    horizon = finite_horizon_bound(clean.largest, evidence.reward_span, clean.horizon)
    bound = before - min(path.bound, horizon.bound)
    return {
        "clean_at_least": before,
        "bound": bound,
        "least_conceivable": low,
        "vacuous": not bound > low,
        "confidence": 1 - _DELTA,
    }


def _measured(entry: Measurement, evidence: Evidence) -> Json:
    """Return what a measurement proves with a confidence, each measurement by itself."""
    row: dict[str, Json] = {
        "quantity": entry.quantity,
        "value": entry.value,
        "source": entry.source,
        "onnx_sha256": entry.onnx_sha256,
    }
    if entry.quantity == "success_rate":
        limits = worst_rate([entry], _DELTA)
        return row | {"at_least": limits and limits.lower, "confidence": 1 - _DELTA}
    values = np.array(entry.returns)
    if not values.size:
        return row
    rank = quantile_rank(len(values), _QUANTILE, _DELTA)
    row |= {
        "confidence": 1 - _DELTA,
        "distribution_band": distribution_band(len(values), _DELTA),
        "quantile": _QUANTILE,
        "quantile_at_least": None if rank is None else float(np.sort(values)[rank - 1]),
    }
    allowed = evidence.return_range
    if allowed is None or not ((values >= allowed[0]) & (values <= allowed[1])).all():
        return row | {"mean_at_least": None}
    return row | {
        "mean_at_least": {
            "betting": betting_mean_limit(values, *allowed, _DELTA),
            "dkw": mean_lower_dkw(values, *allowed, _DELTA),
            "hoeffding": mean_lower_hoeffding(values, *allowed, _DELTA),
        },
        "assumption": f"every return lies in [{allowed[0]:g}, {allowed[1]:g}]",
    }


def _value_bound(bound: ValueBound) -> dict[str, Json]:
    return {
        "bound": finite(bound.bound),
        "trivial": finite(bound.trivial),
        "vacuous": bound.vacuous,
        "sound": bound.sound,
    }


def _paper(proofs: Proofs, evidence: Evidence, epsilon: float) -> Json:
    """Return the published numbers as printed beside what is sound."""
    surrogate = paper_surrogate(network_chain(proofs.policy))
    printed = surrogate * epsilon
    head = proofs.policy.head
    table: dict[str, Json] = {
        "surrogate": finite(surrogate),
        "surrogate_times_epsilon": finite(printed),
        "flaw": "an l2 constant times an linf epsilon: sound only with the factor sqrt(obs_dim)",
        "sound": finite(printed * float(np.sqrt(proofs.policy.obs_dim))),
        "units": "network output",
        "table": "deviation_linf.paper_surrogate is no printed number: it has the factor "
        "sqrt(obs_dim), is in the unit of the actions, and takes an actuator's own row as the last "
        "layer; it is sound",
    }
    laws: dict[str, float] = {}
    if isinstance(head, CategoricalHead):
        laws = {"main_text": paper_categorical_tv(printed)}
    elif head.std is not None:
        laws = paper_gaussian_tv(printed, float(head.std.min()) ** 2)
    table["total_variation_as_printed"] = {name: finite(value) for name, value in laws.items()}
    if not laws:
        table["reason"] = NO_NOISE
    return table | {"theorems": _theorems(proofs, evidence, epsilon, laws)}


def _theorems(
    proofs: Proofs, evidence: Evidence, epsilon: float, laws: dict[str, float]
) -> dict[str, Json]:
    """Return the right-hand sides of Theorems 1 to 3 as printed, and what replaces them.

    Args:
        proofs: Of the policy.
        evidence: Assumptions about rewards.
        epsilon: Perturbation, linf, normalised units.
        laws: The printed bounds on total variation by where they are printed.

    Reference:
        arXiv 2510.12939, Theorems 1 to 3. The constant alpha of the first two is too small, and
        the total variation that they are given is an l2 constant times an linf epsilon.
    """
    missing = "L_par, an integral over a segment of parameters, has no closed form"
    table: dict[str, Json] = {"theorem_3": {"as_printed": None, "reason": missing}}
    bound = proofs.distance(epsilon, Norm.LINF)
    if evidence.reward_range is None or evidence.discount is None or isinstance(bound, str):
        return table
    largest = max(map(abs, evidence.reward_range))
    # Printed numbers may exceed 1, where alpha times them is meant literally.
    alpha = paper_alpha_bound(1.0, largest, evidence.discount)
    for name, replaced in (
        (
            "theorem_1",
            coupling_bound(bound.total_variation, evidence.reward_span, evidence.discount),
        ),
        (
            "theorem_2",
            average_bound(bound.total_variation, evidence.reward_span, evidence.discount),
        ),
    ):
        table[name] = {
            "as_printed": {law: finite(alpha.bound * value) for law, value in laws.items()},
            "trivial_as_printed": finite(alpha.trivial),
            "replaced_by": _value_bound(replaced),
        }
    return table


def _units(proofs: Proofs) -> str:
    return "logits" if isinstance(proofs.policy.head, CategoricalHead) else "action units"


def _numbers(values: Float) -> list[float | None]:
    return [finite(float(value)) for value in values]
