"""How this process ends is decided by surefoot: what ends it from a user's code raises instead.

``os._exit`` would skip every handler, and its code, 0 as a rule, would stand for work that was not
done; ``os.execv`` would put another program, and its code, in the place of surefoot. A library in C
that calls ``exit`` cannot be kept from it: the process ends, but as a failure. What ends a process
by a signal shows in its exit code and is left alone.
"""

import atexit
import ctypes
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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

_FAILED = 3
"""Exit code of a program that code in C ended."""

_STANDARD_ERROR = 2

Where = Callable[[], str]
"""Says where code runs, in the words that a message begins with."""

_code_of: list[Where] = [lambda: "surefoot"]
"""In whose code the process is: one entry, in the place of which `enter_code` puts another."""

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


def enter_code(where: Where) -> Where:
    """Say in whose code the process is from now on; return in whose it was."""
    before, _code_of[0] = _code_of[0], where
    return before


@contextmanager
def failing_exit_of_c() -> Iterator[None]:
    """End the program as a failure, in one line, if ``exit`` of C ends it within the block.

    ``Py_Exit`` ends it too, after the ``atexit`` handlers of Python.

    Reference:
        Itanium C++ ABI, section 3.3.6: functions that are called when a program ends.
    """
    process, end = os.getpid(), _ENDINGS[os, "_exit"]

    def fail(_: object = None) -> None:
        if os.getpid() == process:
            line = f"error: {_code_of[0]()}: code in C ended the process\n"
            os.write(_STANDARD_ERROR, line.encode(errors="replace"))
            end(_FAILED)

    with _at_exit_of_c(fail):
        atexit.register(fail)
        try:
            yield
        finally:
            atexit.unregister(fail)


@contextmanager
def _at_exit_of_c(call: Callable[[object], None]) -> Iterator[None]:
    """Let ``exit`` of C call a function within the block, and not beyond it."""
    c = ctypes.CDLL(None)
    is_within = True
    mark = ctypes.c_int()  # its address tells what is registered here from all else

    def called(given: object) -> None:
        if is_within:
            call(given)

    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(called)
    c.__cxa_atexit(function, None, ctypes.byref(mark))
    try:
        yield
    finally:
        is_within = False
        c.__cxa_finalize(ctypes.byref(mark))  # calls it once more, and forgets it


def _refusal(name: str, ending: Ending) -> Ending:
    process = os.getpid()

    def refuse(*given: object, **named: object) -> NoReturn:
        if os.getpid() != process:
            ending(*given, **named)
        first = next(iter((*given, *named.values())), "")
        raise RuntimeError(f"{name}({first!r}) must not end surefoot")

    return refuse
