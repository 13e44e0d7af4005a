"""``pipeline study``: the cells of a grid, and what they say about the claims."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surefoot.cli.console import CONSOLE, show
from surefoot.cli.libraries import load_simulation
from surefoot.cli.options import AsJson
from surefoot.cli.tables import Table
from surefoot.errors import CheckError
from surefoot.process_exit import end_with

if TYPE_CHECKING:
    from surefoot.workflow.study_plan import StudyPlan


def study(
    grid: Annotated[Path, typer.Argument(help="A grid file: arms, seeds and claims.")],
    out: Annotated[Path, typer.Option(help="Folder of the study; one that was begun goes on.")],
    jobs: Annotated[int, typer.Option(help="Cells side by side, each on one core.")] = 1,
    shard: Annotated[
        str | None, typer.Option(help="i/n: the i-th of n parts, on machines that share --out.")
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Shell pattern of the cells, arm/seed: 'magnitude-*'.")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(help="host:port of a Ray cluster that makes the cells, or auto."),
    ] = None,
    mlflow: Annotated[
        str | None,
        typer.Option(help="MLflow tracking store that shows the cells, too: sqlite:///mlflow.db."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the cells and what they cost; make none.")
    ] = False,
    redraw: Annotated[
        bool,
        typer.Option("--redraw", help="Write the tables of the cells that any code made."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train, certify and attack every cell of a grid, and decide its claims."""
    load_simulation()
    from surefoot.workflow.studying import Shard, redraw_study, run_study

    part = Shard() if shard is None else Shard.parse(shard)
    if dry_run:
        from surefoot.workflow.study_plan import plan_study

        plan = plan_study(grid, out, jobs=jobs, shard=part, only=only)
        show(as_json, plan.to_table(), *_plan_tables(plan))
        return
    if redraw:
        summary = redraw_study(grid, out)
    else:
        summary = run_study(
            grid,
            out,
            jobs=jobs,
            shard=part,
            only=only,
            ray=ray,
            mlflow=mlflow,
            listener=CONSOLE,
        )
    rows: list[tuple[str, object]] = [
        ("cells done", summary.done),
        ("cells left", summary.left),
        *((f"FAILED {name}", error) for name, error in summary.failed.items()),
        ("stored cells of other code or settings, unused", summary.stale),
        *((f"claim {name}", decision) for name, decision in summary.claims.items()),
    ]
    show(as_json, summary.to_table(), Table(f"study {out}", ("what", "value"), rows))
    end_with(CheckError.exit_code if summary.failed else 0)


def _plan_tables(plan: "StudyPlan") -> tuple[Table, Table]:
    cells = [(cell.name, cell.purpose, cell.state, cell.digest[:12]) for cell in plan.cells]
    hours = "unknown until a cell is done" if plan.core_hours is None else plan.core_hours
    rows: list[tuple[str, object]] = [
        ("cells to make", plan.num_to_make),
        ("core-hours", hours),
        ("stored cells of other code or settings, unused", plan.stale),
        *(
            (f"effect seen if agents spread by {spread}", f"{effect:.0%}")
            for spread, effect in plan.effects.items()
        ),
    ]
    return (
        Table("cells", ("cell", "seed for", "state", "digest"), cells),
        Table("cost", ("what", "value"), rows),
    )
