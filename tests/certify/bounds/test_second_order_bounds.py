"""Second-order bounds: they hold, and they see what single lines cannot."""

import numpy as np
import pytest

from support.policies import draw_policy
from surefoot.ball import Norm
from surefoot.certify.bounds.crown import layer_bounds
from surefoot.certify.bounds.local_bounds import local_region
from surefoot.certify.bounds.region import Bounds, Region, network_of
from surefoot.certify.bounds.second_order_bounds import second_order_bounds, third_derivative_on
from surefoot.certify.bounds.slopes import derivative
from surefoot.policy import Activation

SMOOTH = [Activation.TANH, Activation.SIGMOID, Activation.SOFTPLUS, Activation.SILU]


@pytest.mark.parametrize("activation", SMOOTH)
def test_no_third_derivative_exceeds_its_bound(activation: Activation) -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(-5, 5, 500)
    high = low + 10.0 ** rng.uniform(-2, 1, 500)
    bound = third_derivative_on(activation, Bounds(low[None], high[None]))[0]
    for part in np.linspace(0, 1, 201):
        x, h = low + part * (high - low), 1e-4
        third = (derivative(activation, x + h) + derivative(activation, x - h)) / h**2
        third -= 2 * derivative(activation, x) / h**2
        assert (np.abs(third) <= bound + 1e-6).all()


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("activation", SMOOTH)
def test_no_point_of_the_ball_leaves_second_order_bounds(
    activation: Activation, norm: Norm
) -> None:
    rng = np.random.default_rng(1)
    for radius in (0.0, 1e-6, 1e-2, 0.3, 2.0):
        policy = draw_policy(rng, [5, 20, 7], activation, gain=1.5)
        network = network_of(policy)
        region = local_region(rng.normal(0, 1, (30, 5)), radius, norm)
        bounds = second_order_bounds(network, region, layer_bounds(network, region)[0])
        assert bounds is not None
        step = rng.standard_normal((300, 30, 5))
        size = np.abs(step).max(axis=2) if norm is Norm.LINF else np.linalg.norm(step, axis=2)
        corners = np.sign(step) if norm is Norm.LINF else step / size[..., None]
        moves = np.concatenate([corners, step / size[..., None] * rng.random((300, 30, 1))])
        points = region.centres + radius * moves * (1 - 1e-15)
        values = policy.network(points.reshape(-1, 5)).reshape(600, 30, 7)
        slack = 1e-13 * (1 + np.abs(values))
        assert (values <= bounds.upper + slack).all()
        assert (values >= bounds.lower - slack).all()


def test_boxes_with_sides_of_their_own_are_bounded_too() -> None:
    rng = np.random.default_rng(2)
    network = network_of(policy := draw_policy(rng, [3, 16, 2]))
    sides = rng.uniform(0, 0.5, (20, 3))
    centres = rng.normal(0, 1, (20, 3))
    region = Region(centres=centres, radius=sides.max(axis=1), norm=Norm.LINF, sides=sides)
    bounds = second_order_bounds(network, region, layer_bounds(network, region)[0])
    points = centres + np.sign(rng.standard_normal((400, 20, 3))) * sides
    values = policy.network(points.reshape(-1, 3)).reshape(400, 20, 2)
    assert bounds is not None
    assert (values <= bounds.upper + 1e-13).all()
    assert (values >= bounds.lower - 1e-13).all()


def test_behind_a_wide_random_layer_second_order_beats_single_lines() -> None:
    rng = np.random.default_rng(3)
    network = network_of(draw_policy(rng, [6, 200, 10], gain=1.0))
    region = local_region(rng.normal(0, 1, (10, 6)), 0.1, Norm.LINF)
    lines = layer_bounds(network, region)
    bounds = second_order_bounds(network, region, lines[0])
    assert bounds is not None
    assert np.median((bounds.upper - bounds.lower) / (lines[1].upper - lines[1].lower)) < 0.9


def test_activations_with_corners_have_none() -> None:
    rng = np.random.default_rng(4)
    network = network_of(draw_policy(rng, [3, 8, 2], Activation.RELU))
    region = local_region(rng.normal(0, 1, (4, 3)), 0.1, Norm.LINF)
    assert second_order_bounds(network, region, layer_bounds(network, region)[0]) is None
