"""``pipeline verify``: every digest, the certificate and the verdict of a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from surefoot.bundle import open_bundle
from surefoot.cli import console
from surefoot.cli.export import facts_of
from surefoot.cli.options import AllowUncertified, AsJson
from surefoot.errors import InputError, IntegrityError, VerificationError
from surefoot.keys import read_public_key
from surefoot.signing import Role, TrustPolicy, read_trust_policy
from surefoot.visited import VISITED_FILE, Visited


def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")],
    key: Annotated[
        Path | None, typer.Option(help="Public key that must have signed every statement.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="Trust policy: keys by role, age, tests (TOML).")
    ] = None,
    allow_uncertified: AllowUncertified = False,
    as_json: AsJson = False,
) -> None:
    """Verify a bundle: exit 0 if all of it holds, 5 if anything does not.

    Digests and signatures, the generated forms, and every proof of the certificate, proved again
    without the optimiser that found it.

    Raises:
        VerificationError: If anything does not hold.
    """
    from surefoot.certify import check_certificate
    from surefoot.export import check_forms
    from surefoot.runtime.load import require_arithmetic

    trust = _trust(key, policy)
    opened = open_bundle(bundle, allow_uncertified=allow_uncertified, trust=trust)
    require_arithmetic(opened.certificate)
    check_forms(opened)
    visited = opened.files.get(VISITED_FILE)
    recorded = None if visited is None else Visited.from_bytes(visited)
    try:
        checked = check_certificate(
            opened.certificate,
            opened.controller,
            observations=None if recorded is None else recorded.independent,
            sampled=None if recorded is None else recorded.sampled,
        )
    except IntegrityError as error:
        raise VerificationError(f"{bundle} does not verify: {error}") from error
    result = {**facts_of(opened, bundle), "signed": trust is not None}
    rows = [(name, f"{len(data)} bytes", "ok") for name, data in sorted(opened.files.items())]
    if trust is not None:
        rows += [
            (f"signed by the {role}", f"{len(keys)} trusted key(s)", "ok")
            for role, keys in trust.keys.items()
        ]
    for number, finding in enumerate(opened.certificate.findings):
        again = ", checked again" if number in checked.proved else ""
        rows.append((finding.requirement.describe(), finding.method, f"{finding.verdict}{again}"))
    title = f"{bundle} verifies" + (" but is UNCERTIFIED" if opened.uncertified else "")
    console.show(as_json, result, console.table(title, ("checked", "what", "result"), rows))


def _trust(key: Path | None, policy: Path | None) -> TrustPolicy | None:
    """Return whose signatures are required.

    Raises:
        InputError: If both are given, or one cannot be read.
    """
    if key is not None and policy is not None:
        raise InputError("give --key or --policy, not both: a trust policy names its keys")
    if key is not None:
        public = read_public_key(key)
        return TrustPolicy(keys=dict.fromkeys(Role, (public,)))
    return None if policy is None else read_trust_policy(policy)
