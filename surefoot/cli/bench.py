"""``pipeline bench``: latency, deadline misses and size of a controller on its backends."""

from pathlib import Path
from typing import Annotated

import typer

from surefoot.artifact import Json, sha256_hex, write_file
from surefoot.cli import console
from surefoot.cli.attack import open_target
from surefoot.cli.options import AllowUncertified, AsJson, ConfigFile, Overrides, picture_beside
from surefoot.cli.options import resolve as resolve_options
from surefoot.config import Table, build
from surefoot.errors import InputError, MissingLibraryError
from surefoot.onnx_file import ControllerFile

ALL = "all"
"""In place of backends: every one that is at hand."""


def bench(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    out: Annotated[Path, typer.Option(help="Result to write.")] = Path("bench.json"),
    backend: Annotated[
        str | None, typer.Option(help="Comma-separated backends, or all that are at hand.")
    ] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    allow_uncertified: AllowUncertified = False,
    as_json: AsJson = False,
) -> None:
    """Measure how fast a bundle runs here, and how often it would miss its deadline."""
    file, _ = open_target(bundle, allow_uncertified)
    tables = resolve_options(None, config, overrides)
    given = {} if backend is None else {"backends": backend.split(",")}
    table = tables.get("bench", {}) | given
    result = bench_into(out, file, table)
    console.show(as_json, result, *tables_of(result))


def bench_into(out: Path, file: ControllerFile, table: Table) -> dict[str, Json]:
    """Benchmark a controller, write ``bench.json`` and return its content."""
    from surefoot.runtime import BenchConfig, draw_benchmark, run_benchmark

    picture = picture_beside(out)
    if table.get("backends") == [ALL]:
        table = table | {"backends": _at_hand(file)}
    benchmark = run_benchmark(file, build(BenchConfig, table, "bench"))
    record = benchmark.record(sha256_hex(file.data))
    write_file(out, record.to_json())
    try:
        write_file(picture, draw_benchmark(record))
    except MissingLibraryError as error:
        console.remark(f"no picture: {error}")
    return record.to_table()


def _at_hand(file: ControllerFile) -> list[str]:
    """Return every backend that runs here; say of the others what they lack."""
    from surefoot.runtime import Backend, controller_of

    found = []
    for backend in Backend:
        try:
            controller_of(file, backend)
            found.append(backend.value)
        except InputError as error:
            console.remark(f"no {backend}: {error}")
    return found


def tables_of(result: dict[str, Json]) -> list[console.Table]:
    """Return latencies and deadline misses as tables."""
    keys = ("n", "p50_us", "p90_us", "p99_us", "p999_us", "max_us", "size_bytes")
    backends = result["backends"].items()
    latency = [(name, *(entry[key] for key in keys)) for name, entry in backends]
    rates = list(next(iter(result["backends"].values()))["misses"])
    misses = [
        (f"{name}{words}", *(entry[key][rate] for rate in rates))
        for name, entry in backends
        for key, words in (("misses", ""), ("misses_under_load", ", all cores busy"))
        if entry[key]
    ]
    sizes = [
        (name, rows, table["n"], table["p50_us"], table["p99_us"], entry["memory_bytes"])
        for name, entry in backends
        for rows, table in entry["batches"].items()
    ]
    return [
        console.table(
            f"one inference (timer floor {result['timer_floor_us']:.2f} us)",
            ("backend", *keys),
            latency,
        ),
        console.table(
            "batches", ("backend", "rows", "n", "p50_us", "p99_us", "memory, bytes"), sizes
        ),
        console.table("deadline misses", ("backend", *(f"{rate} Hz" for rate in rates)), misses),
    ]
