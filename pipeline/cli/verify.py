"""``pipeline verify``: every digest, the certificate and the verdict of a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from surefoot.bundle import open_bundle
from surefoot.cli import console
from surefoot.cli.export import facts_of
from surefoot.cli.options import AllowUncertified, AsJson


def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")],
    allow_uncertified: AllowUncertified = False,
    as_json: AsJson = False,
) -> None:
    """Verify a bundle: exit 0 if all of it holds, 5 if anything does not."""
    from surefoot.export import check_forms

    opened = open_bundle(bundle, allow_uncertified=allow_uncertified)
    check_forms(opened)
    result = facts_of(opened, bundle)
    rows = [(name, f"{len(data)} bytes", "ok") for name, data in sorted(opened.files.items())]
    rows += [
        (finding.requirement.describe(), finding.method, finding.verdict.value)
        for finding in opened.certificate.findings
    ]
    title = f"{bundle} verifies" + (" but is UNCERTIFIED" if opened.uncertified else "")
    console.show(as_json, result, console.table(title, ("checked", "what", "result"), rows))
