"""``pipeline budget``: budgets are written by people; this starts one."""

from pathlib import Path
from typing import Annotated

import typer

from surefoot.cli.console import CONSOLE, show
from surefoot.cli.options import AsJson, RobotFile
from surefoot.cli.tables import Table


def init(
    controller: Annotated[Path, typer.Argument(help="A run, policy folder, bundle or .onnx file.")],
    robot: RobotFile = None,
    out: Annotated[
        Path, typer.Option(help="Budget to write; a file that is not there yet.")
    ] = Path("budget.toml"),
    as_json: AsJson = False,
) -> None:
    """Write a commented budget from the data sheet of a robot."""
    from surefoot.workflow.budget_draft import init_budget

    draft = init_budget(controller, out, robot=robot, listener=CONSOLE)
    lines = [need.describe() for need in draft.budget.requirements]
    result = {"budget": str(draft.path), "requirements": lines, "warnings": list(draft.warnings)}
    rows = [(number, line) for number, line in enumerate(lines)]
    show(as_json, result, Table(f"budget {draft.path}", ("number", "requirement"), rows))
