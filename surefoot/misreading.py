"""How readings may be wrong, in the words and the units of a robot.

A budget, a defence and an attack all say it in this way: ``surefoot.raw_units`` makes of it what
they share.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from surefoot.errors import InputError
from surefoot.robot import ROBOT_FILE, UNSPOKEN, Robot
from surefoot.sizes import Size, amount, in_unit

NOISE, BIAS = "noise", "bias"
"""In place of sizes: what every sensor has of it in the description of the robot."""

_WORDS = ((NOISE,), (BIAS,), (NOISE, BIAS))
"""What may stand in the place of sizes, words joined by a plus."""

ALL = "all"
"""In place of a name: every sensor, whose readings come late together."""

MOST_DELAY = 100
"""Longest delay that is taken, steps: a second at 100 Hz."""

_LARGEST = (2 - 2.0**-23) * 2.0**127
"""Largest float32: a reading that errs by more is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Misreading:
    """By how much the readings of a sensor or a group may be wrong, in its unit.

    Attributes:
        linf: Largest error of each reading, either way.
        l2: Largest length of the errors of all of its readings together.
        bias: Largest error of each reading that stays the same for an episode, beside the others.
        delay: Steps by which each reading may be late; it errs besides.
    """

    linf: Size | None = None
    l2: Size | None = None
    bias: Size | None = None
    delay: int | None = None

    def __post_init__(self) -> None:
        """Check that it says something, and nothing twice.

        Raises:
            InputError: If it says nothing, two sizes that contradict each other, or a delay that
                is none.
        """
        if {self.linf, self.l2, self.bias, self.delay} == {None}:
            raise InputError("an error must have linf or l2, a bias or a delay")
        if self.linf is not None and self.l2 is not None:
            raise InputError("an error must have linf or l2, not both")
        if self.delay is not None and not 1 <= self.delay <= MOST_DELAY:
            raise InputError(f"delay must be in [1, {MOST_DELAY}] steps, got {self.delay}")


Perturbation = Mapping[str, Size | Misreading] | str
"""Errors of the readings by sensor, group or entry, in raw units; or "noise", "bias" or both.

A number alone is that of linf.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Errors:
    """By how much the readings of a sensor or a group may be wrong, as numbers in its unit.

    Attributes:
        each: Largest error of each reading; 0 for none.
        together: Largest length of the errors of all of its readings; 0 for none.
        bias: Largest error of each reading that stays the same; 0 for none.
        delay: Steps by which each reading may be late; 0 for none.
    """

    each: float = 0.0
    together: float = 0.0
    bias: float = 0.0
    delay: int = 0

    @property
    def largest(self) -> float:
        """Largest error of a single reading."""
        return self.each + self.together + self.bias

    @property
    def is_size(self) -> bool:
        """Whether readings err, late or not."""
        return self.largest > 0

    def describe(self, unit: str, *, by_rate: bool = False) -> str:
        """Return the errors in words."""
        words = [f"{with_unit(self.together, unit)} in l2"] if self.together else []
        words += [with_unit(self.each, unit)] if self.each else []
        words += [f"a bias of {with_unit(self.bias, unit)}"] if self.bias else []
        if self.delay:
            steps = f"a delay of {self.delay} {'step' if self.delay == 1 else 'steps'}"
            words.append(f"{steps} at its max_rate" if by_rate else steps)
        return " and ".join(words)


def check_perturbation(perturb: Perturbation) -> None:
    """Check the sizes of a perturbation in raw units.

    Raises:
        InputError: If there is none, one is not a positive float32, or a word is unknown.
    """
    if isinstance(perturb, str):
        if _kinds(perturb) not in map(frozenset, _WORDS):
            known = ", ".join("+".join(words) for words in _WORDS)
            raise InputError(f"perturb must be sizes by sensor, or one of {known}, got {perturb!r}")
        return
    if not perturb:
        raise InputError("perturb must name at least one sensor")
    for name, said in perturb.items():
        if name == ALL and _sizes(name, said):
            raise InputError(f"perturb.{ALL} must be a delay: sensors have units of their own")
        for place, size in _sizes(name, said):
            if not 0 < amount(place, size)[0] <= _LARGEST:
                raise InputError(f"{place} must be in (0, {_LARGEST:.4g}], got {size}")


def errors_of(perturb: Perturbation, robot: Robot) -> dict[str, Errors]:
    """Return the errors of the readings by the name of a sensor, raw units.

    Raises:
        InputError: If the noise is asked for and no sensor has one, a sensor is unknown, or a unit
            is not its own.
    """
    if not isinstance(perturb, str):
        return {name: _numbers(name, said, robot) for name, said in perturb.items()}
    kinds, found = _kinds(perturb), {}
    for kind in sorted(kinds, reverse=True):
        if not any(getattr(sensor, kind) for sensor in robot.sensors):
            raise InputError(f"perturb = {perturb!r} needs a sensor with a {kind} in {ROBOT_FILE}")
    for sensor in robot.sensors:
        noise = sensor.noise if NOISE in kinds else None
        bias = sensor.bias if BIAS in kinds else None
        if noise or bias:
            found[sensor.name] = Errors(each=noise or 0.0, bias=bias or 0.0)
    return found


def _kinds(words: str) -> frozenset[str]:
    """Return the kinds of errors that words joined by a plus name."""
    return frozenset(word.strip() for word in words.split("+"))


def readings_of(perturb: Perturbation, robot: Robot, *, by_rate: bool = False) -> dict[str, str]:
    """Return the errors of the readings by the name of a sensor in words, with its unit.

    Args:
        perturb: The errors.
        robot: The robot.
        by_rate: Whether a delay counts by what the sensor may change meanwhile.

    Raises:
        InputError: If a sensor is unknown, or a group has several units.
    """
    words = {}
    for name, errors in sorted(errors_of(perturb, robot).items()):  # as JSON has them
        units = {robot.each_sensor[entry].unit for entry in entries_of(name, robot)}
        if len(units) > 1 and errors.is_size:
            raise InputError(
                f"perturb.{name} must be of sensors with one unit, have {', '.join(sorted(units))}"
            )
        words[name] = errors.describe(units.pop(), by_rate=by_rate)
    return words


def entries_of(name: str, robot: Robot) -> tuple[int, ...]:
    """Return the entries of the observation that a name of a perturbation means.

    Raises:
        InputError: If nothing is called so.
    """
    if name == ALL and not any(ALL in (part.name, part.group) for part in robot.sensors):
        return tuple(range(len(robot.sensor_labels)))
    return robot.sensors_called(name)


def by_entries(perturb: Perturbation, robot: Robot) -> list[tuple[tuple[int, ...], Errors]]:
    """Return what the readings err by, with the entries of the observation that it is about.

    Raises:
        InputError: If a sensor is unknown or named twice.
    """
    found, seen = [], set[tuple[int, bool]]()
    for name, errors in errors_of(perturb, robot).items():
        entries = entries_of(name, robot)
        # All readings may be late together, and some of them err besides.
        kinds = [True] * errors.is_size + [False] * (errors.delay > 0)
        for said in ((entry, is_size) for entry in entries for is_size in kinds):
            if said in seen:
                label = robot.sensor_labels[said[0]]
                raise InputError(f"perturb names {label} twice, by {name!r} the second time")
            seen.add(said)
        found.append((entries, errors))
    return found


def words_of(perturb: Perturbation) -> str:
    """Return the errors of the readings as they are written, before a robot is known."""
    if isinstance(perturb, str):
        return perturb
    return ", ".join(f"{name} {_written(said)}" for name, said in sorted(perturb.items()))


def _written(said: Size | Misreading) -> str:
    if not isinstance(said, Misreading):
        return said if isinstance(said, str) else in_full(said)
    words = [] if said.l2 is None else [f"{_written(said.l2)} in l2"]
    words += [] if said.linf is None else [_written(said.linf)]
    words += [] if said.bias is None else [f"a bias of {_written(said.bias)}"]
    words += [] if said.delay is None else [Errors(delay=said.delay).describe("")]
    return " and ".join(words)


def with_unit(value: float, unit: str) -> str:
    """Return a value that somebody gave, with its unit."""
    return in_full(value) if unit in UNSPOKEN else f"{in_full(value)} {unit}"


def in_full(value: float) -> str:
    """Return a number that somebody gave; two that differ read differently."""
    short = f"{value:.12g}"
    return short if float(short) == value else repr(float(value))


def _sizes(name: str, said: Size | Misreading) -> list[tuple[str, Size]]:
    """Return the sizes that are given of a sensor, by the place where they stand."""
    if not isinstance(said, Misreading):
        return [(f"perturb.{name}", said)]
    sizes = [(f"perturb.{name}.{kind}", getattr(said, kind)) for kind in ("linf", "l2", "bias")]
    return [(place, size) for place, size in sizes if size is not None]


def _numbers(name: str, said: Size | Misreading, robot: Robot) -> Errors:
    """Return the errors of a sensor as numbers.

    Raises:
        InputError: If it is unknown, or one is written with another unit than its own.
    """
    entries = entries_of(name, robot)
    units = [robot.each_sensor[entry].unit for entry in entries]
    if not isinstance(said, Misreading):
        return Errors(each=in_unit(f"perturb.{name}", said, units))
    each, length, bias = (
        in_unit(f"perturb.{name}.{kind}", size or 0.0, units)
        for kind, size in (("linf", said.linf), ("l2", said.l2), ("bias", said.bias))
    )
    if len(entries) == 1:
        each, length = each + length, 0.0  # of which one is given
    return Errors(each=each, together=length, bias=bias, delay=said.delay or 0)
