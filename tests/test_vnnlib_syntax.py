"""The expressions of a VNN-LIB file: each knows its line, and indices belong to their tensor."""

import pytest

from surefoot.vnnlib_syntax import Expression, UnsupportedError, expressions


def test_each_expression_knows_its_line() -> None:
    first, second = expressions("(a ; not (this)\n  b[ 0 , 1 ] c [2])\nd")
    words = (Expression(1, word="a"), Expression(2, word="b[0,1]"), Expression(2, word="c[2]"))
    assert first == Expression(1, parts=words)
    assert second == Expression(3, word="d")
    assert first.head == "a"


@pytest.mark.parametrize("character", ["\v", "\f", "\x1c", "\x85", "\u2028"])
def test_a_comment_ends_with_its_line_and_nowhere_else(character: str) -> None:
    assert expressions(f"a ; not{character}(this)\r\nb\rc") == [
        Expression(1, word="a"),
        Expression(2, word="b"),
        Expression(3, word="c"),
    ]


@pytest.mark.parametrize(("text", "line"), [("(a\n(b", 2), ("a\n)", 2), ("(" * 99, 1)])
def test_parentheses_that_do_not_match_are_named_with_their_line(text: str, line: int) -> None:
    with pytest.raises(UnsupportedError) as refused:
        expressions(text)
    assert refused.value.line == line
