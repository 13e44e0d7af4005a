"""A description of a robot to start from: what the file of its controller says."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from surefoot.artifact import write_file
from surefoot.errors import InputError
from surefoot.onnx_file import ControllerFile, Description
from surefoot.output_path import check_new_file
from surefoot.policy import CategoricalHead, GaussianHead, Squash
from surefoot.robot import PURE, Robot
from surefoot.runtime.controller_file import load_controller_file
from surefoot.workflow.inspecting import sensor_names
from surefoot.workflow.listener import SILENCE, Listener

_ENTRY = re.compile(r"(.+)(?:\.|\[)([^.\[\]]+)\]?")
"""Name of a table, and of one of its entries, as ``sensor_names`` joins them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RobotDraft:
    """A description of a robot to start from.

    Attributes:
        path: Where it lies.
        robot: The robot.
    """

    path: Path
    robot: Robot


def init_robot(controller: Path, out: Path, *, listener: Listener = SILENCE) -> RobotDraft:
    """Write a description of a robot from the metadata and the graph of its controller.

    Args:
        controller: A run, policy folder, bundle or ``.onnx`` file.
        out: The description, a TOML file that is not there yet.
        listener: Is told where metadata and graph contradict each other.

    Raises:
        InputError: If ``out`` is there, or the controller makes choices, which no actuator takes.
    """
    check_new_file(out)
    file = load_controller_file(controller)
    if isinstance(file.policy.head, CategoricalHead):
        raise InputError("robot is for actuators, and this controller chooses among actions")
    description = Description.of(file.properties)
    text = "\n".join(_lines(file, file.policy.head, description, controller.name)) + "\n"
    robot = Robot.parse(text, str(out))
    robot.check_fits(file.policy)
    write_file(out, text.encode())
    for words in description.contradictions(file.policy):
        listener.remark(f"WARNING: {words}")
    return RobotDraft(path=out, robot=robot)


def _lines(
    file: ControllerFile, head: GaussianHead, description: Description, name: str
) -> Iterator[str]:
    yield f"# The robot of {name!a}, as far as its file describes it."
    yield "# No file says units: 1 stands for each. Set them, and add range, resolution, noise and"
    yield "# max_rate from the data sheet."
    yield ""
    rate_hz = description.rate_hz
    if rate_hz is not None and rate_hz > 0 and math.isfinite(1 / rate_hz):
        yield f"control_period_s = {1 / rate_hz!r}  # {rate_hz:g} Hz"
    else:
        yield "# control_period_s = ...  # the file says no rate that can be"
    yield from _sensors(file, description)
    yield from _actuators(head, description)


def _sensors(file: ControllerFile, description: Description) -> Iterator[str]:
    terms, tables = description.observation_names, sensor_tables(file, description)
    if terms and tables == [_as_one(file)]:
        yield ""
        yield f"# Its terms, in this order, of sizes that no file says: {', '.join(terms)!a}"
    for name, count, entries in tables:
        yield ""
        yield "[[sensor]]"
        yield f'name = "{name}"'
        if entries:
            yield f"entries = {_quoted(entries)}"
        elif count > 1:
            yield f"count = {count}"
        yield f'unit = "{PURE}"'


def _actuators(head: GaussianHead, description: Description) -> Iterator[str]:
    joints = [bare_name(name) for name in description.joint_names]
    count = len(head.centre)
    known = "" not in joints and len(set(joints)) == count == len(joints)
    for number, name in enumerate(joints if known else [f"action_{one}" for one in range(count)]):
        yield ""
        yield "[[actuator]]"
        yield f'name = "{name}"'
        yield f'unit = "{PURE}"'
        if head.squash is not Squash.IDENTITY:
            centre, reach = float(head.centre[number]), float(head.half_range[number])
            yield f"range = [{centre - reach!r}, {centre + reach!r}]  # of the graph"
        for what, said in (
            ("action_scale", description.action_scale),
            ("default position", description.default_positions),
        ):
            if len(said) in (1, count):
                yield f"# {what} {said[number if len(said) > 1 else 0]:g}, by the metadata"


def sensor_tables(
    file: ControllerFile, description: Description
) -> list[tuple[str, int, tuple[str, ...]]]:
    """Return name, count and entries of each table of sensors; one of all where names are unclear.

    Args:
        file: The controller.
        description: What its metadata say.
    """
    names = sensor_names(file.parts, description)
    tables = _tables([name for name in names if name is not None])
    if None in names or tables is None:
        return [_as_one(file)]
    return tables


def _as_one(file: ControllerFile) -> tuple[str, int, tuple[str, ...]]:
    """Return the one table of all sensors."""
    return bare_name(file.parts[0].name) or "sensor", file.policy.obs_dim, ()


def _tables(names: Sequence[str]) -> list[tuple[str, int, tuple[str, ...]]] | None:
    """Return name, count and entries of each table; None where one has no name of its own."""
    tables = []
    for table, group in groupby(map(table_and_entry, names), key=lambda parts: parts[0]):
        entries = tuple(bare_name(entry) for _, entry in group)
        numbered = entries == tuple(map(str, range(len(entries))))
        is_array = entries != ("",)
        tables.append(
            (bare_name(table), len(entries), entries if is_array and not numbered else ())
        )
    words = [name for name, _, _ in tables]
    unclear = any("" in entries or len(set(entries)) < len(entries) for _, _, entries in tables)
    return None if unclear or "" in words or len(set(words)) < len(words) else tables


def table_and_entry(name: str) -> tuple[str, str]:
    """Return the table and the entry of a sensor's name; no entry where it is no array's."""
    match = _ENTRY.fullmatch(name)
    return (name, "") if match is None else (match[1], match[2])


def bare_name(name: str) -> str:
    """Return a name of which budgets can speak without quotes."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")


def _quoted(entries: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{entry}"' for entry in entries) + "]"
