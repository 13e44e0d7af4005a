"""The stage function: a controller file and a budget in, a certificate out."""

import math

from surefoot.artifact import Json
from surefoot.budget import QUANTITIES, Budget, Norm, Requirement, Scope
from surefoot.certificate import BOUNDS, Certificate
from surefoot.certify.claims import claims
from surefoot.certify.evidence import CertifyConfig, Evidence
from surefoot.certify.facts import Facts
from surefoot.certify.findings import find
from surefoot.certify.proofs import finite
from surefoot.onnx_format import ControllerFile
from surefoot.policy import weights_sha256


def certify_policy(
    controller: ControllerFile, budget: Budget, evidence: Evidence, config: CertifyConfig
) -> Certificate:
    """Return what is proved, refuted and unknown about a controller file.

    Args:
        controller: As read back from its ``policy.onnx``.
        budget: What is required.
        evidence: Visited observations, measurements and assumptions; may be empty.
        config: Effort of bounds and searches.

    Raises:
        InputError: If the evidence does not fit the policy.
        CheckError: If a bound and a search contradict each other, which is a bug of surefoot.
    """
    facts = Facts(controller, evidence, config)
    statistical = sum(_is_statistical(requirement) for requirement in budget.requirements)
    findings = tuple(
        find(facts, requirement, _error_share(requirement, statistical))
        for requirement in budget.requirements
    )
    epsilon = _table_epsilon(budget, config)
    rounding = facts.proofs.rounding(epsilon)
    return Certificate(
        weights_sha256=weights_sha256(facts.policy),
        onnx_sha256=facts.onnx_sha256,
        budget=budget,
        arithmetic=config.arithmetic,
        runtime_error=() if isinstance(rounding, str) else tuple(rounding.action.tolist()),
        lipschitz_l2=_lipschitz_table(facts),
        deviation_linf=_deviation_table(facts, epsilon),
        findings=findings,
        claims=claims(facts, epsilon),
        proof=_proof(facts),
    )


def _is_statistical(requirement: Requirement) -> bool:
    return requirement.scope is Scope.VISITED or requirement.quantity == "success_rate"


def _error_share(requirement: Requirement, statistical: int) -> float:
    """Split the chance of error evenly, so that all statistical claims hold at once."""
    confidence = requirement.confidence
    return 0.0 if confidence is None else (1 - confidence) / max(statistical, 1)


def _table_epsilon(budget: Budget, config: CertifyConfig) -> float:
    """Return the perturbation of the table: that of the first linf requirement, if there is one."""
    for requirement in budget.requirements:
        provable = QUANTITIES[requirement.quantity].proved
        if provable and requirement.norm is Norm.LINF and requirement.epsilon:
            return requirement.epsilon
    return config.epsilon


def _lipschitz_table(facts: Facts) -> dict[str, float | None]:
    bounds = facts.proofs.action.whole
    table: dict[str, float | None] = {name: finite(bounds.get(name, math.inf)) for name in BOUNDS}
    return table | {"best": finite(min(bounds.values())), "sampled": facts.steepest[0]}


def _deviation_table(facts: Facts, epsilon: float) -> dict[str, float | None]:
    """Return bounds in real arithmetic; ``best`` includes the rounding of the runtime."""
    bounds = facts.proofs.deviations(epsilon, Norm.LINF)
    table: dict[str, float | None] = {
        name: finite(float(bounds[name].max())) if name in bounds else None for name in BOUNDS
    }
    deployed = facts.proofs.deployed_deviation(epsilon, Norm.LINF)
    best = None if isinstance(deployed, str) else finite(float(deployed[0].max()))
    sampled = float(facts.anywhere(epsilon, Norm.LINF).values["deviation"].max())
    return table | {"best": best, "sampled": sampled, "epsilon": epsilon}


def _proof(facts: Facts) -> dict[str, Json]:
    """Return what the checker needs beside the file: multipliers, assumptions, measurements."""
    return {
        "multipliers": [{"name": name} | proof.to_table() for name, proof in facts.multipliers],
        "evidence": facts.evidence.to_table(),
        "seed": facts.config.seed,
    }
