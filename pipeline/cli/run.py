"""``pipeline run``: every stage from one configuration, skipping what is already done."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from surefoot.artifact import MANIFEST, Json, from_json, read_file, sha256_hex, to_json, write_file
from surefoot.budget import Budget
from surefoot.bundle import open_bundle
from surefoot.certificate import Certificate, Verdict
from surefoot.cli import console
from surefoot.cli.attack import attack_into
from surefoot.cli.bench import bench_into
from surefoot.cli.certify import certify_into, read_budget
from surefoot.cli.export import export_into
from surefoot.cli.options import AsJson, ConfigFile, Device, EnvModule, Overrides, Preset, Seed
from surefoot.cli.options import resolve as resolve_options
from surefoot.cli.report import report_into
from surefoot.cli.train import train_into
from surefoot.config import Table
from surefoot.errors import IntegrityError
from surefoot.onnx_format import load_policy


def run(
    out: Annotated[Path, typer.Option(help="Run folder; a started run goes on.")],
    preset: Preset = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    budget: Annotated[Path | None, typer.Option(help="Budget instead of the preset's.")] = None,
    seed: Seed = None,
    device: Device = None,
    env_module: EnvModule = None,
    as_json: AsJson = False,
) -> None:
    """Train, certify, export, attack, benchmark and report: may this controller be deployed?"""
    tables = resolve_options(
        preset, config, overrides, seed=seed, device=device, env_module=env_module
    )
    summary = run_into(out, tables, read_budget(budget, tables))
    console.show(as_json, summary, *tables_of(summary, out))
    sys.exit(Verdict(summary["verdict"]).exit_code)


def run_into(out: Path, tables: Table, budget: Budget) -> dict[str, Json]:
    """Run every stage into one folder and return the summary."""
    training = train_into(out, tables)
    stages = _Stages(out, sha256_hex(load_policy(out / "policy")[0].data))
    certificate = stages.certify(budget, tables, measured=False)
    if any(finding.measured and finding.sampled is None for finding in certificate.findings):
        # What is measured on the file must be known before the budget can be decided.
        stages.attack(certificate, tables)
        stages.bench(tables)
        certificate = stages.certify(budget, tables, measured=True)
    stages.export(certificate, tables)
    attack = stages.attack(certificate, tables)
    bench = stages.bench(tables)
    summary = summarise(training, certificate, attack, bench)
    write_file(out / "summary.json", to_json(summary))
    report_into(out)
    return summary


class _Stages:
    """The stages after training, each done once for the same inputs.

    ``stages.json`` holds, for each stage, the digest of its inputs and that of its result; a stage
    is skipped when both still hold.
    """

    def __init__(self, out: Path, onnx_sha256: str) -> None:
        self._out = out
        self._onnx_sha256 = onnx_sha256

    def certify(self, budget: Budget, tables: Table, *, measured: bool) -> Certificate:
        """Certify the policy, with or without the measurements of this folder."""
        path = self._out / "certificate.json"
        attack = self._out / "attack.json" if measured else None
        bench = self._out / "bench.json" if measured else None
        inputs = [budget.text, tables.get("certify", {}), tables.get("assume", {})]
        inputs += [sha256_hex(read_file(file)) for file in (attack, bench) if file is not None]
        self._once(
            "certify with measurements" if measured else "certify",
            inputs,
            path,
            lambda: certify_into(path, self._out, budget, tables, attack=attack, bench=bench),
        )
        return Certificate.parse(read_file(path), str(path))

    def export(self, certificate: Certificate, tables: Table) -> None:
        """Write the bundle of a proved policy; say so where there is none to write."""
        if certificate.verdict is not Verdict.PROVED:
            console.remark(f"not exported: the verdict is {certificate.verdict}")
            return
        folder, table = self._out / "bundle", tables.get("export", {})
        self._once(
            "export",
            [sha256_hex(certificate.to_json()), table],
            folder / MANIFEST,
            lambda: export_into(folder, self._out, certificate, table),
        )
        open_bundle(folder)

    def attack(self, certificate: Certificate, tables: Table) -> dict[str, Json]:
        """Attack the bundle's controller; the policy's own file, the same bytes, without one."""
        path = self._out / "attack.json"
        module = tables["train"].get("env_module")
        table = ({"env_module": module} if module else {}) | tables.get("attack", {})
        file = load_policy(self._out / "policy")[0]
        bounds = [dict(certificate.deviation_linf), certificate.claims.get("per_actuator")]
        self._once(
            "attack", [table, bounds], path, lambda: attack_into(path, file, certificate, table)
        )
        return _read_json(path)

    def bench(self, tables: Table) -> dict[str, Json]:
        """Benchmark the controller."""
        path = self._out / "bench.json"
        table = tables.get("bench", {})
        file = load_policy(self._out / "policy")[0]
        self._once("bench", table, path, lambda: bench_into(path, file, table))
        return _read_json(path)

    def _once(self, name: str, inputs: Json, result: Path, perform: Callable[[], object]) -> None:
        path = self._out / "stages.json"
        done = _read_json(path) if path.exists() else {}
        wanted = sha256_hex(to_json([name, self._onnx_sha256, inputs]))
        if result.exists() and done.get(result.name) == [wanted, sha256_hex(read_file(result))]:
            return
        console.remark(f"{name} ...")
        perform()
        done[result.name] = [wanted, sha256_hex(read_file(result))]
        write_file(path, to_json(done))


def summarise(
    training: dict[str, Json],
    certificate: Certificate,
    attack: dict[str, Json],
    bench: dict[str, Json],
) -> dict[str, Json]:
    """Return what ``summary.json`` says: one number per question of a deployment."""
    attacked = {name: entry["mean"] for name, entry in attack["attacks"].items()}
    return {
        "env": training["env"],
        "steps": training["steps"],
        "sparsity": training["sparsity"],
        "clean_return": attacked.pop("clean"),
        "attacked_return": attacked,
        "epsilon": attack["epsilon"],
        "requirements": [
            {
                "requirement": finding.requirement.describe(),
                "certified": finding.certified,
                "sampled": finding.sampled,
                "verdict": finding.verdict.value,
                "reason": finding.reason,
            }
            for finding in certificate.findings
        ],
        "verdict": certificate.verdict.value,
        "latency_us": {
            name: {"p50": entry["p50_us"], "p99": entry["p99_us"]}
            for name, entry in bench["backends"].items()
        },
        "size_bytes": next(iter(bench["backends"].values()))["size_bytes"],
        "weights_sha256": certificate.weights_sha256,
        "onnx_sha256": certificate.onnx_sha256,
        "budget_sha256": certificate.budget.sha256,
    }


def tables_of(summary: dict[str, Json], out: Path) -> list[console.Table]:
    """Return the summary as the one table that ends a run, and the requirements under it."""
    rows: list[tuple[str, object]] = [
        ("environment", summary["env"]),
        ("training steps", summary["steps"]),
        ("sparsity", f"{summary['sparsity']:.1%}"),
        ("clean return", summary["clean_return"]),
    ]
    rows += [
        (f"return under {name} (linf {summary['epsilon']:g})", value)
        for name, value in summary["attacked_return"].items()
    ]
    rows += [
        (f"latency p50 / p99, {name}", f"{entry['p50']:.1f} / {cell_us(entry['p99'])} us")
        for name, entry in summary["latency_us"].items()
    ]
    rows += [
        ("size of policy.onnx", f"{summary['size_bytes']} bytes"),
        ("VERDICT", summary["verdict"]),
        ("bundle", out / "bundle" if summary["verdict"] == "PROVED" else "refused"),
    ]
    columns = ("requirement", "certified", "sampled", "verdict")
    requirements = [[entry[key] for key in columns] for entry in summary["requirements"]]
    return [
        console.table(f"run {out}", ("what", "value"), rows),
        console.table("certified against sampled", columns, requirements),
    ]


def cell_us(value: float | None) -> str:
    """Return a latency, or a dash where too few samples were taken for it."""
    return "-" if value is None else f"{value:.1f}"


def _read_json(path: Path) -> dict[str, Json]:
    """Return a JSON object of this folder.

    Raises:
        IntegrityError: If the file is something else.
    """
    table = from_json(read_file(path), str(path))
    if not isinstance(table, dict):
        raise IntegrityError(f"{path} is not a JSON object")
    return table
