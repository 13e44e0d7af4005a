"""``pipeline export``: a certified policy becomes a bundle; what is not certified is refused."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from surefoot.artifact import Json, from_json, read_file
from surefoot.bundle import Bundle, sign_bundle
from surefoot.certificate import Certificate
from surefoot.cli import console
from surefoot.cli.options import AllowUncertified, AsJson, ConfigFile, Overrides
from surefoot.cli.options import resolve as resolve_options
from surefoot.config import Table, build
from surefoot.errors import CheckError, InputError
from surefoot.keys import read_private_key
from surefoot.onnx_file import ControllerFile
from surefoot.signing import Role

ALL = "all"
"""In place of targets: whatever this machine can build, and that pays."""


def export(
    policy: Annotated[Path, typer.Argument(help="A run or a policy folder.")],
    certificate: Annotated[Path, typer.Option(help="Its certificate.")],
    target: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: onnx, sparse-onnx, c, tensorrt; or all that can be built."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Bundle to write.")] = Path("bundle"),
    sign: Annotated[
        list[str] | None,
        typer.Option(
            help="Sign it with this private key (see keygen); ROLE=KEY for one role alone: "
            "certifier, tester or gate. May be repeated."
        ),
    ] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    allow_uncertified: AllowUncertified = False,
    as_json: AsJson = False,
) -> None:
    """Export a certified policy to a bundle: exit 3 refuted, 4 not proved."""
    keys = _keys(sign or [])
    parsed = Certificate.parse(read_file(certificate), str(certificate))
    given = {} if target is None else {"targets": target.split(",")}
    table = resolve_options(None, config, overrides).get("export", {}) | given
    try:
        bundle = export_into(out, policy, parsed, table, allow_uncertified=allow_uncertified)
    except CheckError as error:
        console.remark(f"not exported: {error}")
        sys.exit(parsed.verdict.exit_code or error.exit_code)
    if keys:
        parity = from_json(bundle.files["parity.json"], "parity.json")
        sign_bundle(out, bundle, keys, [f"parity/{name}" for name in parity])
    result = {**facts_of(bundle, out), **_facts_of_c(bundle), "signed": bool(keys)}
    rows = [(key, result[key]) for key in sorted(result)]
    console.show(as_json, result, console.table(f"bundle {out}", ("what", "value"), rows))


def _keys(given: list[str]) -> dict[Role, Ed25519PrivateKey]:
    """Return the private key of each role: its own, else the one that is for all others.

    Raises:
        InputError: If there are two for one role, or a file holds no private key.
    """
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


def export_into(
    out: Path,
    policy: Path,
    certificate: Certificate,
    table: Table,
    *,
    allow_uncertified: bool = False,
) -> Bundle:
    """Write the bundle of a run or policy folder and return it as read back.

    Raises:
        InputError: If the policy folder or the target is not what it should be.
        CheckError: If the certificate does not prove the budget, or an exported form differs.
    """
    from surefoot.export import ExportConfig, export_bundle
    from surefoot.onnx_file import load_policy

    folder = policy / "policy" if (policy / "policy").is_dir() else policy
    if not folder.is_dir():
        raise InputError(f"no such folder: {policy}")
    file, artifact = load_policy(folder)
    if allow_uncertified and certificate.verdict.exit_code:
        console.remark(f"WARNING: exporting without a proof ({certificate.verdict}); marked so")
    if table.get("targets") == [ALL]:
        table = table | {"targets": _what_can_be_built(file, table)}
    config = build(ExportConfig, table, "export")
    return export_bundle(
        out, file, artifact, certificate, config, allow_uncertified=allow_uncertified
    )


def _what_can_be_built(file: ControllerFile, table: Table) -> list[str]:
    """Return every target that this machine can build and that pays; say why of the others."""
    from surefoot.export import Target, build_form
    from surefoot.runtime import CConfig

    config = build(CConfig, table.get("c", {}), "export.c")
    targets = []
    for target in Target:
        try:
            build_form(file, target, config)
            targets.append(target.value)
        except InputError as error:  # what is missing, or why it would not pay
            console.remark(f"no {target}: {error}")
    return targets


def facts_of(bundle: Bundle, folder: Path) -> dict[str, Json]:
    """Return what a person or program wants to know about a bundle."""
    return {
        "bundle": str(folder),
        "verdict": bundle.certificate.verdict.value,
        "uncertified": bundle.uncertified,
        "weights_sha256": bundle.certificate.weights_sha256,
        "onnx_sha256": bundle.certificate.onnx_sha256,
        "manifest_sha256": bundle.manifest_sha256,
        "size_bytes": len(bundle.controller.data),
    }


def _facts_of_c(bundle: Bundle) -> dict[str, Json]:
    """Return what the C of a bundle takes; nothing if it holds none."""
    from surefoot.export.forms import C_FOOTPRINT_FILE, C_REPORT_FILE

    if C_REPORT_FILE not in bundle.files or C_FOOTPRINT_FILE not in bundle.files:
        return {}
    report, footprint = (
        from_json(bundle.files[name], name) for name in (C_REPORT_FILE, C_FOOTPRINT_FILE)
    )
    facts = {f"c_{key}": report[key] for key in ("flash_bytes", "ram_bytes", "multiply_adds")}
    for machine, measured in footprint.items():
        name = machine.replace(" ", "_").replace("-", "_")
        facts[f"c_stack_bytes_{name}"] = None if measured is None else measured["stack_bytes"]
    return facts
