"""The limits of a gate from recorded steps, against the steps themselves and the runtime."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from support.policies import random_policy
from surefoot.certify.gate_thresholds import DataSheet, make_gate
from surefoot.errors import InputError
from surefoot.gate import Gate, GateRule, Watch
from surefoot.memory import Memory
from surefoot.policy import Array, Policy, Squash
from surefoot.runtime.c_source import twin_outputs
from surefoot.visited import Visited

POLICY = random_policy(np.random.default_rng(5), (3, 6, 2), squash=Squash.TANH)


def walks(num_episodes: int = 40, num_steps: int = 100, seed: int = 0) -> Visited:
    """Oscillations of three sensors, of which the last two move together; rows interleaved."""
    rng = np.random.default_rng(seed)
    start = rng.uniform(-3, 3, (1, num_episodes, 3))
    angles = start + np.cumsum(rng.uniform(-0.8, 0.8, (num_steps, num_episodes, 3)), axis=0)
    readings = np.sin(angles)
    readings[..., 2] = readings[..., 1] + rng.uniform(-0.01, 0.01, angles.shape[:2])
    return Visited(
        independent=np.empty((0, 3)),
        steps=np.empty(0, np.int64),
        num_discarded=0,
        pool=readings.reshape(-1, 3),
        episodes=np.tile(np.arange(num_episodes), num_steps),
    )


def episodes_of(visited: Visited) -> list[NDArray[np.float32]]:
    assert visited.episodes is not None
    return [
        visited.pool[visited.episodes == number].astype(np.float32)
        for number in np.unique(visited.episodes)
    ]


def alarms(gate: Gate, episode: NDArray[np.float32], policy: Policy = POLICY) -> int:
    """Events of the gate at run time, where every call counts."""
    watch = Watch(replace(gate, recover_after=1))

    def propose(obs: Array) -> Array:
        return twin_outputs(policy, obs[None])[0]

    for obs in episode:
        watch.step(obs, propose)
    return watch.num_events


def test_the_episodes_that_made_the_limits_pass_at_run_time() -> None:
    visited = walks()
    file = make_gate(POLICY, visited, GateRule(margin=0.0, pairs=2))
    episodes = episodes_of(visited)
    assert not any(alarms(file.gate, episode) for episode in episodes[::2])
    # Without a margin each limit is a reading or a change that was recorded.
    making = np.concatenate(episodes[::2])
    low, high = file.gate.box
    assert np.array_equal(low, making.min(axis=0))
    assert np.array_equal(high, making.max(axis=0))
    largest = max(np.abs(np.diff(episode[:, 0])).max() for episode in episodes[::2])
    assert file.gate.sensors[0].rate == largest


def test_alarms_are_those_of_the_runtime_and_their_bound_a_binomial_tail() -> None:
    visited = walks()
    file = make_gate(POLICY, visited, GateRule(margin=0.02, pairs=1, confidence=0.9))
    fresh = episodes_of(visited)[1::2]
    step, whole = file.alarms.rates
    assert (step.trials, whole.trials) == (20, 20)
    assert whole.alarms == sum(alarms(file.gate, episode) > 0 for episode in fresh)
    for rate in (step, whole):
        assert rate.at_most > rate.alarms / rate.trials
        assert binom.cdf(rate.alarms, rate.trials, rate.at_most) == pytest.approx(0.1)


def test_the_thinnest_pair_is_that_of_sensors_that_move_together() -> None:
    file = make_gate(POLICY, walks(), GateRule(pairs=1))
    assert {pair.sensors for pair in file.gate.pairs} == {(1, 2)}
    inside, apart = np.float32([[0, 0.1, 0.1]]), np.float32([[0, 0.2, -0.2]])
    assert alarms(replace(file.gate, actions=_any_action(file.gate)), inside) == 0
    assert alarms(replace(file.gate, actions=_any_action(file.gate)), apart) == 1


def _any_action(gate: Gate) -> tuple[object, ...]:
    return tuple(replace(one, low=-1e9, high=1e9) for one in gate.actions)


def test_states_that_no_episode_holds_together_limit_no_change() -> None:
    visited = walks()
    alone = walks(num_episodes=30, num_steps=1, seed=1).pool
    without = replace(visited, episodes=None, independent=alone, steps=np.zeros(30, np.int64))
    file = make_gate(POLICY, without, GateRule())
    assert all(sensor.rate is None for sensor in file.gate.sensors)
    (rate,) = file.alarms.rates
    assert rate.trials == 30
    assert "ranges and pairs" in rate.unit


def test_no_trial_is_of_an_episode_that_made_the_limits() -> None:
    visited = walks()
    alone = walks(num_episodes=30, num_steps=1, seed=1).pool
    marked = replace(
        visited,
        episodes=None,
        independent=alone,
        steps=np.zeros(30, np.int64),
        in_pool=np.arange(30) < 4,
    )
    (rate,) = make_gate(POLICY, marked, GateRule()).alarms.rates
    assert rate.trials == 26
    tried = replace(marked, trials=walks(num_episodes=50, num_steps=1, seed=2).pool)
    file = make_gate(POLICY, tried, GateRule())
    assert file.alarms.rates[0].trials == 76
    assert file.gate == make_gate(POLICY, marked, GateRule()).gate
    # Nor do they make the limits where no whole episode was recorded.
    alone_makes = replace(tried, pool=np.empty((0, 3)), in_pool=None)
    assert make_gate(POLICY, alone_makes, GateRule(margin=1.0)).alarms.rates[0].trials == 50
    # That a state of the pool was drawn once more says nothing: only its episode counts.
    again = replace(marked, independent=visited.pool[:30])
    assert make_gate(POLICY, again, GateRule()).alarms.rates[0].trials == 26


def test_without_a_recording_the_declared_ranges_are_the_gate() -> None:
    file = make_gate(POLICY, None, GateRule(low=(-1.0,), high=(0.1,)))
    low, high = file.gate.box
    assert (low == -1).all()
    assert (high >= 0.1).all()
    assert (high - 0.1 < 1e-7).all()
    assert not file.alarms.rates
    with pytest.raises(InputError, match="sensor 0 has no range: no states are recorded, so give"):
        make_gate(POLICY, None, GateRule())


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (GateRule(low=(5.0,), high=(6.0,)), r"sensor 0 \(hip\): no recorded reading is in"),
        (GateRule(low=(-0.1,), high=(0.1,)), "must reject at most 1% of the recorded steps"),
        (GateRule(beyond=1000), "beyond must leave a recorded step"),
    ],
)
def test_what_the_recording_contradicts_is_refused(rule: GateRule, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_gate(POLICY, walks(), rule, DataSheet(names=("hip", "knee", "ankle")))


def test_no_limit_exceeds_what_the_data_sheet_says() -> None:
    sheet = DataSheet(
        low=np.array([-np.inf, -1.0, -1.0625]),
        high=np.array([np.inf, 1.0, 9.0]),
        rate=np.array([0.8125, np.inf, 9.0]),
    )
    recorded = make_gate(POLICY, walks(), GateRule(), DataSheet()).gate.sensors
    first, second, third = make_gate(POLICY, walks(), GateRule(), sheet).gate.sensors
    assert (first.low, first.high, first.rate) == (recorded[0].low, recorded[0].high, 0.8125)
    assert (second.low, second.high, second.rate) == (-1.0, 1.0, recorded[1].rate)
    assert (third.low, third.high, third.rate) == (-1.0625, recorded[2].high, recorded[2].rate)


def test_no_limit_on_an_action_exceeds_what_its_actuator_can() -> None:
    recorded = make_gate(POLICY, walks(), GateRule()).gate.actions
    top, rate = (float(np.float32(0.99) * one) for one in (recorded[0].high, recorded[1].rate or 0))
    sheet = DataSheet(
        least_action=np.array([-np.inf, -99.0]),
        largest_action=np.array([top, np.inf]),
        action_rate=np.array([np.inf, rate]),
    )
    first, second = make_gate(POLICY, walks(), GateRule(), sheet).gate.actions
    assert first.high == pytest.approx(top, rel=2e-6)  # and what a float32 at the limit rounds to
    assert first.high >= top
    assert replace(first, high=recorded[0].high) == recorded[0]
    assert second.rate == pytest.approx(rate, rel=1e-7)
    assert replace(second, rate=recorded[1].rate) == recorded[1]
    beyond = replace(sheet, least_action=np.array([99.0, -99.0]), largest_action=np.full(2, 100.0))
    with pytest.raises(InputError, match="action 0: no recorded action is in its declared range"):
        make_gate(POLICY, walks(), GateRule(), beyond)


def test_a_controller_with_a_memory_has_no_gate() -> None:
    memory = Memory(layers=(1,), neurons=(0,))
    with pytest.raises(InputError, match="a gate is for controllers without a memory"):
        make_gate(replace(POLICY, memory=memory), walks(), GateRule())


def test_the_order_of_interleaved_episodes_changes_nothing() -> None:
    visited = walks()
    assert visited.episodes is not None
    order = np.argsort(visited.episodes, kind="stable")
    sorted_rows = replace(visited, pool=visited.pool[order], episodes=visited.episodes[order])
    rule = GateRule(pairs=2)
    assert make_gate(POLICY, sorted_rows, rule) == make_gate(POLICY, visited, rule)
