"""A linear inequality on the outputs of a controller and its readings, as budgets write it.

Numbers count as the doubles that they are read as; sums of them must be doubles again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from surefoot.errors import InputError
from surefoot.formula import Entry, Formula, entry_text
from surefoot.robot import NOT_SAID, UNSPOKEN, Robot
from surefoot.robot_words import Kind, entry_of, number_called, numbers_called

Float = NDArray[np.float64]
Terms = tuple[tuple[int, float], ...]
"""Numbers of outputs or sensors in rising order, each with its coefficient."""


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

    terms: Terms
    limit: float
    strict: bool = False
    readings: Terms = ()

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

    def describe(self, robot: Robot | None = None) -> str:
        """Return the inequality as a budget writes it, in the names and the unit of a robot."""
        words = ""
        both: tuple[tuple[Kind, Terms], ...] = (("action", self.terms), ("sensor", self.readings))
        for kind, terms in both:
            for number, value in terms:
                sign = ("-" if value < 0 else "") if not words else (" - " if value < 0 else " + ")
                size = "" if abs(value) == 1 else f"{abs(value)!r} * "
                place = number if robot is None else entry_of(kind, number, robot)[0]
                words += f"{sign}{size}{entry_text((kind, place))}"
        unit = "" if robot is None else self.unit(robot)
        limit = f"{self.limit!r} {unit}" if unit not in UNSPOKEN else repr(self.limit)
        return f"{words} {'<' if self.strict else '<='} {limit}"

    def unit(self, robot: Robot) -> str:
        """Return the unit of the limit: that of its actuators, or of its sensors where it has none.

        It is empty where they have several, or nobody says it.
        """
        kind, terms = self.limited
        units = {entry_of(kind, number, robot)[1] for number, _ in terms}
        return units.pop() if len(units - {NOT_SAID}) == len(units) == 1 else ""

    @property
    def limited(self) -> tuple[Kind, Terms]:
        """What the limit is of: the outputs, or the sensors where it is about these alone."""
        return ("action", self.terms) if self.terms else ("sensor", self.readings)

    @classmethod
    def parse(cls, text: str, robot: Robot | None = None) -> "Inequality":
        """Read an inequality such as ``action[hip] - 2 * action[1] <= 0.5 N m``.

        Args:
            text: The inequality; a unit behind its limit is that of the actuators, or of the
                sensors where it is about these alone.
            robot: Robot whose names and units it uses; None where none is described.

        Raises:
            InputError: If it is none, or not linear, or the robot has no such name or unit.
        """
        formula = read_formula(text)
        try:
            terms = {entry: _number(entry, robot) for entry in formula.terms}
            one = cls.of(
                _numbered(formula, terms, "action"),
                formula.limit,
                strict=formula.strict,
                readings=_numbered(formula, terms, "sensor"),
            )
            _check_unit(one, formula.unit, robot)
        except (ValueError, OverflowError) as error:
            raise InputError(_message(text, str(error))) from error
        return one

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


def read_formula(text: str) -> Formula:
    """Read the text of an inequality, whose names and units need not mean anything yet.

    Raises:
        InputError: If it is none, or not linear.
    """
    try:
        return Formula.parse(text)
    except SyntaxError as error:
        raise InputError(_message(text, "no formula")) from error
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise InputError(_message(text, str(error))) from error


def _message(text: str, reason: str) -> str:
    return f"a condition must be like 'action[0] - 2 * action[1] <= 0.5', got {text!r}: {reason}"


def _double(value: Fraction) -> float:
    """Return a number as a double.

    Raises:
        ValueError: If it is none.
    """
    if Fraction(float(value)) != value:
        raise ValueError(f"{float(value)!r} is rounded: write each sum as one number")
    return float(value)


def _doubles(terms: Mapping[int, Fraction]) -> Terms:
    return tuple((number, _double(terms[number])) for number in sorted(terms) if terms[number])


def _numbered(formula: Formula, numbers: Mapping[Entry, int], kind: Kind) -> dict[int, Fraction]:
    """Return the coefficients of the outputs or the sensors by their numbers."""
    found: dict[int, Fraction] = {}
    for entry, number in numbers.items():
        if entry[0] == kind:
            found[number] = found.get(number, Fraction()) + formula.terms[entry]
    return found


def _number(entry: Entry, robot: Robot | None) -> int:
    """Return the number of an output or a sensor.

    Raises:
        ValueError: If nothing, or more than one, is called so, or a number is the name of another.
    """
    kind, place = entry
    if isinstance(place, int):
        _check_number(kind, place, robot)
        return place
    if robot is None:
        raise ValueError(f"{entry_text(entry)} is no number, and no robot is described")
    return number_called(kind, place, robot)


def _check_number(kind: Kind, number: int, robot: Robot | None) -> None:
    """Check that a robot calls no other entry by this number, as motors from 1 are called.

    Raises:
        ValueError: If it does.
    """
    others = () if robot is None else numbers_called(kind, str(number), robot)
    if others not in ((), (number,)):
        raise ValueError(
            f"{kind}[{number}] counts from 0, but the robot calls {kind} {others[0]} {number}: "
            "give its entries names that are no numbers"
        )


def _check_unit(one: Inequality, unit: str, robot: Robot | None) -> None:
    """Check that the unit behind a limit is that of what is limited.

    Raises:
        ValueError: If it is another.
    """
    if not unit:
        return
    if robot is None:
        raise ValueError(f"{unit!r} is a unit, and no robot is described")
    kind, terms = one.limited
    for number, _ in terms:
        label, own = entry_of(kind, number, robot)
        if own in ("", NOT_SAID):
            raise ValueError(f"nobody says the unit of {kind}[{label}], got {unit!r}")
        if unit != own:
            raise ValueError(f"the limit must be in {own}, as {kind}[{label}] is, got {unit!r}")
