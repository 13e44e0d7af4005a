"""A question about a controller: a region of its inputs, and a condition on its outputs there.

A condition is a conjunction of clauses, each a disjunction of linear inequalities: its conjunctive
normal form. Numbers count as the doubles that they are read as; sums of them must
be doubles again.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from surefoot.errors import InputError

Float = NDArray[np.float64]

LARGEST = float(np.finfo(np.float32).max)
"""The largest input that a controller takes."""

MAX_INEQUALITY = 4096
"""Characters of one inequality; Python's parser is recursive."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """An interval for each sensor.

    Attributes:
        low: Lower ends, finite, shape (obs_dim,).
        high: Upper ends, finite, shape (obs_dim,).
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the ends.

        Raises:
            InputError: If their numbers differ, one is not finite, or an interval is empty.
        """
        if len(self.low) != len(self.high):
            raise InputError(
                f"low and high must have one number per sensor, got {len(self.low)} "
                f"and {len(self.high)}"
            )
        for sensor, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            if not max(abs(low), abs(high)) <= LARGEST:
                raise InputError(
                    f"low and high must be finite float32 numbers, got [{low:g}, {high:g}]"
                )
            if low > high:
                raise InputError(
                    f"low must be at most high, got [{low:g}, {high:g}] for sensor {sensor}: "
                    "the region is empty"
                )

    @property
    def ends(self) -> tuple[Float, Float]:
        """Lower and upper ends, each of shape (obs_dim,)."""
        return np.array(self.low, dtype=np.float64), np.array(self.high, dtype=np.float64)

    @property
    def intervals(self) -> str:
        """The intervals, sensor by sensor."""
        return " x ".join(
            f"[{low!r}, {high!r}]" for low, high in zip(self.low, self.high, strict=True)
        )

    def holds(self, points: Float) -> NDArray[np.bool_]:
        """Return which of the points, shape (n, obs_dim), lie in the box."""
        low, high = self.ends
        return np.asarray(((points >= low) & (points <= high)).all(axis=-1))


@dataclass(frozen=True, kw_only=True, slots=True)
class RawBox(Box):
    """A box of observations, raw units."""

    kind: ClassVar[str] = "raw"

    def describe(self) -> str:
        """Return the region in words."""
        return f"for observations in {self.intervals} (raw units)"


@dataclass(frozen=True, kw_only=True, slots=True)
class NormalisedBox(Box):
    """A box of states, normalised units."""

    kind: ClassVar[str] = "normalised"

    def describe(self) -> str:
        """Return the region in words."""
        return f"for states in {self.intervals} (normalised units)"


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedStates:
    """Every recorded state."""

    kind: ClassVar[str] = "recorded"

    def describe(self) -> str:
        """Return the region in words."""
        return "at every recorded state"


@dataclass(frozen=True, kw_only=True, slots=True)
class GatedReadings:
    """Every observation that the gate of the controller lets through."""

    kind: ClassVar[str] = "gate"

    def describe(self) -> str:
        """Return the region in words."""
        return "for every observation that the gate lets through"


Where = RawBox | NormalisedBox | RecordedStates | GatedReadings


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


Clause = tuple[Inequality, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """What must hold of the outputs: every clause, and of a clause at least one inequality.

    Attributes:
        clauses: The clauses, each of at least one inequality.
    """

    clauses: tuple[Clause, ...]

    def __post_init__(self) -> None:
        """Check that there is something to hold.

        Raises:
            InputError: If there is no clause, or a clause has no inequality.
        """
        if not self.clauses or not all(self.clauses):
            raise InputError("a condition must have at least one inequality, in all_of or any_of")

    @property
    def inequalities(self) -> tuple[Inequality, ...]:
        """All inequalities, clause by clause."""
        return tuple(one for clause in self.clauses for one in clause)

    @property
    def sensors(self) -> tuple[int, ...]:
        """Numbers of the sensors of which it speaks, in rising order."""
        named = {number for one in self.inequalities for number, _ in one.readings}
        return tuple(sorted(named))

    def reading_rows(self, num_sensors: int) -> Float:
        """Return the coefficients of the readings in all inequalities, shape (r, num_sensors).

        Raises:
            InputError: If one is about a sensor that there is not.
        """
        matrix = np.zeros((len(self.inequalities), num_sensors))
        for row, one in zip(matrix, self.inequalities, strict=True):
            for sensor, value in one.readings:
                if sensor >= num_sensors:
                    raise InputError(
                        f"a condition is about sensor[{sensor}], the controller has {num_sensors} "
                        "sensors"
                    )
                row[sensor] = value
        return matrix

    def rows(self, num_outputs: int) -> tuple[Float, Float]:
        """Return coefficients, shape (r, m), and limits, shape (r,), of all inequalities.

        Raises:
            InputError: If one is about an output that there is not.
        """
        matrix = np.zeros((len(self.inequalities), num_outputs))
        for row, one in zip(matrix, self.inequalities, strict=True):
            for output, value in one.terms:
                if output >= num_outputs:
                    raise InputError(
                        f"a condition is about action[{output}], the controller has {num_outputs} "
                        "outputs"
                    )
                row[output] = value
        return matrix, np.array([one.limit for one in self.inequalities])

    def violation(self, excesses: Float) -> Float:
        """Return by how much the condition is broken, shape (...): at most 0 where it holds.

        Args:
            excesses: Sum minus limit of each inequality, or upper bounds, shape (..., r).
        """
        # At the limit itself a strict inequality is broken.
        strict = np.array([one.strict for one in self.inequalities])
        counted = np.where(strict, np.nextafter(excesses, np.inf), excesses)
        start, least = 0, []
        for clause in self.clauses:
            least.append(counted[..., start : start + len(clause)].min(axis=-1))
            start += len(clause)
        return np.asarray(np.stack(least, axis=-1).max(axis=-1))

    def is_violated(self, outputs: Float, observation: Float) -> bool:
        """Return True if outputs break it, in exact arithmetic.

        Args:
            outputs: Finite, shape (m,).
            observation: Readings at which they are the outputs, finite, shape (obs_dim,).
        """
        return any(
            all(one.is_broken(outputs, observation) for one in clause) for clause in self.clauses
        )

    def describe(self) -> str:
        """Return the condition in words."""
        clauses = [" or ".join(one.describe() for one in clause) for clause in self.clauses]
        if len(clauses) == 1:
            return clauses[0]
        return " and ".join(f"({clause})" if " or " in clause else clause for clause in clauses)

    @classmethod
    def parse(cls, all_of: tuple[str, ...], any_of: tuple[str, ...]) -> "Condition":
        """Read the inequalities of which all, and one of the others, must hold.

        Raises:
            InputError: If one of them is none, or there are none.
        """
        clauses: list[Clause] = [(Inequality.parse(text),) for text in all_of]
        if any_of:
            clauses.append(tuple(map(Inequality.parse, any_of)))
        return cls(clauses=tuple(clauses))


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """Whether a condition holds in a whole region.

    Attributes:
        where: The region.
        condition: What must hold of the outputs.
    """

    where: Where
    condition: Condition

    def __post_init__(self) -> None:
        """Check that readings of which it speaks are known in the region.

        Raises:
            InputError: If they are not.
        """
        if self.condition.sensors and not isinstance(self.where, RawBox | GatedReadings):
            raise InputError(
                f"a condition about sensor[{self.condition.sensors[0]}] needs a region of "
                f"readings, raw or gate, got {self.where.kind}"
            )

    @property
    def box(self) -> RawBox | NormalisedBox:
        """The region of a question about a box.

        Raises:
            InputError: If it is about no box.
        """
        if not isinstance(self.where, RawBox | NormalisedBox):
            raise InputError(f"a box is needed, got {self.where.kind}")
        return self.where

    def describe(self) -> str:
        """Return the question in words."""
        return f"{self.condition.describe()} {self.where.describe()}"


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
