"""VNN-LIB files as questions: what is read of the format of the verifiers' competition.

A file describes the inputs and outputs that must not occur: constants ``X_i`` and ``Y_j`` (of
version 2.0 tensors of one network, see `vnnlib_names`), and assertions of linear inequalities,
joined by ``and`` and ``or``. Each input lies in an interval. Numbers count as the nearest doubles,
as all tools of the competition read them.

Reference:
    https://www.vnnlib.org, versions 1.0 and 2.0; the competition's reports (arXiv 2212.10376).
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
from surefoot.inequality import Inequality
from surefoot.limits import MAX_DISJUNCTS, MAX_VNNLIB_BYTES
from surefoot.question import Condition, Question, RawBox
from surefoot.vnnlib_names import DECLARATIONS, DeclaredNames
from surefoot.vnnlib_syntax import Expression, UnsupportedError, expressions, got

_NAME = re.compile(r"[XY]_\d{1,7}|[A-Za-z]\w*\[[\d,]*\]", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d{1,400}\.?\d{0,400}|\.\d{1,400})([eE][+-]?\d{1,4})?")

_Terms = dict[str, Fraction]
"""Coefficient of each constant by name, and under the empty name the number beside them."""


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
        return _specification(expressions(text))
    except OverflowError as error:
        raise InputError(f"{what}: a sum or product is larger than any double") from error
    except UnsupportedError as error:
        raise InputError(f"{what}, line {error.line}: {error.reason}") from error


def _specification(nodes: Sequence[Expression]) -> Specification:
    """Return what a file says.

    Raises:
        UnsupportedError: If that is not supported.
    """
    names = DeclaredNames()
    disjuncts: list[tuple[_Atom, ...]] = [()]
    last = 1
    for node in nodes:
        last = node.line
        if node.head in DECLARATIONS:
            names.declare(node)
        elif node.head == "assert" and len(node.parts) == 2:
            disjuncts = _both(node.line, disjuncts, _disjuncts(node.parts[1], names.known))
        else:
            raise UnsupportedError(node.line, f"expected a declaration or an assertion{got(node)}")
    counts = {kind: names.count(kind, last) for kind in "XY"}
    conditions: dict[RawBox, list[tuple[Inequality, ...]]] = {}
    for disjunct in disjuncts:
        if (box := _box(disjunct, counts["X"], last)) is not None:
            conditions.setdefault(box, []).append(tuple(_avoiding(disjunct, last)))
    if not conditions:
        raise UnsupportedError(last, "no input satisfies the assertions: the region is empty")
    return Specification(
        num_inputs=counts["X"],
        num_outputs=counts["Y"],
        questions=tuple(
            Question(where=box, condition=Condition(clauses=tuple(dict.fromkeys(clauses))))
            for box, clauses in conditions.items()
        ),
    )


def _both(
    line: int, left: Sequence[tuple[_Atom, ...]], right: Sequence[tuple[_Atom, ...]]
) -> list[tuple[_Atom, ...]]:
    """Return the conjunction of two disjunctions, multiplied out.

    Raises:
        UnsupportedError: If that is too much.
    """
    if len(left) * len(right) > MAX_DISJUNCTS:
        raise UnsupportedError(line, f"more than {MAX_DISJUNCTS} disjuncts, multiplied out")
    return [one + other for one, other in product(left, right)]


def _disjuncts(node: Expression, known: Mapping[str, str]) -> list[tuple[_Atom, ...]]:
    """Return a formula as a disjunction of conjunctions.

    Raises:
        UnsupportedError: If it is not one of linear inequalities.
    """
    match node.head:
        case "and" if len(node.parts) > 1:
            found: list[tuple[_Atom, ...]] = [()]
            for part in node.parts[1:]:
                found = _both(part.line, found, _disjuncts(part, known))
            return found
        case "or" if len(node.parts) > 1:
            return [one for part in node.parts[1:] for one in _disjuncts(part, known)]
        case "<=" | ">=" | "<" | ">" | "==" if len(node.parts) == 3:
            left, right = (_linear(part, known) for part in node.parts[1:])
            terms = _added([left, _times(right, Fraction(-1))])
            is_strict = len(node.head) == 1
            below = _Atom(node.line, terms, is_strict)
            above = _Atom(node.line, _times(terms, Fraction(-1)), is_strict)
            both = {"<": (below,), ">": (above,), "=": (below, above)}
            return [both[node.head[0]]]
    raise UnsupportedError(
        node.line, f"expected and, or, <=, >=, <, > or == of two sums{got(node)}"
    )


def _linear(node: Expression, known: Mapping[str, str]) -> _Terms:
    """Return a linear expression.

    Raises:
        UnsupportedError: If it is none.
    """
    if node.word in known:
        return {known[node.word]: Fraction(1)}
    if _NAME.fullmatch(node.word):
        raise UnsupportedError(node.line, f"{node.word} is not declared")
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
    raise UnsupportedError(node.line, f"expected a number, X_i, Y_j or a linear sum{got(node)}")


def _times(terms: _Terms, factor: Fraction) -> _Terms:
    return {name: factor * value for name, value in terms.items()}


def _added(parts: Sequence[_Terms]) -> _Terms:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum((part.get(name, Fraction()) for part in parts), Fraction()) for name in names}


def _box(disjunct: Sequence[_Atom], num_inputs: int, line: int) -> RawBox | None:
    """Return the box of inputs of a conjunction, None if it is empty.

    Raises:
        UnsupportedError: If an interval has no end, or an inequality is about nothing.
    """
    low, high = [-math.inf] * num_inputs, [math.inf] * num_inputs
    for atom in disjunct:
        names = [name for name, value in atom.terms.items() if name and value]
        if not names:
            raise UnsupportedError(atom.line, "an inequality is about no input and no output")
        if len(names) > 1 or names[0].startswith("Y"):
            continue
        number, end = int(names[0][2:]), float(exact := _end(atom, names[0]))
        # Outwards, where the end is no double: `_avoiding` says exactly what belongs to it.
        if atom.terms[names[0]] > 0:
            above = end if Fraction(end) >= exact else math.nextafter(end, math.inf)
            high[number] = min(high[number], above)
        else:
            below = end if Fraction(end) <= exact else math.nextafter(end, -math.inf)
            low[number] = max(low[number], below)
    for number in range(num_inputs):
        for side, ends in (("lower", low), ("upper", high)):
            if math.isinf(ends[number]):
                raise UnsupportedError(line, f"X_{number} has no {side} bound")
    if any(lower > upper for lower, upper in zip(low, high, strict=True)):
        return None
    return RawBox(low=tuple(low), high=tuple(high))


def _end(atom: _Atom, name: str) -> Fraction:
    """Return where the interval of the one input of an inequality ends."""
    return -atom.terms.get("", Fraction()) / atom.terms[name]


def _ends_box(atom: _Atom, readings: Mapping[int, Fraction]) -> bool:
    """Return True if an inequality of inputs alone says no more than an end of the box."""
    if atom.strict or len(readings) != 1:
        return False
    end = _end(atom, f"X_{next(iter(readings))}")
    return Fraction(float(end)) == end


def _avoiding(disjunct: Sequence[_Atom], line: int) -> Iterator[Inequality]:
    """Yield the inequalities of which one keeps inputs and outputs out of a conjunction.

    Raises:
        UnsupportedError: If it says nothing of outputs, or a coefficient is no double.
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
        if not terms and _ends_box(atom, readings):
            continue
        count += 1
        # Not (sum <= 0) is -sum < 0: what is not strict becomes so.
        limit, strict = atom.terms.get("", Fraction()), not atom.strict
        try:
            yield Inequality.of(terms, limit, strict=strict, readings=readings)
        except ValueError as error:
            raise UnsupportedError(atom.line, str(error)) from error
    if not count:
        raise UnsupportedError(line, "a conjunction says nothing of the outputs")
