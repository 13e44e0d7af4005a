"""What the user sees: results on standard output, progress and remarks on standard error."""

import contextlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from surefoot.artifact import Json
from surefoot.cli import standard_output
from surefoot.cli.tables import Table, plain

if TYPE_CHECKING:
    from surefoot.workflow.listener import Update

_LINE_EVERY_S = 30.0
"""How often progress is a line where standard error is no terminal."""


def show(as_json: bool, result: Json, *tables: Table, text: str = "") -> None:
    """Print a result: the JSON object alone, or the tables and the text below them."""
    drawn = _json_text(result) if as_json else "".join(table.draw() for table in tables) + text
    standard_output.write_result(drawn)


def _json_text(result: Json) -> str:
    """Return JSON of characters that standard output has; others are escaped."""
    text = json.dumps(result, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    try:
        text.encode(standard_output.encoding())
    except UnicodeEncodeError:
        text = json.dumps(result, indent=2, sort_keys=True, allow_nan=False)
    return f"{text}\n"


class Console:
    """The listener of the command line."""

    def remark(self, text: str) -> None:
        """Print one line to standard error."""
        # A reader who has gone away ends no training of hours.
        with contextlib.suppress(OSError):
            standard_output.write_message(plain(text))

    @contextmanager
    def progress(self, description: str, total: int) -> Iterator["Update"]:
        """Show progress while the block runs: a bar on a terminal, else a line now and then."""
        shown = self._bar if standard_output.messages().isatty() else self._lines
        with shown(plain(description), total) as update:
            yield update

    @contextmanager
    def _bar(self, description: str, total: int) -> Iterator["Update"]:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[remarks]}", markup=False),
        )
        console = RichConsole(file=standard_output.messages())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(description, total=total, remarks="")
            yield lambda done, remarks: progress.update(
                task, completed=done, remarks=plain(remarks)
            )

    @contextmanager
    def _lines(self, description: str, total: int) -> Iterator["Update"]:
        last_line = time.monotonic()

        def update(done: int, remarks: str) -> None:
            nonlocal last_line
            if done >= total or time.monotonic() - last_line > _LINE_EVERY_S:
                self.remark(f"{description} {done}/{total} {remarks}")
                last_line = time.monotonic()

        yield update


CONSOLE = Console()
