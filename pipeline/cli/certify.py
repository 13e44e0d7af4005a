"""``pipeline certify``: hold a controller against a budget."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surefoot.artifact import (
    Json,
    from_json,
    is_folder_of,
    read_artifact,
    read_file,
    write_file,
)
from surefoot.budget import Budget
from surefoot.certificate import Certificate
from surefoot.cli import console
from surefoot.cli.options import AsJson, ConfigFile, Overrides
from surefoot.cli.options import resolve as resolve_options
from surefoot.cli.train import tables_of_run
from surefoot.config import Table, build, to_toml
from surefoot.errors import InputError, IntegrityError
from surefoot.visited import VISITED_FILE, Visited

if TYPE_CHECKING:
    from surefoot.certify import Evidence, Measurement


def certify(
    controller: Annotated[Path, typer.Argument(help="A run, a policy folder or an .onnx file.")],
    budget: Annotated[Path | None, typer.Option(help="Budget; default: the run's own.")] = None,
    out: Annotated[Path, typer.Option(help="Certificate to write.")] = Path("certificate.json"),
    attack: Annotated[Path | None, typer.Option(help="attack.json with measured returns.")] = None,
    bench: Annotated[Path | None, typer.Option(help="bench.json with measured latency.")] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say it in plain words.")] = False,
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
    if explain and not as_json:
        from surefoot.certify import explain as explain_certificate

        print(explain_certificate(certificate))
    sys.exit(certificate.verdict.exit_code)


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
    """Certify a controller, write the certificate and its picture, and return it."""
    import numpy as np

    from surefoot.certify import CertifyConfig, certify_policy, deviation_curves, draw_deviation
    from surefoot.onnx_format import load_controller_file

    config = build(CertifyConfig, tables.get("certify", {}), "certify")
    file = load_controller_file(controller)
    evidence = gather_evidence(controller, tables, attack=attack, bench=bench)
    certificate = certify_policy(file, budget, evidence, config)
    write_file(out, certificate.to_json())
    if certificate.deviation_linf["best"] is not None:
        curves = deviation_curves(file, evidence, config, np.geomspace(0.005, 0.2, 9))
        write_file(out.with_suffix(".png"), draw_deviation(curves))
    return certificate


def gather_evidence(
    controller: Path, tables: Table, *, attack: Path | None = None, bench: Path | None = None
) -> "Evidence":
    """Collect what a certificate may rest on beside the weights: states, measures, assumptions.

    Raises:
        InputError: If a measurement file is not one.
        IntegrityError: If the folder of the controller does not verify.
    """
    from surefoot.certify import Assumptions, Evidence

    assumed = build(Assumptions, tables.get("assume", {}), "assume")
    measurements = [*_attack_measurements(attack), *_bench_measurements(bench)]
    visited = None
    for folder in (controller / "policy", controller):
        if is_folder_of(folder, "policy"):
            files = read_artifact(folder, "policy").files
            if VISITED_FILE in files:
                visited = Visited.from_bytes(files[VISITED_FILE]).independent
            break
    return Evidence(
        observations=visited,
        measurements=tuple(measurements),
        reward_range=assumed.reward_range,
        discount=assumed.discount,
        horizon=assumed.horizon,
    )


def _attack_measurements(path: Path | None) -> "Iterator[Measurement]":
    """Yield the lowest mean return over all attacks of an ``attack.json``."""
    if path is None:
        return
    from surefoot.budget import Norm
    from surefoot.certify import Measurement

    table = read_measurement(path, ("onnx_sha256", "attacks", "epsilon", "norm", "episodes"))
    means = {name: entry["mean"] for name, entry in table["attacks"].items() if name != "clean"}
    if means:
        strongest = min(means, key=means.__getitem__)
        yield Measurement(
            quantity="attacked_return",
            value=means[strongest],
            onnx_sha256=table["onnx_sha256"],
            epsilon=table["epsilon"],
            norm=Norm(table["norm"]),
            episodes=table["episodes"],
            source=f"{strongest}, the strongest of {len(means)} attacks",
        )


def _bench_measurements(path: Path | None) -> "Iterator[Measurement]":
    """Yield the slowest backend's 99th percentile of a ``bench.json``."""
    if path is None:
        return
    from surefoot.certify import Measurement

    table = read_measurement(path, ("onnx_sha256", "backends"))
    latencies = {name: entry["p99_us"] for name, entry in table["backends"].items()}
    known = {name: value for name, value in latencies.items() if value is not None}
    if known:
        slowest = max(known, key=known.__getitem__)
        yield Measurement(
            quantity="latency_us",
            value=known[slowest],
            onnx_sha256=table["onnx_sha256"],
            source=f"p99 of backend {slowest}",
        )


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


def read_measurement(path: Path, keys: tuple[str, ...]) -> dict[str, Json]:
    """Return a measured JSON file.

    Raises:
        InputError: If it is not JSON or lacks a key.
    """
    try:
        table = from_json(read_file(path), str(path))
    except IntegrityError as error:
        raise InputError(str(error)) from error
    for key in keys:
        if not isinstance(table, dict) or key not in table:
            raise InputError(f"{path} has no {key!r}: it is not the result of a measurement")
    return dict(table)
