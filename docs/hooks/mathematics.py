"""LaTeX between dollar signs becomes MathML when the site is built: pages need no script for it."""

import html
import re

from latex2mathml.converter import convert

FORMULA = re.compile(
    r'<(?:span|div) class="arithmatex">(\\\(|\\\[)(.+?)(?:\\\)|\\\])</(?:span|div)>', re.DOTALL
)

BAR = re.compile(r"<mo>(&#x0007C;|&#x02016;)</mo>")
"""A bar of an absolute value or a norm, which browsers take for a stretching binary operator."""


def on_page_content(content: str, **_: object) -> str:
    """Replace the formulas that `pymdownx.arithmatex` found; MkDocs calls this for every page."""
    return FORMULA.sub(_mathml, content)


def _mathml(found: re.Match[str]) -> str:
    display = "block" if found[1] == r"\[" else "inline"
    formula = convert(html.unescape(found[2]), display=display)
    return BAR.sub(r'<mo stretchy="false" lspace="0" rspace="0">\1</mo>', formula)
