import numpy as np
import pytest

from support.policies import random_policy, unit_range
from surefoot.ball import Ball, Norm
from surefoot.envs import make_env
from surefoot.policy import Activation, Policy
from surefoot.train.game import Direct, Game

SEEDS = [3, 8]


@pytest.fixture(scope="module")
def policy() -> Policy:
    return unit_range(random_policy(np.random.default_rng(1), (11, 16, 3), Activation.TANH))


@pytest.mark.parametrize("norm", list(Norm))
def test_the_adversary_wins_what_the_controller_loses(policy: Policy, norm: Norm) -> None:
    ball = Ball(norm=norm, epsilon=0.2)
    game = Game(make_env("Hopper-v5", 2), policy, Direct(ball, 11))
    env, random = make_env("Hopper-v5", 2), np.random.default_rng(0)
    state, obs = game.reset(SEEDS), env.reset(SEEDS)
    for _ in range(60):
        moves = random.uniform(-1, 1, (2, 11)).astype(np.float32)
        seen = ball.perturbed(policy.state(obs, np.float32), 0.2 * moves.astype(np.float64))
        expected = env.step(policy.outputs_at(seen))
        assert np.array_equal(state, policy.state(obs, np.float32))
        result = game.step(moves)
        assert np.array_equal(result.reward, -expected.reward)
        assert np.array_equal(result.terminated, expected.terminated)
        assert np.array_equal(result.terminal_obs, policy.state(expected.terminal_obs, np.float32))
        state, obs = result.obs, expected.obs


def test_a_time_limit_cuts_the_game_and_is_no_end_of_it() -> None:
    # HalfCheetah never falls: whatever ends an episode is the limit of 1000 steps.
    cheetah = unit_range(random_policy(np.random.default_rng(2), (17, 8, 6), Activation.TANH))
    game = Game(make_env("HalfCheetah-v5", 1), cheetah, Direct(Ball(norm=Norm.LINF, epsilon=0), 17))
    game.reset([3])
    for step in range(1000):
        result = game.step(np.zeros((1, 17), np.float32))
        assert bool(result.truncated[0]) == (step == 999)
        assert not result.terminated[0]
    assert not np.array_equal(result.terminal_obs, result.obs)


def test_a_move_of_zero_is_the_clean_controller(policy: Policy) -> None:
    game = Game(make_env("Hopper-v5", 2), policy, Direct(Ball(norm=Norm.LINF, epsilon=0.2), 11))
    env = make_env("Hopper-v5", 2)
    game.reset(SEEDS)
    obs = env.reset(SEEDS)
    for _ in range(20):
        expected = env.step(policy.outputs(obs, np.float32))
        obs = expected.obs
        assert np.array_equal(game.step(np.zeros((2, 11), np.float32)).reward, -expected.reward)


def test_a_stored_game_goes_on_as_it_would_have(policy: Policy) -> None:
    game = Game(make_env("Hopper-v5", 2), policy, Direct(Ball(norm=Norm.LINF, epsilon=0.2), 11))
    random = np.random.default_rng(0)
    moves = random.uniform(-1, 1, (30, 2, 11)).astype(np.float32)
    state = game.reset(SEEDS)
    for move in moves[:10]:
        state = game.step(move).obs
    stored = game.state_dict()
    first = [game.step(move).reward for move in moves[10:]]
    assert np.array_equal(game.load_state_dict(stored), state)
    assert np.array_equal(first, [game.step(move).reward for move in moves[10:]])


def test_direct_moves_are_read_back_from_what_they_did() -> None:
    direct = Direct(Ball(norm=Norm.LINF, epsilon=0.1), 5)
    random = np.random.default_rng(1)
    state = random.normal(size=(20, 5)).astype(np.float32)
    moves = random.uniform(-1, 1, (20, 5)).astype(np.float32)
    np.testing.assert_allclose(direct.moves_of(state, direct(state, moves)), moves, atol=1e-5)


def test_the_game_has_as_many_moves_as_its_craft(policy: Policy) -> None:
    ball = Ball(norm=Norm.LINF, epsilon=0.2)
    assert Game(make_env("Hopper-v5", 1), policy, Direct(ball, 11)).spec.actions.dim == 11
