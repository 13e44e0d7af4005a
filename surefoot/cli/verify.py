"""``pipeline verify``: every digest, the certificate and the verdict of a bundle."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surefoot.cli.bundle_facts import facts_of
from surefoot.cli.console import show
from surefoot.cli.options import AllowUncertified, AsJson
from surefoot.cli.tables import Table

if TYPE_CHECKING:
    from surefoot.workflow.verifying import Verification


def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    key: Annotated[
        Path | None, typer.Option(help="Public key that must have signed every statement.")
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(help="Trust policy (TOML): keys by role, largest age, required tests."),
    ] = None,
    allow_uncertified: AllowUncertified = False,
    as_json: AsJson = False,
) -> None:
    """Verify a bundle: exit 0 if all of it holds, 5 if anything does not.

    Checks digests, signatures and generated forms, and proves the certificate again without the
    optimiser that found its proofs.
    """
    from surefoot.workflow.verifying import read_trust, verify_bundle

    trust = read_trust(key, policy)
    verified = verify_bundle(bundle, trust=trust, allow_uncertified=allow_uncertified)
    result = {**facts_of(verified.bundle, bundle), "signed": trust is not None}
    show(as_json, result, _table_of(verified))


def _table_of(verified: "Verification") -> Table:
    opened, trust = verified.bundle, verified.trust
    rows = [(name, f"{len(data)} bytes", "ok") for name, data in sorted(opened.files.items())]
    if trust is not None:
        rows += [
            (f"signed by the {role}", f"{len(keys)} trusted key(s)", "ok")
            for role, keys in trust.keys.items()
        ]
    for number, finding in enumerate(opened.certificate.findings):
        again = ", checked again" if number in verified.proved else ""
        rows.append((finding.requirement.describe(), finding.method, f"{finding.outcome}{again}"))
    uncertified = " but is UNCERTIFIED" if opened.uncertified else ""
    title = f"{verified.path} verifies{uncertified}"
    return Table(title, ("checked", "what", "result"), rows)
