"""Ranges of configured numbers, refused in one wording."""

import math

from surefoot.errors import InputError


def require_positive(config: object, *names: str) -> None:
    """Check that fields are positive and finite.

    Raises:
        InputError: If one is not.
    """
    for name in names:
        if not 0 < getattr(config, name) < math.inf:
            raise InputError(f"{name} must be positive and finite, got {getattr(config, name)}")


def require_at_least(config: object, least: int, *names: str) -> None:
    """Check that fields are finite and not below ``least``.

    Raises:
        InputError: If one is.
    """
    for name in names:
        if not getattr(config, name) >= least:
            raise InputError(f"{name} must be at least {least}, got {getattr(config, name)}")
        if getattr(config, name) == math.inf:
            raise InputError(f"{name} must be finite, got inf")


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
