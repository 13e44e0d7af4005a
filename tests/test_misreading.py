"""Errors of readings as a budget writes them: what is refused, and what it says in words."""

from collections.abc import Mapping

import pytest

from support.robots import robot_with
from surefoot.config import build, parse_toml, to_table, to_toml
from surefoot.errors import InputError
from surefoot.misreading import (
    Errors,
    Misreading,
    Perturbation,
    check_perturbation,
    errors_of,
    readings_of,
    words_of,
)
from surefoot.requirement import Requirement
from surefoot.robot import Robot

ROBOT = Robot.parse(
    robot_with("hip").text.replace('unit = "rad/s"', 'unit = "rad/s"\ngroup = "imu"', 1)
)
TOML = """
quantity = "action_deviation"
scope = "everywhere"
at_most = 1.0
perturb = { angle = { l2 = "0.02 rad" }, gyro = { linf = 0.5 } }
"""


def test_a_length_of_a_group_is_read_and_written_back() -> None:
    need = Requirement.from_table(parse_toml(TOML, "a budget"))
    assert need.perturb == {"angle": Misreading(l2="0.02 rad"), "gyro": Misreading(linf=0.5)}
    assert build(Requirement, parse_toml(to_toml(to_table(need)), "a budget"), "require") == need
    assert errors_of(need.perturb, ROBOT) == {
        "angle": Errors(together=0.02),
        "gyro": Errors(each=0.5),
    }


def test_a_length_of_one_reading_is_its_size() -> None:
    alone = errors_of({"angle[0]": Misreading(l2=0.02), "imu": Misreading(l2=0.5)}, ROBOT)
    assert alone == {"angle[0]": Errors(each=0.02), "imu": Errors(each=0.5)}


def test_words_say_what_is_measured_together_and_in_which_unit() -> None:
    said: Perturbation = {"gyro": 0.5, "angle": Misreading(l2="0.02 rad")}
    assert words_of(said) == "angle 0.02 rad in l2, gyro 0.5"
    assert readings_of(said, ROBOT) == {"angle": "0.02 rad in l2", "gyro": "0.5 rad/s"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, r"require\.perturb\.angle: an error must have linf or l2"),
        ({"l2": 0.1, "linf": 0.2}, r"require\.perturb\.angle: an error must have linf or l2"),
        ({"l1": 0.1}, r"unknown key 'require\.perturb\.angle\.l1'"),
        ({"l2": -0.1}, r"perturb\.angle\.l2 must be in \(0"),
        ({"l2": "0.1rad"}, r"perturb\.angle\.l2 must be a number, or one with its unit"),
        ([0.1], r"require\.perturb\.angle"),
    ],
)
def test_an_error_that_says_nothing_or_two_things_is_refused_with_its_place(
    entry: Mapping[str, float | str], message: str
) -> None:
    table = parse_toml(TOML, "a budget") | {"perturb": {"angle": entry}}
    with pytest.raises(InputError, match=message):
        Requirement.from_table(table)


def test_a_length_has_the_unit_of_its_sensors() -> None:
    with pytest.raises(InputError, match=r"perturb\.angle\.l2 must be in rad, .* got '2 deg'"):
        errors_of({"angle": Misreading(l2="2 deg")}, ROBOT)


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), float("inf"), 1e39])
def test_a_size_is_a_positive_number(size: float) -> None:
    with pytest.raises(InputError, match=r"perturb\.gyro must be in"):
        check_perturbation({"gyro": size})
