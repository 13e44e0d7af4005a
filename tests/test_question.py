"""Questions in the engineer's own words: what is read, what it means, what is refused."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.errors import InputError
from surefoot.question import (
    Condition,
    Inequality,
    NormalisedBox,
    Question,
    RawBox,
    RecordedStates,
)

NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)


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


@given(st.lists(NUMBERS.filter(bool), min_size=1, max_size=3), NUMBERS)
def test_an_inequality_with_sensors_says_itself_again_and_is_broken_by_its_exact_sum(
    coefficients: list[float], limit: float
) -> None:
    readings = tuple(enumerate(coefficients))
    one = Inequality(terms=((1, -2.0),), limit=limit, readings=readings)
    assert Inequality.parse(one.describe()) == one
    total = sum((Fraction(each) * 3 for each in coefficients), Fraction(-2) * 5)
    assert one.is_broken(np.array([0.0, 5.0]), np.full(3, 3.0)) is (total > Fraction(limit))


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


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=3))
def test_a_condition_is_broken_where_a_clause_has_no_inequality_that_holds(
    outputs: list[float],
) -> None:
    all_of, any_of = ("action[0] <= 0.25",), ("action[1] <= 0.5", "action[2] < 0")
    holds = outputs[0] <= 0.25 and (outputs[1] <= 0.5 or outputs[2] < 0)
    condition = Condition.parse(all_of, any_of)
    rows, limits = condition.rows(3)
    excesses = rows @ np.array(outputs) - limits
    assert condition.is_violated(np.array(outputs), np.zeros(0)) is not holds
    assert (condition.violation(excesses) <= 0) == holds


def test_an_action_that_there_is_not_is_named() -> None:
    with pytest.raises(InputError, match=r"about action\[3\], the controller has 3 outputs"):
        Condition.parse(("action[3] <= 0",), ()).rows(3)


def test_a_sensor_that_there_is_not_is_named() -> None:
    with pytest.raises(InputError, match=r"about sensor\[3\], the controller has 3 sensors"):
        Condition.parse(("action[0] <= sensor[3]",), ()).reading_rows(3)


def test_a_condition_about_readings_needs_a_region_of_them() -> None:
    condition = Condition.parse(("action[0] <= sensor[0]",), ())
    for where in (NormalisedBox(low=(0.0,), high=(1.0,)), RecordedStates()):
        with pytest.raises(InputError, match=r"sensor\[0\] needs a region of readings"):
            Question(where=where, condition=condition)


def test_a_condition_needs_an_inequality() -> None:
    with pytest.raises(InputError, match="at least one inequality"):
        Condition.parse((), ())


@pytest.mark.parametrize("kind", [RawBox, NormalisedBox])
def test_a_box_that_is_none_is_refused_and_says_why(kind: type[RawBox | NormalisedBox]) -> None:
    with pytest.raises(InputError, match=r"got \[1, 0\] for sensor 1: the region is empty"):
        kind(low=(0.0, 1.0), high=(1.0, 0.0))
    with pytest.raises(InputError, match="one number per sensor, got 1 and 2"):
        kind(low=(0.0,), high=(1.0, 0.0))
    for wrong in (math.nan, math.inf, 1e39):
        with pytest.raises(InputError, match="must be finite float32 numbers"):
            kind(low=(wrong,), high=(wrong,))
