"""What the metadata of a file say about the robot, as JSON and as tables."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from surefoot.artifact import Json
from surefoot.cli.tables import Table

if TYPE_CHECKING:
    from surefoot.onnx_file import Description

_LONGEST = 240
"""Characters of a text in a cell."""


def json_of(description: "Description", properties: Mapping[str, str]) -> dict[str, Json]:
    """Return the JSON object that ``--json`` prints: the description, and every text unchanged."""
    from surefoot.config import to_table

    return {**to_table(description, nulls=True), "metadata": dict(properties)}


def tables_of(
    description: "Description", properties: Mapping[str, str], num_outputs: int
) -> list[Table]:
    """Return a table of the joints, and one of all metadata; none where the file has none."""
    return [*_joints(description, num_outputs), *_metadata(properties)]


def _joints(description: "Description", num_outputs: int) -> list[Table]:
    columns = {
        "joint": description.joint_names,
        "action scale": description.action_scale * (num_outputs if _is_one(description) else 1),
        "default position": description.default_positions,
        "stiffness": description.stiffness,
        "damping": description.damping,
    }
    known = {name: values for name, values in columns.items() if values}
    if not known:
        return []
    rows = [
        (number, *(values[number] if number < len(values) else None for values in known.values()))
        for number in range(max(map(len, known.values())))
    ]
    return [Table("joints, as the metadata say", ("number", *known), rows)]


def _is_one(description: "Description") -> bool:
    return len(description.action_scale) == 1


def _metadata(properties: Mapping[str, str]) -> list[Table]:
    rows = [(key, _shortened(text)) for key, text in sorted(properties.items())]
    return [Table("metadata, carried over as they are", ("key", "text"), rows)] if rows else []


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
