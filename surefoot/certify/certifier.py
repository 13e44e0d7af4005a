"""The stage function: a controller file and a budget in, a certificate out."""

from collections.abc import Callable
from dataclasses import replace

from surefoot.artifact import Json
from surefoot.ball import Ball, Norm
from surefoot.budget import Budget, Requirement, Scope
from surefoot.certificate import Certificate, Finding
from surefoot.certify.analysis import Analysis
from surefoot.certify.evidence import CertifyConfig, Evidence
from surefoot.certify.proved_claims import proved_tables, table_epsilon
from surefoot.certify.searches import Searches
from surefoot.certify.verdict import conclude, conclude_measured
from surefoot.claims import Claims
from surefoot.onnx_file import ControllerFile
from surefoot.policy import weights_sha256
from surefoot.quantities.base.quantity import MeasuredQuantity, ProvedQuantity

Watch = Callable[[int, str], None]
"""Is told how many steps are done, and which one is next."""


def certify_policy(
    controller: ControllerFile, budget: Budget, evidence: Evidence, config: CertifyConfig
) -> Certificate:
    """Certify a controller file: what is proved, refuted and unknown of a budget.

    Args:
        controller: Controller as read back from its ``policy.onnx``.
        budget: The requirements.
        evidence: Visited observations, measurements and assumptions; may be empty.
        config: Effort of bounds and searches.

    Raises:
        InputError: If the evidence does not fit the policy.
        CheckError: If a bound and a search contradict each other, which is a bug of surefoot.
    """
    return certify_analysis(Analysis(controller, evidence, config, budget), budget)


def num_steps(budget: Budget) -> int:
    """Return the number of steps of which :func:`certify_analysis` tells."""
    return len(budget.requirements) + 2


def certify_analysis(
    analysis: Analysis, budget: Budget, watch: Watch = lambda done, words: None
) -> Certificate:
    """Return the certificate of a controller whose analysis is used for something else as well.

    Args:
        analysis: Proofs and searches about the controller.
        budget: The requirements.
        watch: Is told how many steps are done, and which one is next.

    Raises:
        InputError: If the evidence does not fit the policy, that is not what its file holds, or the
            budget names what the robot has not.
        CheckError: If a bound and a search contradict each other, which is a bug of surefoot.
    """
    analysis.controller.require_read()
    evidence, budget = analysis.evidence, analysis.held(budget)
    watch(0, "global bounds")
    proofs = analysis.proofs
    findings = []
    shares = zip(budget.requirements, budget.error_shares, strict=True)
    for done, (requirement, delta) in enumerate(shares, start=1):
        watch(done, requirement.describe())
        findings.append(find(analysis, requirement, delta))
    watch(num_steps(budget) - 1, "tables")
    config, searches = analysis.config, analysis.searches
    epsilon = table_epsilon(budget, Scope.EVERYWHERE, config.epsilon)
    visited_epsilon = table_epsilon(budget, Scope.VISITED, config.epsilon)
    proved = proved_tables(proofs, epsilon, visited_epsilon, budget)
    worst = searches.worst_anywhere(Ball(norm=Norm.LINF, epsilon=epsilon)).values["deviation"]
    slope, _, _ = searches.steepest_slope
    watch(num_steps(budget), "")
    return Certificate(
        weights_sha256=weights_sha256(analysis.controller.policy),
        onnx_sha256=analysis.onnx_sha256,
        budget=budget,
        arithmetic=config.arithmetic,
        runtime_error=proved.runtime_error,
        lipschitz_l2=proved.lipschitz_l2 | {"sampled": slope},
        deviation_linf=proved.deviation_linf | {"sampled": float(worst.max())},
        findings=tuple(findings),
        claims=_with_sampled(proved.claims, searches),
        proof=_proof(analysis, budget),
        robot=evidence.robot,
        gate=evidence.gate,
    )


def _with_sampled(claims: Claims, searches: Searches) -> Claims:
    """Return the claims with what a search found at the visited states."""
    if (claim := claims.visited_deviation) is None:
        return claims
    worst = searches.worst_at(Scope.VISITED, Ball(norm=claim.norm, epsilon=claim.epsilon))
    sampled = tuple(worst.values["deviation"].tolist())
    return replace(claims, visited_deviation=replace(claim, sampled=sampled))


def find(analysis: Analysis, requirement: Requirement, delta: float) -> Finding:
    """Prove, measure or refute one requirement.

    Args:
        analysis: Proofs, searches and measurements about the controller.
        requirement: A line of the budget.
        delta: Chance of error allowed to this requirement, if it is statistical.

    Raises:
        CheckError: If a search exceeds a proved bound: one of the two is wrong.
    """
    match requirement.about:
        case ProvedQuantity() as quantity:
            bound = quantity.prove(requirement, analysis.proofs, delta)
            found = quantity.search(requirement, bound, analysis.searches)
            return conclude(requirement, bound, found, delta)
        case MeasuredQuantity() as quantity:
            known = quantity.of_file(requirement, analysis.measurements, delta)
            return conclude_measured(requirement, known, delta)


def _proof(analysis: Analysis, budget: Budget) -> dict[str, Json]:
    """Collect what the checker needs beside the file: multipliers, assumptions, measurements."""
    origin, memory = analysis.controller.origin, analysis.controller.policy.memory
    return {
        **({} if origin is None else {"rebuilt_policy": origin.agreement.to_table()}),
        **({} if memory is None else {"memory": memory.size}),
        "multipliers": [{"name": name} | proof.to_table() for name, proof in analysis.multipliers],
        "evidence": analysis.evidence.to_table(),
        "runtime": analysis.replay.name,
        "seed": analysis.config.seed,
        "split_boxes": analysis.config.split_boxes,
        "alpha_steps": analysis.config.alpha_steps,
        **({"box_trees": trees} if (trees := _trees(analysis, budget)) else {}),
    }


def _trees(analysis: Analysis, budget: Budget) -> list[Json]:
    """Return the tree of each question about a box, with the number of its requirement.

    Of several questions of one requirement each has its number as well.
    """
    return [
        {
            "requirement": number,
            **({"question": which} if which else {}),
            **analysis.searches.tree_of(question).to_table(),
        }
        for number, requirement in enumerate(budget.requirements)
        if requirement.asks_of_box
        for which, question in enumerate(requirement.questions)
    ]
