"""LipSDP on a region: proved there, never looser than everywhere, above every slope inside.

Also of ``certify/bounds/local_chain.py``.
"""

import numpy as np
import pytest

from support.policies import build_policy, draw_policy
from surefoot.activation import Activation
from surefoot.ball import Ball, Norm
from surefoot.certify.bounds.chain import Chain, network_chain
from surefoot.certify.bounds.crown import layer_bounds
from surefoot.certify.bounds.lipsdp import semidefinite_bounds
from surefoot.certify.bounds.local_bounds import local_region
from surefoot.certify.bounds.local_chain import local_chain
from surefoot.certify.bounds.local_lipsdp import lipsdp_on
from surefoot.certify.bounds.region import Bounds, network_of
from surefoot.policy import Policy


def on_ball(policy: Policy, state: np.ndarray, radius: float) -> tuple[Chain, list[Bounds]]:
    region = local_region(state[None], radius, Norm.LINF)
    return network_chain(policy), layer_bounds(network_of(policy), region)[:-1]


@pytest.mark.parametrize("activation", [Activation.RELU, Activation.TANH, Activation.SIGMOID])
@pytest.mark.parametrize("radius", [0.05, 0.5])
def test_no_slope_inside_exceeds_the_constant_and_none_outside_is_needed(
    activation: Activation, radius: float
) -> None:
    rng = np.random.default_rng(0)
    policy = draw_policy(rng, [4, 14, 14, 3], activation, gain=2.0)
    state = rng.normal(0, 1, 4)
    chain, before = on_ball(policy, state, radius)
    here = lipsdp_on(chain, network_of(policy), before)
    everywhere = semidefinite_bounds(chain, iterations=40, row_iterations=0).whole
    assert here is not None
    assert everywhere is not None
    assert here.bound <= everywhere.bound * 1.01
    first, second = state + rng.uniform(-radius, radius, (2, 4000, 4))
    change = policy.network(first) - policy.network(second)
    lengths = np.linalg.norm(change, axis=1)
    assert (lengths <= here.bound * np.linalg.norm(first - second, axis=1)).all()
    local = local_chain(chain, network_of(policy), before)
    assert local is not None
    cube = Ball(norm=Norm.LINF, epsilon=1.0)
    weighed = semidefinite_bounds(local, iterations=9, row_iterations=3, balls=[cube]).weighed
    assert len(weighed) == 4
    for proof in weighed:
        moved = lengths if proof.output is None else np.abs(change[:, proof.output])
        assert (moved**2 <= (first - second) ** 2 @ proof.metric.weights).all()


def test_a_saturated_region_has_a_much_smaller_constant() -> None:
    rng = np.random.default_rng(1)
    weights = [3 * rng.normal(0, 1, (12, 3)), rng.normal(0, 1, (12, 12)), rng.normal(0, 1, (2, 12))]
    policy = build_policy(weights)
    near, far = (on_ball(policy, state, 0.1) for state in (np.zeros(3), np.array([2.0, 2.0, 2.0])))
    network = network_of(policy)
    middle, edge = (lipsdp_on(chain, network, before) for chain, before in (near, far))
    assert middle is not None
    assert edge is not None
    assert edge.bound < 0.6 * middle.bound


def test_scaled_weights_keep_the_products_of_the_proof_exact() -> None:
    policy = draw_policy(np.random.default_rng(2), [3, 10, 10, 2])
    chain, before = on_ball(policy, np.ones(3), 0.2)
    local = local_chain(chain, network_of(policy), before)
    assert local is not None
    lam = np.random.default_rng(3).random(10).astype(np.float32).astype(np.float64)
    exact = lam.astype(np.longdouble)[:, None] * local.matrices[1].centre.astype(np.longdouble)
    assert (exact == lam[:, None] * local.matrices[1].centre).all()


def test_a_region_where_slopes_may_be_negative_has_none() -> None:
    policy = draw_policy(np.random.default_rng(4), [3, 10, 2], Activation.SILU, gain=5.0)
    chain, before = on_ball(policy, np.zeros(3), 2.0)
    assert lipsdp_on(chain, network_of(policy), before) is None
