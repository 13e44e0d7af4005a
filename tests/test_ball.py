"""The ball, against exact rational arithmetic."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from surefoot.ball import Ball, Deltas, Norm, Randoms, States
from surefoot.errors import InputError

DIM = 11
EPSILONS = [0.075, 0.05, 0.15, 1e-6, 1e-3, 1 / 3, 2.0, 3.0]
SHARES = (1.0, 0.0, 0.3, 1 / 3, 0.1, 0.7, 0.5, 1e-9, 0.9, 1.0, 0.6)
GROUPS = ((2, 0), (3, 7, 9, 10))
WHOLE = [Ball(norm=norm, epsilon=epsilon) for norm in Norm for epsilon in EPSILONS]
OWN = [Ball(norm=Norm.LINF, epsilon=epsilon, sensors=SHARES) for epsilon in EPSILONS]
GROUPED = [replace(ball, groups=GROUPS) for ball in OWN]


def many_states(rng: np.random.Generator) -> States:
    wide = rng.uniform(-10, 10, (40, DIM))
    tiny = rng.normal(0, 1e-30, (3, DIM))
    edges = rng.choice([-10.0, 0.0, 10.0, 0.075, 1.0, 8.0], (20, DIM))
    return np.concatenate([wide, tiny, edges]).astype(np.float32)


def streams(num: int) -> Randoms:
    return [np.random.default_rng(row) for row in range(num)]


def reach_of(ball: Ball) -> list[Fraction]:
    """How far each sensor may move in linf, as real numbers."""
    return [Fraction(ball.epsilon) * Fraction(share) for share in ball.sensors or [1.0] * DIM]


def float_below(real: Fraction) -> Fraction:
    """The largest float64 that is not above a real number."""
    nearest = float(real)
    return Fraction(nearest if Fraction(nearest) <= real else math.nextafter(nearest, -math.inf))


def is_within(ball: Ball, delta: list[Fraction]) -> bool:
    if ball.norm is Norm.LINF:
        reach = reach_of(ball)
        within = all(abs(entry) <= side for entry, side in zip(delta, reach, strict=True))
        axes = [float_below(side) for side in reach]  # those of ``sides``
        return within and all(
            sum((delta[each] / axes[each]) ** 2 for each in group) <= 1
            for group in ball.groups or ()
        )
    return sum(entry**2 for entry in delta) <= Fraction(ball.epsilon) ** 2


def exact_difference(state: States, perturbed: States) -> list[Fraction]:
    pairs = zip(state.tolist(), perturbed.tolist(), strict=True)
    return [Fraction(after) - Fraction(before) for before, after in pairs]


def exactly_inside(ball: Ball, state_ND: States, perturbed_ND: States) -> list[bool]:
    pairs = zip(state_ND, perturbed_ND, strict=True)
    return [is_within(ball, exact_difference(*pair)) for pair in pairs]


@pytest.mark.parametrize("ball", WHOLE + OWN + GROUPED, ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_perturbed_states_lie_in_the_ball_exactly(ball: Ball, dtype: type) -> None:
    rng = np.random.default_rng(0)
    state = many_states(rng)
    for delta in (
        ball.epsilon * rng.choice([-1.0, 1.0], state.shape),
        rng.uniform(-3, 3, state.shape) * ball.epsilon,
        ball.outermost(rng.standard_normal(state.shape)),
        np.full(state.shape, 1e6),
    ):
        perturbed = ball.perturbed(state, delta.astype(dtype))
        assert perturbed.dtype == np.float32
        assert ball.contains(state, perturbed).all()
        assert all(exactly_inside(ball, state, perturbed))
        # What a certificate says of a witness is the rounded difference.
        assert ball.holds(perturbed.astype(np.float64) - state).all()


@pytest.mark.parametrize("ball", [ball for ball in WHOLE if ball.epsilon > 1e-4], ids=str)
def test_an_outermost_perturbation_keeps_nearly_all_of_its_size(ball: Ball) -> None:
    rng = np.random.default_rng(1)
    state = rng.uniform(-10, 10, (500, DIM)).astype(np.float32)
    moved = ball.perturbed(state, ball.outermost(rng.standard_normal(state.shape)))
    order = np.inf if ball.norm is Norm.LINF else 2
    size = np.linalg.norm(moved.astype(np.float64) - state, order, axis=1)
    # In each sensor rounding takes at most one unit in the last place, 2^-20 for states below 16.
    assert size.min() > ball.epsilon - np.sqrt(DIM) * 2.0**-20


@pytest.mark.parametrize("ball", [ball for ball in WHOLE + OWN if ball.norm is Norm.LINF], ids=str)
def test_a_corner_is_the_outermost_float_inside(ball: Ball) -> None:
    rng = np.random.default_rng(1)
    state = many_states(rng)
    sign = rng.choice([-1.0, 1.0], state.shape)
    perturbed = ball.perturbed(state, ball.epsilon * sign)
    beyond = np.nextafter(perturbed, (sign * np.inf).astype(np.float32))
    for row, further in zip(state, beyond, strict=True):
        pairs = zip(exact_difference(row, further), reach_of(ball), strict=True)
        assert all(abs(entry) > float_below(side) for entry, side in pairs)


@pytest.mark.parametrize("norm", list(Norm))
def test_one_unit_in_the_last_place_outside_is_outside(norm: Norm) -> None:
    ball = Ball(norm=norm, epsilon=0.075)
    state = np.random.default_rng(2).uniform(-3, 3, (50, 1)).astype(np.float32)
    perturbed = ball.perturbed(state, np.full(state.shape, 1.0))
    outside = np.nextafter(perturbed, np.float32(np.inf))
    assert ball.contains(state, perturbed).all()
    assert not ball.contains(state, outside).any()


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_state_that_is_not_finite_is_in_no_ball(norm: Norm, value: float) -> None:
    ball = Ball(norm=norm, epsilon=0.075)
    state = np.zeros((3, DIM), np.float32)
    broken = state.copy()
    broken[1, 4] = value
    assert ball.contains(state, broken).tolist() == [True, False, True]
    assert ball.holds(broken.astype(np.float64)).tolist() == [True, False, True]
    assert ball.contains(broken, broken).tolist() == [True, False, True]


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("scale", [1.0, 1e-100, 1e-200])
def test_a_perturbation_at_the_very_edge_is_judged_as_a_real_number(
    norm: Norm, scale: float
) -> None:
    """Epsilon is a float64 within a few units in the last place of the real length."""
    rng = np.random.default_rng(3)
    verdicts = set()
    for _ in range(300):
        delta = rng.standard_normal((1, DIM)) * scale
        exact = [Fraction(entry) for entry in delta[0].tolist()]
        order = np.inf if norm is Norm.LINF else 2
        epsilon = float(np.linalg.norm(delta[0] / scale, order) * scale)
        for _ in range(int(rng.integers(3))):
            epsilon = math.nextafter(epsilon, rng.choice([0.0, np.inf]))
        ball = Ball(norm=norm, epsilon=epsilon)
        inside = bool(ball.holds(delta)[0])
        assert inside == is_within(ball, exact)
        verdicts.add(inside)
    assert verdicts == {True, False}


@pytest.mark.parametrize("norm", list(Norm))
def test_what_a_float64_difference_loses_counts(norm: Norm) -> None:
    tiny = np.float32(1e-20)  # 1 + 1e-20 is 1 in float64
    ball = Ball(norm=norm, epsilon=1.0)
    state = np.array([[tiny], [-tiny], [0.0]], np.float32)
    assert ball.contains(state, np.ones((3, 1), np.float32)).tolist() == [True, False, True]


@pytest.mark.parametrize("norm", list(Norm))
def test_projection_leaves_the_inside_alone_and_is_the_nearest_point(norm: Norm) -> None:
    ball = Ball(norm=norm, epsilon=0.5)
    rng = np.random.default_rng(3)
    inside = rng.uniform(-0.1, 0.1, (20, 4))
    assert np.array_equal(ball.project(inside), inside)
    far = rng.normal(0, 2, (20, 4))
    nearest = np.linalg.norm(ball.project(far) - far, axis=1)
    candidates = ball.uniform(streams(5000), 4)
    others = np.linalg.norm(candidates[None] - far[:, None], axis=2).min(axis=1)
    assert (nearest <= others + 1e-12).all()


def test_epsilon_zero_leaves_every_state_as_it_is() -> None:
    state = many_states(np.random.default_rng(4))
    for norm in Norm:
        ball = Ball(norm=norm, epsilon=0.0)
        assert np.array_equal(ball.perturbed(state, np.ones(state.shape)), state)
        assert ball.contains(state, state).all()
        assert not ball.holds(np.full((1, DIM), 5e-324)).any()


def test_a_sensor_moves_by_no_more_than_its_share() -> None:
    ball = Ball(norm=Norm.LINF, epsilon=0.075, sensors=(1.0, 0.0, 0.3))
    state = np.random.default_rng(5).uniform(-10, 10, (500, 3)).astype(np.float32)
    for delta in (
        ball.uniform(streams(500), 3),
        ball.boundary(streams(500), 3),
        ball.project(np.random.default_rng(6).normal(0, 1, (500, 3))),
        np.random.default_rng(7).normal(0, 1, (500, 3)),
    ):
        step = np.abs(ball.perturbed(state, delta).astype(np.float64) - state)
        assert (step <= 0.075 * np.array([1.0, 0.0, 0.3])).all()
        assert (step[:, 1] == 0).all()
    corner = ball.perturbed(state, ball.boundary(streams(500), 3)).astype(np.float64) - state
    assert np.abs(corner)[:, 2].min() > 0.99 * 0.3 * 0.075


def test_shares_of_one_are_the_whole_ball() -> None:
    whole = Ball(norm=Norm.LINF, epsilon=1 / 3)
    shares = Ball(norm=Norm.LINF, epsilon=1 / 3, sensors=(1.0,) * DIM)
    state = many_states(np.random.default_rng(8))
    delta = np.random.default_rng(9).normal(0, 1, state.shape)
    assert np.array_equal(whole.perturbed(state, delta), shares.perturbed(state, delta))
    assert np.array_equal(whole.uniform(streams(9), DIM), shares.uniform(streams(9), DIM))
    assert np.array_equal(whole.boundary(streams(9), DIM), shares.boundary(streams(9), DIM))


@pytest.mark.parametrize("norm", list(Norm))
def test_uniform_draws_fill_the_ball_evenly(norm: Norm) -> None:
    ball = Ball(norm=norm, epsilon=2.0)
    draws = ball.uniform(streams(4000), 3)
    size = np.abs(draws).max(axis=1) if norm is Norm.LINF else np.linalg.norm(draws, axis=1)
    # The ball of half the radius holds one eighth of the volume: within four standard errors.
    assert abs(np.mean(size <= 1) - 1 / 8) < 4 * np.sqrt(1 / 8 * 7 / 8 / 4000)
    assert abs(draws.mean(axis=0)).max() < 0.1


@pytest.mark.parametrize("norm", list(Norm))
def test_boundary_draws_have_the_full_size_and_every_sign(norm: Norm) -> None:
    ball = Ball(norm=norm, epsilon=2.0)
    draws = ball.boundary(streams(400), 3)
    if norm is Norm.LINF:
        assert (np.abs(draws) == 2.0).all()
    else:
        np.testing.assert_allclose(np.linalg.norm(draws, axis=1), 2.0, rtol=1e-14)
    assert len({tuple(row) for row in np.sign(draws)}) == 8


@pytest.mark.parametrize("norm", list(Norm))
def test_one_boundary_draw_for_a_row_is_the_first_of_several(norm: Norm) -> None:
    ball = Ball(norm=norm, epsilon=2.0)
    one = ball.boundary(streams(7), 5)
    several = ball.boundary(streams(7), 5, 1)
    assert several.shape == (1, 7, 5)
    assert np.array_equal(several[0], one)
    many = ball.boundary(streams(7), 5, 4)
    assert many.shape == (4, 7, 5)
    assert np.array_equal(many[:, 2:3], ball.boundary(streams(7)[2:3], 5, 4))


def length_of(delta: Deltas, ball: Ball, group: tuple[int, ...]) -> NDArray[np.float64]:
    """How long the movements of a group are in units of their sides."""
    return np.asarray(np.linalg.norm(delta[:, group] / ball.sides[list(group)], axis=1))


def test_a_group_at_the_very_edge_is_judged_as_real_numbers() -> None:
    rng, verdicts = np.random.default_rng(3), set()
    for _ in range(200):
        ball = Ball(norm=Norm.LINF, epsilon=1 / 3, sensors=(0.3, 1 / 7, 1.0), groups=((0, 1),))
        delta = ball.outermost(rng.standard_normal((1, 3)))
        delta *= 1 + rng.integers(-3, 4) * 2.0**-53
        exact = [Fraction(entry) for entry in delta[0].tolist()]
        axes = [Fraction(side) for side in ball.sides.tolist()]
        shares = [abs(entry) / axis for entry, axis in zip(exact, axes, strict=True)]
        inside = max(shares) <= 1 and shares[0] ** 2 + shares[1] ** 2 <= 1
        assert bool(ball.holds(delta)[0]) == inside
        verdicts.add(inside)
    assert verdicts == {True, False}


def test_draws_of_a_group_fill_its_ellipsoid_evenly_and_its_surface() -> None:
    ball = replace(OWN[-1], groups=((0, 2, 5),))
    size = length_of(ball.uniform(streams(4000), DIM), ball, (0, 2, 5))
    assert abs(np.mean(size <= 0.5) - 1 / 8) < 4 * np.sqrt(1 / 8 * 7 / 8 / 4000)
    edge = ball.boundary(streams(100), DIM)
    np.testing.assert_allclose(length_of(edge, ball, (0, 2, 5)), 1.0, rtol=1e-14)
    others = [1, 3, 4, 6, 7, 8, 9, 10]
    assert (np.abs(edge[:, others]) == ball.sides[others]).all()


def test_a_direction_of_a_group_leads_to_the_farthest_point_of_its_ellipsoid() -> None:
    ball = replace(OWN[-1], groups=GROUPS)
    direction = directions(np.random.default_rng(10))
    farthest = (ball.outermost(direction) * direction).sum(axis=1)
    others = ball.uniform(streams(3000), DIM) @ direction.T
    assert (others.max(axis=0) <= farthest).all()
    alone = [each for each in range(DIM) if each not in (2, 0, 3, 7, 9, 10)]
    steep = direction * ball.sides
    dual = np.abs(steep[:, alone]).sum(axis=1)
    dual += sum(np.linalg.norm(steep[:, group], axis=1) for group in GROUPS)
    np.testing.assert_allclose(farthest, dual, rtol=1e-13)


def test_biases_and_delays_that_are_none_are_refused() -> None:
    for wrong in ({"biases": (1.5,)}, {"biases": (-0.1,)}, {"delays": (-1,)}, {"delays": ()}):
        with pytest.raises(InputError, match="must be"):
            Ball(norm=Norm.LINF, epsilon=0.1, sensors=(1.0,), **wrong)


@pytest.mark.parametrize("groups", [((0, 0),), ((0, 1), (1, 2)), ((0, 3),), ((-1, 0),), ((),)])
def test_groups_that_are_none_are_refused(groups: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(InputError, match="groups must hold each sensor once at most"):
        Ball(norm=Norm.LINF, epsilon=0.1, sensors=(1.0, 1.0, 1.0), groups=groups)
    with pytest.raises(InputError, match="groups and biases must have sensors"):
        Ball(norm=Norm.LINF, epsilon=0.1, groups=((0, 1),))


def directions(rng: np.random.Generator) -> Deltas:
    drawn: NDArray[np.float64] = rng.normal(size=(50, DIM))
    drawn[rng.random(drawn.shape) < 0.2] = 0.0
    return drawn * 10.0 ** rng.integers(-5, 6, (50, 1))


@pytest.mark.parametrize("ball", [ball for ball in WHOLE + OWN if ball.epsilon == 0.15], ids=str)
def test_no_perturbation_goes_farther_along_a_direction_than_the_outermost(ball: Ball) -> None:
    direction = directions(np.random.default_rng(10))
    delta = ball.outermost(direction)
    assert not delta[direction == 0].any()
    farthest = (delta * direction).sum(axis=1)
    others = ball.uniform(streams(3000), DIM) @ direction.T
    assert (others.max(axis=0) <= farthest).all()
    dual = 1 if ball.norm is Norm.LINF else 2
    length = np.linalg.norm(direction * (ball.sensors or 1.0), dual, axis=1)
    np.testing.assert_allclose(farthest, ball.epsilon * length, rtol=1e-14)
    # Leading axes do not matter.
    assert np.array_equal(ball.outermost(direction.reshape(5, 10, DIM))[2, 3], delta[23])


@pytest.mark.parametrize("epsilon", [-0.1, np.nan, np.inf])
def test_a_radius_that_is_none_is_refused(epsilon: float) -> None:
    with pytest.raises(InputError, match="epsilon must be at least 0 and finite"):
        Ball(norm=Norm.LINF, epsilon=epsilon)


@pytest.mark.parametrize("sensors", [(), (1.5,), (-0.1, 1.0), (np.nan,)])
def test_shares_that_are_none_are_refused(sensors: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=r"sensors must be in \[0, 1\]"):
        Ball(norm=Norm.LINF, epsilon=0.1, sensors=sensors)


def test_shares_are_for_linf_alone() -> None:
    with pytest.raises(InputError, match="sensors are for linf perturbations, not for l2"):
        Ball(norm=Norm.L2, epsilon=0.1, sensors=(1.0,))
