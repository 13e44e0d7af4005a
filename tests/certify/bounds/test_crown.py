"""Local bounds against exact values: rational corners, linear programs, searches. No tolerance.

Also of ``certify/bounds/local_bounds.py`` and ``certify/bounds/region.py``.
"""

from collections.abc import Callable
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from support.oracles import points_inside
from support.policies import build_policy, draw_policy
from surefoot.ball import Ball, Norm
from surefoot.certify.bounds.branch_and_bound import region_between
from surefoot.certify.bounds.crown import crown_bounds, interval_bounds, layer_bounds
from surefoot.certify.bounds.local_bounds import (
    certified_radius,
    change,
    local_bounds,
    local_region,
    mean_value_deviation,
    values_at,
)
from surefoot.certify.bounds.region import Network, Region, logit_differences_of, network_of
from surefoot.policy import Activation, Policy, Squash


def ball(states: np.ndarray, radius: float, norm: Norm = Norm.LINF) -> Region:
    return local_region(states, radius, norm)


@pytest.mark.parametrize("alpha_steps", [0, 2])
@pytest.mark.parametrize("activation", [Activation.TANH, Activation.RELU, Activation.ELU])
def test_no_point_of_a_product_of_ellipsoids_leaves_the_bounds(
    activation: Activation, alpha_steps: int
) -> None:
    rng = np.random.default_rng(0)
    shares, groups = np.array([1.0, 0.2, 0.5, 0.0, 0.8]), ((0, 2), (1, 4))
    for radius in (1e-3, 0.3):
        policy = draw_policy(rng, [5, 9, 8, 2], activation, gain=2.0)
        allowed = Ball(
            norm=Norm.LINF, epsilon=radius, sensors=tuple(shares.tolist()), groups=groups
        )
        region = local_region(rng.normal(0, 1, (6, 5)), radius, Norm.LINF, shares, groups)
        local = local_bounds(policy, region, alpha_steps)
        edges = allowed.outermost(rng.normal(size=(300, 6, 5)))
        moved = np.abs(
            policy.outputs_at((region.centres + edges).reshape(-1, 5)).reshape(300, 6, 2)
            - policy.outputs_at(region.centres)
        ).max(axis=0)
        box = local_bounds(policy, local_region(region.centres, radius, Norm.LINF, shares))
        assert (moved <= local.action * (1 + 1e-12)).all()
        if not alpha_steps:
            assert (local.action < box.action).all()
        linear = rng.normal(size=(3, 5))
        spread = region.spread(linear)
        farthest = (allowed.outermost(linear) * linear).sum(axis=1)
        assert (spread >= farthest).all()
        np.testing.assert_allclose(spread, np.tile(farthest, (6, 1)), rtol=1e-12)


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("activation", Activation)
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_no_point_of_the_ball_leaves_the_bounds(
    activation: Activation, depth: int, norm: Norm
) -> None:
    rng = np.random.default_rng(depth)
    trials = 0
    for radius in (0.0, 1e-3, 0.05, 0.5, 3.0):
        policy = draw_policy(rng, [4, *[10] * depth, 3], activation, gain=2.0)
        region = ball(rng.normal(0, 1, (40, 4)), radius, norm)
        network = network_of(policy)
        points = points_inside(region, rng, 60)
        values = policy.network(points.reshape(-1, 4)).reshape(60, 40, 3)
        here = policy.network(region.centres)
        tight, loose = crown_bounds(network, region), interval_bounds(network, region)
        slack = 1e-12 * (1 + np.abs(values))  # of the values, which are plain float64
        for bounds in (tight, loose):
            assert (values <= bounds.upper + slack).all()
            assert (values >= bounds.lower - slack).all()
        assert (tight.upper <= loose.upper + 1e-12).all()
        before = layer_bounds(network, region)
        moved = np.abs(values - here)
        assert (moved <= mean_value_deviation(network, region, before[:-1]) + slack).all()
        assert (moved <= change(tight, values_at(network, region)) + slack).all()
        trials += values.size
    print(f"{trials} values")


def rational_relu_network(policy: Policy, point: list[Fraction]) -> list[Fraction]:
    hidden = point
    for number, layer in enumerate(policy.layers):
        hidden = [
            sum((Fraction(float(w)) * x for w, x in zip(row, hidden, strict=True)), Fraction(0))
            + Fraction(float(b))
            for row, b in zip(layer.weight, layer.bias, strict=True)
        ]
        if number < len(policy.layers) - 1:
            hidden = [max(x, Fraction(0)) for x in hidden]
    return hidden


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e12])
def test_bounds_hold_in_exact_rationals_without_tolerance(scale: float) -> None:
    rng = np.random.default_rng(0)
    trials = 0
    for _ in range(6):
        policy = draw_policy(rng, [2, 4, 4, 2], Activation.RELU, gain=scale)
        centre = rng.normal(0, 1, (1, 2)).astype(np.float32).astype(np.float64)
        radius = float(10.0 ** rng.uniform(-12, 0))
        region = ball(centre, radius)
        bounds = crown_bounds(network_of(policy), region)
        for signs in product([-1, 0, 1], repeat=2):
            point = [
                Fraction(float(c)) + s * Fraction(radius)
                for c, s in zip(centre[0], signs, strict=True)
            ]
            for j, value in enumerate(rational_relu_network(policy, point)):
                assert Fraction(float(bounds.lower[0, j])) <= value
                assert value <= Fraction(float(bounds.upper[0, j]))
                trials += 1
    print(f"{trials} exact values")


def test_cancelling_coefficients_are_charged_for_their_rounding() -> None:
    # Two paths whose products of three float32 weights nearly cancel: the coefficient that float64
    # computes is wrong by far more than a few ulp of itself.
    rng = np.random.default_rng(8)
    for _ in range(200):
        a, b, c = rng.uniform(0.5, 2, (3, 2)).astype(np.float32)
        c[1] = -c[0] * b[0] * a[0] / (b[1] * a[1])
        policy = build_policy(
            [a[:, None], np.diag(b), c[None]], Activation.RELU, biases=[[0, 0], [0, 0], [0]]
        )
        centre, radius = np.array([[2.0**20]]), 2.0**18
        bounds = crown_bounds(network_of(policy), ball(centre, radius))
        for point in (Fraction(2**20 - 2**18), Fraction(2**20 + 2**18)):
            value = rational_relu_network(policy, [point])[0]
            lower, upper = float(bounds.lower[0, 0]), float(bounds.upper[0, 0])
            assert Fraction(lower) <= value <= Fraction(upper)


def exact_maximum(policy: Policy, centre: np.ndarray, radius: float) -> float:
    """The largest output of a small ReLU network over a box: one linear program per pattern."""
    first, second = policy.layers
    w1, b1 = first.weight.astype(np.float64), first.bias.astype(np.float64)
    w2, b2 = second.weight.astype(np.float64)[0], float(second.bias[0])
    best = -np.inf
    box = list(zip(centre - radius, centre + radius, strict=True))
    for pattern in product([0.0, 1.0], repeat=len(b1)):
        active = np.array(pattern)
        sign = np.where(active > 0, -1.0, 1.0)
        row = w2 * active @ w1
        found = linprog(-row, A_ub=sign[:, None] * w1, b_ub=-sign * b1, bounds=box)
        if found.status == 0:
            best = max(best, float(row @ found.x + (w2 * active) @ b1 + b2))
    return best


def test_the_upper_bound_is_above_the_exact_maximum_and_near_it() -> None:
    rng = np.random.default_rng(1)
    gaps = []
    for _ in range(8):
        policy = draw_policy(rng, [3, 6, 1], Activation.RELU)
        centre = rng.normal(0, 1, 3)
        exact = exact_maximum(policy, centre, 0.1)
        upper = float(crown_bounds(network_of(policy), ball(centre[None], 0.1)).upper[0, 0])
        here = float(policy.network(centre[None])[0, 0])
        assert upper >= exact - 1e-9
        gaps.append((upper - here) / max(exact - here, 1e-12))
    assert np.median(gaps) < 1.3


def test_a_linear_network_has_exact_bounds() -> None:
    policy = draw_policy(np.random.default_rng(2), [3, 2])
    centre = np.array([[0.5, -1.0, 2.0]])
    bounds = crown_bounds(network_of(policy), ball(centre, 0.25))
    weight = policy.layers[0].weight.astype(np.float64)
    exact = np.abs(weight).sum(axis=1) * 0.25
    np.testing.assert_allclose((bounds.upper - bounds.lower)[0] / 2, exact, rtol=1e-12)


@pytest.mark.parametrize("constant", [2.0**20, 2.0**40, 2.0**60])
def test_huge_cancelling_constants_do_not_fool_the_bounds(constant: float) -> None:
    # In the style of Zombori et al. (ICLR 2021): float64 loses z beside the constant, real
    # arithmetic does not, so a bound that ignores rounding would miss the output's real value.
    policy = build_policy(
        [[[1.0], [0.0]], [[1.0, 1.0], [0.0, 1.0]], [[1.0, -1.0]]],
        Activation.RELU,
        biases=[[0.0, constant], [0.0, 0.0], [0.0]],
    )
    centre = np.array([[0.3]])
    bounds = crown_bounds(network_of(policy), ball(centre, 0.1))
    for point in (Fraction(0.2) + Fraction(1, 10**9), Fraction(0.3), Fraction(0.4)):
        value = rational_relu_network(policy, [point])[0]
        assert value == point
        assert Fraction(float(bounds.lower[0, 0])) <= value <= Fraction(float(bounds.upper[0, 0]))


def test_overflow_ends_as_an_infinite_bound() -> None:
    huge = [np.full((2, 2), 3e38)] * 9
    policy = build_policy([*huge, np.full((1, 2), 3e38)], Activation.RELU)
    bounds = crown_bounds(network_of(policy), ball(np.ones((1, 2)), 0.1))
    assert bounds.upper[0, 0] == np.inf


@settings(max_examples=60, deadline=None)
@given(
    activation=st.sampled_from(list(Activation)),
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    gain=st.sampled_from([0.1, 1.0, 5.0, 50.0]),
    radius=st.floats(0, 2),
    norm=st.sampled_from(list(Norm)),
    seed=st.integers(0, 10**6),
)
def test_no_network_that_hypothesis_makes_violates_its_bounds(
    activation: Activation, sizes: list[int], gain: float, radius: float, norm: Norm, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    policy = draw_policy(rng, sizes, activation, gain=gain, bias=gain, sparsity=rng.random())
    region = ball(rng.normal(0, 2, (8, sizes[0])), radius, norm)
    points = points_inside(region, rng, 30)
    values = policy.network(points.reshape(-1, sizes[0])).reshape(30, 8, sizes[-1])
    bounds = crown_bounds(network_of(policy), region)
    slack = 1e-11 * (1 + np.abs(values) + np.abs(values).max())
    assert (values <= bounds.upper + slack).all()
    assert (values >= bounds.lower - slack).all()


@pytest.mark.parametrize("squash", Squash)
def test_actions_stay_within_their_deviation(squash: Squash) -> None:
    rng = np.random.default_rng(5)
    policy = draw_policy(rng, [4, 16, 16, 3], gain=2.0, squash=squash, half_range=1.7)
    region = ball(rng.normal(0, 1, (50, 4)), 0.1)
    bounds = local_bounds(policy, region)
    points = points_inside(region, rng, 100)
    actions = policy.outputs_at(points.reshape(-1, 4)).reshape(100, 50, 3)
    moved = np.abs(actions - policy.outputs_at(region.centres))
    assert (moved <= bounds.action + 1e-12).all()
    raw = policy.network(points.reshape(-1, 4)).reshape(100, 50, 3)
    change_of_mean = (raw - policy.network(region.centres)) / policy.head.std
    assert (np.linalg.norm(change_of_mean, axis=2) <= bounds.distance + 1e-9).all()


def test_logit_differences_stay_within_their_span() -> None:
    rng = np.random.default_rng(6)
    policy = draw_policy(rng, [4, 16, 5], categorical=True)
    region = ball(rng.normal(0, 1, (50, 4)), 0.2)
    span = local_bounds(policy, region).distance
    points = points_inside(region, rng, 100)
    logits = policy.network(points.reshape(-1, 4)).reshape(100, 50, 5)
    moved = logits - policy.network(region.centres)
    assert (np.ptp(moved, axis=2) <= span + 1e-12).all()
    assert logit_differences_of(policy).weights[-1].shape == (10, 16)


Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Radii and numbers of states, to the bound there."""


def measure_of(policy: Policy, states: np.ndarray, counted: list[int]) -> Measure:
    """CROWN's bound on the largest change of an action; counts the states that it looks at."""

    def bound(radii: np.ndarray, rows: np.ndarray) -> np.ndarray:
        counted.append(len(rows))
        region = Region(centres=states[rows], radius=radii, norm=Norm.LINF)
        return local_bounds(policy, region).action.max(axis=1)

    return bound


def bisected(bound: Measure, limit: float, count: int) -> np.ndarray:
    """Plain bisection: twelve halvings."""
    everyone = np.arange(count)
    proved = low = (bound(np.ones(count), everyone) <= limit).astype(float)
    high = np.ones(count)
    for _ in range(12):
        middle = (low + high) / 2
        success = bound(middle, everyone) <= limit
        proved = np.where(success, np.maximum(proved, middle), proved)
        low, high = np.where(success, middle, low), np.where(success, high, middle)
    return proved


@pytest.mark.parametrize("activation", [Activation.TANH, Activation.RELU, Activation.ELU])
def test_radii_are_those_of_plain_bisection_for_fewer_bounds(activation: Activation) -> None:
    rng = np.random.default_rng(8)
    policy = draw_policy(rng, [6, 24, 24, 2], activation)
    states, counted = rng.normal(0, 1, (50, 6)), list[int]()
    bound = measure_of(policy, states, counted)
    for limit in (0.02, 0.2, 1.0):
        plain = bisected(bound, limit, len(states))
        halvings = sum(counted)
        counted.clear()
        assert certified_radius(bound, limit, len(states), 1.0) == pytest.approx(plain, abs=1e-9)
        assert 3 * sum(counted) < 2 * halvings
        counted.clear()


@pytest.mark.parametrize(
    "bound",
    [
        lambda radii: np.where(radii > 0.3, np.inf, 0.0),
        lambda radii: np.exp(30 * radii),
        lambda radii: np.sqrt(radii) * 2,
        lambda radii: np.where(np.sin(50 * radii) > 0, 2.0, 0.5),
    ],
    ids=["a step", "steep", "concave", "not monotone"],
)
def test_every_radius_is_proved_whatever_the_bound(
    bound: Callable[[np.ndarray], np.ndarray],
) -> None:
    radius = certified_radius(lambda radii, rows: bound(radii), 1.0, 1, 1.0)
    assert bound(radius)[0] <= 1.0
    assert radius == 1.0 or bound(radius + 1 / 4096)[0] > 1.0


def test_the_certified_radius_is_below_every_violation_and_shrinks_with_the_limit() -> None:
    rng = np.random.default_rng(7)
    policy = draw_policy(rng, [3, 16, 2])
    states = rng.normal(0, 1, (20, 3))

    def radius_for(limit: float) -> np.ndarray:
        return certified_radius(measure_of(policy, states, []), limit, len(states), 1.0)

    radii = radius_for(0.2)
    assert (radii > 0).all()
    assert (radius_for(0.1) <= radii).all()
    region = Region(centres=states, radius=radii, norm=Norm.LINF)
    points = points_inside(region, rng, 200)
    actions = policy.outputs_at(points.reshape(-1, 3)).reshape(200, 20, 2)
    assert (np.abs(actions - policy.outputs_at(states)) <= 0.2 + 1e-12).all()


def test_the_error_of_an_inexact_layer_counts_where_it_is_the_only_one() -> None:
    weight, error = np.array([[1.0, -2.0]]), np.array([[0.25, 0.0, 0.5]])
    network = Network(weights=(weight,), biases=(np.zeros(1),), activations=(), last_error=error)
    region = region_between(np.array([[-1.0, -1.0]]), np.array([[2.0, 1.0]]))
    # 2 + 2 with the weights as they stand, and 0.25 * 2 + 0.5 more with what they may stand for.
    assert crown_bounds(network, region).upper[0, 0] >= 5.0
