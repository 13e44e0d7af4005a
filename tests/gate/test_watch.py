"""What a gate decides: first call, clock, drops, NaN for an hour, recovery, counters.

Also of ``gate/arrays.py``.
"""

from dataclasses import replace
from typing import TypedDict, Unpack

import numpy as np
import pytest
from numpy.typing import NDArray

from support.gates import random_calls, small_gate
from surefoot.errors import InputError
from surefoot.gate import (
    NUM_EVENTS,
    ActionLimits,
    Cause,
    Code,
    Event,
    Gate,
    HalfSpace,
    Reaction,
    SensorLimits,
    TimeLimits,
    Watch,
)
from surefoot.gate.watch import LARGEST_COUNT
from surefoot.policy import Array


def numbers(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


class Parts(TypedDict, total=False):
    """What else a gate may have."""

    sensors: tuple[SensorLimits, ...]
    actions: tuple[ActionLimits, ...]
    pairs: tuple[HalfSpace, ...]
    time: TimeLimits
    reaction: Reaction
    recover_after: int
    stop_after: int


def one_sensor(**parts: Unpack[Parts]) -> Gate:
    """A gate of one sensor and one action, of which the policy below returns the sensor."""
    gate = Gate(
        sensors=(SensorLimits(low=-10.0, high=10.0),),
        actions=(ActionLimits(low=-10.0, high=10.0),),
    )
    return replace(gate, **parts)


def same(obs: Array) -> Array:
    return obs.copy()


def codes(watch: Watch, readings: list[float]) -> list[Code]:
    return [watch.step(numbers(reading), same)[0] for reading in readings]


def causes(watch: Watch) -> list[Cause]:
    return [event.cause for event in watch.events]


def test_the_first_call_is_compared_with_no_other() -> None:
    limits = SensorLimits(low=-10.0, high=10.0, rate=0.5)
    action = ActionLimits(low=-10.0, high=10.0, rate=0.5, jerk=0.0)
    watch = Watch(one_sensor(sensors=(limits,), actions=(action,)))
    code, given = watch.step(numbers(9.0), same)
    assert (code, watch.num_events) == (Code.PASSED, 0)
    assert given is not None
    assert given == np.float32(9.0)


def test_limits_themselves_pass_and_their_neighbours_do_not() -> None:
    for end, beyond in ((np.float32(10), np.inf), (np.float32(-10), -np.inf)):
        watch = Watch(one_sensor())
        assert codes(watch, [float(end), float(np.nextafter(end, np.float32(beyond)))]) == [
            Code.PASSED,
            Code.HELD,
        ]
        assert watch.events == (Event(2, Cause.RANGE, 0),)


def test_a_spike_breaks_a_rate_twice_and_a_lasting_step_once() -> None:
    gate = one_sensor(sensors=(SensorLimits(low=-10.0, high=10.0, rate=1.0),))
    spike, step = Watch(gate), Watch(gate)
    codes(spike, [0.0, 5.0, 0.0, 0.0])
    assert [event.call for event in spike.events] == [2, 3]
    codes(step, [0.0, 5.0, 5.0, 5.0])
    assert [event.call for event in step.events] == [2]


def test_nan_for_an_hour_holds_the_last_action_and_then_recovers() -> None:
    gate = one_sensor(sensors=(SensorLimits(low=-10.0, high=10.0, rate=1.0),), recover_after=3)
    watch = Watch(gate)
    assert codes(watch, [4.0]) == [Code.PASSED]
    hour = 360
    for _ in range(hour):
        code, held = watch.step(numbers(np.nan), same)
        assert code is Code.HELD
        assert held == np.float32(4.0)
    assert watch.num_events == hour
    assert len(watch.events) == NUM_EVENTS
    # The first good reading is compared with none, the third one counts.
    assert codes(watch, [-9.0, -9.5, -9.0]) == [Code.HELD, Code.HELD, Code.PASSED]


def test_without_a_last_action_nothing_is_held() -> None:
    watch = Watch(one_sensor())
    assert watch.step(numbers(np.nan), same) == (Code.NO_ACTION, None)


def test_what_lasts_too_long_stops_and_only_a_reset_starts_again() -> None:
    watch = Watch(one_sensor(stop_after=3))
    assert codes(watch, [0.0, 99.0, 99.0, 99.0, 0.0]) == [
        Code.PASSED,
        Code.HELD,
        Code.HELD,
        Code.STOPPED,
        Code.STOPPED,
    ]
    watch.reset()
    assert codes(watch, [0.0]) == [Code.PASSED]
    assert codes(Watch(one_sensor(reaction=Reaction.STOP)), [99.0, 0.0]) == [Code.STOPPED] * 2


def test_the_users_function_gets_what_was_read_and_its_action_is_given() -> None:
    seen: list[float] = []

    def sit_down(obs: Array) -> Array:
        seen.append(float(obs[0]))
        return np.array([7.0])

    watch = Watch(one_sensor(reaction=Reaction.FALLBACK), sit_down)
    code, given = watch.step(numbers(99.0), same)
    assert (code, seen) == (Code.FELL_BACK, [99.0])
    assert given is not None
    assert given.dtype == np.float32
    assert given == np.float32(7.0)
    assert codes(Watch(one_sensor(reaction=Reaction.FALLBACK)), [99.0]) == [Code.NO_ACTION]
    wrong = Watch(one_sensor(reaction=Reaction.FALLBACK), lambda obs: np.zeros(2))
    with pytest.raises(InputError, match="fallback must return 1 numbers, got shape"):
        wrong.step(numbers(99.0), same)
    for endless in (np.nan, 1e300):
        wrong = Watch(one_sensor(reaction=Reaction.FALLBACK), lambda obs, e=endless: np.array([e]))
        with pytest.raises(InputError, match="fallback must return finite numbers"):
            wrong.step(numbers(99.0), same)


def timed(watch: Watch, *calls: tuple[int, int]) -> list[Code]:
    return [
        watch.step(numbers(0.5), same, now_us=now % 2**32, taken_us=taken % 2**32)[0]
        for now, taken in calls
    ]


def test_a_clock_may_wrap_and_may_not_go_back() -> None:
    time = TimeLimits(max_age_us=5, max_gap_us=100)
    watch = Watch(one_sensor(time=time))
    last = 2**32 - 40
    timed(
        watch, (last, last), (last + 80, last + 78), (last + 79, last + 78), (last + 79, last + 79)
    )
    assert watch.events == (Event(3, Cause.CLOCK, 0),)


def test_gaps_and_old_readings_and_those_of_the_future_are_rejected() -> None:
    watch = Watch(one_sensor(time=TimeLimits(max_age_us=5, max_gap_us=100)))
    timed(watch, (0, 0), (101, 101), (201, 195), (202, 203), (203, 198))
    assert causes(watch) == [Cause.GAP, Cause.AGE, Cause.AGE]


def test_after_dropped_samples_no_rate_is_checked() -> None:
    gate = one_sensor(
        sensors=(SensorLimits(low=-10.0, high=10.0, rate=1.0),),
        time=TimeLimits(max_age_us=5, max_gap_us=100),
    )
    watch = Watch(gate)
    for now, reading in ((0, 0.0), (500, 8.0), (600, 8.5), (700, 5.0)):
        watch.step(numbers(reading), same, now_us=now, taken_us=now)
    assert causes(watch) == [Cause.GAP, Cause.RATE]


def test_actions_are_held_to_range_rate_and_jerk() -> None:
    watch = Watch(one_sensor(actions=(ActionLimits(low=-5.0, high=5.0, rate=2.0, jerk=1.5),)))
    # Changes 2, then 0.25 (jerk 1.75), then 2.5 (too fast), then out of range, then infinite.
    for reading in (0.0, 2.0, 2.25, 4.75, 6.0):
        watch.step(numbers(reading), same)
    watch.step(numbers(0.0), lambda obs: numbers(np.inf))
    assert causes(watch) == [
        Cause.ACTION_JERK,
        Cause.ACTION_RATE,
        Cause.ACTION_RANGE,
        Cause.ACTION_NOT_FINITE,
    ]


def test_two_sensors_that_do_not_go_together_are_rejected() -> None:
    pair = HalfSpace(sensors=(0, 1), factors=(1.0, 1.0), at_most=1.0)
    sensors = (SensorLimits(low=-1.0, high=1.0), SensorLimits(low=-1.0, high=1.0))
    watch = Watch(one_sensor(sensors=sensors, pairs=(pair,)))
    for reading in ([0.5, 0.5], [1.0, 0.5]):
        watch.step(numbers(*reading), lambda obs: obs[:1])
    assert watch.events == (Event(2, Cause.PAIR, 0),)


def test_counters_end_where_those_of_c_end_and_events_go_on() -> None:
    watch = Watch(one_sensor())
    watch.num_calls = watch.num_events = LARGEST_COUNT - 1
    codes(watch, [99.0, -99.0])
    assert watch.num_calls == watch.num_events == LARGEST_COUNT
    assert [event.call for event in watch.events] == [LARGEST_COUNT] * 2


def test_whatever_passes_is_within_every_limit() -> None:
    gate, rng = replace(small_gate(), stop_after=None), np.random.default_rng(3)
    low, high = gate.box
    weight = rng.normal(0, 1, (2, 3)).astype(np.float32)
    watch, passed = Watch(gate), 0
    for call in random_calls(rng, gate, 1500):
        code, action = watch.step(call.obs, lambda obs: weight @ obs, call.now_us, call.taken_us)
        if code is Code.PASSED:
            passed += 1
            assert action is not None
            assert ((low <= call.obs) & (call.obs <= high)).all()
            assert float(call.obs[0]) - 0.5 * float(call.obs[1]) <= 1.5
            assert abs(float(action[0])) <= 1.0
    assert passed > 100
    assert {event.cause for event in watch.events} <= set(Cause)
