"""``pipeline bench``: latency, deadline misses and size of a controller on its backends."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surefoot.cli import completion
from surefoot.cli.console import CONSOLE, show
from surefoot.cli.options import (
    AllowUncertified,
    AsJson,
    ConfigFile,
    OutputName,
    Overrides,
    resolve,
)
from surefoot.cli.tables import Table

if TYPE_CHECKING:
    from surefoot.records import BackendRecord, BenchRecord

_LATENCY_HEAD = ("backend", "n", "p50_us", "p90_us", "p99_us", "p999_us", "max_us", "size_bytes")
_BATCH_HEAD = ("backend", "rows", "n", "p50_us", "p99_us", "memory, bytes")


def bench(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    out: Annotated[Path, typer.Option(help="Result to write.")] = Path("bench.json"),
    backend: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated backends, or all that run here.",
            autocompletion=completion.some_of(completion.BACKENDS),
        ),
    ] = None,
    output: OutputName = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    allow_uncertified: AllowUncertified = False,
    as_json: AsJson = False,
) -> None:
    """Measure how fast a bundle runs here and how often it would miss its deadline."""
    from surefoot.workflow.benchmarking import benchmark_controller

    backends = {"backends": None if backend is None else backend.split(",")}
    configuration = resolve(None, config, overrides, bench=backends)
    record = benchmark_controller(
        bundle,
        out,
        config=configuration.benchmarking(),
        every_backend=configuration.wants_every_backend,
        allow_uncertified=allow_uncertified,
        output=output,
        listener=CONSOLE,
    )
    show(as_json, record.to_table(), *_tables_of(record))


def _tables_of(record: "BenchRecord") -> list[Table]:
    latencies = [
        (
            name,
            entry.n,
            entry.p50_us,
            entry.p90_us,
            entry.p99_us,
            entry.p999_us,
            entry.max_us,
            entry.size_bytes,
        )
        for name, entry in record.backends.items()
    ]
    batches = [
        (name, rows, batch.n, batch.p50_us, batch.p99_us, entry.memory_bytes)
        for name, entry in record.backends.items()
        for rows, batch in entry.batches.items()
    ]
    behind = "" if record.gate is None else " behind its gate"
    title = f"one inference{behind} (timer floor {record.timer_floor_us:.2f} us)"
    return [
        Table(title, _LATENCY_HEAD, latencies),
        *([Table("batches", _BATCH_HEAD, batches)] if batches else []),
        _misses_of(record.backends),
    ]


def _misses_of(backends: "Mapping[str, BackendRecord]") -> Table:
    rates = sorted({rate for entry in backends.values() for rate in entry.misses}, key=int)
    rows = [
        (f"{name}{words}", *(misses.get(rate) for rate in rates))
        for name, entry in backends.items()
        for words, misses in (
            ("", entry.misses),
            (", all cores busy", entry.misses_under_load),
        )
        if misses
    ]
    return Table("deadline misses", ("backend", *(f"{rate} Hz" for rate in rates)), rows)
