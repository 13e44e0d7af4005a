"""Gates as typed values, and what is refused of their JSON."""

from dataclasses import replace

import pytest

from support.gates import small_gate
from surefoot.artifact import Json
from surefoot.errors import InputError
from surefoot.gate import ActionLimits, Gate, HalfSpace, SensorLimits, TimeLimits


def test_a_gate_is_read_back_as_it_was_written() -> None:
    gate = small_gate()
    assert Gate.from_table(gate.to_table()) == gate


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reaction": "shout"}, "gate.reaction must be one of"),
        ({"recover_after": 0}, "recover_after must be in"),
        ({"stop_after": 0}, "stop_after must be in"),
        ({"sensors": []}, "sensors must hold 1 to"),
        ({"names": ["gyro"]}, "names must be 3, got 1"),
        ({"time": {"max_age_us": 2**31, "max_gap_us": 1}}, "max_age_us must be in"),
        ({"colour": 1}, "unknown key 'gate.colour'"),
        (
            {"pairs": [{"sensors": [0, 3], "factors": [1.0, 1.0], "at_most": 1.0}]},
            "pairs must be of 3 sensors, got 3",
        ),
    ],
)
def test_what_is_no_gate_is_refused_in_one_line(change: dict[str, Json], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        Gate.from_table(small_gate().to_table() | change)
    assert "\n" not in str(caught.value)


def test_limits_are_finite_float32_and_leave_something() -> None:
    with pytest.raises(InputError, match="low must be a finite float32 by value, got 0"):
        SensorLimits(low=0.1, high=1.0)
    with pytest.raises(InputError, match="high must be a finite float32 by value, got inf"):
        SensorLimits(low=0.0, high=float("inf"))
    with pytest.raises(InputError, match="high must be at least low"):
        ActionLimits(low=1.0, high=0.5)
    with pytest.raises(InputError, match="jerk must be at least 0"):
        ActionLimits(low=0.0, high=1.0, jerk=-1.0)
    with pytest.raises(InputError, match="sensors must be two different numbers"):
        HalfSpace(sensors=(1, 1), factors=(1.0, 1.0), at_most=0.0)
    with pytest.raises(InputError, match="max_gap_us must be in"):
        TimeLimits(max_age_us=0, max_gap_us=0)


def test_a_gate_is_of_one_controller() -> None:
    with pytest.raises(InputError, match="the gate must have 4 sensors as the controller, has 3"):
        small_gate().check_fits(4, 2)
    with pytest.raises(InputError, match="the gate must have 1 actions as the controller, has 2"):
        replace(small_gate(), time=None).check_fits(3, 1)
