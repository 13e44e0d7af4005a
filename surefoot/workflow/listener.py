"""Receives the progress of the work, and remarks for a person."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Update = Callable[[int, str], None]
"""Is told how many steps are done, and what a person should know at this point."""


class Listener(Protocol):
    """Whoever watches the work."""

    def remark(self, text: str) -> None:
        """Take one line for a person."""

    def progress(self, description: str, total: int) -> AbstractContextManager[Update]:
        """Watch ``total`` steps while the block runs."""


class Silence:
    """A listener that drops everything."""

    def remark(self, text: str) -> None:
        """Drop the line."""

    @contextmanager
    def progress(self, description: str, total: int) -> Iterator[Update]:
        """Drop every update."""
        yield lambda done, remarks: None


SILENCE = Silence()
