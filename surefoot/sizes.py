"""Sizes as users write them: a number in the unit that is meant, or one with its unit behind it."""

from collections.abc import Iterable

from surefoot.errors import InputError

Size = float | str
"""A number in the unit of the sensor, or a number with that unit behind it: "0.03 rad/s"."""


def amount(place: str, size: Size) -> tuple[float, str | None]:
    """Return a size and the unit with which it is written, None for none.

    Args:
        place: Key of the size, for the message.
        size: The size.

    Raises:
        InputError: If it is neither a number nor a number with a unit.
    """
    if not isinstance(size, str):
        return size, None
    number, _, unit = size.partition(" ")
    try:
        return float(number), unit.strip() or None
    except ValueError:
        raise InputError(f"{place} must be a number, or one with its unit, got {size!r}") from None


def in_unit(place: str, size: Size, units: Iterable[str]) -> float:
    """Return a size as a number in the unit of all sensors that it is about.

    Args:
        place: Key of the size, for the message.
        size: The size.
        units: Unit of each of the sensors.

    Raises:
        InputError: If it is no size, or written with another unit than one of theirs.
    """
    value, written = amount(place, size)
    for unit in units:
        if written is not None and written != unit:
            raise InputError(f"{place} must be in {unit}, as its sensor is, got {size!r}")
    return value
