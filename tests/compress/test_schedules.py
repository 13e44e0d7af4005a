import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.compress import CubicSchedule
from surefoot.errors import InputError

schedules = st.builds(
    lambda target, start, length, interval: CubicSchedule(
        target=target, start=start, end=start + length, interval=interval
    ),
    st.floats(0, 0.99),
    st.integers(0, 50),
    st.integers(1, 100),
    st.sampled_from([1, 10, 20]),
)


@given(schedules)
def test_sparsity_rises_from_zero_to_exactly_the_target(schedule: CubicSchedule) -> None:
    values = [schedule.target * schedule.fraction(update) for update in range(schedule.end + 10)]
    assert values[: schedule.start + 1] == [0.0] * (schedule.start + 1)
    assert values[schedule.end :] == [schedule.target] * 10
    assert values == sorted(values)


@given(schedules)
def test_the_last_change_of_the_masks_hits_the_target(schedule: CubicSchedule) -> None:
    due = [update for update in range(schedule.end + 50) if schedule.is_due(update)]
    assert due[0] == schedule.start
    assert due[-1] == schedule.end
    assert all(late - early == schedule.interval for early, late in itertools.pairwise(due[:-1]))


# Zhu and Gupta's rule with the burn-in of 25 % at 30, 40, 50 and 75 % of the training.
@pytest.mark.parametrize(
    ("end", "fractions"),
    [(1000, [0.187, 0.488, 0.704, 0.963]), (750, [0.271, 0.657, 0.875, 1])],
)
def test_the_ramp_is_cubic(end: int, fractions: list[float]) -> None:
    schedule = CubicSchedule(target=0.5, start=250, end=end, interval=1)
    found = [schedule.fraction(update) for update in (300, 400, 500, 750)]
    assert found == pytest.approx(fractions, abs=5e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": 1.0}, r"sparsity must be in \[0, 1\)"),
        ({"start": 10}, r"start must be in \[0, end\)"),
        ({"interval": 0}, "interval must be at least 1"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CubicSchedule(**{"target": 0.5, "start": 0, "end": 10, "interval": 1} | change)
