from dataclasses import replace

import numpy as np
import pytest
import torch

from surefoot.envs.vector import BoxActions, DiscreteActions, EnvSpec
from surefoot.train.agent import new_agent
from surefoot.train.config import LearnedNoise, TrainConfig
from surefoot.train.defence_config import (
    AdversarialReturn,
    BoundedAdversarialReturn,
    StateAdversarial,
)
from surefoot.train.defences import perturbed_states
from surefoot.train.ppo import Ppo
from surefoot.train.samples import Samples, surrogate
from surefoot.train.search import uniform_start

CPU = torch.device("cpu")
BOX = BoxActions(-np.ones(2, np.float32), np.ones(2, np.float32))
CONFIG = TrainConfig(
    env_id="Test-v0",
    total_steps=640,
    num_envs=4,
    rollout_steps=16,
    minibatch_size=64,
    hidden=(16, 16),
    noise=LearnedNoise(initial=0.5),
)
ARMS = [
    AdversarialReturn(epsilon=0.2),
    AdversarialReturn(epsilon=0.2, guidance=0.7),
    BoundedAdversarialReturn(epsilon=0.2, guidance=0.0),
    BoundedAdversarialReturn(epsilon=0.2, guidance=0.7),
]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def make_ppo(defence, actions=BOX):
    config = replace(CONFIG, defence=defence)
    spec = EnvSpec(
        env_id="Test-v0",
        obs_dim=3,
        actions=actions,
        dt_s=None,
        max_episode_steps=None,
        packages={},
    )
    agent = new_agent(config, spec, CPU)
    agent.actor.mlp.weights[-1].mul_(50)  # at the start all outputs are nearly zero
    return Ppo(agent, config, minibatch_generator=seeded(1), search_generator=seeded(2))


def make_samples(ppo, num=64, ratio_spread=0.3):
    generator = seeded(0)
    states = torch.randn(num, 3, generator=generator)
    outputs = ppo.agent.actor.mlp(states)
    if isinstance(ppo.agent.spec.actions, DiscreteActions):
        actions = torch.randint(2, (num,), generator=generator)
    else:
        actions = outputs + 0.5 * torch.randn(num, 2, generator=generator)
    log_probs = ppo.agent.distribution.log_prob(outputs, actions).value
    return Samples(
        states=states,
        actions=actions,
        log_probs=log_probs + ratio_spread * torch.randn(num, generator=generator),
        values=torch.zeros(num),
        advantages=torch.randn(num, generator=generator),
        returns=torch.zeros(num),
    )


def gradient_of(defence, actions):
    ppo = make_ppo(defence, actions)
    ppo.num_updates = ppo.config.num_updates // 2
    samples = make_samples(ppo)
    value, _ = ppo._actor_gradient(samples)
    log_std = ppo.agent.distribution.log_std.grad if actions is BOX else torch.zeros(1)
    return float(value), torch.cat([ppo.agent.actor.gradient, log_std])


@pytest.mark.parametrize("actions", [BOX, DiscreteActions(2)])
@pytest.mark.parametrize("arm", ARMS)
def test_in_a_ball_of_no_size_the_arms_are_a_multiple_of_ppo(arm, actions):
    plain = StateAdversarial(epsilon=0.0, kappa=1.0)
    value, gradient = gradient_of(plain, actions)
    tiny = replace(arm, epsilon=1e-9)  # the search runs, and finds nothing but s
    for ball in (replace(arm, epsilon=0.0), tiny):
        found_value, found = gradient_of(ball, actions)
        assert found_value == pytest.approx(value)
        expected = (arm.guidance + 1) * gradient.numpy()
        assert found.numpy() == pytest.approx(expected, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("actions", [BOX, DiscreteActions(2)])
def test_arpo_finds_a_larger_loss_than_random_states_and_than_barpo(actions):
    ppo = make_ppo(ARMS[0], actions)
    # all of pi_old: a ratio beyond its clip has no gradient to follow
    samples = make_samples(ppo, 256, ratio_spread=0.0).with_normalised_advantages()

    def loss(states):
        outputs = ppo.agent.actor.mlp(states)
        return float(surrogate(ppo.agent.distribution, outputs, samples, 0.2).value)

    found = [
        perturbed_states(ppo.agent, arm, 0.2, samples, seeded(0)) for arm in (ARMS[0], ARMS[2])
    ]
    for states in found:
        assert float((states - samples.states).abs().max()) <= 0.2 + 1e-6
    random = [
        loss(samples.states + uniform_start(samples.states, 0.2, seeded(seed)))
        for seed in range(30)
    ]
    arpo, barpo = (loss(states) for states in found)
    assert arpo > max(random)
    assert arpo > barpo
    assert arpo > loss(samples.states)


def test_barpo_is_attacked_where_sa_is_regularised():
    ppo = make_ppo(ARMS[2])
    samples = make_samples(ppo)
    states = [
        perturbed_states(ppo.agent, defence, 0.2, samples, seeded(3))
        for defence in (ARMS[2], StateAdversarial(epsilon=0.2, kappa=1.0))
    ]
    assert torch.equal(*states)


@pytest.mark.parametrize("arm", ARMS)
def test_only_the_share_that_was_asked_for_is_attacked(arm):
    ppo = make_ppo(arm)
    samples = make_samples(ppo).with_normalised_advantages()
    moved = perturbed_states(ppo.agent, replace(arm, fraction=0.25), 0.2, samples, seeded(0))
    assert len(moved) == 16
    assert (moved != samples.states[:16]).any(1).all()
