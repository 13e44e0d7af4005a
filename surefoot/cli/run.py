"""``pipeline run``: every stage from one configuration, skipping what is already done."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from surefoot import __version__
from surefoot.artifact import (
    MANIFEST,
    Json,
    from_json,
    is_folder_of,
    read_file,
    sha256_hex,
    to_json,
    write_file,
)
from surefoot.budget import Budget
from surefoot.bundle import open_bundle
from surefoot.certificate import Certificate, Verdict
from surefoot.cli import console
from surefoot.cli.attack import attack_into, shipped_critics
from surefoot.cli.bench import bench_into
from surefoot.cli.certify import certify_into, read_budget
from surefoot.cli.export import export_into
from surefoot.cli.options import AsJson, ConfigFile, Device, EnvModule, Overrides, Preset, Seed
from surefoot.cli.options import resolve as resolve_options
from surefoot.cli.report import report_into
from surefoot.cli.train import train_into
from surefoot.config import Table, build
from surefoot.errors import IntegrityError
from surefoot.onnx_file import load_controller_file, load_policy


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
    """Run every stage into one folder and return the summary.

    The budget is kept in the folder's configuration, so that ``certify`` answers the same one.
    """
    tables = tables | {"require": [entry.to_table() for entry in budget.requirements]}
    training = train_into(out, tables)
    stages = _Stages(out, tables)
    # What is measured on the file must be known before the budget can be decided; a latency only
    # where it is asked for, because no two benchmarks give the same number.
    stages.attack(stages.certify(budget, "draft-certificate.json"))
    timed = any(requirement.quantity == "latency_us" for requirement in budget.requirements)
    if timed:
        stages.bench()
    certificate = stages.certify(
        budget,
        "certificate.json",
        attack=out / "attack.json",
        bench=out / "bench.json" if timed else None,
    )
    stages.export(certificate)
    attack, bench = stages.attack(certificate), stages.bench()
    summary = summarise(training, certificate, attack, bench, len(stages.file.data))
    write_file(out / "summary.json", to_json(summary))
    report_into(out)
    return summary


class _Stages:
    """The stages after training, each done once for the same inputs by the same code.

    ``stages.json`` holds, for each stage, the digest of its inputs and that of every file that it
    wrote; a stage is skipped when all of them still hold.
    """

    def __init__(self, out: Path, tables: Table) -> None:
        self.file = load_policy(out / "policy")[0]
        self._out = out
        self._tables = tables

    def certify(
        self, budget: Budget, name: str, attack: Path | None = None, bench: Path | None = None
    ) -> Certificate:
        """Certify the policy, with or without the measurements of this folder."""
        path = self._out / name
        measured = [file for file in (attack, bench) if file is not None]
        tables = self._tables
        inputs = [budget.text, tables.get("certify", {}), tables.get("assume", {})]
        inputs += [sha256_hex(read_file(file)) for file in measured]
        self._once(
            "certify" if name == "certificate.json" else "certify before measuring",
            inputs,
            (path, path.with_suffix(".png")),
            lambda: certify_into(
                path,
                self._out,
                budget,
                tables,
                attack=attack,
                bench=bench,
                draw=name == "certificate.json",
            ),
        )
        return Certificate.parse(read_file(path), str(path))

    def export(self, certificate: Certificate) -> None:
        """Write the bundle of a proved policy; without a proof none stays in the folder."""
        folder, table = self._out / "bundle", self._tables.get("export", {})
        if certificate.verdict is not Verdict.PROVED:
            console.remark(f"not exported: the verdict is {certificate.verdict}")
            if is_folder_of(folder, "bundle"):
                # It was proved for another budget; a robot must not find it under this run.
                shutil.rmtree(folder)
                console.remark(f"removed {folder}: it was exported for another budget")
            return
        self._once(
            "export",
            [sha256_hex(certificate.to_json()), table],
            (folder / MANIFEST,),
            lambda: export_into(folder, self._out, certificate, table),
        )
        open_bundle(folder)

    def attack(self, certificate: Certificate) -> dict[str, Json]:
        """Attack the bundle's controller; the policy's own file, the same bytes, without one."""
        path = self._out / "attack.json"
        from surefoot.attack import AttackConfig
        from surefoot.envs import module_digest
        from surefoot.provenance import code_digest
        from surefoot.train.folder import critic_to_bytes

        module = self._tables["train"].get("env_module")
        table = ({"env_module": module} if module else {}) | self._tables.get("attack", {})
        critics = shipped_critics(self._out, sha256_hex(self.file.data))
        read = [critic_to_bytes(critic) for critic in critics.values()]
        others = build(AttackConfig, table, "attack").transfer_from
        read += [load_controller_file(Path(other)).data for other in others]
        inputs = [table, code_digest(), module_digest(module), _bounds_of(certificate)]
        inputs += [sha256_hex(data) for data in read]
        self._once(
            "attack",
            inputs,
            (path, path.with_suffix(".png")),
            lambda: attack_into(path, self.file, certificate, table, critics=critics),
        )
        return _read_json(path)

    def bench(self) -> dict[str, Json]:
        """Benchmark the controller."""
        path = self._out / "bench.json"
        table = self._tables.get("bench", {})
        self._once("bench", table, (path,), lambda: bench_into(path, self.file, table))
        return _read_json(path)

    def _once(
        self, name: str, inputs: Json, files: tuple[Path, ...], perform: Callable[[], object]
    ) -> None:
        path = self._out / "stages.json"
        done = _read_json(path) if path.exists() else {}
        wanted = sha256_hex(to_json([__version__, sha256_hex(self.file.data), inputs]))
        if files[0].exists() and done.get(name) == [wanted, _digests(files)]:
            return
        console.remark(f"{name} ...")
        perform()
        done[name] = [wanted, _digests(files)]
        write_file(path, to_json(done))


def _digests(files: tuple[Path, ...]) -> dict[str, str]:
    return {file.name: sha256_hex(read_file(file)) for file in files if file.exists()}


def _bounds_of(certificate: Certificate) -> Json:
    """Return what an attack is held against: everything but what was measured by attacks."""
    findings = [entry.to_table() for entry in certificate.findings if not entry.measured]
    return [
        dict(certificate.deviation_linf),
        dict(certificate.lipschitz_l2),
        list(certificate.runtime_error),
        certificate.claims.get("per_actuator"),
        findings,
    ]


def summarise(
    training: dict[str, Json],
    certificate: Certificate,
    attack: dict[str, Json],
    bench: dict[str, Json],
    size_bytes: int,
) -> dict[str, Json]:
    """Return what ``summary.json`` says: one number per question of a deployment."""
    attacked = {name: entry["mean"] for name, entry in attack["attacks"].items()}
    return {
        "env": training["env"],
        "steps": training["steps"],
        "sparsity": training["sparsity"],
        "clean_return": attacked.pop("clean"),
        "attacked_return": attacked,
        "failures": {name: entry["failures"] for name, entry in attack["attacks"].items()},
        "epsilon": attack["epsilon"],
        "norm": attack["norm"],
        "requirements": [
            {
                "requirement": finding.requirement.describe(),
                "at_most": finding.requirement.at_most,
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
        "size_bytes": size_bytes,
        "weights_sha256": certificate.weights_sha256,
        "onnx_sha256": certificate.onnx_sha256,
        "budget_sha256": certificate.budget.sha256,
    }


def tables_of(summary: dict[str, Json], out: Path) -> list[console.Table]:
    """Return the summary as the one table that ends a run."""
    rows: list[tuple[str, object]] = [
        ("environment", summary["env"]),
        ("training steps", summary["steps"]),
        ("sparsity", f"{summary['sparsity']:.1%}"),
        ("size of policy.onnx", f"{summary['size_bytes']} bytes"),
        ("clean return", summary["clean_return"]),
    ]
    rows += [
        (
            f"return under {name} ({summary['norm']} {summary['epsilon']:g})",
            f"{console.cell(value)}{failures_text(summary['failures'][name])}",
        )
        for name, value in summary["attacked_return"].items()
    ]
    rows += [
        (f"latency p50 / p99, {name}", f"{entry['p50']:.1f} / {cell_us(entry['p99'])} us")
        for name, entry in summary["latency_us"].items()
    ]
    for entry in summary["requirements"]:
        certified = console.proved(entry["certified"], at_most=entry["at_most"] is not None)
        sampled = console.cell(entry["sampled"])
        value = f"{entry['verdict']}: certified {certified}, sampled {sampled}"
        rows.append((entry["requirement"], value))
    rows += [
        ("VERDICT", summary["verdict"]),
        ("bundle", out / "bundle" if summary["verdict"] == "PROVED" else "refused"),
    ]
    return [console.table(f"run {out}", ("what", "value"), rows)]


def failures_text(count: int) -> str:
    """Return a remark about failed episodes, which end early and have no true return."""
    return f", FAILED in {count} episodes" if count else ""


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
