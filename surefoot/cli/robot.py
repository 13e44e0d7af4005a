"""``pipeline robot``: a description of the robot is written by people; this starts one."""

from pathlib import Path
from typing import Annotated

import typer

from surefoot.cli.console import CONSOLE, show
from surefoot.cli.options import AsJson
from surefoot.cli.tables import Table


def robot(
    controller: Annotated[Path, typer.Argument(help="A run, policy folder, bundle or .onnx file.")],
    out: Annotated[
        Path, typer.Option(help="Description to write; a file that is not there yet.")
    ] = Path("robot.toml"),
    as_json: AsJson = False,
) -> None:
    """Write a robot.toml from what the file of a controller says of its robot."""
    from surefoot.workflow.robot_draft import init_robot

    draft = init_robot(controller, out, listener=CONSOLE)
    labels = {"sensor": draft.robot.sensor_labels, "actuator": draft.robot.actuator_labels}
    result = {"robot": str(draft.path), **{f"{what}s": list(all_) for what, all_ in labels.items()}}
    rows = [(what, name) for what, names in labels.items() for name in names]
    show(as_json, result, Table(f"robot {draft.path}", ("what", "name"), rows))
