"""Inequalities in the engineer's own words: what is read, what it means, what is refused."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.robots import robot_with
from surefoot.errors import InputError
from surefoot.inequality import Inequality
from surefoot.robot import NOT_SAID, Robot

NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)
ROBOT = robot_with("hip", "left-knee", "2nd")


@pytest.mark.parametrize(
    ("text", "terms", "limit", "strict"),
    [
        ("action[0] <= 0.5", ((0, 1.0),), 0.5, False),
        ("0.8 <= action[1]", ((1, -1.0),), -0.8, False),
        ("action[2] - 2 * action[0] < 3", ((0, -2.0), (2, 1.0)), 3.0, True),
        ("-(action[0] + action[1]) >= -1", ((0, 1.0), (1, 1.0)), 1.0, False),
        ("action[0] * 0.5 > action[0] + 1", ((0, 0.5),), -1.0, True),
    ],
)
def test_an_inequality_is_read_as_a_sum_below_a_limit(
    text: str, terms: tuple[tuple[int, float], ...], limit: float, strict: bool
) -> None:
    assert Inequality.parse(text) == Inequality(terms=terms, limit=limit, strict=strict)


@given(st.lists(NUMBERS.filter(bool), min_size=1, max_size=4), NUMBERS, st.booleans())
def test_an_inequality_says_itself_again(
    coefficients: list[float], limit: float, strict: bool
) -> None:
    one = Inequality(terms=tuple(enumerate(coefficients)), limit=limit, strict=strict)
    assert Inequality.parse(one.describe()) == one
    assert Inequality.parse(one.describe(ROBOT), ROBOT) == one


def test_a_number_that_is_the_name_of_another_entry_is_refused() -> None:
    """Motors are often called 1, 2, ...: read as a number from 0 it would be the next one."""
    with pytest.raises(InputError, match="counts from 0, but the robot calls action 0 1: give"):
        Inequality.parse("action[1] <= 3", robot_with("1", "2"))
    assert Inequality.parse("action[1] <= 3", robot_with("0", "1")).terms == ((1, 1.0),)


def test_a_unit_that_nobody_says_is_asked_of_no_one() -> None:
    robot = Robot.parse(robot_with("hip").text.replace('"N m"', f'"{NOT_SAID}"'))
    for text in ("action[hip] <= 1 N m", "action[1] <= 1 N m"):
        with pytest.raises(InputError, match=r"nobody says the unit of action\[.+\], got 'N m'"):
            Inequality.parse(text, robot)


@given(st.lists(NUMBERS.filter(bool), min_size=1, max_size=3), NUMBERS)
def test_an_inequality_with_sensors_says_itself_again_and_is_broken_by_its_exact_sum(
    coefficients: list[float], limit: float
) -> None:
    readings = tuple(enumerate(coefficients))
    one = Inequality(terms=((1, -2.0),), limit=limit, readings=readings)
    assert Inequality.parse(one.describe()) == one
    assert Inequality.parse(one.describe(ROBOT), ROBOT) == one
    total = sum((Fraction(each) * 3 for each in coefficients), Fraction(-2) * 5)
    assert one.is_broken(np.array([0.0, 5.0]), np.full(3, 3.0)) is (total > Fraction(limit))


def test_the_coefficients_of_one_entry_by_name_and_number_add_up() -> None:
    by_name = Inequality.parse("action[hip] + 2 * action[0] <= 1 N m", ROBOT)
    assert by_name == Inequality.parse("3 * action[0] <= 1")


@pytest.mark.parametrize("text", ["action[hip] <= 1", "action[0] <= 1 N m"])
def test_names_and_units_need_a_robot(text: str) -> None:
    with pytest.raises(InputError, match="no robot is described"):
        Inequality.parse(text)


@given(NUMBERS, NUMBERS)
def test_a_sum_is_read_exactly_or_refused(limit: float, constant: float) -> None:
    exact = Fraction(limit) - Fraction(constant)
    text = f"action[0] + {constant!r} <= {limit!r}"
    if Fraction(float(exact)) == exact:
        assert Inequality.parse(text).limit == exact
    else:
        with pytest.raises(InputError, match="is rounded: write each sum as one number"):
            Inequality.parse(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("action[0]", "not one comparison"),
        ("0 <= action[0] <= 1", "not one comparison"),
        ("action[0] == 1", "compared by <=, >=, < or > only"),
        ("action[0] * action[1] <= 1", "a product of actions or sensors is not linear"),
        ("abs(action[0]) <= 1", r"abs\(action\[0\]\) is no number"),
        ("action[-1] <= 1", r"action\[-1\] is no number"),
        ("action[True] <= 1", r"action\[True\] is no number"),
        ("action[0] * sensor[0] <= 1", "a product of actions or sensors is not linear"),
        ("sensor[-1] <= 1", r"sensor\[-1\] is no number"),
        ("1 <= 2", "must be about an action"),
        ("action[0] <= 1e999", "Infinity"),
        ("0.1 * action[0] + 0.2 * action[0] <= 1", "is rounded: write each sum"),
        ("action[0] <", "no formula"),
        ("(" * 3000 + "action[0]" + ")" * 3000 + "<= 1", "a condition must be like"),
        ("action[0] <= 1" + " " * 5000, "longer than the 4096 characters"),
    ],
)
def test_what_is_no_linear_inequality_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Inequality.parse(text)
