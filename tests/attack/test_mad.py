"""The gradient attacks on the action itself reach what a corner reaches, and stay in the ball.

Also of ``attack/ascent.py``.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from support.policies import linear_policy, random_policy
from support.randomness import random_streams
from surefoot.attack.ascent import RESTARTS, AscentConfig, GradientAdversary
from surefoot.attack.mad import (
    NOISE_FREE,
    PUBLISHED,
    SLACK,
    applied_variants,
    mad_adversary,
    mad_variants,
)
from surefoot.ball import Ball, Norm, Randoms
from surefoot.errors import InputError
from surefoot.policy import (
    Activation,
    CategoricalHead,
    Layer,
    Normaliser,
    Policy,
    Squash,
    weights_sha256,
)
from surefoot.train.distributions import Gaussian
from surefoot.train.networks import mlp_from_layers

LINF = Ball(norm=Norm.LINF, epsilon=0.5)
L2 = Ball(norm=Norm.L2, epsilon=0.5)


def corners(dim: int, epsilon: float) -> NDArray[np.float64]:
    return epsilon * np.array(list(itertools.product([-1.0, 1.0], repeat=dim)))


def deltas(
    adversary: GradientAdversary, state: NDArray[np.float32], randoms: Randoms
) -> NDArray[np.float64]:
    return adversary.perturb(state, randoms).astype(np.float64) - state


def states(num: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(num, dim)).astype(np.float32)


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def test_with_slack_one_linear_actuator_is_driven_to_its_corner() -> None:
    row = np.array([[3.0, -0.2, 1e-3, 0.7, -5.0]])
    state = states(30, 5)
    delta = deltas(mad_adversary(linear_policy(row), LINF, SLACK), state, random_streams(30))
    signs = np.sign(delta @ row[0])
    np.testing.assert_allclose(delta, 0.5 * signs[:, None] * np.sign(row), atol=1e-6)


def test_without_slack_a_coordinate_that_starts_wrong_ends_at_nine_tenths() -> None:
    row = np.array([[3.0, -0.2, 1e-3, 0.7, -5.0]])
    state = states(30, 5)
    delta = deltas(mad_adversary(linear_policy(row), LINF, NOISE_FREE), state, random_streams(30))
    reached = delta * np.sign(delta @ row[0])[:, None] * np.sign(row)
    wrong = np.isclose(reached, 0.9 * 0.5, atol=1e-6)
    assert (wrong | np.isclose(reached, 0.5, atol=1e-6)).all()
    assert wrong.any()


def test_with_slack_the_l2_attack_finds_the_only_direction_that_counts() -> None:
    row = np.array([[3.0, -0.2, 1.0, 0.7, -5.0]])
    state = states(20, 5)
    settings = AscentConfig(steps=20, slack=20, temperature=0.0, keep_best=True)
    delta = deltas(mad_adversary(linear_policy(row), L2, settings), state, random_streams(20))
    np.testing.assert_allclose(np.abs(delta @ row[0]), 0.5 * np.linalg.norm(row), rtol=1e-5)


def test_many_actuators_in_the_l2_ball_meet_the_largest_singular_value() -> None:
    matrix = np.random.default_rng(1).normal(size=(3, 6))
    state = states(20, 6)
    settings = AscentConfig(steps=60, slack=30, temperature=0.0, restarts=3, keep_best=True)
    delta = deltas(mad_adversary(linear_policy(matrix), L2, settings), state, random_streams(20))
    worst = 0.5 * np.linalg.svd(matrix)[1][0]
    reached = np.linalg.norm(delta @ matrix.T, axis=1)
    assert (reached <= worst * (1 + 1e-6)).all()
    np.testing.assert_allclose(reached, worst, rtol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_many_actuators_meet_the_best_corner_in_units_of_their_sigma(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix, std = rng.normal(size=(3, 6)), np.array([0.1, 1.0, 3.0])

    def distance(delta: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.square(delta @ matrix.T / (std / std.mean())).sum(axis=1)

    state = states(20, 6)
    settings = AscentConfig(steps=20, slack=2.5, temperature=0.0, restarts=12, keep_best=True)
    policy = linear_policy(matrix, std=std)
    reached = distance(deltas(mad_adversary(policy, LINF, settings), state, random_streams(20)))
    worst = distance(corners(6, 0.5)).max()  # a convex function is largest at a corner
    np.testing.assert_allclose(reached, worst, rtol=1e-5)


@pytest.mark.parametrize("weight", [0.0, 1e-3, 1.0], ids=["flat", "weak", "steep"])
def test_the_published_attack_is_its_printed_loop(weight: float) -> None:
    """The noise decides on flat policies and hardly matters on steep ones."""
    rng = np.random.default_rng(9)
    matrix, std = weight * rng.normal(size=(2, 5)).astype(np.float32), np.array([0.5, 2.0])
    state, epsilon, step = states(12, 5), 0.5, 0.05
    policy = linear_policy(matrix, std=std)
    found = deltas(mad_adversary(policy, LINF, PUBLISHED), state, random_streams(12))
    for row, random in enumerate(random_streams(12)):
        delta = step * (2.0 * random.integers(0, 2, 5) - 1)
        noise = random.standard_normal((10, 1, 5))[:, 0]
        for i in range(10):
            change = matrix.astype(np.float64) @ delta / (std / std.mean())
            gradient = 2 * matrix.T.astype(np.float64) @ (change / (std / std.mean()))
            gradient = gradient + np.sqrt(2 * step) / (i + 2) * noise[i]
            delta = np.clip(delta + step * np.sign(gradient), -epsilon, epsilon)
        np.testing.assert_allclose(found[row], delta, atol=1e-6)


def test_there_is_no_gradient_at_the_state_itself() -> None:
    policy = random_policy(np.random.default_rng(10), (6, 16, 3), Activation.TANH)
    twin = mlp_from_layers(policy.layers, dtype=torch.float64)
    law = Gaussian(log_std=torch.zeros(3, dtype=torch.float64), learned=False)
    state = torch.from_numpy(states(5, 6).astype(np.float64))
    assert not twin.input_gradient(state, law.squared_distance_gradient(twin(state))).any()


@pytest.mark.parametrize(
    "settings", [NOISE_FREE, SLACK, RESTARTS], ids=["noise-free", "slack", "restarts"]
)
@pytest.mark.parametrize("activation", [Activation.TANH, Activation.RELU, Activation.SILU])
def test_mad_moves_actions_more_than_the_best_of_a_hundred_random_perturbations(
    activation: Activation, settings: AscentConfig
) -> None:
    policy = random_policy(np.random.default_rng(5), (11, 32, 32, 3), activation)
    ball = Ball(norm=Norm.LINF, epsilon=0.1)
    state = states(40, 11)
    found = mad_adversary(policy, ball, settings).perturb(state, random_streams(40))
    assert ball.contains(state, found).all()

    def moved(other: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.linalg.norm(policy.network(other) - policy.network(state), axis=1)

    randoms = random_streams(40, seed=1)
    tries = [moved(ball.perturbed(state, ball.uniform(randoms, 11))) for _ in range(100)]
    assert moved(found).mean() > np.max(tries, axis=0).mean()


def test_a_categorical_head_is_driven_to_the_largest_divergence() -> None:
    weight = np.array([[1.0, -2.0, 0.5, 0.1], [0.3, 1.0, -1.0, 0.2]], np.float32)
    policy = Policy(
        normaliser=Normaliser(
            mean=np.zeros(4, np.float32), scale=np.ones(4, np.float32), clip=10.0
        ),
        layers=(
            Layer(weight=weight, bias=np.zeros(2, np.float32), activation=Activation.IDENTITY),
        ),
        head=CategoricalHead(num_actions=2),
    )
    state = states(20, 4)

    def divergence(delta_N4: NDArray[np.float64]) -> NDArray[np.float64]:
        before = softmax(policy.network(state.astype(np.float64)))
        after = softmax(policy.network(state + delta_N4))
        return (before * np.log(before / after)).sum(axis=1)

    settings = AscentConfig(slack=2.5, temperature=0.0, restarts=8, keep_best=True)
    reached = divergence(deltas(mad_adversary(policy, LINF, settings), state, random_streams(20)))
    worst = np.max([divergence(corner[None]) for corner in corners(4, 0.5)], axis=0)
    np.testing.assert_allclose(reached, worst, rtol=1e-4)


@pytest.mark.parametrize("ball", [LINF, L2], ids=["linf", "l2"])
def test_what_an_actuator_does_not_apply_is_not_searched_for(ball: Ball) -> None:
    # The first output is far outside of its range, and moves further than the second could.
    matrix = np.array([[0.7, -0.4, 0.3, 0.2], [-0.1, 0.4, 0.2, 0.3]])
    policy = linear_policy(matrix, bias=[2.0, 0.0])
    policy = replace(policy, head=replace(policy.head, squash=Squash.CLIP))
    state = 0.05 * states(30, 4)
    worst = 0.5 * np.linalg.norm(matrix[1], 1 if ball.norm is Norm.LINF else 2)

    def applied(adversary: GradientAdversary) -> NDArray[np.float64]:
        seen = [state.astype(np.float64), adversary.perturb(state, random_streams(30))]
        before, after = (policy.outputs_at(one.astype(np.float64)) for one in seen)
        change = np.abs(after - before)
        assert not change[:, 0].any()
        return change[:, 1] / worst

    variants = mad_variants(policy, ball)
    reached = {name: applied(adversary) for name, adversary in variants.items()}
    assert (np.max(list(reached.values()), axis=0) <= 1 + 1e-6).all()
    assert (reached["applied"] >= 0.99).all()
    assert reached["published"].mean() < 0.8


def test_an_output_that_is_clipped_just_outside_is_drawn_inside() -> None:
    # Flat at the state and around it, and yet not out of reach.
    matrix = np.array([[1.0, -0.5, 0.2]])
    policy = linear_policy(matrix, bias=1.2)
    policy = replace(policy, head=replace(policy.head, squash=Squash.CLIP))
    state = np.zeros((40, 3), np.float32)
    moved = applied_variants(policy, LINF)["applied, drawn inside"].perturb(
        state, random_streams(40)
    )
    worst = 1 - (1.2 - 0.5 * np.abs(matrix).sum())
    np.testing.assert_allclose(1 - policy.outputs_at(moved.astype(np.float64)), worst, rtol=1e-5)


def test_a_tanh_is_searched_where_it_is_steep() -> None:
    # The first output is saturated: after the squash a change of the second is all there is.
    matrix = np.array([[3.0, -1.0, 1.0], [0.2, 0.3, -0.4]])
    policy = linear_policy(matrix, bias=[9.0, 0.0])
    policy = replace(policy, head=replace(policy.head, squash=Squash.TANH))
    state = np.zeros((20, 3), np.float32)
    moved = applied_variants(policy, LINF)["applied"].perturb(state, random_streams(20))
    change = np.abs(policy.outputs_at(moved.astype(np.float64)) - policy.outputs_at(state[:1]))
    worst = np.tanh(0.5 * np.abs(matrix[1]).sum())
    assert (change[:, 1] >= 0.99 * worst).all()


@pytest.mark.parametrize("squash", [*Squash, None])
def test_a_quick_look_searches_from_one_start_and_a_thorough_one_from_several(
    squash: Squash | None,
) -> None:
    policy = random_policy(np.random.default_rng(12), (3, 4, 2), squash=squash)
    quick, thorough = (mad_variants(policy, LINF, settings) for settings in (SLACK, RESTARTS))
    assert {one.settings.restarts for one in quick.values()} == {1}
    assert set(thorough) == set(quick) | {"restarts"}
    for name in set(thorough) - {"published", "noise-free", "slack"}:
        assert thorough[name].settings.restarts > 1


def test_there_is_nothing_after_the_squash_where_outputs_are_actions() -> None:
    choices = random_policy(np.random.default_rng(11), (3, 4, 2), squash=None)
    for policy in (linear_policy(np.ones((2, 3))), choices):
        assert not applied_variants(policy, LINF)


def test_more_restarts_that_keep_the_best_never_find_less() -> None:
    policy = random_policy(np.random.default_rng(6), (8, 16, 2), Activation.TANH)
    state = states(30, 8)

    def reached(restarts: int) -> NDArray[np.float32]:
        settings = AscentConfig(temperature=0.0, restarts=restarts, keep_best=True)
        moved = mad_adversary(policy, LINF, settings).perturb(state, random_streams(30))
        return np.square(policy.network(moved) - policy.network(state)).sum(axis=1)

    assert (reached(4) >= reached(1) * (1 - 1e-5)).all()


@pytest.mark.parametrize("settings", [PUBLISHED, RESTARTS], ids=["published", "restarts"])
@pytest.mark.parametrize("ball", [LINF, L2], ids=["linf", "l2"])
def test_states_are_attacked_alike_together_and_one_by_one(
    ball: Ball, settings: AscentConfig
) -> None:
    policy = random_policy(np.random.default_rng(7), (11, 32, 32, 3), Activation.TANH)
    state = states(25, 11)
    adversary = mad_adversary(policy, ball, settings)
    together = adversary.perturb(state, random_streams(25))
    randoms = random_streams(25)
    alone = [adversary.perturb(state[i : i + 1], randoms[i : i + 1])[0] for i in range(25)]
    assert np.array_equal(together, np.array(alone))


def test_an_attack_changes_neither_normaliser_nor_weights() -> None:
    policy = random_policy(np.random.default_rng(8), (8, 16, 2), Activation.TANH, Squash.TANH)
    before = weights_sha256(policy)
    adversary = mad_adversary(policy, LINF, PUBLISHED)
    state = states(10, 8)
    kept = state.copy()
    first = adversary.perturb(state, random_streams(10))
    assert np.array_equal(first, adversary.perturb(state, random_streams(10)))
    assert np.array_equal(state, kept)
    assert weights_sha256(policy) == before


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"restarts": 0}, "restarts must be at least 1"),
        ({"slack": 0.0}, "slack must be positive"),
        ({"temperature": -1.0}, "temperature must be at least 0"),
        ({"restarts": 2}, "keep_best must be set"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        AscentConfig(**settings)
