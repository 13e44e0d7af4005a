"""The stage function: a controller file and a budget in, a certificate out."""

from surefoot.artifact import Json
from surefoot.ball import Norm
from surefoot.budget import QUANTITIES, Budget, Scope
from surefoot.certificate import Certificate
from surefoot.certify.certified import error_shares
from surefoot.certify.claims import proved_tables
from surefoot.certify.evidence import CertifyConfig, Evidence
from surefoot.certify.facts import Facts
from surefoot.certify.findings import find
from surefoot.onnx_file import ControllerFile
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
    return certify_facts(Facts(controller, evidence, config), budget)


def certify_facts(facts: Facts, budget: Budget) -> Certificate:
    """Return the certificate of a controller whose facts are used for something else as well.

    Args:
        facts: About the controller.
        budget: What is required.

    Raises:
        CheckError: If a bound and a search contradict each other, which is a bug of surefoot.
    """
    evidence, config = facts.evidence, facts.config
    findings = tuple(
        find(facts, requirement, delta)
        for requirement, delta in zip(
            budget.requirements, error_shares(budget.requirements), strict=True
        )
    )
    epsilon = _table_epsilon(budget, config, Scope.EVERYWHERE)
    visited_epsilon = _table_epsilon(budget, config, Scope.VISITED)
    tables = proved_tables(facts.proofs, evidence, epsilon, visited_epsilon, budget)
    if (visited := tables["claims"].get("visited_deviation")) is not None:
        found = facts.at_visited(visited_epsilon, Norm.LINF).values["deviation"]
        visited["sampled"] = found.tolist()
    worst = float(facts.anywhere(epsilon, Norm.LINF).values["deviation"].max())
    return Certificate(
        weights_sha256=weights_sha256(facts.controller.policy),
        onnx_sha256=facts.onnx_sha256,
        budget=budget,
        arithmetic=config.arithmetic,
        runtime_error=tuple(tables["runtime_error"]),
        lipschitz_l2=tables["lipschitz_l2"] | {"sampled": facts.steepest[0]},
        deviation_linf=tables["deviation_linf"] | {"sampled": worst},
        findings=findings,
        claims=tables["claims"],
        proof=_proof(facts),
    )


def _table_epsilon(budget: Budget, config: CertifyConfig, scope: Scope) -> float:
    """Return the perturbation of a table: that of the first linf requirement, of its scope if any.

    A budget that names no linf perturbation leaves it to the configuration.
    """
    named = [
        requirement
        for requirement in budget.requirements
        if QUANTITIES[requirement.quantity].proved and requirement.norm is Norm.LINF
    ]
    for requirement in sorted(named, key=lambda requirement: requirement.scope is not scope):
        if requirement.epsilon:
            return requirement.epsilon
    return config.epsilon


def _proof(facts: Facts) -> dict[str, Json]:
    """Return what the checker needs beside the file: multipliers, assumptions, measurements."""
    agreement = facts.evidence.agreement
    return {
        **({} if agreement is None else {"rebuilt_policy": dict(agreement)}),
        "multipliers": [{"name": name} | proof.to_table() for name, proof in facts.multipliers],
        "evidence": facts.evidence.to_table(),
        "runtime": facts.replay.name,
        "seed": facts.config.seed,
        "split_boxes": facts.config.split_boxes,
        "alpha_steps": facts.config.alpha_steps,
    }
