"""Training with the updates on CUDA; ``make test-gpu`` runs it, on a machine that has a GPU."""

import os
from dataclasses import replace
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
import pytest
import torch

from surefoot.errors import InterruptedRun
from surefoot.policy import weights_sha256
from surefoot.train.defence_config import (
    AdversarialReturn,
    AlternatingTraining,
    BoundedAdversarialReturn,
    ConvexStateAdversarial,
    Defence,
    LipschitzTarget,
    NoDefence,
    StateAdversarial,
)
from surefoot.train.pruning_config import (
    BlockPruning,
    MagnitudePruning,
    MagnitudeStePruning,
    NeuronPruning,
    NoPruning,
    Pruning,
    RandomPruning,
    SaliencyPruning,
    TwoFourPruning,
)
from surefoot.train.result import Progress
from surefoot.train.train_config import LearnedNoise, TrainConfig
from surefoot.train.trainer import train_policy

pytestmark = pytest.mark.skipif(
    os.environ.get("SUREFOOT_TEST_GPU") != "1", reason="make test-gpu runs it"
)

CONFIG = TrainConfig(
    env_id="Hopper-v5",
    total_steps=2048,
    num_envs=8,
    rollout_steps=32,
    device="cuda",
    hidden=(32, 32),
    critic_hidden=(32,),
    noise=LearnedNoise(initial=0.5),
    epochs=2,
    minibatch_size=64,
    num_evaluations=2,
    evaluation_episodes=2,
    visited_states=2,
    averaging=0.1,
    checkpoint_steps=256,
)
DEFENCES = [
    NoDefence(),
    StateAdversarial(epsilon=0.1, kappa=0.1),
    ConvexStateAdversarial(epsilon=0.1, kappa=0.1),
    AdversarialReturn(epsilon=0.1),
    BoundedAdversarialReturn(epsilon=0.1),
    AlternatingTraining(epsilon=0.1, kappa=0.1),
    LipschitzTarget(at_most=5.0),
]
PRUNINGS = [
    NoPruning(),
    RandomPruning(sparsity=0.7),
    MagnitudePruning(sparsity=0.7),
    MagnitudeStePruning(sparsity=0.7),
    SaliencyPruning(sparsity=0.7),
    BlockPruning(sparsity=0.7),
    NeuronPruning(sparsity=0.5),
    TwoFourPruning(),
]


def kind_of(
    value: Defence | Pruning,
) -> str:
    return value.kind


@pytest.mark.parametrize("defence", DEFENCES, ids=kind_of)
def test_every_defence_trains_on_cuda(defence: Defence) -> None:
    result = train_policy(replace(CONFIG, defence=defence))
    assert result.facts["device"] == "cuda"
    assert all(np.isfinite(layer.weight).all() for layer in result.policy.layers)


@pytest.mark.parametrize("pruning", PRUNINGS, ids=kind_of)
def test_every_pruning_reaches_its_target_on_cuda(pruning: Pruning) -> None:
    policy = train_policy(replace(CONFIG, pruning=pruning)).policy
    size = 11 * 32 + 32 * 32 + 32 * 3
    zeros = sum(int((layer.weight == 0).sum()) for layer in policy.layers)
    if isinstance(pruning, NeuronPruning):
        assert [len(layer.bias) for layer in policy.layers] == [16, 16, 3]
    elif isinstance(pruning, TwoFourPruning):
        assert zeros == 32 * (4 + 1) + 32 * 16 + 3 * 16
    elif isinstance(pruning, BlockPruning):  # the outputs stay whole
        assert zeros == (size - 32 * 3) - 8 * ((int(0.3 * size) - 32 * 3) // 8)
    else:
        asked = getattr(pruning, "sparsity", 0.0)
        assert zeros == ceil(size * Fraction(str(asked)))


def test_discrete_actions_train_on_cuda() -> None:
    config = replace(CONFIG, env_id="CartPole-v1", defence=StateAdversarial(epsilon=0.1, kappa=0.1))
    assert train_policy(config).facts["device"] == "cuda"


def test_a_run_on_cuda_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.step == 1024:
            raise InterruptedRun("here")

    config = replace(
        CONFIG,
        defence=StateAdversarial(epsilon=0.1, kappa=0.1),
        pruning=MagnitudePruning(sparsity=0.7),
    )
    with pytest.raises(InterruptedRun):
        train_policy(config, out=tmp_path, on_progress=interrupt)
    steps = []
    resumed = train_policy(config, out=tmp_path, on_progress=lambda now: steps.append(now.step))
    assert steps[0] in (1024, 1280)
    whole = train_policy(config)
    # Some kernels of CUDA sum in another order each time.
    for one, other in zip(resumed.policy.layers, whole.policy.layers, strict=True):
        assert one.weight == pytest.approx(other.weight, abs=1e-2)
    assert len(weights_sha256(resumed.policy)) == 64


def test_the_paper_sized_update_fits(tmp_path: Path) -> None:
    """2048 environments x 10 steps, 256x256, 32 minibatches: Table 4 of arXiv 2510.12939."""
    config = replace(
        CONFIG,
        num_envs=2048,
        rollout_steps=10,
        total_steps=2 * 20480,
        hidden=(256, 256),
        critic_hidden=(256, 256),
        epochs=4,
        minibatch_size=640,
        num_threads=os.cpu_count() or 1,
        defence=StateAdversarial(epsilon=0.075, kappa=0.15),
        pruning=MagnitudePruning(sparsity=0.7),
    )
    torch.cuda.reset_peak_memory_stats()
    train_policy(config)
    assert 0 < torch.cuda.max_memory_allocated() < 4 * 2**30
