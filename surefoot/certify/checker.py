"""Prove a saved certificate again, from the file and the saved multipliers alone.

No optimiser and no search takes part. Whatever the certificate says beyond the proofs is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from surefoot.artifact import sha256_hex
from surefoot.budget import QUANTITIES, Requirement, Scope
from surefoot.certificate import Certificate, Finding, Verdict
from surefoot.certify.bounds.chain import action_chain
from surefoot.certify.bounds.lipsdp_proof import Multipliers, proves_lipschitz
from surefoot.certify.bounds.rounding import ARITHMETICS
from surefoot.certify.certified import certified, epsilon_of, error_shares, pair_of
from surefoot.certify.claims import proved_tables
from surefoot.certify.differences import differences
from surefoot.certify.evidence import Evidence
from surefoot.certify.proofs import Effort, Proofs, finite
from surefoot.errors import IntegrityError
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Array, Policy, weights_sha256
from surefoot.unknown import Unknown
from surefoot.visited import SampledEpisodes

# Claims that a checker without this evidence passes over.
_RESTS_ON = {
    **dict.fromkeys(("visited_deviation", "visited_radius"), "observations"),
    **dict.fromkeys(("average", "path", "attacked_return"), "sampled"),
    "theorem_3": "dense_policy",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """Requirements that hold as the certificate says, and those whose observations were missing."""

    proved: tuple[str, ...]
    unchecked: tuple[str, ...]


def check_certificate(
    certificate: Certificate,
    controller: ControllerFile,
    *,
    observations: Array | None = None,
    sampled: SampledEpisodes | None = None,
    dense_policy: Policy | None = None,
) -> CheckReport:
    """Prove a certificate again and compare every number and verdict.

    Args:
        certificate: As read back from its file.
        controller: The file that it must be about.
        observations: The visited observations, for claims about visited states.
        sampled: Episodes of the sampling policy, for claims about its return.
        dense_policy: What the policy was compressed from, for claims about compression.

    Raises:
        IntegrityError: If anything it says is not so.
    """
    digests = weights_sha256(controller.policy), sha256_hex(controller.data)
    certificate.check_is_about(
        weights_sha256=digests[0], onnx_sha256=digests[1], budget=certificate.budget
    )
    if certificate.arithmetic not in ARITHMETICS or "evidence" not in certificate.proof:
        raise IntegrityError("the certificate names no known arithmetic, or no evidence")
    table = certificate.proof["evidence"]
    evidence = Evidence.from_table(table, observations, dense_policy, sampled)
    policy = evidence.restricted(controller.policy)
    multipliers = list(_proved_multipliers(certificate, policy))
    arithmetic, effort = ARITHMETICS[certificate.arithmetic], Effort.of(certificate.proof)
    proofs = Proofs(policy, arithmetic, evidence.states(policy), multipliers, effort)
    anywhere = epsilon_of(certificate.deviation_linf)
    visited = epsilon_of(certificate.claims.get("visited_deviation", {}))
    again = proved_tables(proofs, evidence, anywhere, visited, certificate.budget)
    said = {name: getattr(certificate, name) for name in again}
    said |= {"runtime_error": list(certificate.runtime_error)}
    skip = {key for key, given in _RESTS_ON.items() if getattr(evidence, given) is None}
    faults = list(differences(said, again, "certificate", skip | {"sampled"}))
    proved, unchecked = [], []
    shares = error_shares(certificate.budget.requirements)
    for finding, delta in zip(certificate.findings, shares, strict=True):
        requirement, words = finding.requirement, finding.requirement.describe()
        missing = requirement.scope is Scope.VISITED and proofs.states is None
        missing |= requirement.quantity == "compression_error" and dense_policy is None
        if requirement.quantity == "return_loss" and requirement.confidence is not None:
            missing |= finding.method.startswith(("average", "path")) and sampled is None
        if missing:
            unchecked.append(words)
            continue
        if QUANTITIES[requirement.quantity].proved:
            bound = certified(proofs, requirement, evidence, delta).value
            faults += differences(finding.certified, finite(bound), words)
        else:
            value = _measured(requirement, controller, evidence, delta)
            faults += differences(finding.sampled, value, words)
        faults += _verdict_faults(finding, proofs)
        proved.append(words)
    if faults:
        raise IntegrityError(faults[0])
    return CheckReport(proved=tuple(proved), unchecked=tuple(unchecked))


def _proved_multipliers(
    certificate: Certificate, policy: Policy
) -> Iterator[tuple[str, Multipliers]]:
    """Yield the multipliers after proving each of them on the weights of the file.

    Raises:
        IntegrityError: If one does not prove its bound.
    """
    chain = action_chain(policy)
    for table in certificate.proof.get("multipliers", []):
        proof, own = Multipliers.from_table(table), chain
        if proof.output is not None:
            own = chain.with_last(chain.matrices[-1].rows(slice(proof.output, proof.output + 1)))
        known = table.get("name") in ("eclipse_fast", "lipsdp") and own.num_outputs > 0
        if not known or not proves_lipschitz(own, proof.squared, proof.values):
            raise IntegrityError(f"{table.get('name')}: the multipliers do not prove the bound")
        yield table["name"], proof


def _measured(
    need: Requirement, controller: ControllerFile, evidence: Evidence, delta: float
) -> float | None:
    own = {"sparsity": controller.policy.sparsity, "size_bytes": float(len(controller.data))}
    if need.quantity in own:
        return own[need.quantity]
    return evidence.measured(need, sha256_hex(controller.data), delta)


def _verdict_faults(finding: Finding, proofs: Proofs) -> Iterator[str]:
    """Yield a fault unless the verdict is what the numbers and the witness imply."""
    need = finding.requirement
    value = finding.sampled if finding.measured else finding.certified
    if (finding.verdict is Verdict.PROVED) != (value is not None and need.holds(value)):
        yield f"{need.describe()}: the verdict does not follow from {value}"
    if finding.verdict is Verdict.REFUTED and need.quantity == "action_deviation":
        state, step = pair_of(finding.witness, proofs.policy.obs_dim)
        pair = proofs.policy.outputs_at(np.stack([state, state + step]))
        rounding = proofs.rounding(need.epsilon or 0.0)  # deployed: twice this on top
        slack = np.inf if isinstance(rounding, Unknown) else 2 * rounding.action
        moved = (np.abs(pair[1] - pair[0]) + slack).max()
        allowed = need.ball is not None and need.ball.holds(step[None]).all()
        if not allowed or moved <= need.limit:
            yield f"{need.describe()}: the witness violates nothing"
