import numpy as np
import pytest
import torch

from surefoot.envs.vector import BoxActions, DiscreteActions, EnvSpec
from surefoot.policy import CategoricalHead
from surefoot.train.agent import Agent, new_agent
from surefoot.train.moments import Moments, normaliser_of
from surefoot.train.train_config import FixedNoise, LearnedNoise, TrainConfig


def make_agent(
    actions: DiscreteActions | None = None, **config: int | FixedNoise | LearnedNoise
) -> Agent:
    spec = EnvSpec(
        env_id="Test-v0",
        obs_dim=3,
        actions=actions or BoxActions(np.float32([-1, 0]), np.float32([3, 4])),
        dt_s=None,
        max_episode_steps=None,
        packages={},
    )
    return new_agent(TrainConfig(env_id="Test-v0", **config), spec, torch.device("cpu"))


@pytest.mark.parametrize("noise", [FixedNoise(sigma=0.3), LearnedNoise(initial=0.3)])
def test_the_noise_starts_where_it_is_told_and_is_trained_only_if_learned(
    noise: FixedNoise | LearnedNoise,
) -> None:
    distribution = make_agent(noise=noise).distribution
    assert distribution.log_std.exp().tolist() == pytest.approx([0.3, 0.3])
    assert distribution.learned == isinstance(noise, LearnedNoise)


def test_the_policy_has_the_range_of_the_task_and_the_noise_of_the_agent() -> None:
    agent = make_agent(noise=FixedNoise(sigma=0.3))
    policy = agent.policy(normaliser_of(Moments.none(3), 10.0))
    assert policy.head.centre.tolist() == [1, 2]
    assert policy.head.half_range.tolist() == [2, 2]
    assert policy.head.std == pytest.approx([0.3, 0.3])
    obs = np.random.default_rng(0).normal(size=(5, 3))
    output = agent.actor.mlp(torch.from_numpy(policy.state(obs, np.float32)))
    expected = np.clip(output.numpy(), -1, 1) * 2 + [1, 2]
    assert policy.outputs(obs, np.float32) == pytest.approx(expected, rel=1e-5)


def test_discrete_actions_have_a_logit_each_and_no_noise() -> None:
    agent = make_agent(DiscreteActions(4))
    policy = agent.policy(normaliser_of(Moments.none(3), 10.0))
    assert policy.head.num_actions == 4
    assert isinstance(policy.head, CategoricalHead)


def test_equal_seeds_start_at_equal_weights_and_other_seeds_at_others() -> None:
    one, same, other = (make_agent(seed=seed).actor.parameters for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
