"""``pipeline certify``: hold a controller against a budget."""

from pathlib import Path
from typing import Annotated

import typer

from surefoot.artifact import Json, from_json, read_file, write_file
from surefoot.budget import Budget
from surefoot.certificate import Certificate
from surefoot.cli import console
from surefoot.cli.options import AsJson, ConfigFile, Overrides
from surefoot.cli.options import resolve as resolve_options
from surefoot.cli.train import tables_of_run
from surefoot.config import Table, build, to_toml
from surefoot.errors import InputError, IntegrityError


def certify(
    controller: Annotated[Path, typer.Argument(help="A run, a policy folder or an .onnx file.")],
    budget: Annotated[Path | None, typer.Option(help="Budget; default: the run's own.")] = None,
    out: Annotated[Path, typer.Option(help="Certificate to write.")] = Path("certificate.json"),
    attack: Annotated[Path | None, typer.Option(help="attack.json with measured returns.")] = None,
    bench: Annotated[Path | None, typer.Option(help="bench.json with measured latency.")] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Certify a controller: exit 0 proved, 3 refuted, 4 not proved."""
    given = resolve_options(None, config, overrides)
    tables = tables_of_run(controller) | given if controller.is_dir() else given
    certificate = certify_into(
        out, controller, read_budget(budget, tables), tables, attack=attack, bench=bench
    )
    content = from_json(certificate.to_json(), "certificate")
    console.show(as_json, content, *tables_of(certificate))
    raise typer.Exit(certificate.verdict.exit_code)


def read_budget(path: Path | None, tables: Table) -> Budget:
    """Return the budget of a file, or the ``[[require]]`` tables of a configuration.

    Raises:
        InputError: If there is neither, or it is malformed.
    """
    if path is not None:
        try:
            return Budget.parse(read_file(path).decode(), str(path))
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is not valid TOML: it is not UTF-8") from error
    if "require" not in tables:
        raise InputError("a certificate needs --budget or a configuration with [[require]] tables")
    return Budget.parse(to_toml({"require": tables["require"]}), "budget")


def certify_into(
    out: Path,
    controller: Path,
    budget: Budget,
    tables: Table,
    *,
    attack: Path | None = None,
    bench: Path | None = None,
) -> Certificate:
    """Certify a controller, write the certificate and return it."""
    from surefoot.certify import CertifyConfig, certify_policy
    from surefoot.onnx_format import load_controller_file

    config = build(CertifyConfig, tables.get("certify", {}), "certify")
    file = load_controller_file(controller)
    evidence = gather_evidence(controller, attack=attack, bench=bench)
    certificate = certify_policy(file, budget, evidence, config)
    write_file(out, certificate.to_json())
    return certificate


def tables_of(certificate: Certificate) -> list[console.Table]:
    """Return the certificate as tables: the requirements, then every bound with its gap."""
    findings = [
        (
            finding.requirement.describe(),
            finding.certified,
            finding.sampled,
            finding.method,
            finding.verdict.value,
            finding.reason,
        )
        for finding in certificate.findings
    ]
    columns = ("requirement", "certified", "sampled", "method", "verdict", "reason")
    tables = [console.table(f"verdict: {certificate.verdict}", columns, findings)]
    for title, bounds in (
        ("l2 Lipschitz bound, action units per normalised unit", certificate.lipschitz_l2),
        ("linf deviation of one actuator, action units", certificate.deviation_linf),
    ):
        sampled = bounds.get("sampled")
        rows = [
            (name, value, value / sampled if value is not None and sampled else None)
            for name, value in bounds.items()
            if name not in ("epsilon", "sampled")
        ]
        epsilon = f" (epsilon {bounds['epsilon']})" if "epsilon" in bounds else ""
        head = ("bound", "value", "times sampled")
        tables.append(console.table(title + epsilon, head, [*rows, ("sampled", sampled, 1.0)]))
    return tables


def read_measurement(path: Path) -> Json:
    """Return a measured JSON file.

    Raises:
        InputError: If it is not JSON.
    """
    try:
        return from_json(read_file(path), str(path))
    except IntegrityError as error:
        raise InputError(str(error)) from error
