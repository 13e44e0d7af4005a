"""``pipeline report``: one HTML page about a run."""

from pathlib import Path
from typing import Annotated

import typer

from surefoot.artifact import write_file
from surefoot.cli import console
from surefoot.cli.options import AsJson


def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[
        Path | None, typer.Option(help="Page to write; default RUN/report.html.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write one page: learning curve, deviations, attacks, verdict."""
    path = report_into(run, out)
    console.show(as_json, {"report": str(path)}, console.table("report", ("page",), [(path,)]))


def report_into(run: Path, out: Path | None = None) -> Path:
    """Write the page of a run and return its path."""
    from surefoot.study.run_report import render_report

    path = out or run / "report.html"
    write_file(path, render_report(run).encode())
    return path
