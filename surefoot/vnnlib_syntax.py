"""The expressions of a VNN-LIB file, and how what is not supported is named with its line."""

import re
from dataclasses import dataclass

from surefoot.limits import MAX_DEPTH

_TOKEN = re.compile(r"[()]|[^\s()]+")

_LINE_END = re.compile(r"\r\n|\r|\n")
"""Where a comment ends (SMT-LIB 2.6, section 3.1); Python counts more characters as such."""

_INDICES = re.compile(r"[ \t]*\[([\d, \t]*)\]")
"""Indices of a tensor, which belong to the word before them."""


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression: a word, or a list of expressions.

    Attributes:
        line: Number of its line, from 1.
        word: The word; empty for a list.
        parts: The expressions of a list.
    """

    line: int
    word: str = ""
    parts: tuple["Expression", ...] = ()

    @property
    def head(self) -> str:
        """First word of a list; empty where there is none."""
        return self.parts[0].word if self.parts else ""


class UnsupportedError(Exception):
    """What is not supported, and where it stands."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line, self.reason = line, reason


def expressions(text: str) -> list[Expression]:
    """Return the expressions of a file.

    Raises:
        UnsupportedError: If parentheses do not match, or nest too deeply.
    """
    outer: list[Expression] = []
    waiting: list[tuple[int, list[Expression]]] = [(1, outer)]
    line = 1
    for line, content in enumerate(_LINE_END.split(text), start=1):
        code = _INDICES.sub(_without_spaces, content.partition(";")[0])
        for token in _TOKEN.findall(code):
            if token == "(":
                waiting.append((line, []))
                if len(waiting) > MAX_DEPTH:
                    raise UnsupportedError(line, f"more than {MAX_DEPTH} nested parentheses")
            elif token != ")":
                waiting[-1][1].append(Expression(line, word=token))
            elif len(waiting) == 1:
                raise UnsupportedError(line, "')' without '('")
            else:
                start, parts = waiting.pop()
                waiting[-1][1].append(Expression(start, parts=tuple(parts)))
    if len(waiting) > 1:
        raise UnsupportedError(waiting[-1][0], "'(' without ')'")
    return outer


def got(node: Expression) -> str:
    """Say what stands at a node, for the end of a message."""
    word = node.word or node.head
    return f", got {word!r}" if word else ""


def _without_spaces(found: re.Match[str]) -> str:
    return f"[{''.join(found[1].split())}]"
