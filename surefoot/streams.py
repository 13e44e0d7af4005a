"""Streams of text to where a process writes, which nobody else can close, detach or replace.

Code of a user often wraps ``sys.stdout`` for another encoding: ``sys.stdout.detach()`` leaves a
stream that raises whatever is written to it, and ends a process that has succeeded with code 120.
"""

import io
import os
from typing import TextIO

STANDARD_OUTPUT, STANDARD_ERROR = 1, 2
"""File descriptors."""


def stream_to(descriptor: int, encoding: str = "utf-8") -> TextIO:
    """Return a stream of its own to where a descriptor leads; one into nothing if it is closed."""
    try:
        copy = os.dup(descriptor)
    except OSError:  # closed by whoever started this process, or by code of a user
        return io.StringIO()
    return os.fdopen(copy, "w", buffering=1, encoding=encoding, errors="backslashreplace")


def is_open(stream: TextIO | None) -> bool:
    """Return True if a stream takes what is written to it."""
    try:
        return stream is not None and not stream.closed
    except ValueError:  # as one that was detached says
        return False


def opened(stream: TextIO | None) -> TextIO:
    """Return a stream, or one to standard error in the place of one that is not open."""
    return stream if stream is not None and is_open(stream) else stream_to(STANDARD_ERROR)
