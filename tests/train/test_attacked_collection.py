"""Rollouts of SA that are played at perturbed states."""

from dataclasses import replace

import numpy as np
import torch

from support.environments import TargetEnv
from support.training import linf
from surefoot.policy import weights_sha256
from surefoot.train.defence_config import NoDefence, StateAdversarial
from surefoot.train.train_config import FixedNoise, TrainConfig
from surefoot.train.training_run import Run

CPU = torch.device("cpu")
DEFENCE = StateAdversarial(
    epsilon=0.3, ramp_end=0.25, kappa=0.1, inner_steps=5, collect_attacked=True
)
TINY = TrainConfig(
    env_id="Target-v0",
    total_steps=512,
    num_envs=4,
    rollout_steps=32,
    device="cpu",
    hidden=(8,),
    critic_hidden=(8,),
    noise=FixedNoise(sigma=0.3),
    minibatch_size=32,
    num_evaluations=1,
    evaluation_episodes=2,
    defence=DEFENCE,
)


def run_of(config: TrainConfig = TINY) -> Run:
    return Run(config, TargetEnv(config.num_envs), TargetEnv(2), CPU)


def test_the_policy_sees_states_of_the_ball_at_which_it_acts_otherwise() -> None:
    run, epsilon = run_of(), 0.3
    run._agent.actor.mlp.weights[-1].mul_(200)  # at the start all outputs are nearly zero
    policy = run._learner.policy()
    adversary = run._adversary
    assert adversary is not None
    disturbance = adversary.disturbance(policy, linf(epsilon))
    assert disturbance is not None
    states = np.random.default_rng(0).uniform(-1, 1, (64, 3)).astype(np.float32)
    seen = disturbance.see(states, np.arange(64))
    random = states + epsilon * np.random.default_rng(1).choice([-1, 1], (64, 3))
    assert np.abs(seen.astype(float) - states).max() <= epsilon

    def change(moved: np.ndarray) -> np.ndarray:
        return np.abs(policy.network(moved) - policy.network(states)).sum(axis=1)

    assert change(seen).mean() > change(random).mean()


def test_without_it_the_rollouts_are_of_true_states() -> None:
    for defence in (replace(DEFENCE, collect_attacked=False), NoDefence()):
        assert run_of(replace(TINY, defence=defence))._adversary is None


def test_a_stored_run_goes_on_bit_for_bit() -> None:
    whole, first, second = (run_of() for _ in range(3))
    for _ in range(2):
        whole.iterate()
        first.iterate()
    second.load_checkpoint(first.checkpoint())
    for _ in range(2):
        whole.iterate()
        second.iterate()
    assert weights_sha256(second.policy()) == weights_sha256(whole.policy())


def test_it_changes_what_is_learned() -> None:
    attacked = run_of()
    clean = run_of(replace(TINY, defence=replace(DEFENCE, collect_attacked=False)))
    for run in (attacked, clean):
        run.iterate()
        run.iterate()
    assert weights_sha256(attacked.policy()) != weights_sha256(clean.policy())
