"""``pipeline keygen``: a key pair to sign and verify bundles with."""

from pathlib import Path
from typing import Annotated

import typer

from surefoot.artifact import write_file
from surefoot.cli import console
from surefoot.cli.options import AsJson
from surefoot.errors import InputError
from surefoot.keys import generate_key


def keygen(
    out: Annotated[Path, typer.Option(help="Private key to write; the public one is OUT.pub.")],
    as_json: AsJson = False,
) -> None:
    """Make an Ed25519 key pair: keep the private key off the robot, pin the public one there."""
    public = out.with_name(f"{out.name}.pub")
    for path in (out, public):
        _refuse_existing(path)
    private_pem, public_pem = generate_key()
    write_file(out, private_pem, mode=0o600)
    write_file(public, public_pem)
    result = {"private": str(out), "public": str(public)}
    console.show(as_json, result, console.table("key pair", ("half", "file"), [*result.items()]))


def _refuse_existing(path: Path) -> None:
    """Check that there is no such file.

    Raises:
        InputError: If there is one.
    """
    if path.exists():
        raise InputError(f"{path} exists; a key is never overwritten")
