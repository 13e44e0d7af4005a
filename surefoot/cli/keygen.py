"""``pipeline keygen``: a key pair to sign and verify bundles with."""

from pathlib import Path
from typing import Annotated

import typer

from surefoot.cli.console import CONSOLE, show
from surefoot.cli.options import AsJson
from surefoot.cli.tables import Table


def keygen(
    out: Annotated[
        Path, typer.Option(help="Private key to write; the public key goes to OUT.pub.")
    ],
    as_json: AsJson = False,
) -> None:
    """Make an Ed25519 key pair; the robot pins the public key and never sees the private one."""
    from surefoot.workflow.key_making import make_key_pair

    pair = make_key_pair(out, CONSOLE)
    result = {"private": str(pair.private), "public": str(pair.public)}
    show(as_json, result, Table("key pair", ("half", "file"), [*result.items()]))
