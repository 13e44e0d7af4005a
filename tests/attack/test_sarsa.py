from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from support.attacks import target_of
from support.environments import GridEnv
from support.policies import random_policy
from surefoot.attack.sarsa import Critics, Records, fit_sarsa, record, td_targets
from surefoot.attack.target import AttackTarget
from surefoot.ball import Ball, Norm
from surefoot.policy import Normaliser, Policy

GAMMA = 0.7


def two_state_mdp(num: int, seed: int = 0) -> Records:
    """Return records of two states and two actions: action a leads to state a with chance 0.8.

    The policy plays action 1 with chance 0.6 in state 0 and 0.3 in state 1; the step pays 1 for
    ending in state 1 and costs 0.5 for action 1; a step from state 1 by action 0 terminates.
    """
    random = np.random.default_rng(seed)
    states, actions = random.integers(0, 2, (2, num))
    nexts = np.where(random.random(num) < 0.8, actions, 1 - actions)
    next_actions = (random.random(num) < np.where(nexts == 1, 0.3, 0.6)).astype(int)
    terminated = (states == 1) & (actions == 0)

    def one_hot(numbers: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(np.eye(2, dtype=np.float32)[numbers])

    return Records(
        states=one_hot(states),
        actions=one_hot(actions),
        rewards=torch.from_numpy((nexts - 0.5 * actions).astype(np.float32)),
        next_states=one_hot(nexts),
        next_actions=one_hot(next_actions),
        terminated=torch.from_numpy(terminated.astype(np.float32)),
    )


def exact_q() -> NDArray[np.float64]:
    """Return Q of (state, action) by solving the linear equations of the process."""
    chance = {0: 0.6, 1: 0.3}
    matrix, reward = np.eye(4), np.zeros(4)
    for state in (0, 1):
        for action in (0, 1):
            row = 2 * state + action
            for after in (0, 1):
                p = 0.8 if after == action else 0.2
                reward[row] += p * (after - 0.5 * action)
                if (state, action) != (1, 0):
                    for then in (0, 1):
                        q = chance[after] if then == 1 else 1 - chance[after]
                        matrix[row, 2 * after + then] -= GAMMA * p * q
    return np.linalg.solve(matrix, reward)


def test_q_of_a_two_state_process_is_the_exact_one() -> None:
    critics, losses = fit_sarsa(two_state_mdp(9600), ((0.0, 1.0),), gamma=GAMMA, epochs=2)
    pairs = torch.eye(2).repeat_interleave(2, 0), torch.eye(2).repeat(2, 1)
    found = critics(torch.cat(pairs, 1))[0].detach().numpy()
    np.testing.assert_allclose(found, exact_q(), atol=0.06)
    assert losses["last"][0] < losses["first"][0]


def test_shuffled_records_have_the_same_targets() -> None:
    critics = Critics(3, 4, torch.Generator().manual_seed(0))
    records, order = two_state_mdp(200), torch.randperm(200)
    targets = td_targets(critics, records, GAMMA)
    shuffled = td_targets(critics, records.take(order), GAMMA)
    np.testing.assert_allclose(shuffled.numpy(), targets[:, order].numpy(), rtol=1e-5)


def test_bounds_hold_all_over_the_ball() -> None:
    generator = torch.Generator().manual_seed(1)
    critics = Critics(3, 5, generator)
    inputs = torch.randn(20, 5, generator=generator)
    radius = torch.tensor([0.01, 0.1, 0.5])[:, None, None]
    low, high = critics.bounds(inputs, radius)
    for _ in range(200):
        unit = 2 * torch.rand(20, 5, generator=generator) - 1
        for number in range(3):
            value = critics(inputs + radius[number] * unit.sign())[number]
            assert (value >= low[number] - 1e-5).all()
            assert (value <= high[number] + 1e-5).all()


def test_the_robust_term_makes_q_flatter() -> None:
    critics, _ = fit_sarsa(two_state_mdp(4800), ((0.0, 1.0), (0.3, 10.0)), gamma=GAMMA, epochs=1)
    low, high = critics.bounds(torch.rand(50, 4), torch.full((2, 1, 1), 0.1))
    plain, robust = (high - low).mean(1).tolist()
    assert robust < 0.5 * plain


def test_a_layer_view_of_a_critic_is_the_critic() -> None:
    critics = Critics(2, 4, torch.Generator().manual_seed(2))
    inputs = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    hidden = inputs
    for layer in critics.layers(1):
        hidden = layer.activation(hidden @ layer.weight.T + layer.bias)
    expected = critics(torch.from_numpy(inputs))[1].detach().numpy()
    np.testing.assert_allclose(hidden[:, 0], expected, rtol=1e-5)


@pytest.fixture
def corridor() -> tuple[Policy, AttackTarget]:
    policy = random_policy(np.random.default_rng(4), (2, 8, 2), squash=None)
    as_they_are = Normaliser(mean=np.zeros(2, np.float32), scale=np.ones(2, np.float32), clip=10.0)
    policy = replace(policy, normaliser=as_they_are)
    return policy, target_of(policy, Ball(norm=Norm.LINF, epsilon=0.1), GridEnv)


def test_records_tell_what_followed_and_cut_episodes_go_on_with_the_controllers_own_action(
    corridor: tuple[Policy, AttackTarget],
) -> None:
    policy, target = corridor
    records = record(target, 32 * 24)
    cells = (records.states[:, 0] + 1) * 4
    after = (records.next_states[:, 0] + 1) * 4
    step = 2 * records.actions.argmax(1) - 1
    # Every step is the one that its action makes, also the last one of an episode.
    expected = (cells + step).clamp(0, GridEnv.CELLS - 1)
    np.testing.assert_allclose(after, expected, atol=1e-5)
    assert not records.terminated.any()
    cut = torch.arange(len(records)) // 32 % GridEnv.HORIZON == GridEnv.HORIZON - 1
    own = policy.network(records.next_states[cut].numpy()).argmax(axis=1)
    assert np.array_equal(records.next_actions[cut].argmax(1).numpy(), own)
    going = ~cut[:-32]
    assert np.array_equal(records.next_actions[:-32][going], records.actions[32:][going])
