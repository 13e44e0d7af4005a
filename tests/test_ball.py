from fractions import Fraction

import numpy as np
import pytest

from surefoot.budget import Norm
from surefoot.errors import InputError
from surefoot.train.ball import Ball

EPSILONS = [0.075, 0.05, 0.15, 1e-3, 1 / 3, 2.0]
BALLS = [Ball(norm=norm, epsilon=epsilon) for norm in Norm for epsilon in EPSILONS]


def many_states(rng, dim=11):
    wide = rng.uniform(-10, 10, (40, dim))
    tiny = rng.normal(0, 1e-30, (3, dim))
    edges = rng.choice([-10.0, 0.0, 10.0, 0.075, 1.0, 8.0], (20, dim))
    return np.concatenate([wide, tiny, edges]).astype(np.float32)


def exact_difference(state, perturbed):
    pairs = zip(state.tolist(), perturbed.tolist(), strict=True)
    return [Fraction(after) - Fraction(before) for before, after in pairs]


def is_inside(ball, state, perturbed):
    """Decide in exact rational arithmetic."""
    delta = exact_difference(state, perturbed)
    if ball.norm is Norm.LINF:
        return max(abs(entry) for entry in delta) <= Fraction(ball.epsilon)
    return sum(entry**2 for entry in delta) <= Fraction(ball.epsilon) ** 2


@pytest.mark.parametrize("ball", BALLS, ids=str)
def test_perturbed_states_lie_in_the_ball_exactly(ball):
    rng = np.random.default_rng(0)
    state = many_states(rng)
    for delta in (
        ball.epsilon * rng.choice([-1.0, 1.0], state.shape),
        rng.uniform(-3, 3, state.shape) * ball.epsilon,
        np.full(state.shape, 1e6),
    ):
        perturbed = ball.perturbed(state, delta)
        assert perturbed.dtype == np.float32
        assert ball.contains(state, perturbed).all()
        assert all(is_inside(ball, *pair) for pair in zip(state, perturbed, strict=True))


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_a_corner_is_the_outermost_float_inside(epsilon):
    ball = Ball(norm=Norm.LINF, epsilon=epsilon)
    rng = np.random.default_rng(1)
    state = many_states(rng)
    sign = rng.choice([-1.0, 1.0], state.shape)
    perturbed = ball.perturbed(state, epsilon * sign)
    beyond = np.nextafter(perturbed, (sign * np.inf).astype(np.float32))
    for row, further in zip(state, beyond, strict=True):
        delta = exact_difference(row, further)
        assert min(abs(entry) for entry in delta) > Fraction(epsilon)


@pytest.mark.parametrize("norm", list(Norm))
def test_one_unit_in_the_last_place_outside_is_outside(norm):
    ball = Ball(norm=norm, epsilon=0.075)
    state = np.random.default_rng(2).uniform(-3, 3, (50, 1)).astype(np.float32)
    perturbed = ball.perturbed(state, np.full(state.shape, 1.0))
    outside = np.nextafter(perturbed, np.float32(np.inf))
    assert ball.contains(state, perturbed).all()
    assert not ball.contains(state, outside).any()
    assert not ball.contains(state, np.full_like(state, np.nan)).any()


@pytest.mark.parametrize("norm", list(Norm))
def test_projection_leaves_the_inside_alone_and_is_the_nearest_point(norm):
    ball = Ball(norm=norm, epsilon=0.5)
    rng = np.random.default_rng(3)
    inside = rng.uniform(-0.1, 0.1, (20, 4))
    assert np.array_equal(ball.project(inside), inside)
    far = rng.normal(0, 2, (20, 4))
    nearest = np.linalg.norm(ball.project(far) - far, axis=1)
    candidates = ball.uniform([np.random.default_rng(row) for row in range(5000)], 4)
    others = np.linalg.norm(candidates[None] - far[:, None], axis=2).min(axis=1)
    assert (nearest <= others + 1e-12).all()


def test_epsilon_zero_leaves_every_state_as_it_is():
    state = many_states(np.random.default_rng(4))
    for norm in Norm:
        ball = Ball(norm=norm, epsilon=0.0)
        assert np.array_equal(ball.perturbed(state, np.ones(state.shape)), state)


@pytest.mark.parametrize("norm", list(Norm))
def test_uniform_draws_fill_the_ball_evenly(norm):
    ball = Ball(norm=norm, epsilon=2.0)
    draws = ball.uniform([np.random.default_rng(row) for row in range(4000)], 3)
    size = np.abs(draws).max(axis=1) if norm is Norm.LINF else np.linalg.norm(draws, axis=1)
    # The ball of half the radius holds one eighth of the volume: within four standard errors.
    assert abs(np.mean(size <= 1) - 1 / 8) < 4 * np.sqrt(1 / 8 * 7 / 8 / 4000)
    assert abs(draws.mean(axis=0)).max() < 0.1


@pytest.mark.parametrize("norm", list(Norm))
def test_boundary_draws_have_the_full_size_and_every_sign(norm):
    ball = Ball(norm=norm, epsilon=2.0)
    draws = ball.boundary([np.random.default_rng(row) for row in range(400)], 3)
    if norm is Norm.LINF:
        assert (np.abs(draws) == 2.0).all()
    else:
        np.testing.assert_allclose(np.linalg.norm(draws, axis=1), 2.0, rtol=1e-14)
    assert len({tuple(row) for row in np.sign(draws)}) == 8


@pytest.mark.parametrize("epsilon", [-0.1, np.nan, np.inf])
def test_a_radius_that_is_none_is_refused(epsilon):
    with pytest.raises(InputError, match="epsilon must be at least 0 and finite"):
        Ball(norm=Norm.LINF, epsilon=epsilon)
