"""A listener of the workflow that keeps what it is told."""

from collections.abc import Iterator
from contextlib import contextmanager

from surefoot.workflow.listener import Update


class Heard:
    """What was told: remarks, and the progress of each piece of work by its description."""

    def __init__(self) -> None:
        self.remarks: list[str] = []
        self.steps: dict[str, list[int]] = {}
        self.totals: dict[str, int] = {}

    def remark(self, text: str) -> None:
        """Keep the line."""
        self.remarks.append(text)

    @contextmanager
    def progress(self, description: str, total: int) -> Iterator[Update]:
        """Keep the steps."""
        self.totals[description] = total
        steps = self.steps.setdefault(description, [])
        yield lambda done, remarks: steps.append(done)
