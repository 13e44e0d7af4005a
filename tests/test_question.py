"""Questions in the engineer's own words: what they mean, and what is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.errors import InputError
from surefoot.question import (
    Condition,
    NormalisedBox,
    Question,
    RawBox,
    RecordedStates,
)


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
