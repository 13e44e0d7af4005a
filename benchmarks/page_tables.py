"""Tables of a page that stand between two lines, ``<!-- NAME -->`` and ``<!-- end of NAME -->``."""

import re
from collections.abc import Sequence
from pathlib import Path


def replace_table(page: Path, name: str, text: str) -> None:
    """Put a text between the two lines of a name; nothing else of the page is touched.

    Raises:
        SystemExit: If the page has not one place for it.
    """
    before = page.read_text(encoding="utf-8")
    pattern = rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)"
    after, found = re.subn(
        pattern, lambda match: f"{match[1]}\n{text}\n\n{match[2]}", before, flags=re.DOTALL
    )
    if found != 1:
        raise SystemExit(f"{page} must have one place for {name}, has {found}")
    page.write_text(after, encoding="utf-8")


def table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
