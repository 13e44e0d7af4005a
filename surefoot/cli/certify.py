"""``pipeline certify``: hold a controller against a budget."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surefoot.artifact import (
    Json,
    from_json,
    is_folder_of,
    read_artifact,
    read_file,
    sha256_hex,
    write_file,
)
from surefoot.budget import Budget
from surefoot.certificate import Certificate
from surefoot.cli import console
from surefoot.cli.certificate_tables import tables_of
from surefoot.cli.options import AsJson, ConfigFile, Overrides, picture_beside
from surefoot.cli.options import resolve as resolve_options
from surefoot.cli.train import tables_of_run
from surefoot.config import Table, build, merge_tables, read_text, to_toml
from surefoot.errors import InputError, IntegrityError, MissingLibraryError
from surefoot.visited import VISITED_FILE, Visited

if TYPE_CHECKING:
    from surefoot.certify import Evidence, Measurement
    from surefoot.policy import Policy


def certify(
    controller: Annotated[Path, typer.Argument(help="A run, a policy folder or an .onnx file.")],
    budget: Annotated[Path | None, typer.Option(help="Budget; default: the run's own.")] = None,
    out: Annotated[Path, typer.Option(help="Certificate to write.")] = Path("certificate.json"),
    attack: Annotated[
        Path | None, typer.Option(help="attack.json with measured returns; default: the run's own.")
    ] = None,
    bench: Annotated[Path | None, typer.Option(help="bench.json with measured latency.")] = None,
    output: Annotated[
        str | None, typer.Option(help="Which output of a foreign .onnx file are the actions.")
    ] = None,
    dense: Annotated[
        Path | None, typer.Option(help="What it was compressed from, for compression_error.")
    ] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say it in plain words.")] = False,
    as_json: AsJson = False,
) -> None:
    """Certify a controller: exit 0 proved, 3 refuted, 4 not proved."""
    given = resolve_options(None, config, overrides)
    tables = merge_tables(tables_of_run(controller), given) if controller.is_dir() else given
    certificate = certify_into(
        out,
        controller,
        read_budget(budget, tables),
        tables,
        attack=attack or _attack_beside(controller),
        bench=bench,
        output=output,
        dense=dense,
    )
    content = from_json(certificate.to_json(), "certificate")
    console.show(as_json, content, *tables_of(certificate))
    if explain and not as_json:
        from surefoot.certify import explain as explain_certificate

        print(explain_certificate(certificate))
    sys.exit(certificate.verdict.exit_code)


def _attack_beside(controller: Path) -> Path | None:
    """Return the attack.json of the run that holds the controller, if there is one.

    Its numbers count only for the file whose digest it names.
    """
    for run in (controller, controller.parent):
        if is_folder_of(run / "policy", "policy") and (run / "attack.json").is_file():
            return run / "attack.json"
    return None


def read_budget(path: Path | None, tables: Table) -> Budget:
    """Return the budget of a file, or the ``[[require]]`` tables of a configuration.

    Raises:
        InputError: If there is neither, or it is malformed.
    """
    if path is not None:
        return Budget.parse(read_text(path), str(path))
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
    draw: bool = True,
    output: str | None = None,
    dense: Path | None = None,
) -> Certificate:
    """Certify a controller, write the certificate and, to ``draw``, its picture; return it."""
    import numpy as np

    from surefoot.certify import (
        Analysis,
        CertifyConfig,
        certify_analysis,
        deviation_curves,
        draw_deviation,
    )
    from surefoot.onnx_file import load_controller_file

    picture = picture_beside(out)
    config = build(CertifyConfig, tables.get("certify", {}), "certify")
    file = load_controller_file(controller, output)
    evidence = gather_evidence(controller, tables, attack=attack, bench=bench)
    if dense is not None:
        evidence = replace(evidence, dense_policy=_dense_policy(dense, controller))
    if file.interface is not None:  # not ours: what was read must be what runs
        from surefoot.runtime.agreement import check_agreement

        evidence = replace(evidence, agreement=check_agreement(file).to_table())
    analysis = Analysis(file, evidence, config)
    certificate = certify_analysis(analysis, budget)
    write_file(out, certificate.to_json())
    picture.unlink(missing_ok=True)  # an older one would be about another certificate
    if draw and certificate.deviation_linf["best"] is not None:
        curves = deviation_curves(analysis, np.geomspace(0.005, 0.2, 9))
        try:
            write_file(picture, draw_deviation(curves))
        except MissingLibraryError as error:
            console.remark(f"no picture: {error}")
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
    visited = sampled = None
    for folder in (controller / "policy", controller):
        if is_folder_of(folder, "policy"):
            files = read_artifact(folder, "policy").files
            if VISITED_FILE in files:
                recorded = Visited.from_bytes(files[VISITED_FILE])
                visited, sampled = recorded.independent, recorded.sampled
            break
    return Evidence(
        observations=visited,
        measurements=tuple(measurements),
        reward_range=assumed.reward_range,
        discount=assumed.discount,
        horizon=assumed.horizon,
        state_limit=assumed.state_limit,
        sampled=sampled,
    )


def _dense_policy(path: Path, controller: Path) -> "Policy":
    """Return the policy that a controller was compressed from.

    Raises:
        InputError: If the folder of the controller names another file.
    """
    from surefoot.onnx_file import POLICY_FILE, load_controller_file

    file = load_controller_file(path)
    for folder in (controller / "policy", controller):
        if is_folder_of(folder, "policy"):
            named = read_artifact(folder, "policy").inputs.get(POLICY_FILE)
            if named is not None and named != sha256_hex(file.data):
                raise InputError(
                    f"dense must be what {controller} was compressed from, whose sha256 begins "
                    f"{named[:12]}, that of {path} {sha256_hex(file.data)[:12]}"
                )
            break
    return file.policy


def _attack_measurements(path: Path | None) -> "list[Measurement]":
    """Return mean return and success rate under every attack of an ``attack.json``.

    An episode is a success if the task did not end it before its time and nothing failed. Episodes
    have different seeds, and each attack was tuned on others than these.

    Raises:
        InputError: If the file is not the result of an attack.
    """
    if path is None:
        return []
    from surefoot.certify import Measurement

    table = read_measurement(path)
    entries: list[dict[str, Json]] = []
    try:
        attacks = {name: entry for name, entry in table["attacks"].items() if name != "clean"}
        for name, attack in attacks.items():
            ends = zip(attack["terminated"], attack["failure_reasons"], strict=True)
            successes = sum(not ended and failure is None for ended, failure in ends)
            measured = {
                "onnx_sha256": table["onnx_sha256"],
                "epsilon": table["epsilon"],
                "norm": table["norm"],
                "episodes": table["episodes"],
                "source": f"{name}, one of {len(attacks)} attacks",
            }
            returns = [float(value) for value in attack["returns"]]
            entries += [
                measured
                | {
                    "quantity": "attacked_return",
                    "value": attack["mean"],
                    "returns": returns,
                    "failures": attack["failures"],
                },
                measured | {"quantity": "success_rate", "value": successes / table["episodes"]},
            ]
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise InputError(f"{path} is not the result of an attack: {error!r}") from error
    return [build(Measurement, entry, str(path)) for entry in entries]


def _bench_measurements(path: Path | None) -> "list[Measurement]":
    """Return the slowest backend's 99th percentile of a ``bench.json``, where it has one.

    Raises:
        InputError: If the file is not the result of a benchmark.
    """
    if path is None:
        return []
    from surefoot.certify import Measurement

    table = read_measurement(path)
    try:
        latencies = {name: entry["p99_us"] for name, entry in table["backends"].items()}
        known = {name: float(value) for name, value in latencies.items() if value is not None}
        if not known:
            return []
        slowest = max(known, key=known.__getitem__)
        entry = {
            "quantity": "latency_us",
            "value": known[slowest],
            "onnx_sha256": table["onnx_sha256"],
            "source": f"p99 of backend {slowest}",
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is not the result of a benchmark: {error!r}") from error
    return [build(Measurement, entry, str(path))]


def read_measurement(path: Path) -> dict[str, Json]:
    """Return a JSON object.

    Raises:
        InputError: If it is not one.
    """
    try:
        table = from_json(read_file(path), str(path))
    except IntegrityError as error:
        raise InputError(str(error)) from error
    if not isinstance(table, dict):
        raise InputError(f"{path} is not the result of a measurement: it is no JSON object")
    return table
