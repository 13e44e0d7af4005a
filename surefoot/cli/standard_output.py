"""Standard output, which holds results alone: whatever else prints, prints to standard error.

Both are written through streams of surefoot's own, so that code of a user neither closes them nor
silences them by a ``print`` of its own.
"""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from surefoot.streams import STANDARD_ERROR, STANDARD_OUTPUT, opened, stream_to

_results: TextIO | None = None
_messages: TextIO | None = None


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


def write_message(text: str) -> None:
    """Write a line to standard error.

    Raises:
        OSError: If its reader has gone away.
    """
    stream = messages()
    stream.write(f"{text}\n")
    stream.flush()


def messages() -> TextIO:
    """Return the stream of messages and progress."""
    return _messages or opened(sys.stderr)


def format_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """Return a warning in one line; ``warnings.formatwarning`` may be a user's."""
    del category, filename, lineno, line
    return f"warning: {message}\n"


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
    global _results, _messages
    if _results is not None:
        yield
    elif sys.stdout is sys.__stdout__:
        _messages = stream_to(STANDARD_ERROR, messages().encoding or "utf-8")
        _results, sys.stdout = _take_descriptor(), stream_to(STANDARD_ERROR)
        warnings.showwarning = _show_warning
        try:
            yield
        finally:  # what Python flushes at its end must be open
            sys.stdout, sys.stderr = opened(sys.stdout), opened(sys.stderr)
    else:  # somebody reads along within the process
        _results = sys.stdout
        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield
        finally:
            _results = None


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    text = format_warning(message, category, filename, lineno, line)
    with contextlib.suppress(OSError):  # a warning that nobody reads ends no work
        (file or messages()).write(text)


def _take_descriptor() -> TextIO:
    """Return a stream to where standard output goes, and lead its descriptor to standard error."""
    results = stream_to(STANDARD_OUTPUT, sys.stdout.encoding)
    if not isinstance(results, io.StringIO):
        sys.stdout.flush()
        os.dup2(STANDARD_ERROR, STANDARD_OUTPUT)
    return results
