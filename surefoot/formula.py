"""The text of a linear inequality, before the names and units in it mean something on a robot.

It is read by Python's parser, as an expression that nobody evaluates.
"""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from surefoot.robot_words import Kind

MAX_INEQUALITY = 4096
"""Characters of one inequality; Python's parser is recursive."""

Entry = tuple[Kind, int | str]
"""``action`` or ``sensor``, and its number or its name on a robot."""

_Linear = dict[Entry | None, Fraction]
"""Coefficient of each output and sensor, and under None the constant."""

_NAMED = re.compile(
    r"\b(action|sensor)\[\s*(?!-?\d+\s*\])([A-Za-z0-9_-]+(?:\[[A-Za-z0-9_-]+\])?)\s*\]"
)
"""An entry by its name: a Python expression only with quotes, as names may hold a minus."""

_NUMBER = r"[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_WITH_UNIT = re.compile(rf"\s*({_NUMBER})\s+([^\s*/+()-].*?)\s*")
"""A side that is one number and its unit: no operator, or it would be a product."""

_COMPARISON = re.compile(r"([<>=]=?)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Formula:
    """A linear inequality as it is written: the sum of its terms is at most ``limit``.

    Attributes:
        text: The inequality on one line.
        terms: Coefficient of each output and sensor.
        limit: Upper limit of the sum.
        strict: Whether the sum must be below the limit.
        unit: Unit that is written behind the limit; empty for none.
    """

    text: str
    terms: Mapping[Entry, Fraction]
    limit: Fraction
    strict: bool
    unit: str

    @property
    def names_robot(self) -> bool:
        """Whether it uses names or units of a robot."""
        return bool(self.unit) or any(isinstance(place, str) for _, place in self.terms)

    @classmethod
    def parse(cls, text: str) -> "Formula":
        """Read an inequality such as ``action[hip] - 2 * action[1] <= 0.5 N m``.

        Raises:
            ValueError: If it is none, or not linear.
            SyntaxError: If it is no expression.
        """
        if len(text) > MAX_INEQUALITY:
            raise ValueError(f"longer than the {MAX_INEQUALITY} characters allowed")
        bare, unit = _without_unit(text)
        quoted = _NAMED.sub(r'\1["\2"]', bare)
        left, right, strict = _sides(ast.parse(quoted.strip(), mode="eval").body)
        difference = _sum(left, right, -1)
        return cls(
            text=" ".join(text.split()),
            terms={place: value for place, value in difference.items() if place is not None},
            limit=-difference.get(None, Fraction()),
            strict=strict,
            unit=unit,
        )


def entry_text(entry: Entry) -> str:
    """Return an output or a sensor as an inequality writes it."""
    kind, place = entry
    return f"{kind}[{place}]"


def _without_unit(text: str) -> tuple[str, str]:
    """Return an inequality without the unit behind its limit, and that unit."""
    sides, units = _COMPARISON.split(text), []
    for number, side in enumerate(sides):
        if (match := _WITH_UNIT.fullmatch(side)) is not None:
            sides[number] = f" {match[1]} "
            units.append(match[2])
    return "".join(sides), units[0] if units else ""


def _sides(node: ast.expr) -> tuple[_Linear, _Linear, bool]:
    """Return the lesser and the greater side of a comparison, and whether it is strict.

    Raises:
        ValueError: If it is none, or not linear.
    """
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        raise ValueError("not one comparison")
    left, right = _linear(node.left), _linear(node.comparators[0])
    match node.ops[0]:
        case ast.LtE() | ast.Lt():
            return left, right, isinstance(node.ops[0], ast.Lt)
        case ast.GtE() | ast.Gt():
            return right, left, isinstance(node.ops[0], ast.Gt)
        case _:
            raise ValueError("compared by <=, >=, < or > only")


def _linear(node: ast.expr) -> _Linear:
    """Return a linear expression.

    Raises:
        ValueError: If it is none.
    """
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return {None: Fraction(float(value))}
        case ast.Subscript(
            value=ast.Name(id="action" | "sensor" as name),
            slice=ast.Constant(value=int() | str() as place),
        ) if not isinstance(place, bool):
            return {("action" if name == "action" else "sensor", place): Fraction(1)}
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return _scaled(_linear(inner), Fraction(-1))
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as operation, right=right):
            sign = 1 if isinstance(operation, ast.Add) else -1
            return _sum(_linear(left), _linear(right), sign)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _product(_linear(left), _linear(right))
    raise ValueError(
        f"{ast.unparse(node)} is no number, action[k], sensor[k], sum or product with a number"
    )


def _sum(left: _Linear, right: _Linear, sign: int) -> _Linear:
    keys = dict.fromkeys([*left, *right])
    return {key: left.get(key, Fraction()) + sign * right.get(key, Fraction()) for key in keys}


def _scaled(linear: _Linear, factor: Fraction) -> _Linear:
    return {key: factor * value for key, value in linear.items()}


def _product(left: _Linear, right: _Linear) -> _Linear:
    """Return a product of which one factor is a number.

    Raises:
        ValueError: If neither is.
    """
    if left.keys() == {None}:
        return _scaled(right, left[None])
    if right.keys() == {None}:
        return _scaled(left, right[None])
    raise ValueError("a product of actions or sensors is not linear")
