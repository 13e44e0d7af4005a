"""Tables as text: what a cell says, and how a table is drawn."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from surefoot.cli import standard_output

_WIDTH = 110
"""Columns of a table where standard output is no terminal."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table, whose first column is to the left and the others to the right.

    Attributes:
        title: Title above the table.
        columns: Heads of the columns.
        rows: Values, which :func:`cell` makes text of.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]

    def draw(self) -> str:
        """Return the table as lines of text.

        Nothing in it is markup: titles and cells hold paths and names that come from anywhere.
        """
        # Only who prints a table pays for the library that draws it.
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        drawn = RichTable(title=Text(plain(self.title), "bold"), title_justify="left")
        for number, column in enumerate(self.columns):
            drawn.add_column(
                Text(column), justify="left" if number == 0 else "right", overflow="fold"
            )
        for row in self.rows:
            drawn.add_row(*(Text(plain(cell(value))) for value in row))
        terminal = standard_output.is_terminal()
        # It asks the file for its encoding, to choose the characters of the lines.
        file = io.TextIOWrapper(io.BytesIO(), encoding=standard_output.encoding())
        console = Console(file=file, force_terminal=terminal, width=None if terminal else _WIDTH)
        with console.capture() as lines:
            console.print(drawn)
        return lines.get()


def cell(value: object) -> str:
    """Return the text of a value: four significant digits of a float, a dash for None."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    return str(value)


def proved(value: float | None, *, at_most: bool = True) -> str:
    """Return the text of what is proved, see :func:`proved_text`; a dash for None."""
    from surefoot.certificate import proved_text

    return cell(None) if value is None else proved_text(value, at_most=at_most)


def plain(text: str) -> str:
    """Return text without characters that a terminal obeys: they are written as escapes."""
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )
