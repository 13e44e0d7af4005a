"""Vectors of readings and actions in the names and units of a robot."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from surefoot.errors import did_you_mean
from surefoot.robot import UNSPOKEN, Part, Robot, entries_called

Kind = Literal["action", "sensor"]
"""Of which vector an entry is."""

_MOST_LISTED = 16
"""So many names an error lists; of more it names the nearest alone."""

Write = Callable[[float], str]
"""From a number to its text."""


def number_called(kind: Kind, name: str, robot: Robot) -> int:
    """Return the number of the one output or sensor that is called so.

    Raises:
        ValueError: If none is, or several are.
    """
    labels, called = _labels(kind, robot), numbers_called(kind, name, robot)
    if len(called) == 1:
        return called[0]
    if called:
        listed = ", ".join(labels[number] for number in called[:_MOST_LISTED])
        raise ValueError(f"{kind}[{name}] must name one of {listed}")
    listed = ", ".join(labels) if len(labels) <= _MOST_LISTED else f"{len(labels)} others"
    raise ValueError(f"{kind}[{name}]: the robot has {listed}{did_you_mean(name, labels)}")


def numbers_called(kind: Kind, name: str, robot: Robot) -> tuple[int, ...]:
    """Return the numbers of all outputs or sensors that a name means."""
    return entries_called(name, robot.actuators if kind == "action" else robot.sensors)


def entry_of(kind: Kind, number: int, robot: Robot) -> tuple[str, str]:
    """Return the name of an output or a sensor, and its unit.

    Of one that the robot has not, as what a controller remembers, it is the number, and no unit.
    A name that is a number would read as that of another entry, so that the own number is returned.
    """
    labels = _labels(kind, robot)
    if number >= len(labels):
        return str(number), ""
    label = labels[number]
    name = str(number) if label.lstrip("-").isdecimal() else label
    return name, _parts(kind, robot)[number].unit


def short(value: float) -> str:
    """Return a number to six digits."""
    return f"{value:.6g}"


def values_in_words(values: Sequence[float], robot: Robot | None, kind: Kind) -> str:
    """Return readings or actions by name, to six digits, with their units.

    Args:
        values: One for each entry.
        robot: The robot; None for numbers alone.
        kind: Which of the two they are.
    """
    return ", ".join(
        f"{_called(kind, number, robot)} {short(value)}{_unit(kind, number, robot)}"
        for number, value in enumerate(values)
    )


def intervals_in_words(
    low: Sequence[float], high: Sequence[float], robot: Robot, write: Write, *, units: bool = True
) -> str:
    """Return the intervals of all sensors by name; an array with one for all is said once.

    Args:
        low: Lower ends, one for each sensor of the robot.
        high: Upper ends.
        robot: The robot.
        write: How numbers are written.
        units: Whether the numbers are in the units of the sensors.
    """
    ends = [f"[{write(least)}, {write(most)}]" for least, most in zip(low, high, strict=True)]
    said = [
        f"{name} in {interval}{_behind(sensor.unit) if units else ''}"
        for sensor, own in _by_table(robot.sensors, ends)
        for name, interval in _named(sensor, own)
    ]
    return ", ".join(said)


def _parts(kind: Kind, robot: Robot) -> tuple[Part, ...]:
    return robot.each_actuator if kind == "action" else robot.each_sensor


def _labels(kind: Kind, robot: Robot) -> tuple[str, ...]:
    return robot.actuator_labels if kind == "action" else robot.sensor_labels


def _called(kind: Kind, number: int, robot: Robot | None) -> str:
    if robot is None or number >= len(_labels(kind, robot)):
        return f"{kind}[{number}]"
    return entry_of(kind, number, robot)[0]


def _unit(kind: Kind, number: int, robot: Robot | None) -> str:
    return "" if robot is None else _behind(entry_of(kind, number, robot)[1])


def _behind(unit: str) -> str:
    """Return a unit as it stands behind a number."""
    return "" if unit in UNSPOKEN else f" {unit}"


def _by_table(parts: Sequence[Part], ends: Sequence[str]) -> Iterator[tuple[Part, Sequence[str]]]:
    start = 0
    for part in parts:
        count = len(part.labels)
        yield part, ends[start : start + count]
        start += count


def _named(part: Part, ends: Sequence[str]) -> Iterator[tuple[str, str]]:
    if len(set(ends)) == 1:
        yield part.name, ends[0]
    else:
        yield from zip(part.labels, ends, strict=True)
