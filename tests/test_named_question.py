"""A question by name means the same as by number, and what the robot has not is refused."""

from collections.abc import Mapping

import numpy as np
import pytest

from support.robots import robot_with
from surefoot.errors import InputError
from surefoot.named_question import (
    NamedReadings,
    NamedStates,
    QuestionOnRobot,
    check_question,
    names_robot,
)
from surefoot.policy import Normaliser
from surefoot.question import Condition, NormalisedBox, Question, RawBox, RecordedStates
from surefoot.requirement import Requirement
from surefoot.robot import Robot
from surefoot.sizes import Size

ROBOT = Robot.parse(
    robot_with("hip", "knee").text.replace('unit = "rad/s"', 'unit = "rad/s"\nrange = [-4.0, 5.0]')
)
NORMALISER = Normaliser(mean=np.zeros(3, np.float32), scale=np.full(3, 2.0, np.float32), clip=10.0)


def test_a_question_by_name_is_the_one_by_number() -> None:
    region = NamedReadings(sensors={"angle[1]": ("-1 rad", 2.0), "angle[0]": (0.0, "1 rad")})
    all_of, any_of = ["action[knee] <= 0.3 N m"], ["action[hip] - action[1] > sensor[gyro]"]
    asked = QuestionOnRobot.of(region, all_of, any_of, ROBOT, NORMALISER)
    assert asked.question == Question(
        where=RawBox(low=(0.0, -1.0, -4.0), high=(1.0, 2.0, 5.0)),
        condition=Condition.parse(("action[1] <= 0.3",), ("action[0] - action[1] > sensor[2]",)),
    )
    assert asked.unit == "N m"
    assert asked.words.endswith(
        "for observations with angle[0] in [0.0, 1.0] rad, angle[1] in [-1.0, 2.0] rad, "
        "gyro in [-4.0, 5.0] rad/s (raw units)"
    )


def test_a_question_by_name_without_a_condition_is_refused_before_a_robot_is_known() -> None:
    region = NamedReadings(sensors={"gyro": (0.0, 1.0)})
    with pytest.raises(InputError, match="at least one inequality, in all_of or any_of"):
        Requirement(quantity="property", region=region)
    with pytest.raises(InputError, match="not one comparison"):
        Requirement(quantity="property", region=region, all_of=("action[hip]",))


def test_states_that_are_not_named_end_at_the_clip() -> None:
    region = NamedStates(sensors={"angle": (-1.0, 2.0)})
    assert region.on(ROBOT, NORMALISER) == NormalisedBox(
        low=(-1.0, -1.0, -10.0), high=(2.0, 2.0, 10.0)
    )
    unlimited = Normaliser(mean=NORMALISER.mean, scale=NORMALISER.scale, clip=np.inf)
    with pytest.raises(InputError, match="must name gyro, whose state the controller"):
        region.on(ROBOT, unlimited)
    remembering = Normaliser(
        mean=np.zeros(4, np.float32), scale=np.ones(4, np.float32), clip=np.inf
    )
    with pytest.raises(InputError, match="does not clip its memory, give a region of kind norm"):
        NamedStates(sensors={"angle": (0, 1), "gyro": (0, 1)}).on(ROBOT, remembering)


@pytest.mark.parametrize(
    ("sensors", "message"),
    [
        ({}, "must name at least one sensor"),
        ({"angel": (0.0, 1.0)}, "unknown sensor 'angel'; did you mean 'angle'"),
        ({"angle": ("0 deg", 1.0)}, r"region\.sensors\.angle must be in rad"),
        (
            {"angle": (1.0, "0 rad")},
            r"angle must be its .* got \[1.0, 0 rad\]: the region is",
        ),
        ({"angle": (0.0, 1.0), "angle[1]": (0.0, 1.0)}, r"names angle\[1\] twice"),
        ({"gyro": (0.0, 1.0)}, r"must name angle\[0\], which has no range in robot.toml"),
    ],
)
def test_a_region_that_the_robot_has_not_is_refused(
    sensors: Mapping[str, tuple[Size, Size]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check_question(NamedReadings(sensors=sensors), ["action[hip] <= 1"], [], ROBOT)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("action[hop] <= 1", r"action\[hop\]: the robot has hip, knee; did you mean 'hip'"),
        ("action[hip] <= 1 rad", r"must be in N m, as action\[hip\] is, got 'rad'"),
        ("sensor[gyro] <= 1 N m", r"must be in rad/s, as sensor\[gyro\] is, got 'N m'"),
        ("action[angle] <= 1", r"action\[angle\]: the robot has hip, knee"),
    ],
)
def test_a_condition_that_the_robot_has_not_is_refused(text: str, message: str) -> None:
    box = RawBox(low=(0.0,) * 3, high=(1.0,) * 3)
    with pytest.raises(InputError, match=message):
        check_question(box, [text], [], ROBOT)
    assert names_robot(box, [text], [])
    assert not names_robot(RecordedStates(), ["action[0] <= 1"], [])
