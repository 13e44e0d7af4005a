"""The ``[gate]`` table of a budget, and what is refused of it."""

import pytest

from surefoot.artifact import Json
from surefoot.config import build
from surefoot.errors import InputError
from surefoot.gate import GateRule, TimeLimits


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"margin": -0.1}, r"gate: margin must be in \[0, 100\], got -0.1"),
        ({"margin": float("nan")}, "margin must be in"),
        ({"recover_after": 0}, "recover_after must be at least 1"),
        ({"low": [0.0]}, "low and high must be given together"),
        ({"low": [1.0], "high": [0.0]}, "high must be at least low and both finite"),
        ({"low": [0.0, 0.0], "high": [1.0]}, "low and high must be as many, got 2 and 1"),
        ({"max_age_s": 1.0}, "max_gap_s must be given where time is limited"),
        ({"max_age_s": 3000.0, "max_gap_s": 1.0}, "max_age_s must be in"),
        ({"confidence": 1.0}, "confidence must be in"),
        ({"reaction": "halt"}, "gate.reaction must be one of"),
    ],
)
def test_a_rule_that_makes_no_gate_is_refused(table: dict[str, Json], words: str) -> None:
    with pytest.raises(InputError, match=words):
        build(GateRule, table, "gate")


def test_seconds_become_microseconds_of_a_clock() -> None:
    rule = GateRule(max_age_s=0.015, max_gap_s=0.03)
    assert rule.time == TimeLimits(max_age_us=15_000, max_gap_us=30_000)
    assert GateRule().time is None


def test_a_declared_range_is_of_every_sensor_or_of_each() -> None:
    one, each = GateRule(low=(-1.0,), high=(2.0,)), GateRule(low=(-1.0, 0.0), high=(2.0, 3.0))
    assert GateRule().declared(2) is None
    for rule, low in ((one, [-1.0, -1.0]), (each, [-1.0, 0.0])):
        ends = rule.declared(2)
        assert ends is not None
        assert ends[0].tolist() == low
    with pytest.raises(InputError, match="low and high must have 1 or 3 numbers"):
        each.declared(3)
