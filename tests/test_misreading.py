"""Errors of readings as a budget writes them: what is refused, and what it says in words."""

from collections.abc import Mapping

import pytest

from support.robots import robot_with
from surefoot.config import build, parse_toml, to_table, to_toml
from surefoot.errors import InputError
from surefoot.misreading import (
    ALL,
    Errors,
    Misreading,
    Perturbation,
    check_perturbation,
    entries_of,
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
        ({"delay": 0}, r"delay must be in \[1, 100\] steps, got 0"),
        ({"delay": 1.5}, r"perturb\.angle\.delay must be of type int, got 1\.5"),
        ({"bias": 0}, r"perturb\.angle\.bias must be in \(0"),
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


SHEET = Robot.parse(
    robot_with("hip")
    .text.replace("noise = 0.02", "noise = 0.02\nbias = 0.01")
    .replace('unit = "rad/s"', 'unit = "rad/s"\nbias = 0.5')
)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("noise", {"angle": Errors(each=0.02)}),
        ("bias", {"angle": Errors(bias=0.01), "gyro": Errors(bias=0.5)}),
        ("noise+bias", {"angle": Errors(each=0.02, bias=0.01), "gyro": Errors(bias=0.5)}),
        ("bias + noise", {"angle": Errors(each=0.02, bias=0.01), "gyro": Errors(bias=0.5)}),
    ],
)
def test_words_stand_for_what_the_data_sheet_says(words: str, expected: dict[str, Errors]) -> None:
    check_perturbation(words)
    assert errors_of(words, SHEET) == expected


@pytest.mark.parametrize("words", ["", "loud", "noise+", "noise+loud", "noise bias", "delay"])
def test_words_that_are_none_are_refused(words: str) -> None:
    with pytest.raises(InputError, match=r"one of noise, bias, noise\+bias, got"):
        check_perturbation(words)


def test_a_word_of_which_the_data_sheet_says_nothing_is_refused() -> None:
    with pytest.raises(InputError, match=r"perturb = 'noise\+bias' needs a sensor with a bias in"):
        errors_of("noise+bias", ROBOT)
    with pytest.raises(InputError, match="bias must be positive"):
        Robot.parse(SHEET.text.replace("bias = 0.01", "bias = 0"))


def test_words_say_every_kind_of_error() -> None:
    said: Perturbation = {
        "angle": Misreading(l2=0.02, bias=0.01, delay=1),
        ALL: Misreading(delay=3),
        "gyro": Misreading(bias="0.5 rad/s"),
    }
    check_perturbation(said)
    assert readings_of(said, ROBOT) == {
        "all": "a delay of 3 steps",
        "angle": "0.02 rad in l2 and a bias of 0.01 rad and a delay of 1 step",
        "gyro": "a bias of 0.5 rad/s",
    }
    assert readings_of({"gyro": Misreading(delay=2)}, ROBOT, by_rate=True) == {
        "gyro": "a delay of 2 steps at its max_rate"
    }
    assert words_of(said) == (
        "all a delay of 3 steps, angle 0.02 in l2 and a bias of 0.01 and a delay of 1 step, "
        "gyro a bias of 0.5 rad/s"
    )


def test_a_size_of_all_sensors_is_refused_and_a_name_of_all_is_a_name() -> None:
    with pytest.raises(InputError, match=r"perturb\.all must be a delay"):
        check_perturbation({ALL: 0.1})
    own = Robot.parse(robot_with("hip").text.replace('name = "gyro"', 'name = "all"'))
    assert entries_of(ALL, ROBOT) == (0, 1, 2)
    assert entries_of(ALL, own) == (2,)


def test_a_length_has_the_unit_of_its_sensors() -> None:
    with pytest.raises(InputError, match=r"perturb\.angle\.l2 must be in rad, .* got '2 deg'"):
        errors_of({"angle": Misreading(l2="2 deg")}, ROBOT)


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), float("inf"), 1e39])
def test_a_size_is_a_positive_number(size: float) -> None:
    with pytest.raises(InputError, match=r"perturb\.gyro must be in"):
        check_perturbation({"gyro": size})
