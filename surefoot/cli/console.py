"""What the user sees: results on standard output, progress and remarks on standard error."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table as Table

from surefoot.artifact import Json, to_json
from surefoot.certificate import proved_text

LINE_EVERY_S = 30.0
"""How often progress is a line where standard error is no terminal."""


def show(as_json: bool, result: Json, *tables: Table) -> None:
    """Print a result: the JSON object alone, or the tables."""
    if as_json:
        sys.stdout.write(to_json(result).decode())
        return
    console = Console(width=None if sys.stdout.isatty() else 110)
    for table in tables:
        console.print(table)


def remark(text: str) -> None:
    """Print one line for a person to standard error."""
    print(text, file=sys.stderr, flush=True)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """Return a table: the first column to the left, the others to the right."""
    made = Table(title=title, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        made.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        made.add_row(*(cell(entry) for entry in row))
    return made


def cell(value: object) -> str:
    """Return a table cell: four significant digits for floats, a dash for nothing."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    return str(value)


def proved(value: float | None, *, at_most: bool = True) -> str:
    """Return a cell of what is proved, see :func:`proved_text`; a dash for nothing."""
    return cell(None) if value is None else proved_text(value, at_most=at_most)


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """Show progress while the block runs; yields ``update(done, remarks)``.

    On a terminal it is a bar; elsewhere a line now and then.
    """
    if sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[remarks]}"),
        )
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task(description, total=total, remarks="")
            yield lambda done, remarks: progress.update(task, completed=done, remarks=remarks)
        return
    last_line = time.monotonic()

    def update(done: int, remarks: str) -> None:
        nonlocal last_line
        if done >= total or time.monotonic() - last_line > LINE_EVERY_S:
            remark(f"{description} {done}/{total} {remarks}")
            last_line = time.monotonic()

    yield update
