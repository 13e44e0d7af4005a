"""A gate as typed values: limits on sensors, actions and time, and what follows when one is broken.

Every limit is a float32 by value and is compared in float32, so that Python and C decide alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np

from surefoot.artifact import Json
from surefoot.config import build, to_table
from surefoot.errors import InputError
from surefoot.limits import MAX_OUTPUTS, MAX_PAIRS, MAX_SENSORS
from surefoot.policy import Array

GATE_FILE = "gate.json"
MOST_STEPS = 10**9
"""Largest number of steps that a gate counts to, below that of a counter of 32 bits."""

MOST_US = 2**31 - 1
"""Largest time between two readings of a clock of 32 bits that still tells their order, us."""


class Reaction(StrEnum):
    """What the robot gets in the place of a rejected action."""

    HOLD = "hold"
    """The last action that it got, if it got one."""
    FALLBACK = "fallback"
    """The action of a function of the user's."""
    STOP = "stop"
    """None: the controller has stopped until it is started again."""


class Cause(IntEnum):
    """Which limit a call broke, the first in the order of the checks."""

    CLOCK = 1
    """The clock went back."""
    GAP = 2
    """The last call is too long ago."""
    AGE = 3
    """The reading is too old, or from the future."""
    NOT_FINITE = 4
    """A sensor read NaN or infinity."""
    RANGE = 5
    """A sensor left its range."""
    RATE = 6
    """A sensor changed too fast."""
    PAIR = 7
    """Two sensors do not go together."""
    ACTION_NOT_FINITE = 8
    """An action of the policy is NaN or infinite."""
    ACTION_RANGE = 9
    """An action of the policy left its range."""
    ACTION_RATE = 10
    """An action of the policy changed too fast."""
    ACTION_JERK = 11
    """The change of an action of the policy changed too fast."""


_OF_TIME = {
    Cause.CLOCK: "the clock went back",
    Cause.GAP: "the last call is too long ago",
    Cause.AGE: "the reading is too old, or from the future",
}
_OF_SENSORS = {
    Cause.NOT_FINITE: "is not finite",
    Cause.RANGE: "is out of its range",
    Cause.RATE: "changes too fast",
}
_OF_ACTIONS = {
    Cause.ACTION_NOT_FINITE: "is not finite",
    Cause.ACTION_RANGE: "is out of its range",
    Cause.ACTION_RATE: "changes too fast",
    Cause.ACTION_JERK: "changes its rate too fast",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SensorLimits:
    """Limits on one sensor.

    Attributes:
        low: Least reading, raw units.
        high: Largest reading, raw units.
        rate: Largest change from one call to the next, raw units; None for no limit.
    """

    low: float
    high: float
    rate: float | None = None

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            InputError: If one is no float32, or they leave nothing.
        """
        _check_limits(self, ("low", "high"), ("rate",))


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionLimits:
    """Limits on one action of the policy.

    Attributes:
        low: Least action, action units.
        high: Largest action, action units.
        rate: Largest change from one call to the next, action units; None for no limit.
        jerk: Largest change of that change, action units; None for no limit.
    """

    low: float
    high: float
    rate: float | None = None
    jerk: float | None = None

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            InputError: If one is no float32, or they leave nothing.
        """
        _check_limits(self, ("low", "high"), ("rate", "jerk"))


@dataclass(frozen=True, kw_only=True, slots=True)
class HalfSpace:
    """A limit on two sensors at once: ``factors[0] first + factors[1] second <= at_most``.

    Attributes:
        sensors: Numbers of the first and of the second sensor.
        factors: What each is multiplied with, per raw unit.
        at_most: Largest sum of the two products.
    """

    sensors: tuple[int, int]
    factors: tuple[float, float]
    at_most: float

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: If one is no float32, or the sensors are not two.
        """
        for name, values in (("factors", self.factors), ("at_most", (self.at_most,))):
            _require_float32(name, values)
        if self.sensors[0] == self.sensors[1] or min(self.sensors) < 0:
            raise InputError(f"sensors must be two different numbers, got {self.sensors}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeLimits:
    """Limits on time, on a clock that counts microseconds modulo 2^32.

    Attributes:
        max_age_us: Oldest reading, microseconds before the call.
        max_gap_us: Longest time between two calls, microseconds.
    """

    max_age_us: int
    max_gap_us: int

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: If one is out of range.
        """
        for name, least in (("max_age_us", 0), ("max_gap_us", 1)):
            _require_count(name, getattr(self, name), least, MOST_US)


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """What a controller may see and do; whatever breaks a limit is rejected.

    Attributes:
        sensors: Limits on each sensor, in their order.
        actions: Limits on each action (or logit), in their order.
        pairs: Limits on pairs of sensors.
        time: Limits on time; None for none, where a call needs no clock.
        reaction: What the robot gets in the place of a rejected action.
        recover_after: Good calls in a row after which the policy's actions count again.
        stop_after: Rejected calls in a row after which the controller stops; None for never.
        names: Name of each sensor; empty where the file does not say them.
    """

    sensors: tuple[SensorLimits, ...]
    actions: tuple[ActionLimits, ...]
    pairs: tuple[HalfSpace, ...] = ()
    time: TimeLimits | None = None
    reaction: Reaction = Reaction.HOLD
    recover_after: int = 1
    stop_after: int | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that the parts fit each other.

        Raises:
            InputError: If they do not.
        """
        for name, most in (("sensors", MAX_SENSORS), ("actions", MAX_OUTPUTS)):
            if not 1 <= (count := len(getattr(self, name))) <= most:
                raise InputError(f"{name} must hold 1 to {most} limits, got {count}")
        if len(self.pairs) > MAX_PAIRS:
            raise InputError(f"pairs must hold at most {MAX_PAIRS} limits, got {len(self.pairs)}")
        for pair in self.pairs:
            if max(pair.sensors) >= len(self.sensors):
                raise InputError(
                    f"pairs must be of {len(self.sensors)} sensors, got {max(pair.sensors)}"
                )
        _require_count("recover_after", self.recover_after, 1, MOST_STEPS)
        if self.stop_after is not None:
            _require_count("stop_after", self.stop_after, 1, MOST_STEPS)
        if self.names and len(self.names) != len(self.sensors):
            raise InputError(f"names must be {len(self.sensors)}, got {len(self.names)}")

    @property
    def box(self) -> tuple[Array, Array]:
        """Least and largest readings, raw units, float64, shape (obs_dim,) each."""
        ends = [[getattr(sensor, end) for sensor in self.sensors] for end in ("low", "high")]
        return np.array(ends[0], np.float64), np.array(ends[1], np.float64)

    def check_fits(self, obs_dim: int, num_outputs: int) -> None:
        """Check that it is the gate of a controller.

        Raises:
            InputError: If the controller has another number of sensors or of outputs.
        """
        for name, limits, count in (
            ("sensors", self.sensors, obs_dim),
            ("actions", self.actions, num_outputs),
        ):
            if len(limits) != count:
                raise InputError(
                    f"the gate must have {count} {name} as the controller, has {len(limits)}"
                )

    def sensor(self, number: int) -> str:
        """Return the name of a sensor, its number where it has none."""
        return f"sensor {number}" + (f" ({self.names[number]})" if self.names else "")

    def describe(self, cause: Cause, index: int) -> str:
        """Return a broken limit as one line."""
        if cause in _OF_TIME:
            return _OF_TIME[cause]
        if cause in _OF_SENSORS:
            return f"{self.sensor(index)} {_OF_SENSORS[cause]}"
        if cause in _OF_ACTIONS:
            return f"action {index} {_OF_ACTIONS[cause]}"
        one, other = (self.sensor(number) for number in self.pairs[index].sensors)
        return f"{one} and {other} do not go together"

    def to_table(self) -> dict[str, Json]:
        """Return it as JSON values."""
        table: dict[str, Json] = to_table(self)
        return table

    @classmethod
    def from_table(cls, table: Json, where: str = "gate") -> "Gate":
        """Read a gate back.

        Raises:
            InputError: If it is none; the message names the key.
        """
        return build(cls, table, where)


def _check_limits(limits: object, ends: tuple[str, str], sizes: Sequence[str]) -> None:
    low, high = (getattr(limits, name) for name in ends)
    for name, value in zip(ends, (low, high), strict=True):
        _require_float32(name, (value,))
    if not low <= high:
        raise InputError(f"high must be at least low, got low {low:.9g}, high {high:.9g}")
    for name in sizes:
        if (value := getattr(limits, name)) is not None:
            _require_float32(name, (value,))
            if value < 0:
                raise InputError(f"{name} must be at least 0, got {value:.9g}")


def _require_float32(name: str, values: Sequence[float]) -> None:
    for value in values:
        with np.errstate(over="ignore"):
            held = float(np.float32(value))
        if not np.isfinite(held) or held != value:
            raise InputError(f"{name} must be a finite float32 by value, got {value!r}")


def _require_count(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InputError(f"{name} must be in [{least}, {most}], got {value}")
