"""A robot described once: its sensors and actuators, in the order of the controller's vectors.

``robot.toml`` says what a data sheet says: name, unit, range, resolution, noise and rate of each
sensor and actuator. A table with a ``count`` or with ``entries`` describes an array, such as all
joint positions. Nothing is guessed: what the file does not say is unknown.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from surefoot.config import build, parse_toml
from surefoot.errors import InputError, did_you_mean
from surefoot.limits import MAX_ROBOT_BYTES, MAX_SENSORS
from surefoot.policy import Array, Policy
from surefoot.ranges import require_positive

_NAME = re.compile(r"[A-Za-z0-9_-]+")
"""A bare key of TOML, so that budgets need no quotes."""

PURE = "1"
"""Unit of a pure number."""

NOT_SAID = "?"
"""Unit that nobody says, as of a robot by the metadata of a file alone."""

UNSPOKEN = frozenset({"", PURE, NOT_SAID})
"""Units that do not stand behind a number."""

ROBOT_FILE = "robot.toml"
"""Name of the description in policy folders and bundles."""

BY_METADATA = "# by the metadata of its file"
"""End of a line that its user left open, and the file of the controller says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A sensor or an actuator, or an array of like ones.

    Attributes:
        name: Word for it in budgets and reports.
        unit: Unit of its readings or commands; ``1`` for a pure number.
        count: Number of entries of an array.
        entries: Name of each entry of an array; numbers from 0 without them.
        range: Least and largest value, in the unit.
        max_rate: Largest rate of change, units per second.
        group: Word for several tables together; empty for none.
    """

    name: str
    unit: str
    count: int = 1
    entries: tuple[str, ...] | None = None
    range: tuple[float, float] | None = None
    max_rate: float | None = None
    group: str = ""

    def __post_init__(self) -> None:
        """Check names, numbers and that they fit each other.

        Raises:
            InputError: If one does not hold.
        """
        for name in (self.name, self.group or "none", *(self.entries or ())):
            if not _NAME.fullmatch(name):
                raise InputError(f"names must be of letters, digits, '_' and '-', got {name!r}")
        if not self.unit.strip():
            raise InputError(f"unit of {self.name} must be given, 1 for a pure number")
        if not self.unit.isprintable():  # a unit stands in messages and in comments of a budget
            raise InputError(f"unit of {self.name} must be one line of text, got {self.unit!r}")
        if self.entries is not None:
            self._check_entries(self.entries)
        elif not 1 <= self.count <= MAX_SENSORS:
            raise InputError(f"count must be in [1, {MAX_SENSORS}], got {self.count}")
        if self.range is not None and not -math.inf < self.range[0] < self.range[1] < math.inf:
            raise InputError(f"range must be two finite numbers in order, got {list(self.range)}")
        self._require_positive("max_rate")

    def _require_positive(self, *names: str) -> None:
        require_positive(self, *(name for name in names if getattr(self, name) is not None))

    def _check_entries(self, entries: tuple[str, ...]) -> None:
        if not entries or len(set(entries)) < len(entries):
            raise InputError(f"entries must be one name each, got {list(entries)}")
        if self.count not in (1, len(entries)):
            raise InputError(f"count must be that of the {len(entries)} entries, got {self.count}")

    @property
    def labels(self) -> tuple[str, ...]:
        """Name of each entry: that of the table, and in an array the entry's own."""
        if self.entries is not None:
            return tuple(f"{self.name}[{entry}]" for entry in self.entries)
        if self.count == 1:
            return (self.name,)
        return tuple(f"{self.name}[{number}]" for number in range(self.count))

    def in_units(self, value: float) -> str:
        """Return a value with its unit, to four digits."""
        return f"{value:.4g}" if self.unit in UNSPOKEN else f"{value:.4g} {self.unit}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sensor(Part):
    """A sensor, or an array of them.

    Attributes:
        resolution: Distance of two neighbouring readings, in the unit.
        noise: Largest error of a reading, either way, in the unit; another at every step.
        bias: Largest error that stays the same, either way, in the unit, beside the noise.
    """

    resolution: float | None = None
    noise: float | None = None
    bias: float | None = None

    def __post_init__(self) -> None:
        """Check names, numbers and that they fit each other.

        Raises:
            InputError: If one does not hold.
        """
        Part.__post_init__(self)
        self._require_positive("resolution", "noise", "bias")


@dataclass(frozen=True, kw_only=True, slots=True)
class Actuator(Part):
    """An actuator, or an array of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tables:
    """The tables of a robot.toml.

    Attributes:
        control_period_s: Time between two actions, s.
        sensor: Sensors in the order of the observation.
        actuator: Actuators in the order of the action.
    """

    sensor: tuple[Sensor, ...]
    actuator: tuple[Actuator, ...]
    control_period_s: float | None = None


@dataclass(frozen=True)
class Robot:
    """A robot.

    Attributes:
        sensors: Sensors and arrays of them, in the order of the observation.
        actuators: Actuators and arrays of them, in the order of the action.
        control_period_s: Time between two actions, s; None where it is not said.
        text: The TOML file, kept byte for byte in policy folders, certificates and bundles.
    """

    sensors: tuple[Sensor, ...]
    actuators: tuple[Actuator, ...]
    control_period_s: float | None
    text: str

    def __post_init__(self) -> None:
        """Check that no word means two things.

        Raises:
            InputError: If one does, or the control period is not positive.
        """
        if self.control_period_s is not None:
            require_positive(self, "control_period_s")
        for what, parts in (("sensor", self.sensors), ("actuator", self.actuators)):
            if not parts:
                raise InputError(f"a robot must have at least one [[{what}]] table")
            names = [part.name for part in parts]
            for name in names:
                if names.count(name) > 1:
                    raise InputError(f"{what} names must differ, got {name!r} twice")
            for part in parts:
                if part.group in names:
                    raise InputError(f"group must be no name of a {what}, got {part.group!r}")

    @classmethod
    def parse(cls, text: str, what: str = ROBOT_FILE) -> "Robot":
        """Read a description from TOML.

        Raises:
            InputError: If it is not TOML, or a key or value is wrong.
        """
        tables = build(_Tables, parse_toml(text, what, max_bytes=MAX_ROBOT_BYTES), what)
        try:
            return cls(tables.sensor, tables.actuator, tables.control_period_s, text)
        except InputError as error:
            raise InputError(f"{what}: {error}") from error

    @cached_property
    def sensor_labels(self) -> tuple[str, ...]:
        """Name of each entry of the observation."""
        return _labels(self.sensors)

    @cached_property
    def actuator_labels(self) -> tuple[str, ...]:
        """Name of each entry of the action."""
        return _labels(self.actuators)

    @property
    def by_metadata(self) -> tuple[str, ...]:
        """What the metadata of the controller's file say in the place of the user, in sentences."""
        lines = (line.strip() for line in self.text.splitlines())
        said = [line.removesuffix(BY_METADATA) for line in lines if line.endswith(BY_METADATA)]
        return tuple(
            f"of the robot the metadata of the file say: {words.strip('# ')}" for words in said
        )

    @property
    def each_sensor(self) -> tuple[Sensor, ...]:
        """The sensor of each entry of the observation."""
        return tuple(sensor for sensor in self.sensors for _ in sensor.labels)

    @property
    def each_actuator(self) -> tuple[Actuator, ...]:
        """The actuator of each entry of the action."""
        return tuple(actuator for actuator in self.actuators for _ in actuator.labels)

    def sensors_called(self, name: str) -> tuple[int, ...]:
        """Return the entries of the observation that a sensor, a group or a label means.

        Raises:
            InputError: If nothing is called so.
        """
        return _called(name, self.sensors, "sensor")

    def actuators_called(self, name: str) -> tuple[int, ...]:
        """Return the entries of the action that an actuator, a group or a label means.

        Raises:
            InputError: If nothing is called so.
        """
        return _called(name, self.actuators, "actuator")

    def check_fits(self, policy: Policy) -> None:
        """Check that a controller has these sensors and actuators.

        Raises:
            InputError: If one has more entries than the other, or the mean of a normaliser lies
                outside the range of its sensor.
        """
        # What a controller remembers are its last sensors, and none of the robot's.
        num_sensors = policy.obs_dim - (0 if policy.memory is None else policy.memory.size)
        self.check_sizes(num_sensors, policy.num_outputs)
        self._check_means(policy.normaliser.mean[:num_sensors])

    def check_sizes(self, num_sensors: int, num_actuators: int) -> None:
        """Check that a controller or a task has as many sensors and actuators.

        Raises:
            InputError: If it has more or fewer.
        """
        for what, labels, held in (
            ("sensors", self.sensor_labels, num_sensors),
            ("actuators", self.actuator_labels, num_actuators),
        ):
            if len(labels) != held:
                raise InputError(
                    f"{ROBOT_FILE}: {what} must have the {held} entries of the controller, "
                    f"have {len(labels)}"
                )

    def _check_means(self, mean: Array) -> None:
        entries = zip(self.sensor_labels, self.each_sensor, mean.tolist(), strict=True)
        for label, sensor, value in entries:
            if sensor.range is not None and not sensor.range[0] <= value <= sensor.range[1]:
                low, high = sensor.range
                raise InputError(
                    f"{ROBOT_FILE}: range of {label} must hold the mean of the normaliser, "
                    f"{sensor.in_units(value)}, is [{low:g}, {high:g}]"
                )


def _labels(parts: Iterable[Part]) -> tuple[str, ...]:
    return tuple(label for part in parts for label in part.labels)


def entries_called(name: str, parts: Sequence[Part]) -> tuple[int, ...]:
    """Return the numbers of the entries that a table, a group or a label means."""
    owners = [(part, label) for part in parts for label in part.labels]
    return tuple(
        number
        for number, (part, label) in enumerate(owners)
        if name and name in (part.name, part.group, label)
    )


def _called(name: str, parts: Sequence[Part], what: str) -> tuple[int, ...]:
    found = entries_called(name, parts)
    if not found:
        known = [word for part in parts for word in (part.name, part.group) if word]
        raise InputError(f"unknown {what} {name!r}{did_you_mean(name, known)}")
    return found
