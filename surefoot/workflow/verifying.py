"""Verifying: every digest, signature, generated form and proof of a bundle."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from surefoot.bundle import Bundle, open_bundle
from surefoot.certificate import Certificate, Verdict
from surefoot.certify import CheckReport, check_certificate
from surefoot.errors import InputError, IntegrityError, UnprovedError, VerificationError
from surefoot.export import check_forms
from surefoot.keys import read_public_key
from surefoot.onnx_file import ControllerFile
from surefoot.quantities.base.proof import Ground
from surefoot.runtime.controller_file import load_controller_file
from surefoot.runtime.load import require_arithmetic
from surefoot.signing import Role, TrustPolicy, read_trust_policy
from surefoot.visited import VISITED_FILE, Visited
from surefoot.workflow.gating import check_gate


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Verification:
    """What was verified of a bundle; a bundle that says what is not so is an error.

    Attributes:
        path: The folder of the bundle.
        bundle: The bundle.
        trust: Whose signatures it carries; None if nobody's were required.
        proved: Requirements that were proved again, by their number in the budget, from 0.
        unproved: What is missing, by each claim that could not be proved again.
    """

    path: Path
    bundle: Bundle
    trust: TrustPolicy | None
    proved: tuple[int, ...]
    unproved: Mapping[str, str]


def verify_bundle(
    bundle: Path,
    *,
    trust: TrustPolicy | None = None,
    allow_uncertified: bool = False,
    dense: Path | None = None,
) -> Verification:
    """Verify a bundle: every claim is proved again without the optimiser that found its proof.

    Args:
        bundle: The bundle.
        trust: Whose signatures it must carry.
        allow_uncertified: Accept a bundle that says itself that it is not proved.
        dense: Policy from which its controller was compressed, for claims about compression.

    Raises:
        InputError: If there is no such folder.
        VerificationError: If anything does not hold.
        UnprovedError: If what a claim rests on is missing.
    """
    verified = inspect_bundle(bundle, trust=trust, allow_uncertified=allow_uncertified, dense=dense)
    require_proved(verified.unproved, f"{bundle} is not proved")
    return verified


def inspect_bundle(
    bundle: Path,
    *,
    trust: TrustPolicy | None = None,
    allow_uncertified: bool = False,
    dense: Path | None = None,
) -> Verification:
    """Verify what there is of a bundle, and say which claims lack what they rest on.

    Args:
        bundle: The bundle.
        trust: Whose signatures it must carry.
        allow_uncertified: Accept a bundle that says itself that it is not proved.
        dense: Policy from which its controller was compressed, for claims about compression.

    Raises:
        InputError: If there is no such folder.
        VerificationError: If anything does not hold.
    """
    original = None if dense is None else load_controller_file(dense)
    opened = open_bundle(bundle, allow_uncertified=allow_uncertified, trust=trust)
    try:
        report = check_claims(opened, original)
    except (InputError, IntegrityError) as error:
        raise VerificationError(f"{bundle} does not verify: {error}") from error
    return Verification(
        path=bundle,
        bundle=opened,
        trust=trust,
        proved=report.proved,
        unproved=unproved_claims(opened.certificate, report),
    )


def check_claims(bundle: Bundle, dense: ControllerFile | None = None) -> CheckReport:
    """Derive gate and forms of an opened bundle again, and prove its certificate again.

    Args:
        bundle: The bundle.
        dense: Controller from which its own was compressed.

    Raises:
        InputError: If what the certificate rests on cannot be.
        IntegrityError: If something is not as it says.
    """
    require_arithmetic(bundle.certificate)
    check_gate(bundle)
    check_forms(bundle)
    return prove_again(bundle.certificate, bundle.controller, bundle.files.get(VISITED_FILE), dense)


def prove_again(
    certificate: Certificate,
    file: ControllerFile,
    states: bytes | None,
    dense: ControllerFile | None = None,
) -> CheckReport:
    """Prove a certificate again from the very file and states that a bundle holds.

    Args:
        certificate: What is claimed.
        file: The canonical file.
        states: Content of ``visited.npz``, None without one.
        dense: Controller from which the file was compressed.

    Raises:
        InputError: If the states are not those of the controller.
        IntegrityError: If something is not as the certificate says.
    """
    visited = None if states is None else Visited.from_bytes(states)
    return check_certificate(
        certificate,
        file,
        observations=None if visited is None else visited.independent,
        recorded=None if visited is None else visited.recorded,
        order=None if visited is None else visited.order,
        sampled=None if visited is None else visited.sampled,
        dense_policy=None if dense is None else dense.policy,
    )


def unproved_claims(certificate: Certificate, report: CheckReport) -> dict[str, str]:
    """Return what is missing, by each claim that stands in a certificate without a proof here."""
    missing = {
        certificate.findings[number].requirement.describe(): _in_words(grounds)
        for number, grounds in report.lacking.items()
        if certificate.findings[number].verdict is Verdict.PROVED
    }
    beside = {
        f"claim {name}": _in_words({ground}) for name, ground in report.lacking_claims.items()
    }
    return missing | beside


def require_proved(unproved: Mapping[str, str], what: str) -> None:
    """Refuse claims that could not be proved again.

    Args:
        unproved: What is missing, by claim.
        what: Beginning of the message.

    Raises:
        UnprovedError: If there is one; the message names the first and what it lacks.
    """
    for claim, missing in unproved.items():
        raise UnprovedError(f"{what}: {claim}: not checked: {missing}")


_STORED = f"{VISITED_FILE}; pipeline adopt --states stores them"
_MISSING = {
    Ground.OBSERVATIONS: f"its visited states are missing ({_STORED})",
    Ground.RECORDED: f"its recorded states are missing ({_STORED})",
    Ground.EPISODES: f"the episodes of its recorded states are missing ({_STORED})",
    Ground.EARLIER: f"the readings before its visited states are missing ({VISITED_FILE})",
    Ground.SAMPLED: f"its episodes of the sampling policy are missing ({VISITED_FILE})",
    Ground.DENSE_POLICY: "the policy from which it was compressed is missing (--dense)",
}


def _in_words(grounds: Set[Ground]) -> str:
    return ", ".join(words for ground, words in _MISSING.items() if ground in grounds)


def read_trust(key: Path | None, policy: Path | None) -> TrustPolicy | None:
    """Return whose signatures are required: one key's for every role, or those of a trust policy.

    Raises:
        InputError: If both are given, or one cannot be read.
    """
    if key is not None and policy is not None:
        raise InputError("give --key or --policy, not both: a trust policy names its keys")
    if key is not None:
        return TrustPolicy(keys=dict.fromkeys(Role, (read_public_key(key),)))
    return None if policy is None else read_trust_policy(policy)
