"""Local Lipschitz constants: above every slope between two points, exact as the ball shrinks."""

import numpy as np
import pytest

from support.policies import draw_policy
from surefoot.activation import Activation
from surefoot.ball import Norm
from surefoot.certify.bounds.chain import network_chain
from surefoot.certify.bounds.crown import layer_bounds
from surefoot.certify.bounds.global_bounds import closed_form_bounds
from surefoot.certify.bounds.local_bounds import local_bounds, local_region
from surefoot.certify.bounds.local_lipschitz import centred_lipschitz
from surefoot.certify.bounds.region import network_of
from surefoot.certify.counterexamples import jacobian_norms


@pytest.mark.parametrize("activation", [Activation.RELU, Activation.TANH, Activation.SILU])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_no_slope_between_two_points_of_the_ball_exceeds_the_constant(
    activation: Activation, depth: int
) -> None:
    rng = np.random.default_rng(depth)
    for radius in (1e-3, 0.1, 1.0):
        policy = draw_policy(rng, [4, *[12] * depth, 3], activation)
        region = local_region(rng.normal(0, 1, (6, 4)), radius, Norm.L2)
        network = network_of(policy)
        whole, rows = centred_lipschitz(network, layer_bounds(network, region)[:-1])
        for _ in range(200):
            step = rng.standard_normal((2, 6, 4))
            step *= radius * rng.random((2, 6, 1)) / np.linalg.norm(step, axis=2, keepdims=True)
            first, second = region.centres + step
            length = np.linalg.norm(first - second, axis=1)
            change = policy.network(first) - policy.network(second)
            assert (np.linalg.norm(change, axis=1) <= whole * length * (1 + 1e-9) + 1e-13).all()
            assert (np.abs(change) <= rows * length[:, None] * (1 + 1e-9) + 1e-13).all()
        assert (rows <= whole[:, None] * (1 + 1e-9)).all()


def test_as_the_ball_shrinks_the_constant_becomes_the_norm_of_the_jacobian() -> None:
    policy = draw_policy(np.random.default_rng(3), [5, 20, 20, 2])
    states = np.random.default_rng(4).normal(0, 1, (5, 5))
    exact, _ = jacobian_norms(policy, states)
    network, gaps = network_of(policy), []
    for radius in (1e-1, 1e-3, 1e-8):
        region = local_region(states, radius, Norm.L2)
        whole, _ = centred_lipschitz(network, layer_bounds(network, region)[:-1])
        gaps.append((whole / exact).max() - 1)
    assert gaps[0] > gaps[1] > gaps[2] >= 0
    assert gaps[2] < 1e-5


def test_on_a_ball_without_end_it_is_the_global_form() -> None:
    policy = draw_policy(np.random.default_rng(5), [3, 8, 2], bias=0.0)
    region = local_region(np.zeros((1, 3)), 1e6, Norm.L2)
    network = network_of(policy)
    whole, _ = centred_lipschitz(network, layer_bounds(network, region)[:-1])
    chain = closed_form_bounds(network_chain(policy)).whole["combettes_pesquet"]
    assert whole[0] == pytest.approx(chain, rel=1e-6)


def test_small_l2_balls_have_tighter_deviations_with_it() -> None:
    policy = draw_policy(np.random.default_rng(6), [8, 40, 40, 2], gain=2.0)
    region = local_region(np.random.default_rng(7).normal(0, 1, (10, 8)), 0.1, Norm.L2)
    plain, best = (local_bounds(policy, region, steps).action for steps in (0, 1))
    assert (best <= plain * 1.001).all()
