import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from support.environments import TargetEnv
from surefoot.envs.vector import StepResult
from surefoot.errors import DivergenceError
from surefoot.policy import Activation, GaussianHead, Layer, Normaliser, Policy, Squash
from surefoot.train.distributions import Gaussian
from surefoot.train.rollout import Collector, advantages, values_after


def slow_advantages(
    rewards: NDArray[np.float64],
    values: NDArray[np.float64],
    after: NDArray[np.float64],
    terminated: NDArray[np.bool_],
    truncated: NDArray[np.bool_],
    gamma: float,
    gae_lambda: float,
) -> NDArray[np.float64]:
    """Sum of (gamma lambda)^k times the TD errors of the rest of the episode: O(T^2)."""
    num_steps, num_envs = rewards.shape
    result = np.zeros_like(rewards)
    for env in range(num_envs):
        for start in range(num_steps):
            for step in range(start, num_steps):
                bootstrap = 0.0 if terminated[step, env] else after[step, env]
                error = rewards[step, env] + gamma * bootstrap - values[step, env]
                result[start, env] += (gamma * gae_lambda) ** (step - start) * error
                if terminated[step, env] or truncated[step, env]:
                    break
    return result


@given(st.integers(1, 12), st.integers(1, 4), st.floats(0, 1), st.floats(0, 1), st.integers(0, 999))
def test_advantages_are_the_discounted_sum_of_td_errors(
    num_steps: int, num_envs: int, gamma: float, lam: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shape = (num_steps, num_envs)
    rewards, values, after = rng.normal(size=(3, *shape))
    terminated, truncated = rng.random((2, *shape)) < 0.2
    truncated &= ~terminated
    arguments = (rewards, values, after, terminated, truncated)
    found = advantages(*arguments, gamma=gamma, gae_lambda=lam)
    assert found == pytest.approx(slow_advantages(*arguments, gamma, lam), rel=1e-9, abs=1e-9)


def test_truncation_bootstraps_from_the_state_it_cut_and_termination_from_nothing() -> None:
    """One environment, four steps: cut after the second, ended after the fourth."""
    rewards = np.ones((4, 1))
    values = np.array([[10.0], [20], [30], [40], [50]])
    terminated = np.array([[False], [False], [False], [True]])
    truncated = np.array([[False], [True], [False], [False]])
    after = values_after(values, np.array([7.0]), truncated)
    assert after[:, 0].tolist() == [20, 7, 40, 50]
    found = advantages(
        rewards, values[:-1], after, terminated, truncated, gamma=0.5, gae_lambda=1.0
    )
    second = 1 + 0.5 * 7 - 20
    fourth = 1 + 0.5 * 0 - 40
    first = 1 + 0.5 * 20 - 10 + 0.5 * second
    third = 1 + 0.5 * 40 - 30 + 0.5 * fourth
    assert found[:, 0].tolist() == [first, second, third, fourth]


def constant_policy(value: float, weight: float = 0.0) -> Policy:
    return Policy(
        normaliser=Normaliser(
            mean=np.zeros(3, np.float32), scale=np.full(3, 2, np.float32), clip=10.0
        ),
        layers=(
            Layer(
                weight=np.full((1, 3), weight, np.float32),
                bias=np.full(1, value, np.float32),
                activation=Activation.IDENTITY,
            ),
        ),
        head=GaussianHead(
            std=np.ones(1),
            squash=Squash.CLIP,
            centre=np.ones(1, np.float32),
            half_range=np.full(1, 3, np.float32),
        ),
    )


SILENT = Gaussian(log_std=torch.full((1,), -30.0), learned=False)


def collector(num_envs: int = 3, **more: object) -> Collector:
    return Collector(TargetEnv(num_envs, **more), list(range(num_envs)), np.random.default_rng(0))


def test_a_rollout_is_what_a_plain_loop_plays() -> None:
    policy = constant_policy(0.5)
    rollout = collector().collect(policy, SILENT, 40)
    env = TargetEnv(3)
    obs, cut = env.reset([0, 1, 2]), []
    for step in range(40):
        assert np.array_equal(rollout.obs[step], obs)
        assert np.array_equal(rollout.states[step], policy.state(obs, np.float32))
        result = env.step(policy.outputs(obs, np.float32))
        assert np.array_equal(rollout.rewards[step], result.reward)
        assert np.array_equal(rollout.terminated[step], result.terminated)
        assert np.array_equal(rollout.truncated[step], result.truncated)
        cut += list(policy.state(result.terminal_obs, np.float32)[result.truncated])
        obs = result.obs
    assert np.array_equal(rollout.states[40], policy.state(obs, np.float32))
    assert len(cut) > 2
    assert np.array_equal(rollout.cut_states, cut)


def test_actions_are_stored_before_squash_and_scale() -> None:
    rollout = collector().collect(constant_policy(5.0), SILENT, 3)
    assert (rollout.actions == 5).all()
    # played: centre + half_range * clip(5) = 1 + 3
    assert rollout.rewards == pytest.approx(-((4 - rollout.obs[:, :, 0]) ** 2), rel=1e-6)


def test_an_episode_that_terminates_at_its_limit_is_not_truncated() -> None:
    env = TargetEnv(2, horizon=3, shortest=3)
    step = env.step

    def both(actions: NDArray[np.float32]) -> StepResult:
        result = step(actions)
        object.__setattr__(result, "terminated", result.truncated.copy())
        return result

    env.step = both
    rollout = Collector(env, [0, 1], np.random.default_rng(0)).collect(
        constant_policy(0.0), SILENT, 9
    )
    assert rollout.terminated.sum() == 6
    assert not rollout.truncated.any()
    assert len(rollout.cut_states) == 0


def test_returns_of_episodes_go_on_over_rollouts() -> None:
    whole, parts = collector(), collector()
    policy = constant_policy(0.3)
    whole.collect(policy, SILENT, 30)
    for _ in range(3):
        parts.collect(policy, SILENT, 10)
    assert whole.recent_returns == parts.recent_returns
    assert whole.num_episodes == parts.num_episodes == len(whole.recent_returns) > 5


def test_a_stored_collector_goes_on_the_same() -> None:
    noisy = Gaussian(log_std=torch.zeros(1), learned=False)
    policy = constant_policy(0.0, weight=0.2)
    one, other = collector(), collector()
    one.collect(policy, noisy, 7)
    other.load_state_dict(one.state_dict(), None)
    first, second = (entry.collect(policy, noisy, 11) for entry in (one, other))
    for name in ("obs", "states", "actions", "rewards", "terminated", "truncated", "cut_states"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
    assert one.recent_returns == other.recent_returns


def test_a_number_that_is_not_finite_stops_the_run() -> None:
    env = TargetEnv(2)
    step = env.step

    def broken(actions: NDArray[np.float32]) -> StepResult:
        result = step(actions)
        result.reward[1] = np.nan
        return result

    env.step = broken
    with pytest.raises(DivergenceError, match="Target-v0: reward is not finite"):
        Collector(env, [0, 1], np.random.default_rng(0)).collect(constant_policy(0.0), SILENT, 3)
