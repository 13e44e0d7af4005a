"""``pipeline report``: one HTML page about a run."""

from pathlib import Path
from typing import Annotated

import typer

from surefoot.cli.console import show
from surefoot.cli.options import AsJson
from surefoot.cli.tables import Table


def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[
        Path | None, typer.Option(help="Page to write; default: RUN/report.html.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write one page: learning curve, deviations, attacks, verdict."""
    from surefoot.workflow.reporting import write_report

    page = write_report(run, out)
    show(as_json, {"report": str(page)}, Table("report", ("page",), [(page,)]))
