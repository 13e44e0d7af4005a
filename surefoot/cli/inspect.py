"""``pipeline inspect``: what a controller is, sensor by sensor and output by output."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surefoot.cli.console import show
from surefoot.cli.options import AsJson, Discrete, OutputName
from surefoot.cli.robot_tables import tables_of
from surefoot.cli.tables import Table, cell

if TYPE_CHECKING:
    from surefoot.onnx_file import Description
    from surefoot.workflow.inspecting import Inspection


def inspect(
    controller: Annotated[Path, typer.Argument(help="A run, policy folder, bundle or .onnx file.")],
    output: OutputName = None,
    discrete: Discrete = False,
    epsilon: Annotated[
        float, typer.Option(help="Perturbation to show in the unit of each sensor.")
    ] = 0.05,
    as_json: AsJson = False,
) -> None:
    """Show the sensors and outputs of a controller, what is known about it and what is not."""
    from surefoot.config import to_table
    from surefoot.workflow.inspecting import inspect_controller

    inspection = inspect_controller(controller, output=output, discrete=discrete, epsilon=epsilon)
    show(
        as_json, to_table(inspection, nulls=True) | {"path": str(controller)}, *rows_of(inspection)
    )


def rows_of(inspection: "Inspection") -> list[Table]:
    """Return the description of a controller as tables."""
    return [
        _summary(inspection),
        _sensors(inspection),
        _outputs(inspection),
        *tables_of(inspection.description, inspection.description.others, len(inspection.outputs)),
    ]


def _summary(inspection: "Inspection") -> Table:
    rows = [
        ("kind", inspection.kind),
        ("network", inspection.network),
        ("environment", inspection.env_id),
        ("visited states", inspection.visited_states),
        ("recorded states", inspection.recorded_states),
        ("noise", "known" if inspection.knows_noise else None),
        *_said_by_metadata(inspection.description),
        ("onnx_sha256", inspection.onnx_sha256),
        ("weights_sha256", inspection.weights_sha256),
        *(("read as", words) for words in inspection.understood),
        *(("not known", words) for words in inspection.unknown),
    ]
    return Table(f"{inspection.path}", ("what", "value"), rows)


def _said_by_metadata(description: "Description") -> list[tuple[str, str]]:
    lists = {
        "observation terms": description.observation_names,
        "history lengths": description.history_lengths,
        "scales of the terms": description.term_scales,
        "clips of the terms": description.term_clips,
        "commands": description.command_names,
        "control rate, Hz": () if description.rate_hz is None else (description.rate_hz,),
    }
    return [(name, ", ".join(map(cell, entries))) for name, entries in lists.items() if entries]


def _sensors(inspection: "Inspection") -> Table:
    rows = [
        (
            sensor.number,
            sensor.name,
            sensor.unit,
            sensor.mean,
            sensor.scale,
            sensor.clip,
            sensor.epsilon,
            ", ".join(sensor.flags),
        )
        for sensor in inspection.sensors
    ]
    head = (
        "number",
        "name",
        "unit",
        "mean",
        "scale",
        "clip",
        f"epsilon {inspection.epsilon:g} is",
        "note",
    )
    return Table("sensors, in their own units; the clip in normalised ones", head, rows)


def _outputs(inspection: "Inspection") -> Table:
    rows = [
        (
            output.number,
            output.name,
            output.unit,
            output.low,
            output.high,
            output.scale,
            output.squash,
        )
        for output in inspection.outputs
    ]
    are_choices = all(output.squash is None for output in inspection.outputs)
    title = "choices, by their logits" if are_choices else "actuators, in action units"
    return Table(title, ("number", "name", "unit", "low", "high", "scale", "squash"), rows)
