"""Questions in the names and units of a robot, and what they mean on it.

A region names its sensors, a condition its actuators and sensors. Held against a robot both become
numbers of the controller's vectors, which proofs know alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from surefoot.errors import InputError
from surefoot.inequality import read_formula
from surefoot.policy import Normaliser
from surefoot.question import Condition, NormalisedBox, Question, RawBox, Where
from surefoot.robot import ROBOT_FILE, Robot
from surefoot.sizes import Size, in_unit

_Ends = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedReadings:
    """A box of observations, in the units of the sensors.

    Attributes:
        sensors: Least and largest reading by sensor, group or entry, as numbers in its unit or with
            the unit behind them; one that is not named takes its ``range``.
    """

    kind: ClassVar[str] = "readings"

    sensors: Mapping[str, tuple[Size, Size]]

    def __post_init__(self) -> None:
        """Check that a sensor is named.

        Raises:
            InputError: If none is.
        """
        _require_named(self.sensors)

    def describe(self) -> str:
        """Return the region in words."""
        return f"for readings of {_written(self.sensors)}"

    def on(self, robot: Robot, normaliser: Normaliser) -> RawBox:
        """Return the box in the order of the observation.

        Args:
            robot: Robot whose sensors it names.
            normaliser: Normaliser of the controller, whose memory it does not name.

        Raises:
            InputError: If a sensor is unknown or named twice, a unit is not its own, an interval is
                empty, or a sensor that is not named has no range.
        """
        found = _intervals(self.sensors, robot)
        for number, (label, sensor) in enumerate(
            zip(robot.sensor_labels, robot.each_sensor, strict=True)
        ):
            if number not in found and sensor.range is None:
                raise InputError(
                    f"region.sensors must name {label}, which has no range in {ROBOT_FILE}"
                )
            found.setdefault(number, sensor.range or (0.0, 0.0))
        return RawBox(**_box_of(found))


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedStates:
    """A box of states, normalised units.

    Attributes:
        sensors: Least and largest state by sensor, group or entry; one that is not named takes all
            that the clip of the controller leaves.
    """

    kind: ClassVar[str] = "states"

    sensors: Mapping[str, tuple[float, float]]

    def __post_init__(self) -> None:
        """Check that a sensor is named.

        Raises:
            InputError: If none is.
        """
        _require_named(self.sensors)

    def describe(self) -> str:
        """Return the region in words."""
        return f"for states of {_written(self.sensors)} (normalised units)"

    def on(self, robot: Robot, normaliser: Normaliser) -> NormalisedBox:
        """Return the box in the order of the observation.

        Args:
            robot: Robot whose sensors it names.
            normaliser: Normaliser of the controller.

        Raises:
            InputError: If a sensor is unknown or named twice, an interval is empty, or nothing
                limits the state of a sensor that is not named.
        """
        found, clip = _intervals(self.sensors, robot), float(normaliser.clip)
        for number in range(normaliser.mean.size):
            if number not in found and not np.isfinite(clip):
                raise InputError(f"region.sensors must name {_unlimited(number, robot)}")
            found.setdefault(number, (-clip, clip))
        return NormalisedBox(**_box_of(found))


NamedRegion = NamedReadings | NamedStates


@dataclass(frozen=True, kw_only=True, slots=True)
class QuestionOnRobot:
    """What a question means on one robot.

    Attributes:
        where: The region.
        all_of: Inequalities of which each must hold, by number.
        any_of: Inequalities of which one must hold, by number.
        words: The question in the names and units of the robot.
        unit: Unit of the limits; empty where they have several.
    """

    where: Where
    all_of: tuple[str, ...]
    any_of: tuple[str, ...]
    words: str
    unit: str

    @property
    def question(self) -> Question:
        """The question."""
        condition = Condition.parse(self.all_of, self.any_of)
        return Question(where=self.where, condition=condition)

    @classmethod
    def of(
        cls,
        region: Where | NamedRegion,
        all_of: Sequence[str],
        any_of: Sequence[str],
        robot: Robot,
        normaliser: Normaliser,
    ) -> "QuestionOnRobot":
        """Hold a question against a robot.

        Args:
            region: The region.
            all_of: Inequalities of which each must hold.
            any_of: Inequalities of which one must hold.
            robot: The robot.
            normaliser: Normaliser of its controller.

        Raises:
            InputError: If a name or a unit is not the robot's, or the question is none.
        """
        where = region.on(robot, normaliser) if isinstance(region, NamedRegion) else region
        condition = Condition.parse(tuple(all_of), tuple(any_of), robot)
        numbers = [one.describe() for one in condition.inequalities]
        units = {one.unit(robot) for one in condition.inequalities}
        question = Question(where=where, condition=condition)
        return cls(
            where=where,
            all_of=tuple(numbers[: len(all_of)]),
            any_of=tuple(numbers[len(all_of) :]),
            words=question.describe(robot),
            unit=units.pop() if len(units) == 1 else "",
        )


def check_question(
    region: Where | NamedRegion, all_of: Sequence[str], any_of: Sequence[str], robot: Robot
) -> None:
    """Check that a question means something on a robot, before there is a controller.

    Raises:
        InputError: If a name or a unit is not the robot's, or the question is none.
    """
    size = len(robot.sensor_labels)
    zeros = np.zeros(size, np.float32)
    # No name or unit depends on the normaliser.
    stand_in = Normaliser(mean=zeros, scale=zeros + 1, clip=1.0)
    QuestionOnRobot.of(region, all_of, any_of, robot, stand_in)


def check_condition(all_of: Sequence[str], any_of: Sequence[str]) -> None:
    """Check that a condition has inequalities, before a robot is known.

    Raises:
        InputError: If it has none, or one is none.
    """
    if not (all_of or any_of):
        raise InputError("a condition must have at least one inequality, in all_of or any_of")
    for text in (*all_of, *any_of):
        read_formula(text)


def in_words(region: Where | NamedRegion, all_of: Sequence[str], any_of: Sequence[str]) -> str:
    """Return a question as it is written, before a robot is known."""
    written = [" ".join(text.split()) for text in all_of]
    if any_of:
        either = " or ".join(" ".join(text.split()) for text in any_of)
        written.append(f"({either})" if written and len(any_of) > 1 else either)
    return f"{' and '.join(written)} {region.describe()}"


def names_robot(region: Where | NamedRegion, all_of: Sequence[str], any_of: Sequence[str]) -> bool:
    """Return True if a question uses names or units of a robot.

    Raises:
        InputError: If an inequality is none.
    """
    read = [read_formula(text).names_robot for text in (*all_of, *any_of)]
    return isinstance(region, NamedRegion) or any(read)


def _require_named(sensors: Mapping[str, object]) -> None:
    if not sensors:
        raise InputError("region.sensors must name at least one sensor")


def _unlimited(number: int, robot: Robot) -> str:
    """Return in words what has no limit; a memory has no name, and needs a region by number."""
    if number < len(robot.sensor_labels):
        return f"{robot.sensor_labels[number]}, whose state the controller does not clip"
    return "all states: the controller does not clip its memory, give a region of kind normalised"


def _written(sensors: Mapping[str, tuple[Size, Size]]) -> str:
    """Return the intervals of a region as they are written, in the order of JSON."""
    return ", ".join(f"{name} in [{low}, {high}]" for name, (low, high) in sorted(sensors.items()))


def _intervals(sensors: Mapping[str, tuple[Size, Size]], robot: Robot) -> dict[int, _Ends]:
    """Return the interval of each entry of the observation that is named.

    Raises:
        InputError: If a sensor is unknown or named twice, a unit is not its own, or an interval is
            empty.
    """
    found: dict[int, _Ends] = {}
    for name, ends in sensors.items():
        entries, place = robot.sensors_called(name), f"region.sensors.{name}"
        units = [robot.each_sensor[entry].unit for entry in entries]
        low, high = (in_unit(place, end, units) for end in ends)
        if not low <= high:
            raise InputError(
                f"{place} must be its least and largest value, got [{ends[0]}, {ends[1]}]: the "
                "region is empty"
            )
        for entry in entries:
            if entry in found:
                label = robot.sensor_labels[entry]
                raise InputError(f"region.sensors names {label} twice, by {name!r} the second time")
            found[entry] = low, high
    return found


def _box_of(intervals: Mapping[int, _Ends]) -> dict[str, tuple[float, ...]]:
    """Return the ends of intervals in the order of their numbers."""
    ends = [intervals[number] for number in sorted(intervals)]
    return {"low": tuple(low for low, _ in ends), "high": tuple(high for _, high in ends)}
