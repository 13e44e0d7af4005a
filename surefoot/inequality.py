"""A linear inequality on the outputs of a controller and its readings, as budgets write it.

Numbers count as the doubles that they are read as; sums of them must be doubles again.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from surefoot.errors import InputError

Float = NDArray[np.float64]

MAX_INEQUALITY = 4096
"""Characters of one inequality; Python's parser is recursive."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inequality:
    """A linear inequality on outputs and readings: the sum of its terms is at most ``limit``.

    Attributes:
        terms: Numbers of outputs in rising order, each with its coefficient, which is not 0.
        limit: Upper limit of the sum.
        strict: Whether the sum must be below the limit.
        readings: Numbers of sensors in rising order, each with its coefficient per raw unit, which
            is not 0.
    """

    terms: tuple[tuple[int, float], ...]
    limit: float
    strict: bool = False
    readings: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: If one is not finite, or there is no term.
        """
        terms = self.terms + self.readings
        if not terms:
            raise InputError("an inequality must be about an action or a sensor, got none")
        if not np.isfinite([self.limit, *(value for _, value in terms)]).all():
            raise InputError(f"an inequality must have finite numbers, got {self.describe()}")

    def is_broken(self, outputs: Float, observation: Float) -> bool:
        """Return True if outputs break it, in exact arithmetic.

        Args:
            outputs: Finite, shape (m,).
            observation: Readings at which they are the outputs, finite, shape (obs_dim,).
        """
        total = Fraction()
        for terms, values in ((self.terms, outputs), (self.readings, observation)):
            for number, factor in terms:
                total += Fraction(factor) * Fraction(values[number])
        limit = Fraction(self.limit)
        return total >= limit if self.strict else total > limit

    def describe(self) -> str:
        """Return the inequality as a budget writes it."""
        words = ""
        for name, terms in (("action", self.terms), ("sensor", self.readings)):
            for number, value in terms:
                sign = ("-" if value < 0 else "") if not words else (" - " if value < 0 else " + ")
                size = "" if abs(value) == 1 else f"{abs(value)!r} * "
                words += f"{sign}{size}{name}[{number}]"
        return f"{words} {'<' if self.strict else '<='} {self.limit!r}"

    @classmethod
    def parse(cls, text: str) -> "Inequality":
        """Read an inequality such as ``action[0] - 2 * action[1] <= 0.5``.

        Raises:
            InputError: If it is none, or not linear.
        """
        try:
            return _compared(_parsed(text).body)
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
            reason = "no formula" if isinstance(error, SyntaxError) else str(error)
            raise InputError(
                f"a condition must be like 'action[0] - 2 * action[1] <= 0.5', got {text!r}: "
                f"{reason}"
            ) from error

    @classmethod
    def of(
        cls,
        terms: Mapping[int, Fraction],
        limit: Fraction,
        *,
        strict: bool = False,
        readings: Mapping[int, Fraction] | None = None,
    ) -> "Inequality":
        """Return an inequality of exact numbers.

        Args:
            terms: Coefficient of each output.
            limit: Upper limit of the sum.
            strict: Whether the sum must be below the limit.
            readings: Coefficient of each sensor, per raw unit.

        Raises:
            ValueError: If a number is no double.
        """
        return cls(
            terms=_doubles(terms),
            limit=_double(limit),
            strict=strict,
            readings=_doubles(readings or {}),
        )


def _parsed(text: str) -> ast.Expression:
    """Return the syntax of a formula.

    Raises:
        ValueError: If it is too long.
    """
    if len(text) > MAX_INEQUALITY:
        raise ValueError(f"longer than the {MAX_INEQUALITY} characters allowed")
    return ast.parse(text.strip(), mode="eval")


_Name = tuple[str, int]
"""``action`` or ``sensor``, and its number."""

_Linear = dict[_Name | None, Fraction]
"""Coefficient of each output and sensor, and under None the constant."""


def _compared(node: ast.expr) -> Inequality:
    """Return the inequality of a comparison.

    Raises:
        ValueError: If it is none, or not linear.
    """
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        raise ValueError("not one comparison")
    left, right = _linear(node.left), _linear(node.comparators[0])
    match node.ops[0]:
        case ast.LtE() | ast.Lt():
            difference = _sum(left, right, -1)
        case ast.GtE() | ast.Gt():
            difference = _sum(right, left, -1)
        case _:
            raise ValueError("compared by <=, >=, < or > only")
    outputs, readings = (
        {name[1]: value for name, value in difference.items() if name and name[0] == kind}
        for kind in ("action", "sensor")
    )
    strict = isinstance(node.ops[0], ast.Lt | ast.Gt)
    limit = -difference.get(None, Fraction())
    return Inequality.of(outputs, limit, strict=strict, readings=readings)


def _double(value: Fraction) -> float:
    """Return a number as a double.

    Raises:
        ValueError: If it is none.
    """
    if Fraction(float(value)) != value:
        raise ValueError(f"{float(value)!r} is rounded: write each sum as one number")
    return float(value)


def _doubles(terms: Mapping[int, Fraction]) -> tuple[tuple[int, float], ...]:
    return tuple((number, _double(terms[number])) for number in sorted(terms) if terms[number])


def _linear(node: ast.expr) -> _Linear:
    """Return a linear expression.

    Raises:
        ValueError: If it is none.
    """
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return {None: Fraction(float(value))}
        case ast.Subscript(
            value=ast.Name(id="action" | "sensor" as kind),
            slice=ast.Constant(value=int() as number),
        ) if not isinstance(number, bool):
            return {(kind, number): Fraction(1)}
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
