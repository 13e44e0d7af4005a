"""Entries of vectors are called what the robot calls them, each by one name."""

import pytest

from support.robots import robot_with
from surefoot.robot_words import (
    entry_of,
    intervals_in_words,
    number_called,
    short,
    values_in_words,
)

ROBOT = robot_with("hip", "knee", "foot")


def test_each_label_is_the_number_of_its_own_entry() -> None:
    for number, label in enumerate(ROBOT.sensor_labels):
        assert number_called("sensor", label, ROBOT) == number
        assert entry_of("sensor", number, ROBOT) == (label, ROBOT.each_sensor[number].unit)
    assert entry_of("action", 3, ROBOT) == ("3", "")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hop", r"action\[hop\]: the robot has hip, knee, foot; did you mean 'hip'\?"),
        ("gyro", r"action\[gyro\]: the robot has hip, knee, foot$"),
    ],
)
def test_a_name_that_the_robot_has_not_is_answered_by_those_that_it_has(
    name: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        number_called("action", name, ROBOT)


def test_an_entry_that_is_called_by_a_number_has_its_own() -> None:
    robot = robot_with("1", "-1", "0")
    assert [entry_of("action", number, robot)[0] for number in range(3)] == ["0", "1", "2"]


def test_a_name_of_several_entries_is_answered_by_theirs() -> None:
    with pytest.raises(ValueError, match=r"sensor\[angle\] must name one of angle\[0\], angle\[1"):
        number_called("sensor", "angle", ROBOT)


def test_values_and_intervals_stand_with_names_and_units() -> None:
    assert (
        values_in_words([0.5, 1, 2], ROBOT, "sensor")
        == "angle[0] 0.5 rad, angle[1] 1 rad, gyro 2 rad/s"
    )
    assert values_in_words([0.5], None, "action") == "action[0] 0.5"
    assert intervals_in_words([0, 0, 1], [1, 1, 2], ROBOT, short) == (
        "angle in [0, 1] rad, gyro in [1, 2] rad/s"
    )
    assert intervals_in_words([0, 5, 1], [1, 6, 2], ROBOT, short, units=False) == (
        "angle[0] in [0, 1], angle[1] in [5, 6], gyro in [1, 2]"
    )
