"""VNN-LIB 1.0 files as questions: what is read of the format of the verifiers' competition.

A file describes the inputs and outputs that must not occur: constants ``X_i`` and ``Y_j``, and
assertions of linear inequalities, joined by ``and`` and ``or``. Each input lies in an interval.
Numbers count as the nearest doubles, as all tools of the competition read them.

Reference:
    https://www.vnnlib.org, version 1.0; the competition's reports (arXiv 2212.10376).
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import product
from pathlib import Path

from surefoot.artifact import decoded, read_file
from surefoot.errors import InputError
from surefoot.limits import MAX_DEPTH, MAX_DISJUNCTS, MAX_OUTPUTS, MAX_SENSORS, MAX_VNNLIB_BYTES
from surefoot.question import Condition, Inequality, Question, RawBox

_TOKEN = re.compile(r"[()]|[^\s()]+")
_CONSTANT = re.compile(r"([XY])_(0|[1-9]\d{0,6})")
_NUMBER = re.compile(r"[+-]?(\d{1,400}\.?\d{0,400}|\.\d{1,400})([eE][+-]?\d{1,4})?")

_Terms = dict[str, Fraction]
"""Coefficient of each constant by name, and under the empty name the number beside them."""


@dataclass(frozen=True, slots=True)
class _Expression:
    """An expression: a word, or a list of expressions.

    Attributes:
        line: Number of its line, from 1.
        word: The word; empty for a list.
        parts: The expressions of a list.
    """

    line: int
    word: str = ""
    parts: tuple["_Expression", ...] = ()

    @property
    def head(self) -> str:
        """First word of a list; empty where there is none."""
        return self.parts[0].word if self.parts else ""


@dataclass(frozen=True, slots=True)
class _Atom:
    """The sum of ``terms`` is at most 0, or below it if ``strict``."""

    line: int
    terms: Mapping[str, Fraction]
    strict: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Specification:
    """What must not occur, turned round: a condition for each box of inputs.

    Attributes:
        num_inputs: Number of inputs declared.
        num_outputs: Number of outputs declared.
        questions: The boxes and conditions, which all must hold.
    """

    num_inputs: int
    num_outputs: int
    questions: tuple[Question, ...]

    def check_fits(self, what: str, num_inputs: int, num_outputs: int) -> None:
        """Check that it is about a controller of this size.

        Args:
            what: How the error message calls it.
            num_inputs: Inputs of the controller.
            num_outputs: Its outputs.

        Raises:
            InputError: If it is about another one.
        """
        if (self.num_inputs, self.num_outputs) != (num_inputs, num_outputs):
            raise InputError(
                f"{what} must be about the controller's {num_inputs} inputs and {num_outputs} "
                f"outputs, got {self.num_inputs} and {self.num_outputs}"
            )


def read_vnnlib(path: Path) -> Specification:
    """Read a VNN-LIB file.

    Raises:
        InputError: If it cannot be read, is none, or holds what is not supported; the message
            names the line.
        IntegrityError: If it is too long.
    """
    return parse_vnnlib(vnnlib_text(path), str(path))


def vnnlib_text(path: Path, *, max_bytes: int = MAX_VNNLIB_BYTES) -> str:
    """Return the text of a VNN-LIB file.

    Raises:
        InputError: If it cannot be read.
        IntegrityError: If it is longer than ``max_bytes``.
    """
    try:
        return decoded(read_file(path, max_bytes=max_bytes))
    except ValueError as error:
        raise InputError(f"{path} is no VNN-LIB file: {error}") from error


@lru_cache(maxsize=16)
def parsed_vnnlib(text: str, what: str) -> Specification:
    """Return :func:`parse_vnnlib` of a text that is asked for again and again."""
    return parse_vnnlib(text, what)


def parse_vnnlib(text: str, what: str = "vnnlib") -> Specification:
    """Read the text of a VNN-LIB file.

    Args:
        text: The text.
        what: How error messages call it.

    Raises:
        InputError: If it is none, or holds what is not supported; the message names the line.
    """
    try:
        return _specification(_nodes(text))
    except OverflowError as error:
        raise InputError(f"{what}: a sum or product is larger than any double") from error
    except _UnsupportedError as error:
        raise InputError(f"{what}, line {error.line}: {error.reason}") from error


class _UnsupportedError(Exception):
    """What is not supported, and where it stands."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line, self.reason = line, reason


def _nodes(text: str) -> list[_Expression]:
    """Return the expressions of a file.

    Raises:
        _UnsupportedError: If parentheses do not match, or nest too deeply.
    """
    outer: list[_Expression] = []
    waiting: list[tuple[int, list[_Expression]]] = [(1, outer)]
    line = 1
    for line, content in enumerate(text.splitlines(), start=1):
        for token in _TOKEN.findall(content.partition(";")[0]):
            if token == "(":
                waiting.append((line, []))
                if len(waiting) > MAX_DEPTH:
                    raise _UnsupportedError(line, f"more than {MAX_DEPTH} nested parentheses")
            elif token != ")":
                waiting[-1][1].append(_Expression(line, word=token))
            elif len(waiting) == 1:
                raise _UnsupportedError(line, "')' without '('")
            else:
                start, parts = waiting.pop()
                waiting[-1][1].append(_Expression(start, parts=tuple(parts)))
    if len(waiting) > 1:
        raise _UnsupportedError(waiting[-1][0], "'(' without ')'")
    return outer


def _specification(nodes: Sequence[_Expression]) -> Specification:
    """Return what a file says.

    Raises:
        _UnsupportedError: If that is not supported.
    """
    declared: list[str] = []
    disjuncts: list[tuple[_Atom, ...]] = [()]
    last = 1
    for node in nodes:
        last = node.line
        if node.head in ("declare-const", "declare-fun"):
            declared.append(_declared(node, declared))
        elif node.head == "assert" and len(node.parts) == 2:
            disjuncts = _both(node.line, disjuncts, _disjuncts(node.parts[1], declared))
        else:
            raise _UnsupportedError(node.line, f"expected a declaration or an assertion{_of(node)}")
    counts = {kind: _count(kind, declared, last) for kind in "XY"}
    conditions: dict[RawBox, list[tuple[Inequality, ...]]] = {}
    for disjunct in disjuncts:
        if (box := _box(disjunct, counts["X"], last)) is not None:
            conditions.setdefault(box, []).append(tuple(_avoiding(disjunct, last)))
    if not conditions:
        raise _UnsupportedError(last, "no input satisfies the assertions: the region is empty")
    return Specification(
        num_inputs=counts["X"],
        num_outputs=counts["Y"],
        questions=tuple(
            Question(where=box, condition=Condition(clauses=tuple(dict.fromkeys(clauses))))
            for box, clauses in conditions.items()
        ),
    )


def _of(node: _Expression) -> str:
    """Say what stands at a node, for the end of a message."""
    word = node.word or node.head
    return f", got {word!r}" if word else ""


def _declared(node: _Expression, known: Sequence[str]) -> str:
    """Return the name of a constant that a node declares.

    Raises:
        _UnsupportedError: If it declares something else, or one again.
    """
    words = [part.word for part in node.parts[1:]]
    no_arguments = ["", "Real"] if node.head == "declare-fun" else ["Real"]
    is_real = words[1:] == no_arguments and not any(part.parts for part in node.parts)
    if not is_real or not _CONSTANT.fullmatch(words[0]):
        raise _UnsupportedError(node.line, "expected a constant X_i or Y_j of sort Real")
    if words[0] in known:
        raise _UnsupportedError(node.line, f"{words[0]} is declared twice")
    return words[0]


def _count(kind: str, declared: Sequence[str], line: int) -> int:
    """Return the number of constants of a kind, which count from 0 without a gap.

    Raises:
        _UnsupportedError: If there is none, a gap, or too many.
    """
    numbers = {int(name[2:]) for name in declared if name[0] == kind}
    most = MAX_SENSORS if kind == "X" else MAX_OUTPUTS
    if numbers != set(range(len(numbers))) or not 0 < len(numbers) <= most:
        raise _UnsupportedError(line, f"{kind}_0 to {kind}_n must be declared, at most {most}")
    return len(numbers)


def _both(
    line: int, left: Sequence[tuple[_Atom, ...]], right: Sequence[tuple[_Atom, ...]]
) -> list[tuple[_Atom, ...]]:
    """Return the conjunction of two disjunctions, multiplied out.

    Raises:
        _UnsupportedError: If that is too much.
    """
    if len(left) * len(right) > MAX_DISJUNCTS:
        raise _UnsupportedError(line, f"more than {MAX_DISJUNCTS} disjuncts, multiplied out")
    return [one + other for one, other in product(left, right)]


def _disjuncts(node: _Expression, known: Sequence[str]) -> list[tuple[_Atom, ...]]:
    """Return a formula as a disjunction of conjunctions.

    Raises:
        _UnsupportedError: If it is not one of linear inequalities.
    """
    match node.head:
        case "and" if len(node.parts) > 1:
            found: list[tuple[_Atom, ...]] = [()]
            for part in node.parts[1:]:
                found = _both(part.line, found, _disjuncts(part, known))
            return found
        case "or" if len(node.parts) > 1:
            return [one for part in node.parts[1:] for one in _disjuncts(part, known)]
        case "<=" | ">=" | "<" | ">" if len(node.parts) == 3:
            left, right = (_linear(part, known) for part in node.parts[1:])
            sign = 1 if node.head.startswith("<") else -1
            terms = _added([_times(left, Fraction(sign)), _times(right, Fraction(-sign))])
            return [(_Atom(node.line, terms, strict=len(node.head) == 1),)]
    raise _UnsupportedError(node.line, f"expected and, or, <=, >=, < or > of two sums{_of(node)}")


def _linear(node: _Expression, known: Sequence[str]) -> _Terms:
    """Return a linear expression.

    Raises:
        _UnsupportedError: If it is none.
    """
    if node.word in known:
        return {node.word: Fraction(1)}
    if _CONSTANT.fullmatch(node.word):
        raise _UnsupportedError(node.line, f"{node.word} is not declared")
    if _NUMBER.fullmatch(node.word) and math.isfinite(float(node.word)):
        return {"": Fraction(float(node.word))}
    parts = [_linear(part, known) for part in node.parts[1:]]
    match node.head:
        case "+" if parts:
            return _added(parts)
        case "-" if parts:
            negated = [_times(part, Fraction(-1)) for part in parts]
            return _added(negated if len(parts) == 1 else [parts[0], *negated[1:]])
        case "*" if len(parts) == 2:
            for one, other in (parts, parts[::-1]):
                if one.keys() == {""}:
                    return _times(other, one[""])
    raise _UnsupportedError(node.line, f"expected a number, X_i, Y_j or a linear sum{_of(node)}")


def _times(terms: _Terms, factor: Fraction) -> _Terms:
    return {name: factor * value for name, value in terms.items()}


def _added(parts: Sequence[_Terms]) -> _Terms:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum((part.get(name, Fraction()) for part in parts), Fraction()) for name in names}


def _box(disjunct: Sequence[_Atom], num_inputs: int, line: int) -> RawBox | None:
    """Return the box of inputs of a conjunction, None if it is empty.

    Raises:
        _UnsupportedError: If an interval is no closed one of doubles, or has no end.
    """
    low, high = [-math.inf] * num_inputs, [math.inf] * num_inputs
    for atom in disjunct:
        names = [name for name, value in atom.terms.items() if name and value]
        if not names:
            raise _UnsupportedError(atom.line, "an inequality is about no input and no output")
        if len(names) > 1 or names[0].startswith("Y"):
            continue
        number, factor = int(names[0][2:]), atom.terms[names[0]]
        end = float(exact := -atom.terms.get("", Fraction()) / factor)
        if atom.strict or Fraction(end) != exact:
            reason = "an interval of an input must end at a double that belongs to it"
            raise _UnsupportedError(atom.line, reason)
        if factor > 0:
            high[number] = min(high[number], end)
        else:
            low[number] = max(low[number], end)
    for number in range(num_inputs):
        for side, ends in (("lower", low), ("upper", high)):
            if math.isinf(ends[number]):
                raise _UnsupportedError(line, f"X_{number} has no {side} bound")
    if any(lower > upper for lower, upper in zip(low, high, strict=True)):
        return None
    return RawBox(low=tuple(low), high=tuple(high))


def _avoiding(disjunct: Sequence[_Atom], line: int) -> Iterator[Inequality]:
    """Yield the inequalities of which one keeps inputs and outputs out of a conjunction.

    Raises:
        _UnsupportedError: If it says nothing of outputs, or a coefficient is no double.
    """
    count = 0
    for atom in disjunct:
        terms, readings = (
            {
                int(name[2:]): -value
                for name, value in atom.terms.items()
                if name.startswith(kind) and value
            }
            for kind in "YX"
        )
        if not terms and len(readings) == 1:
            continue  # an end of the box
        count += 1
        # Not (sum <= 0) is -sum < 0: what is not strict becomes so.
        limit, strict = atom.terms.get("", Fraction()), not atom.strict
        try:
            yield Inequality.of(terms, limit, strict=strict, readings=readings)
        except ValueError as error:
            raise _UnsupportedError(atom.line, str(error)) from error
    if not count:
        raise _UnsupportedError(line, "a conjunction says nothing of the outputs")
