"""Trainings on a task that costs nothing."""

import pytest

from support.environments import TargetEnv
from support.training import let_every_task_be
from surefoot.train.train_config import TrainConfig


@pytest.fixture
def target_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every task be TargetEnv."""
    let_every_task_be(monkeypatch, TargetEnv)


@pytest.fixture
def tiny() -> TrainConfig:
    """A training of eight iterations; a module may override it with what else it needs."""
    return TrainConfig(
        env_id="Target-v0",
        total_steps=1024,
        num_envs=4,
        rollout_steps=32,
        device="cpu",
        hidden=(8, 12),
        critic_hidden=(10,),
        epochs=2,
        minibatch_size=32,
        num_evaluations=2,
        evaluation_episodes=2,
        visited_states=2,
        averaging=0.2,
        checkpoint_steps=256,
    )
