"""A question about a controller: a region of its inputs, and a condition on its outputs there.

A condition is a conjunction of clauses, each a disjunction of linear inequalities: its conjunctive
normal form.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from surefoot.errors import InputError
from surefoot.inequality import Inequality
from surefoot.robot import Robot
from surefoot.robot_words import intervals_in_words

Float = NDArray[np.float64]

LARGEST = float(np.finfo(np.float32).max)
"""The largest input that a controller takes."""


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

    def named(self, robot: Robot | None, *, units: bool) -> str:
        """Return the intervals by the names of a robot, and without one in their order.

        Args:
            robot: The robot; what its controller remembers has no names.
            units: Whether the numbers are in the units of the sensors.
        """
        if robot is None or len(self.low) != len(robot.sensor_labels):
            return self.intervals
        return intervals_in_words(self.low, self.high, robot, repr, units=units)

    def holds(self, points: Float) -> NDArray[np.bool_]:
        """Return which of the points, shape (n, obs_dim), lie in the box."""
        low, high = self.ends
        return np.asarray(((points >= low) & (points <= high)).all(axis=-1))


@dataclass(frozen=True, kw_only=True, slots=True)
class RawBox(Box):
    """A box of observations, raw units."""

    kind: ClassVar[str] = "raw"

    def describe(self, robot: Robot | None = None) -> str:
        """Return the region in words, by the names of a robot if there is one."""
        between = "in" if robot is None else "with"
        return f"for observations {between} {self.named(robot, units=True)} (raw units)"


@dataclass(frozen=True, kw_only=True, slots=True)
class NormalisedBox(Box):
    """A box of states, normalised units."""

    kind: ClassVar[str] = "normalised"

    def describe(self, robot: Robot | None = None) -> str:
        """Return the region in words, by the names of a robot if there is one."""
        between = "in" if robot is None else "with"
        return f"for states {between} {self.named(robot, units=False)} (normalised units)"


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedStates:
    """Every recorded state."""

    kind: ClassVar[str] = "recorded"

    def describe(self, robot: Robot | None = None) -> str:
        """Return the region in words."""
        return "at every recorded state"


@dataclass(frozen=True, kw_only=True, slots=True)
class GatedReadings:
    """Every observation that the gate of the controller lets through."""

    kind: ClassVar[str] = "gate"

    def describe(self, robot: Robot | None = None) -> str:
        """Return the region in words."""
        return "for every observation that the gate lets through"


Where = RawBox | NormalisedBox | RecordedStates | GatedReadings


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
        readings = [one.readings for one in self.inequalities]
        return _coefficients(readings, num_sensors, "sensor", "sensors")

    def rows(self, num_outputs: int) -> tuple[Float, Float]:
        """Return coefficients, shape (r, m), and limits, shape (r,), of all inequalities.

        Raises:
            InputError: If one is about an output that there is not.
        """
        terms = [one.terms for one in self.inequalities]
        matrix = _coefficients(terms, num_outputs, "action", "outputs")
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

    def describe(self, robot: Robot | None = None) -> str:
        """Return the condition in words, in the names and units of a robot if there is one."""
        clauses = [" or ".join(one.describe(robot) for one in clause) for clause in self.clauses]
        if len(clauses) == 1:
            return clauses[0]
        return " and ".join(f"({clause})" if " or " in clause else clause for clause in clauses)

    @classmethod
    def parse(
        cls, all_of: tuple[str, ...], any_of: tuple[str, ...], robot: Robot | None = None
    ) -> "Condition":
        """Read the inequalities of which all, and one of the others, must hold.

        Args:
            all_of: Those of which each must hold.
            any_of: Those of which one must hold.
            robot: Robot whose names and units they use; None where none is described.

        Raises:
            InputError: If one of them is none, or there are none.
        """
        clauses: list[Clause] = [(Inequality.parse(text, robot),) for text in all_of]
        if any_of:
            clauses.append(tuple(Inequality.parse(text, robot) for text in any_of))
        return cls(clauses=tuple(clauses))


def _coefficients(
    rows: Sequence[Sequence[tuple[int, float]]], size: int, name: str, of: str
) -> Float:
    """Return rows of numbers and their coefficients as a matrix, shape (r, size).

    Raises:
        InputError: If a number is not below ``size``.
    """
    matrix = np.zeros((len(rows), size))
    for row, entries in zip(matrix, rows, strict=True):
        for number, value in entries:
            if number >= size:
                raise InputError(
                    f"a condition is about {name}[{number}], the controller has {size} {of}"
                )
            row[number] = value
    return matrix


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

    def describe(self, robot: Robot | None = None) -> str:
        """Return the question in words, in the names and units of a robot if there is one."""
        return f"{self.condition.describe(robot)} {self.where.describe(robot)}"
