"""``pipeline export``: a certified policy becomes a bundle; what is not certified is refused."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surefoot.cli import completion
from surefoot.cli.bundle_facts import facts_of, facts_of_c
from surefoot.cli.console import CONSOLE, show
from surefoot.cli.options import (
    AllowUncertified,
    AsJson,
    CompressedFrom,
    ConfigFile,
    Overrides,
    resolve,
)
from surefoot.cli.tables import Table
from surefoot.errors import CheckError, InputError
from surefoot.process_exit import end_with

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from surefoot.signing import Role


def export(
    policy: Annotated[Path, typer.Argument(help="A run or a policy folder.")],
    certificate: Annotated[Path, typer.Option(help="Certificate of the policy.")],
    target: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: onnx, sparse-onnx, c, tensorrt; or all that can be built here.",
            autocompletion=completion.some_of(completion.TARGETS),
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Bundle to write.")] = Path("bundle"),
    sign: Annotated[
        list[str] | None,
        typer.Option(
            help="Sign with this private key (see keygen); ROLE=KEY for one role only: "
            "certifier, tester or gate. May be repeated."
        ),
    ] = None,
    dense: CompressedFrom = None,
    gate: Annotated[
        bool,
        typer.Option(
            "--gate",
            help="Hold the controller to a gate at run time, made of the recorded states by the "
            "[gate] table of a --config file.",
        ),
    ] = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
    allow_uncertified: AllowUncertified = False,
    as_json: AsJson = False,
) -> None:
    """Export a certified policy to a bundle: exit 3 refuted, 4 not proved, 5 claimed wrongly.

    The certificate is proved again, from the file and the states that go into the bundle, before
    anything is written or signed.
    """
    from surefoot.artifact import read_file
    from surefoot.certificate import Certificate
    from surefoot.workflow.exporting import export_controller

    keys = _keys(sign or [])
    parsed = Certificate.parse(read_file(certificate), str(certificate))
    targets = {"targets": None if target is None else target.split(",")}
    configuration = resolve(None, config, overrides, export=targets)
    try:
        exported = export_controller(
            policy,
            parsed,
            out,
            config=configuration.exporting(),
            every_target=configuration.wants_every_target,
            keys=keys,
            dense=dense,
            allow_uncertified=allow_uncertified,
            gate=configuration.gating() if gate or "gate" in configuration.tables else None,
            listener=CONSOLE,
        )
    except CheckError as error:
        CONSOLE.remark(f"not exported: {error}")
        end_with(parsed.verdict.exit_code or error.exit_code)
    result = {**facts_of(exported.bundle, out), **facts_of_c(exported.c), "signed": bool(keys)}
    show(as_json, result, Table(f"exported to {out}", ("what", "value"), sorted(result.items())))


def _keys(given: list[str]) -> "dict[Role, Ed25519PrivateKey]":
    """Return the private key of each role: its own, else the one that is for all others.

    Raises:
        InputError: If there are two for one role, or a file holds no private key.
    """
    from surefoot.keys import read_private_key
    from surefoot.signing import Role

    named: dict[Role, str] = {}
    others = []
    for text in given:
        role, separator, file = text.partition("=")
        if separator and role in set(Role) and role not in named:
            named[Role(role)] = file
        else:
            others.append(text)
    if len(others) > 1:
        raise InputError(f"--sign takes one key for each role and one for all others, got {given}")
    files = (dict.fromkeys(Role, others[0]) if others else {}) | named
    return {role: read_private_key(Path(file)) for role, file in files.items()}
