import numpy as np
import pytest

from surefoot.errors import InputError, IntegrityError
from surefoot.policy import Activation, Squash
from surefoot.train.evaluate import clean_returns
from surefoot.train.visited import record_visited
from surefoot.visited import Visited


@pytest.fixture
def policy(random_policy):
    return random_policy(np.random.default_rng(0), (3, 4, 1), Activation.TANH, Squash.CLIP)


def test_clean_returns_are_those_of_one_episode_each(policy, target_env):
    found = clean_returns(policy, target_env(4), [5, 6, 7, 8])
    for seed, value in zip([5, 6, 7, 8], found, strict=True):
        # An environment alone, with the number that it has among four.
        env, total, done = target_env(1), 0.0, False
        obs = env.reset([seed])
        while not done:
            obs[:, 2] = seed - 5
            result = env.step(policy.outputs(obs, np.float32))
            total += result.reward[0]
            done = result.terminated[0] or result.truncated[0]
            obs = result.obs
        assert value == pytest.approx(total, rel=1e-5)


def test_an_episode_without_a_limit_ends_at_the_horizon(policy, target_env):
    env = target_env(2, horizon=10**6, shortest=10**6)
    object.__setattr__(env.spec, "max_episode_steps", None)
    count = 0
    step = env.step

    def counted(actions):
        nonlocal count
        count += 1
        return step(actions)

    env.step = counted
    env.spec = env.spec
    clean_returns(policy, env, [0, 1])
    assert count == 1000


def test_each_state_is_the_one_at_the_step_that_was_drawn_for_it(policy, target_env):
    visited = record_visited(policy, target_env(4), seed=3, num_states=50)
    assert visited.independent.shape == (50, 3)
    assert np.array_equal(visited.independent[:, 1], visited.steps)
    # no two are of the same episode: its target is a uniform number
    assert len(np.unique(visited.independent[:, 0])) == 50


def test_accepted_steps_follow_the_law_of_survival(policy, target_env):
    """Length uniform on 1..6, step uniform on 0..5: P(accepted step = t) ~ P(length > t)."""
    visited = record_visited(policy, target_env(32), seed=0, num_states=3000)
    survival = np.array([1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    frequencies = np.bincount(visited.steps, minlength=6) / 3000
    assert frequencies == pytest.approx(survival / survival.sum(), abs=0.03)
    # expected share of discarded episodes: 1 - mean of survival
    share = visited.num_discarded / (visited.num_discarded + 3000)
    assert share == pytest.approx(1 - survival.mean(), abs=0.03)


def test_equal_seeds_visit_equal_states_and_other_seeds_others(policy, target_env):
    one, same, other = (
        record_visited(policy, target_env(4), seed=seed, num_states=6) for seed in (1, 1, 2)
    )
    assert one.to_bytes() == same.to_bytes()
    assert not np.array_equal(one.independent, other.independent)


def test_the_pool_is_no_larger_than_asked(policy, target_env):
    visited = record_visited(policy, target_env(4), seed=1, num_states=6, num_pool=5)
    assert 0 < len(visited.pool) <= 5


def test_without_states_to_record_nothing_is_played(policy):
    class Unplayable:
        num_envs = 4

        class spec:  # noqa: N801
            max_episode_steps, obs_dim = 10, 3

    visited = record_visited(policy, Unplayable(), seed=0, num_states=0)
    assert visited.independent.shape == visited.pool.shape == (0, 3)


def test_a_task_whose_episodes_are_always_too_short_is_an_error(policy, target_env):
    env = target_env(4, horizon=10**5, shortest=1)
    env._shortest = 1
    object.__setattr__(env.spec, "max_episode_steps", 10**5)
    step = env.step

    def short(actions):
        env.length[:] = env.time + 1
        return step(actions)

    env.step = short
    with pytest.raises(InputError, match="visited_states: only 0 of"):
        record_visited(policy, env, seed=0, num_states=4)


def test_visited_states_written_are_read_back(policy, target_env):
    visited = record_visited(policy, target_env(4), seed=1, num_states=6)
    again = Visited.from_bytes(visited.to_bytes())
    assert np.array_equal(again.independent, visited.independent)
    assert np.array_equal(again.pool, visited.pool)
    assert again.num_discarded == visited.num_discarded


@pytest.mark.parametrize("data", [b"", b"PK", b"\x80\x04]\x94."])
def test_what_is_not_a_file_of_visited_states_is_refused(data):
    with pytest.raises(IntegrityError, match=r"visited\.npz"):
        Visited.from_bytes(data)
