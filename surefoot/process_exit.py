"""How this process ends is decided by surefoot: ``os._exit`` of a user's code raises instead.

It would skip every handler, and its code, 0 as a rule, would stand for work that was not done.
"""

import os
from typing import NoReturn, Protocol


class Exit(Protocol):
    """``os._exit``, or what stands in its place."""

    def __call__(self, status: int) -> NoReturn:
        """End the process with a code."""


_EXIT: Exit = os._exit


def refuse_exit() -> Exit:
    """Let ``os._exit`` raise in this process from now on.

    Processes that are forked from it end as before; ``multiprocessing`` ends its own in this way.

    Returns:
        What it was, for `restore_exit`.
    """
    before, process = os._exit, os.getpid()

    def refuse(status: int) -> NoReturn:
        if os.getpid() != process:
            _EXIT(status)
        raise RuntimeError(f"os._exit({status!r}) must not end surefoot")

    os._exit = refuse
    return before


def restore_exit(before: Exit) -> None:
    """Let ``os._exit`` be what it was."""
    os._exit = before
