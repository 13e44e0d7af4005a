"""Ranges of configured numbers, refused in one wording."""

import math

import numpy as np

from surefoot.errors import InputError

_LARGEST = float(np.finfo(np.float32).max)
"""Whatever is configured is computed with in float32."""

_MOST = 10**12

MOST_AT_ONCE = 10**6
"""Largest number of what is held in memory together."""

MOST_THREADS = 1024


def require_positive(config: object, *names: str) -> None:
    """Check that fields are positive and finite, in float32 too.

    Raises:
        InputError: If one is not.
    """
    for name in names:
        if not 0 < (value := getattr(config, name)) < math.inf:
            raise InputError(f"{name} must be positive and finite, got {value}")
        _require_at_most(_LARGEST, name, value)


def require_at_least(config: object, least: int, *names: str, most: int | None = None) -> None:
    """Check that fields are not below ``least``, and small enough to be computed with.

    Args:
        config: Object that has the fields.
        least: Smallest value.
        names: Names of the fields.
        most: Largest value; if not given, that of float32 for a float, 10^12 for an integer.

    Raises:
        InputError: If one is out of this range.
    """
    for name in names:
        value = getattr(config, name)
        if not value >= least:
            raise InputError(f"{name} must be at least {least}, got {value}")
        if value == math.inf:
            raise InputError(f"{name} must be finite, got inf")
        _require_at_most(most or (_LARGEST if isinstance(value, float) else _MOST), name, value)


def _require_at_most(most: float, name: str, value: float) -> None:
    if value > most:
        raise InputError(f"{name} must be at most {most:.9g}, got {value}")


def require_fraction(config: object, *names: str) -> None:
    """Check that fields are in (0, 1].

    Raises:
        InputError: If one is not.
    """
    for name in names:
        if not 0 < getattr(config, name) <= 1:
            raise InputError(f"{name} must be in (0, 1], got {getattr(config, name)}")


def require_order(config: object, start: str, end: str) -> None:
    """Check that the share ``start`` lies before the share ``end``, which is at most 1.

    Raises:
        InputError: If it does not.
    """
    low, high = getattr(config, start), getattr(config, end)
    if not low < high <= 1:
        raise InputError(f"{end} must be in ({start}, 1], got {start} {low}, {end} {high}")
