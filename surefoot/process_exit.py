"""How this process ends is decided by surefoot: what ends it from a user's code raises instead.

``os._exit`` would skip every handler, and its code, 0 as a rule, would stand for work that was not
done; ``os.execv`` would put another program, and its code, in the place of surefoot. What ends a
process by a signal shows in its exit code and is left alone.
"""

import os
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import NoReturn, Protocol


class Ending(Protocol):
    """``os._exit`` and the like, or what stands in its place."""

    def __call__(self, *given: object, **named: object) -> NoReturn:
        """End the process, or the program in it."""


Endings = Mapping[tuple[ModuleType, str], Ending]
"""What ends a process, by where it is found."""

_NAMES = ("_exit", "execv", "execve")
"""The others of ``os`` (``execl``, ``execvp``, ...) call these."""

_PLACES = tuple((module, name) for module in (os, import_module(os.name)) for name in _NAMES)


def _endings() -> Endings:
    return {(module, name): getattr(module, name) for module, name in _PLACES}


_ENDINGS = _endings()


def end_with(code: int) -> NoReturn:
    """End the program with an exit code; ``sys.exit`` may be a user's by now.

    Raises:
        SystemExit: Always.
    """
    raise SystemExit(code)


def refuse_exit() -> Endings:
    """Let whatever ends this process without its handlers raise from now on.

    Processes that are forked from it end as before; ``multiprocessing`` ends its own in this way.

    Returns:
        What it was, for `restore_exit`.
    """
    before = _endings()
    for (module, name), ending in _ENDINGS.items():
        setattr(module, name, _refusal(f"{module.__name__}.{name}", ending))
    return before


def restore_exit(before: Endings) -> None:
    """Let everything be what it was."""
    for (module, name), ending in before.items():
        setattr(module, name, ending)


def _refusal(name: str, ending: Ending) -> Ending:
    process = os.getpid()

    def refuse(*given: object, **named: object) -> NoReturn:
        if os.getpid() != process:
            ending(*given, **named)
        first = next(iter((*given, *named.values())), "")
        raise RuntimeError(f"{name}({first!r}) must not end surefoot")

    return refuse
