"""The elements of a report: an HTML page that holds everything itself, to be mailed and archived.

Whatever is put into an element is text: it is escaped here.
"""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from surefoot.artifact import read_file

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2530; margin: 2rem auto; max-width: 60rem;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #dde1e6;
         vertical-align: top; overflow-wrap: break-word; }
td.number, th.number { text-align: right; white-space: nowrap; }
.verdict { padding: .8rem 1rem; border-radius: .4rem; color: white; }
.verdict strong { display: block; }
.PROVED { background: #2f7d4f; } .REFUTED { background: #b3261e; } .UNKNOWN { background: #8a6d1d; }
.quiet { color: #67707c; }
figure { margin: 1rem 0; } svg, img, video { max-width: 100%; height: auto; display: block; }
"""
_PIXELS = 640
"""Width of a picture that does not say another."""


def page(title: str, heading: str, sections: Sequence[str]) -> str:
    """Return a whole page of sections, which are HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="generator" content="surefoot">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escape(heading)}</h1>\n" + "\n".join(sections) + "\n</body></html>\n"
    )


def section(heading: str, *elements: str) -> str:
    """Return elements under a heading; nothing without elements."""
    return f"<h2>{escape(heading)}</h2>" + "".join(elements) if any(elements) else ""


def banner(kind: str, headline: str, words: str) -> str:
    """Return the box at the head of a page; ``kind`` is a verdict, which gives its colour."""
    return (
        f'<p class="verdict {escape(kind)}"><strong>{escape(headline)}</strong> {escape(words)}</p>'
    )


def note(words: str) -> str:
    """Return a remark below an element."""
    return f"<p class='quiet'>{escape(words)}</p>"


def figure(picture: str, caption: str) -> str:
    """Return a picture, which is HTML, over its caption."""
    return f"<figure>{picture}<figcaption class='quiet'>{escape(caption)}</figcaption></figure>"


def image(path: Path, words: str, pixels: int = _PIXELS) -> str:
    """Return a PNG file as an element, so wide on the page; ``words`` say what it shows."""
    encoded = base64.b64encode(read_file(path)).decode()
    return f'<img alt="{escape(words)}" width="{pixels}" src="data:image/png;base64,{encoded}">'


def film(path: Path, words: str, pixels: int = _PIXELS) -> str:
    """Return an MP4 file as an element, so wide on the page; ``words`` say what it shows."""
    encoded = base64.b64encode(read_file(path)).decode()
    return (
        f'<video controls loop muted aria-label="{escape(words)}" width="{pixels}" '
        f'src="data:video/mp4;base64,{encoded}"></video>'
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    """Return a table; ``numeric`` are the numbers of the columns that hold numbers."""

    def line(kind: str, entries: Sequence[str]) -> str:
        cells = (
            f"<{kind}{' class=number' if column in numeric else ''}>{escape(entry)}</{kind}>"
            for column, entry in enumerate(entries)
        )
        return f"<tr>{''.join(cells)}</tr>"

    return f"<table>{line('th', head)}{''.join(line('td', row) for row in rows)}</table>"


def number(value: float | None) -> str:
    """Return four significant digits, thousands in full, a dash for None."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def share(value: float | None) -> str:
    """Return a share in percent, a dash for None."""
    return "-" if value is None else f"{value:.0%}"
