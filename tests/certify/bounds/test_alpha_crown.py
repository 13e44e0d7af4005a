"""Optimised lines are sound whatever the optimiser does, and never looser than CROWN."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from scipy.optimize import linprog

from support.oracles import points_inside
from support.policies import build_policy, draw_policy
from surefoot.ball import Norm
from surefoot.certify.bounds.alpha_crown import optimised_bounds, output_bounds
from surefoot.certify.bounds.crown import layer_bounds
from surefoot.certify.bounds.local_bounds import local_bounds, local_region
from surefoot.certify.bounds.region import Bounds, network_of
from surefoot.certify.bounds.tangent_points import free_touches, lines_touching
from surefoot.policy import Activation, Policy


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("activation", list(Activation))
def test_no_point_leaves_optimised_bounds_and_none_is_looser_than_crown(
    activation: Activation, norm: Norm
) -> None:
    rng = np.random.default_rng(0)
    for depth, radius in product([0, 1, 2, 3], [0.0, 1e-3, 0.05, 0.5, 3.0]):
        policy = draw_policy(rng, [4, *[10] * depth, 3], activation, gain=2.0)
        region, network = local_region(rng.normal(0, 1, (20, 4)), radius, norm), network_of(policy)
        points = points_inside(region, rng, 60)
        values = policy.network(points.reshape(-1, 4)).reshape(60, 20, 3)
        plain, best = layer_bounds(network, region), optimised_bounds(network, region, 4)
        slack = 1e-12 * (1 + np.abs(values))
        assert (values <= best[-1].upper + slack).all()
        assert (values >= best[-1].lower - slack).all()
        for loose, tight in zip(plain, best, strict=True):
            width = np.maximum(loose.upper - loose.lower, 1e-9)
            assert (tight.upper - tight.lower <= width * (1 + 1e-9)).all()


@pytest.mark.parametrize("activation", list(Activation))
def test_every_touch_gives_lines_that_enclose_the_activation(activation: Activation) -> None:
    rng = np.random.default_rng(1)
    low = np.concatenate([rng.uniform(-6, 6, 4000), np.zeros(4), -np.ones(4)])[None]
    high = low + 10.0 ** rng.uniform(-9, 1, low.shape)
    before = Bounds(low, high)
    touches = free_touches(activation, before)
    for side, above in ((touches.below, False), (touches.above, True)):
        share = rng.random((1, 7, low.shape[1]))
        touch = side.least[:, None] + share * (side.most - side.least)[:, None]
        slope, cut = lines_touching(activation, before, touch, np.full(touch.shape, above))
        for part in np.linspace(0, 1, 101):
            x = (low + part * (high - low))[:, None]
            gap = (slope * x + cut - activation(x)) * (1 if above else -1)
            assert (gap >= -1e-15)[np.broadcast_to(side.free[:, None], gap.shape)].all()


def triangle_relaxation(policy: Policy, bounds: Bounds, centre: np.ndarray, radius: float) -> float:
    """The largest output over the convex hulls of all neurons, by a linear program."""
    (w1, b1), (w2, b2) = ((x.weight.astype(float), x.bias.astype(float)) for x in policy.layers)
    d, n = w1.shape[1], len(w1)
    rows, limits = [], []
    for i, (low, high) in enumerate(zip(bounds.lower[0], bounds.upper[0], strict=True)):
        unit = np.eye(n)[i]
        rows += [np.concatenate([0 * w1[i], -unit]), np.concatenate([w1[i], -unit])]
        limits += [0.0, -b1[i]]
        slope = high / (high - low) if low < 0 < high else float(low >= 0)
        cut = -slope * low if low < 0 < high else 0.0
        rows.append(np.concatenate([-slope * w1[i], unit]))
        limits.append(slope * b1[i] + cut)
    box = [*zip(centre - radius, centre + radius, strict=True), *[(None, None)] * n]
    found = linprog(np.concatenate([np.zeros(d), -w2[0]]), A_ub=rows, b_ub=limits, bounds=box)
    return float(-found.fun + b2[0])


def test_behind_one_layer_of_relu_most_of_the_gap_to_the_program_over_all_hulls_is_closed() -> None:
    rng = np.random.default_rng(2)
    gained = []
    for _ in range(8):
        policy = draw_policy(rng, [3, 12, 1], Activation.RELU)
        region = local_region(rng.normal(0, 1, (1, 3)), 0.4, Norm.LINF)
        plain = layer_bounds(network_of(policy), region)
        found = float(optimised_bounds(network_of(policy), region, 100)[-1].upper[0, 0])
        hulls = triangle_relaxation(policy, plain[0], region.centres[0], 0.4)
        start = float(plain[-1].upper[0, 0])
        points = region.centres + rng.choice([-0.4, 0.4], (4000, 3)) * rng.choice(
            [1, 0.5], (4000, 1)
        )
        assert policy.network(points).max() <= found <= start
        gained.append((start - found) / (start - hulls) if start > hulls + 1e-6 else 1.0)
    assert np.mean(gained) > 0.8


def test_the_largest_value_over_both_halves_of_a_neuron_is_exact_for_one_neuron() -> None:
    # max of c relu(w z + b) + v z over a box, from its corners and where the kink meets its edges.
    rng = np.random.default_rng(5)
    gaps = []
    for _ in range(30):
        w, v, c = rng.normal(0, 1, 2), rng.normal(0, 1, 2), float(rng.normal(0, 2))
        hidden = [w, *np.eye(2), *-np.eye(2)]  # v z by neurons that never change sides
        biases = [float(rng.normal(0, 0.1)), 9.0, 9.0, 9.0, 9.0]
        last = [c, v[0], v[1], 0.0, 0.0]
        policy = build_policy(
            [hidden, [last]], Activation.RELU, biases=[biases, [-9.0 * (v[0] + v[1])]]
        )
        network = network_of(policy)
        region = local_region(np.zeros((1, 2)), 0.5, Norm.LINF)
        found = optimised_bounds(network, region, 60)[-1].upper[0, 0]
        grid = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 401)] * 2), -1).reshape(-1, 2)
        exact = policy.network(grid).max()
        assert found >= exact - 1e-12
        gaps.append(
            (found - exact) / (layer_bounds(network, region)[-1].upper[0, 0] - exact + 1e-3)
        )
    assert np.mean(gaps) < 0.1


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e12])
def test_optimised_bounds_hold_in_exact_rationals_without_tolerance(scale: float) -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        policy = draw_policy(rng, [2, 4, 4, 2], Activation.RELU, gain=scale)
        centre = rng.normal(0, 1, (1, 2)).astype(np.float32).astype(np.float64)
        radius = float(10.0 ** rng.uniform(-12, 0))
        bounds = optimised_bounds(network_of(policy), local_region(centre, radius, Norm.LINF), 3)[
            -1
        ]
        for signs in product([-1, 0, 1], repeat=2):
            hidden = [
                Fraction(float(c)) + s * Fraction(radius)
                for c, s in zip(centre[0], signs, strict=True)
            ]
            for number, layer in enumerate(policy.layers):
                hidden = [
                    sum((Fraction(float(w)) * x for w, x in zip(row, hidden, strict=True)))
                    + Fraction(float(b))
                    for row, b in zip(layer.weight, layer.bias, strict=True)
                ]
                if number < 2:
                    hidden = [max(x, Fraction(0)) for x in hidden]
            for j, value in enumerate(hidden):
                assert Fraction(float(bounds.lower[0, j])) <= value
                assert value <= Fraction(float(bounds.upper[0, j]))


def test_cancelling_coefficients_are_charged_for_their_rounding() -> None:
    # Products of three float32 weights that nearly cancel: the coefficient that float64 computes is
    # wrong by far more than a few ulp of itself.
    rng = np.random.default_rng(8)
    for _ in range(100):
        a, b, c = rng.uniform(0.5, 2, (3, 2)).astype(np.float32)
        c[1] = -c[0] * b[0] * a[0] / (b[1] * a[1])
        weights = [a[:, None], np.diag(b), c[None]]
        network = network_of(build_policy(weights, Activation.RELU))
        region = local_region(np.array([[2.0**20]]), 2.0**18, Norm.LINF)
        bounds = output_bounds(network, region, layer_bounds(network, region)[:-1], 2)
        exact = sum(
            Fraction(float(c[i])) * Fraction(float(b[i])) * Fraction(float(a[i])) for i in (0, 1)
        )
        for point in (2**20 - 2**18, 2**20 + 2**18):
            assert Fraction(float(bounds.lower[0, 0])) <= exact * point
            assert exact * point <= Fraction(float(bounds.upper[0, 0]))


def test_optimised_deviations_of_a_wide_smooth_network_are_tighter() -> None:
    rng = np.random.default_rng(4)
    policy = draw_policy(rng, [8, 96, 96, 2], Activation.TANH, gain=1.0, bias=0.0)
    region = local_region(rng.normal(0, 1, (12, 8)), 0.1, Norm.LINF)
    plain, best = (local_bounds(policy, region, steps).action for steps in (0, 5))
    assert (best <= plain * (1 + 2e-3)).all()
    assert np.median(best / plain) < 0.97
