"""Flags that would have no effect are refused, by the names that the user typed."""

from surefoot.errors import InputError


def given(**flags: object) -> dict[str, object]:
    """Return the flags that were given: neither None nor False."""
    return {name: value for name, value in flags.items() if not _is_left_out(value)}


def refuse_idle(where: str, **flags: object) -> None:
    """Check that no flag was given that has no effect.

    Args:
        where: When they have none, and perhaps what to give.
        flags: The flags by parameter name; None or False for one that was not given.

    Raises:
        InputError: If one was given.
    """
    idle = [f"--{name.replace('_', '-')}" for name in given(**flags)]
    if idle:
        raise InputError(
            f"{' and '.join(idle)} {'has' if len(idle) == 1 else 'have'} no effect {where}"
        )


def _is_left_out(value: object) -> bool:
    return value is None or value is False
