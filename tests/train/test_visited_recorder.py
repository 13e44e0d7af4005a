"""Visited states follow the law that certificates count on.

Also of ``train/evaluation.py``.
"""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from support.environments import TargetEnv
from support.policies import random_policy
from surefoot.envs.vector import StepResult
from surefoot.errors import InputError
from surefoot.policy import Activation, Policy, Squash
from surefoot.train.evaluation import clean_returns
from surefoot.train.visited_recorder import record_sampled, record_visited


@pytest.fixture
def policy() -> Policy:
    return random_policy(np.random.default_rng(0), (3, 4, 1), Activation.TANH, Squash.CLIP)


def test_clean_returns_are_those_of_one_episode_each(policy: Policy) -> None:
    found = clean_returns(policy, TargetEnv(4), [5, 6, 7, 8])
    for seed, value in zip([5, 6, 7, 8], found, strict=True):
        # An environment alone, with the number that it has among four.
        env, total, done = TargetEnv(1), 0.0, False
        obs = env.reset([seed])
        while not done:
            obs[:, 2] = seed - 5
            result = env.step(policy.outputs(obs, np.float32))
            total += result.reward[0]
            done = result.terminated[0] or result.truncated[0]
            obs = result.obs
        assert value == pytest.approx(total, rel=1e-5)


def test_an_episode_without_a_limit_ends_at_the_horizon(policy: Policy) -> None:
    env = TargetEnv(2, horizon=10**6, shortest=10**6)
    object.__setattr__(env.spec, "max_episode_steps", None)
    count = 0
    step = env.step

    def counted(actions: NDArray[np.float32]) -> StepResult:
        nonlocal count
        count += 1
        return step(actions)

    env.step = counted
    env.spec = env.spec
    clean_returns(policy, env, [0, 1])
    assert count == 1000


def test_each_state_is_the_one_at_the_step_that_was_drawn_for_it(policy: Policy) -> None:
    visited = record_visited(policy, TargetEnv(4), seed=3, num_states=50)
    assert visited.independent.shape == (50, 3)
    assert np.array_equal(visited.independent[:, 1], visited.steps)
    # no two are of the same episode: its target is a uniform number
    assert len(np.unique(visited.independent[:, 0])) == 50


def test_what_came_before_each_state_is_kept_of_its_own_episode(policy: Policy) -> None:
    visited = record_visited(policy, TargetEnv(4, horizon=20), seed=3, num_states=50)
    earlier = visited.earlier
    assert earlier is not None
    for step, here, before in zip(visited.steps, visited.independent, earlier, strict=True):
        ages = 1 + np.arange(len(before))
        assert before[:, 1].tolist() == np.maximum(step - ages, 0).tolist()  # the time
        assert (before[:, [0, 2]] == here[[0, 2]]).all()  # target and environment stay


def test_accepted_steps_follow_the_law_of_survival(policy: Policy) -> None:
    """Length uniform on 1..6, step uniform on 0..5: P(accepted step = t) ~ P(length > t)."""
    visited = record_visited(policy, TargetEnv(32), seed=0, num_states=3000)
    survival = np.array([1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    frequencies = np.bincount(visited.steps, minlength=6) / 3000
    assert frequencies == pytest.approx(survival / survival.sum(), abs=0.03)
    # expected share of discarded episodes: 1 - mean of survival
    share = visited.num_discarded / (visited.num_discarded + 3000)
    assert share == pytest.approx(1 - survival.mean(), abs=0.03)


def test_equal_seeds_visit_equal_states_and_other_seeds_others(policy: Policy) -> None:
    one, same, other = (
        record_visited(policy, TargetEnv(4), seed=seed, num_states=6) for seed in (1, 1, 2)
    )
    assert one.to_bytes() == same.to_bytes()
    assert not np.array_equal(one.independent, other.independent)


def test_the_pool_is_no_larger_than_asked(policy: Policy) -> None:
    visited = record_visited(policy, TargetEnv(4), seed=1, num_states=6, num_pool=5)
    assert 0 < len(visited.pool) <= 5


@pytest.mark.parametrize("num_states", [3, 50])
def test_states_whose_episode_is_one_of_the_pool_are_marked(
    policy: Policy, num_states: int
) -> None:
    visited = record_visited(policy, TargetEnv(4, shortest=5), 3, num_states=num_states, num_pool=9)
    whole = record_visited(policy, TargetEnv(4, shortest=5), 3, num_states=num_states)
    # What is shown in an episode is drawn at its start, and never twice.
    of_pool = np.isin(visited.independent[:, 0], whole.pool[:, 0])
    assert visited.in_pool is not None
    assert np.array_equal(visited.in_pool, of_pool)
    assert 0 < of_pool.sum() <= 4


def test_trials_are_of_episodes_that_nothing_else_is_made_of(policy: Policy) -> None:
    env = TargetEnv(4, shortest=5)
    without = record_visited(policy, env, 3, num_states=20)
    visited = record_visited(policy, env, 3, num_states=20, num_trials=30)
    assert visited.trials is not None
    assert visited.trials.shape == (30, 3)
    assert without.trials is None
    # What is shown in an episode is drawn at its start, and never twice.
    seen = np.concatenate([visited.independent, visited.pool])
    assert not np.isin(visited.trials[:, 0], seen[:, 0]).any()
    assert len(np.unique(visited.trials[:, 0])) == 30
    assert replace(visited, trials=None).to_bytes() == without.to_bytes()


def test_without_states_to_record_nothing_is_played(policy: Policy) -> None:
    class Unplayable:
        num_envs = 4

        class spec:  # noqa: N801
            max_episode_steps, obs_dim = 10, 3

    visited = record_visited(policy, Unplayable(), seed=0, num_states=0)
    assert visited.independent.shape == visited.pool.shape == (0, 3)


def test_a_task_whose_episodes_are_always_too_short_is_an_error(policy: Policy) -> None:
    env = TargetEnv(4, horizon=10**5, shortest=1)
    env._shortest = 1
    object.__setattr__(env.spec, "max_episode_steps", 10**5)
    step = env.step

    def short(actions: NDArray[np.float32]) -> StepResult:
        env.length[:] = env.time + 1
        return step(actions)

    env.step = short
    with pytest.raises(InputError, match=r"visited_states must be 0 where .* only 0 of"):
        record_visited(policy, env, seed=0, num_states=4)


def test_sampled_episodes_hold_the_state_at_a_step_that_early_ones_are_drawn_for_more_often(
    policy: Policy,
) -> None:
    sampled = record_sampled(policy, TargetEnv(32), 0, num_episodes=2000)
    assert sampled.observations.shape == (2000, 3)
    frequencies = np.bincount(sampled.steps, minlength=6) / 2000
    assert frequencies == pytest.approx(np.arange(6, 0, -1) / 21, abs=0.04)
    alive = sampled.alive
    assert np.array_equal(sampled.observations[alive, 1], sampled.steps[alive])
    assert (sampled.observations[~alive] == 0).all()
    # Length uniform on 1..6: step k is reached with chance 1 - k / 6.
    reached = [alive[sampled.steps == step].mean() for step in range(6)]
    assert reached == pytest.approx(1 - np.arange(6) / 6, abs=0.12)
    assert sampled.horizon == 6


def test_sampled_episodes_play_the_law_of_the_policy_and_not_its_mean(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    played = []
    env = TargetEnv(64)
    step = env.step
    monkeypatch.setattr(env, "step", lambda actions: (played.append(actions), step(actions))[1])
    policy = random_policy(np.random.default_rng(0), (3, 4, 1), Activation.TANH, Squash.IDENTITY)
    head = replace(policy.head, std=np.full(1, 0.7))
    flat = tuple(replace(layer, weight=0 * layer.weight) for layer in policy.layers)
    policy = replace(policy, head=head, layers=flat)
    record_sampled(policy, env, 1, num_episodes=640)
    actions = np.concatenate(played)
    mean = policy.outputs(np.zeros((1, 3)))[0, 0]
    assert actions.mean() == pytest.approx(mean, abs=0.1)
    assert actions.std() == pytest.approx(0.7 * head.half_range[0], rel=0.1)
    silent = replace(policy, head=replace(head, std=None))
    assert record_sampled(silent, env, 1, num_episodes=4) is None
