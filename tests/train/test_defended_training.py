"""Whole trainings under every defence, for every kind of policy."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from surefoot.config import build, to_table
from surefoot.errors import InterruptedRun
from surefoot.policy import CategoricalHead, weights_sha256
from surefoot.train.defence_config import (
    AdversarialReturn,
    AlternatingTraining,
    BoundedAdversarialReturn,
    ConvexStateAdversarial,
    Defence,
    NoDefence,
    StateAdversarial,
)
from surefoot.train.pruning_config import MagnitudePruning, MagnitudeStePruning
from surefoot.train.result import Progress
from surefoot.train.train_config import FixedNoise, LearnedNoise, TrainConfig
from surefoot.train.trainer import train_policy

DEFENCES = [
    StateAdversarial(epsilon=0.1, kappa=0.3),
    ConvexStateAdversarial(epsilon=0.1, kappa=0.3, fraction=0.5),
    AdversarialReturn(epsilon=0.1),
    BoundedAdversarialReturn(epsilon=0.1),
    AlternatingTraining(epsilon=0.1, kappa=0.3),
]


def name_of(
    value: Defence | FixedNoise | LearnedNoise,
) -> str:
    return getattr(value, "kind", None)


@pytest.fixture
def tiny(tiny: TrainConfig) -> TrainConfig:
    return replace(
        tiny,
        total_steps=512,
        learning_rate=3e-3,
        entropy_coefficient=0.01,
        checkpoint_steps=128,
    )


@pytest.mark.parametrize("noise", [FixedNoise(), LearnedNoise()], ids=name_of)
@pytest.mark.parametrize("defence", DEFENCES, ids=name_of)
def test_every_defence_trains_a_gaussian_policy_and_changes_it(
    tiny: TrainConfig,
    target_task: None,
    defence: Defence,
    noise: FixedNoise | LearnedNoise,
) -> None:
    config = replace(tiny, defence=defence, noise=noise)
    assert build(TrainConfig, to_table(config), "train") == config
    result = train_policy(config)
    assert result.curves["epsilon"][-1] == pytest.approx(0.1)
    assert result.curves["regulariser"][-1] != 0
    plain = train_policy(replace(config, defence=NoDefence())).policy
    assert weights_sha256(result.policy) != weights_sha256(plain)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Acrobot-v1"])
@pytest.mark.parametrize("defence", DEFENCES, ids=name_of)
def test_every_defence_but_a_lipschitz_target_trains_a_categorical_policy(
    tiny: TrainConfig,
    env_id: str,
    defence: Defence,
) -> None:
    config = replace(
        tiny,
        env_id=env_id,
        total_steps=256,
        defence=defence,
        num_evaluations=1,
        evaluation_episodes=1,
        visited_states=0,
        pruning=MagnitudePruning(sparsity=0.5, interval=2),
    )
    result = train_policy(config)
    assert isinstance(result.policy.head, CategoricalHead)
    assert result.policy.sparsity == pytest.approx(0.5, abs=0.01)
    assert result.curves["regulariser"][-1] != 0


@pytest.mark.parametrize("defence", DEFENCES[1:], ids=name_of)
def test_an_interrupted_training_goes_on_bit_for_bit(
    tiny: TrainConfig,
    tmp_path: Path,
    target_task: None,
    defence: Defence,
) -> None:
    config = replace(tiny, defence=defence, pruning=MagnitudeStePruning(sparsity=0.5, interval=3))

    def interrupt(progress: Progress) -> None:
        if progress.step >= 256:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRun):
        train_policy(config, out=tmp_path, on_progress=interrupt)
    resumed, whole = train_policy(config, out=tmp_path), train_policy(config)
    assert weights_sha256(resumed.policy) == weights_sha256(whole.policy)
