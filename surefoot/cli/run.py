"""``pipeline run``: every stage from one configuration, skipping what is already done."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surefoot.cli.console import CONSOLE, show
from surefoot.cli.libraries import load_simulation
from surefoot.cli.options import (
    AsJson,
    ConfigFile,
    Device,
    EnvModule,
    Overrides,
    Preset,
    Seed,
    resolve,
)
from surefoot.cli.tables import Table, cell, proved
from surefoot.process_exit import end_with

if TYPE_CHECKING:
    from surefoot.records import RequirementSummary, RunSummary


def run(
    out: Annotated[Path, typer.Option(help="Run folder; resumes a run that was started.")],
    preset: Preset = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    budget: Annotated[Path | None, typer.Option(help="Budget in place of the preset's.")] = None,
    seed: Seed = None,
    device: Device = None,
    env_module: EnvModule = None,
    as_json: AsJson = False,
) -> None:
    """Train, certify, export, attack, benchmark and report: may this controller be deployed?"""
    flags = {"seed": seed, "device": device, "env_module": env_module}
    configuration = resolve(preset, config, overrides, train=flags)
    required = configuration.budget(budget)
    load_simulation()
    from surefoot.workflow.whole_run import run_pipeline

    summary = run_pipeline(out, configuration, budget=required, listener=CONSOLE)
    show(as_json, summary.to_table(), _table_of(summary, out))
    end_with(summary.verdict.exit_code)


def _table_of(summary: "RunSummary", out: Path) -> Table:
    """Return the one table that ends a run."""
    from surefoot.certificate import Verdict
    from surefoot.run_folder import RunFolder

    proved_all = summary.verdict is Verdict.PROVED
    rows: list[tuple[str, object]] = [
        ("environment", summary.env),
        ("training steps", summary.steps),
        ("sparsity", f"{summary.sparsity:.1%}"),
        ("size of policy.onnx", f"{summary.size_bytes} bytes"),
        ("clean return", summary.clean_return),
        *_return_rows(summary),
        *(
            (f"latency p50 / p99, {name}", f"{_us(latency.p50)} / {_us(latency.p99)} us")
            for name, latency in summary.latency_us.items()
        ),
        *((entry.requirement, _finding(entry)) for entry in summary.requirements),
        ("VERDICT", summary.verdict),
        ("bundle", RunFolder(out).bundle if proved_all else "refused"),
    ]
    return Table(f"run {out}", ("what", "value"), rows)


def _return_rows(summary: "RunSummary") -> list[tuple[str, object]]:
    """Return the attacked returns; an episode that failed ended early and has no true return."""
    from surefoot.records import perturbation_words

    rows: list[tuple[str, object]] = []
    for name, value in summary.attacked_return.items():
        failures = summary.failures[name]
        failed = f", FAILED in {failures} episodes" if failures else ""
        ball = perturbation_words(summary.norm, summary.epsilon, summary.readings)
        rows.append((f"return under {name} ({ball})", f"{cell(value)}{failed}"))
    return rows


def _finding(entry: "RequirementSummary") -> str:
    verdict = entry.verdict.word(measured=entry.measured)
    if entry.measured:
        return f"{verdict}: measured {cell(entry.sampled)}"
    certified = proved(entry.certified, at_most=entry.at_most is not None)
    return f"{verdict}: certified {certified}, sampled {cell(entry.sampled)}"


def _us(value: float | None) -> str:
    """Return a latency, or a dash where too few samples were taken for it."""
    return "-" if value is None else f"{value:.1f}"
