"""Standard output, which holds results alone: whatever else prints, prints to standard error."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_OUT, _ERR = 1, 2
"""File descriptors of the standard streams."""

_results: TextIO | None = None


def write_result(text: str) -> None:
    """Write to standard output; a reader that has gone away (``| head``) changes nothing else."""
    global _results
    stream = _results or sys.stdout
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        with contextlib.suppress(BrokenPipeError):
            stream.close()
        _results = io.StringIO()  # nobody reads what else there is to say


def encoding() -> str:
    """Return the encoding of standard output."""
    return (_results or sys.stdout).encoding or "utf-8"


def is_terminal() -> bool:
    """Return True if results go to a terminal."""
    return (_results or sys.stdout).isatty()


@contextmanager
def owned() -> Iterator[None]:
    """Keep standard output for results while the block runs.

    A user's environment, its libraries, and processes that they start print to standard error. In
    a process of our own that stays so to its end, because they may still print when it exits.
    """
    global _results
    if _results is not None:
        yield
    elif sys.stdout is sys.__stdout__:
        _results, sys.stdout = _take_descriptor(), sys.stderr
        yield
    else:  # somebody reads along within the process
        _results = sys.stdout
        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield
        finally:
            _results = None


def _take_descriptor() -> TextIO:
    """Return a stream to where standard output goes, and lead its descriptor to standard error."""
    try:
        copy = os.dup(_OUT)
    except OSError:  # it was closed by whoever started this process
        return io.StringIO()
    sys.stdout.flush()
    os.dup2(_ERR, _OUT)
    return os.fdopen(copy, "w", encoding=sys.stdout.encoding, errors="backslashreplace")
