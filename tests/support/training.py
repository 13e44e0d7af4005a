"""Agents, samples and tasks of trainings that cost nothing, on the CPU."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from support.environments import spec_of
from surefoot.ball import Ball, Norm
from surefoot.envs.vector import Actions, BoxActions, DiscreteActions, VectorEnv
from surefoot.train.agent import new_agent
from surefoot.train.ppo import Ppo
from surefoot.train.samples import Samples
from surefoot.train.train_config import TrainConfig

CPU = torch.device("cpu")
BOX = BoxActions(-np.ones(2, np.float32), np.ones(2, np.float32))


def seeded(seed: int = 0) -> torch.Generator:
    """A random stream of PyTorch."""
    return torch.Generator().manual_seed(seed)


def linf(radius: float, shares: tuple[float, ...] | None = None) -> Ball:
    """The linf ball of a radius, of which sensors may have shares."""
    return Ball(norm=Norm.LINF, epsilon=radius, sensors=shares)


def new_ppo(config: TrainConfig, actions: Actions = BOX) -> Ppo:
    """An untrained agent of three sensors, whose outputs are not nearly zero as at a start."""
    agent = new_agent(config, spec_of("Test-v0", 3, actions, horizon=1000), CPU)
    agent.actor.mlp.weights[-1].mul_(50)
    return Ppo(agent, config, minibatch_generator=seeded(1), search_generator=seeded(2))


def drawn_samples(ppo: Ppo, num: int = 64, seed: int = 0, ratio_spread: float = 0.3) -> Samples:
    """Samples whose ratios lie on both sides of the clip range, unless they spread by nothing."""
    generator = seeded(seed)
    states = torch.randn(num, 3, generator=generator)
    outputs = ppo.agent.actor.mlp(states)
    if isinstance(ppo.agent.spec.actions, DiscreteActions):
        actions = torch.randint(2, (num,), generator=generator)
    else:
        actions = outputs + 0.5 * torch.randn(num, 2, generator=generator)
    log_probs = ppo.agent.distribution.log_prob(outputs, actions).value
    values = ppo.agent.critic.mlp(states)[:, 0]
    return Samples(
        states=states,
        actions=actions,
        log_probs=log_probs + ratio_spread * torch.randn(num, generator=generator),
        values=values + 0.3 * torch.randn(num, generator=generator),
        advantages=torch.randn(num, generator=generator),
        returns=values + torch.randn(num, generator=generator),
    )


def let_every_task_be(monkeypatch: pytest.MonkeyPatch, make: Callable[[int], VectorEnv]) -> None:
    """Let a training make its environments by this function of their number."""

    def make_env(env_id: str, num_envs: int, **more: object) -> VectorEnv:
        return make(num_envs)

    monkeypatch.setattr("surefoot.train.trainer.make_env", make_env)
