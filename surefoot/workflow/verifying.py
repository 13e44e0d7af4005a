"""Verifying: every digest, signature, generated form and proof of a bundle."""

from dataclasses import dataclass
from pathlib import Path

from surefoot.bundle import Bundle, open_bundle
from surefoot.certify import CheckReport, check_certificate
from surefoot.errors import InputError, IntegrityError, VerificationError
from surefoot.export import check_forms
from surefoot.keys import read_public_key
from surefoot.runtime.load import require_arithmetic
from surefoot.signing import Role, TrustPolicy, read_trust_policy
from surefoot.visited import VISITED_FILE, Visited


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Verification:
    """What was verified of a bundle; a bundle that does not verify is an error.

    Attributes:
        path: The folder of the bundle.
        bundle: The bundle.
        trust: Whose signatures it carries; None if nobody's were required.
        proved: Requirements that were proved again, by their number in the budget, from 0.
    """

    path: Path
    bundle: Bundle
    trust: TrustPolicy | None
    proved: tuple[int, ...]


def verify_bundle(
    bundle: Path, *, trust: TrustPolicy | None = None, allow_uncertified: bool = False
) -> Verification:
    """Verify a bundle: its proofs are proved again without the optimiser that found them.

    Args:
        bundle: The bundle.
        trust: Whose signatures it must carry.
        allow_uncertified: Accept a bundle that says itself that it is not proved.

    Raises:
        InputError: If there is no such folder.
        VerificationError: If anything does not hold.
    """
    opened = open_bundle(bundle, allow_uncertified=allow_uncertified, trust=trust)
    try:
        report = check_claims(opened)
    except (InputError, IntegrityError) as error:
        raise VerificationError(f"{bundle} does not verify: {error}") from error
    return Verification(path=bundle, bundle=opened, trust=trust, proved=report.proved)


def check_claims(bundle: Bundle) -> CheckReport:
    """Derive the forms of an opened bundle again, and prove its certificate again.

    Raises:
        InputError: If what the certificate rests on cannot be.
        IntegrityError: If something is not as it says.
    """
    require_arithmetic(bundle.certificate)
    check_forms(bundle)
    data = bundle.files.get(VISITED_FILE)
    visited = None if data is None else Visited.from_bytes(data)
    return check_certificate(
        bundle.certificate,
        bundle.controller,
        observations=None if visited is None else visited.independent,
        recorded=None if visited is None else visited.recorded,
        sampled=None if visited is None else visited.sampled,
    )


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
