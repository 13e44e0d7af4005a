"""A description of a robot and the metadata of its controller's file: what each adds, and denies.

What ``robot.toml`` leaves open is filled in from the metadata, as lines of its text that say so, so
that whoever reads the description later needs no metadata.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence

from surefoot.errors import InputError
from surefoot.onnx_file import ControllerFile, Description
from surefoot.policy import CategoricalHead
from surefoot.robot import BY_METADATA, NOT_SAID, Part, Robot
from surefoot.workflow.inspecting import sensor_names
from surefoot.workflow.robot_draft import bare_name, sensor_tables, table_and_entry

_COUNT = re.compile(r"(\s*)count\s*=\s*\d+\s*(#.*)?")


def completed(robot: Robot, file: ControllerFile) -> Robot:
    """Return a robot with the control period and the names of entries that its file says.

    Args:
        robot: The robot as its user describes it.
        file: Its controller.
    """
    description = Description.of(file.properties)
    rate_hz = description.rate_hz
    if robot.control_period_s is None and rate_hz and 0 < 1 / rate_hz < math.inf:
        # Keys of the file itself stand before its tables.
        robot = Robot.parse(f"control_period_s = {1 / rate_hz!r}  {BY_METADATA}\n{robot.text}")
    robot = _with_entries(robot, "sensor", sensor_names(file.parts, description))
    return _with_entries(robot, "actuator", description.joint_names)


def robot_of_metadata(file: ControllerFile) -> Robot | None:
    """Return the robot that the file of a controller names, in units that nobody says.

    It is None where the file does not name each joint, or the controller makes choices.
    """
    policy, description = file.policy, Description.of(file.properties)
    joints = [bare_name(name) for name in description.joint_names]
    if isinstance(policy.head, CategoricalHead) or len(joints) != policy.num_outputs:
        return None
    lines = [f"# names of sensors and actuators  {BY_METADATA}"]
    for name, count, entries in sensor_tables(file, description):
        own = f"entries = {json.dumps(entries)}" if entries else f"count = {count}"
        lines += ["", "[[sensor]]", f'name = "{name}"', own, f'unit = "{NOT_SAID}"']
    for name in joints:
        lines += ["", "[[actuator]]", f'name = "{name}"', f'unit = "{NOT_SAID}"']
    try:
        robot = Robot.parse("\n".join(lines) + "\n")
        robot.check_fits(policy)
    except InputError:  # names that are no words, one twice, or a memory
        return None
    return completed(robot, file)


def contradictions(file: ControllerFile, robot: Robot) -> tuple[str, ...]:
    """List what the metadata of a file say otherwise than its graph, or than a robot.

    Args:
        file: The controller.
        robot: The robot as its user describes it.
    """
    description = Description.of(file.properties)
    return description.contradictions(file.policy) + description.other_words(robot)


def _with_entries(robot: Robot, kind: str, names: Sequence[str | None]) -> Robot:
    """Return a robot whose arrays have the names of their entries.

    Args:
        robot: The robot.
        kind: ``sensor`` or ``actuator``.
        names: Name of each entry of the vector; none of another number of them is used.
    """
    parts: Sequence[Part] = robot.sensors if kind == "sensor" else robot.actuators
    if len(names) != sum(len(part.labels) for part in parts):
        return robot
    for table, entries in _unnamed(parts, names):
        text = _replaced(robot.text, kind, table, entries)
        try:
            named = Robot.parse(text)
        except InputError:  # names that are no words, or one twice
            continue
        # The text is edited line by line: what came of it must be what was meant.
        told = named.sensors if kind == "sensor" else named.actuators
        robot = named if told[table].entries == entries else robot
    return robot


def _unnamed(
    parts: Sequence[Part], names: Sequence[str | None]
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield the number of each array without names of its own, and those that the file has."""
    start = 0
    for table, part in enumerate(parts):
        own = names[start : start + len(part.labels)]
        start += len(own)
        if part.entries is None and part.count > 1:
            ends = [table_and_entry(name or "") for name in own]
            yield table, tuple(bare_name(entry or name) for name, entry in ends)


def _replaced(text: str, kind: str, table: int, entries: Sequence[str]) -> str:
    """Return a description with the names of entries in the place of their number."""
    lines, seen, is_there = text.splitlines(keepends=True), -1, False
    for number, line in enumerate(lines):
        if line.lstrip().startswith("["):
            is_there = line.replace(" ", "").startswith(f"[[{kind}]]")
            seen += is_there
        match = _COUNT.fullmatch(line.rstrip("\r\n"))
        if is_there and seen == table and match is not None:
            ending = line[len(line.rstrip("\r\n")) :]
            lines[number] = (
                f"{match[1]}entries = {json.dumps(list(entries))}  {BY_METADATA}{ending}"
            )
    return "".join(lines)
