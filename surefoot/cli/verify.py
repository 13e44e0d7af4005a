"""``pipeline verify``: every digest, the certificate and the verdict of a bundle."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surefoot.artifact import Json
from surefoot.cli.bundle_facts import facts_of
from surefoot.cli.console import CONSOLE, show
from surefoot.cli.options import AllowUncertified, AsJson, CompressedFrom
from surefoot.cli.tables import Table
from surefoot.errors import UnprovedError
from surefoot.process_exit import end_with

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
    dense: CompressedFrom = None,
    allow_uncertified: AllowUncertified = False,
    as_json: AsJson = False,
) -> None:
    """Verify a bundle: exit 0 if all of it holds, 5 if anything does not, 4 if a claim is open.

    Checks digests, signatures and generated forms, and proves every claim again without the
    optimiser that found its proof. A claim whose states are missing is not checked: exit 4, also
    where it is signed.
    """
    from surefoot.certificate import Verdict
    from surefoot.workflow.verifying import inspect_bundle, read_trust, require_proved

    trust = read_trust(key, policy)
    verified = inspect_bundle(bundle, trust=trust, allow_uncertified=allow_uncertified, dense=dense)
    facts = facts_of(verified.bundle, bundle)
    claims: list[Json] = [{"claim": claim, "verdict": said} for claim, _, said in _claims(verified)]
    verdict = {"verdict": Verdict.UNKNOWN.value} if verified.unproved else {}
    result = {**facts, **verdict, "signed": trust is not None, "claims": claims}
    show(as_json, result, _table_of(verified))
    try:
        require_proved(verified.unproved, f"{bundle} is not proved")
    except UnprovedError as error:
        CONSOLE.remark(f"error: {error}")
        end_with(error.exit_code)


def _claims(verified: "Verification") -> Iterator[tuple[str, str, str]]:
    """Yield each claim, the method that proved it, and what became of it here."""
    requirements = set()
    for number, finding in enumerate(verified.bundle.certificate.findings):
        claim = finding.requirement.describe()
        requirements.add(claim)
        again = ", checked again" if number in verified.proved else ""
        missing = verified.unproved.get(claim)
        said = f"{finding.outcome}{again}" if missing is None else f"not checked: {missing}"
        yield claim, finding.method, said
    for claim, missing in verified.unproved.items():
        if claim not in requirements:
            yield claim, "", f"not checked: {missing}"


def _table_of(verified: "Verification") -> Table:
    opened, trust = verified.bundle, verified.trust
    rows = [(name, f"{len(data)} bytes", "ok") for name, data in sorted(opened.files.items())]
    if trust is not None:
        rows += [
            (f"signed by the {role}", f"{len(keys)} trusted key(s)", "ok")
            for role, keys in trust.keys.items()
        ]
    rows += _claims(verified)
    uncertified = " but is UNCERTIFIED" if opened.uncertified else ""
    outcome = "is NOT PROVED" if verified.unproved else f"verifies{uncertified}"
    title = f"{verified.path} {outcome}"
    return Table(title, ("checked", "what", "result"), rows)
