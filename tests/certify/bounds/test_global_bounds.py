"""Global bounds between brute force below and each other above; published errors as pins.

Also of ``certify/bounds/chain.py``.
"""

import math
from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from support.policies import build_policy, draw_policy
from surefoot.ball import Ball, Norm
from surefoot.certify.bounds.chain import (
    Chain,
    action_chain,
    distribution_chain,
    network_chain,
)
from surefoot.certify.bounds.global_bounds import LipschitzBounds, closed_form_bounds
from surefoot.certify.bounds.lipsdp import semidefinite_bounds
from surefoot.certify.bounds.metric import ProvedMetric
from surefoot.certify.distances import gaussian_tv
from surefoot.policy import Activation, Policy, Squash


def all_bounds(policy: Policy) -> dict[str, float]:
    chain = network_chain(policy)
    found = semidefinite_bounds(chain, iterations=60, row_iterations=0)
    bounds = dict(closed_form_bounds(chain).whole)
    for name, proof in (("eclipse_fast", found.fast), ("lipsdp", found.whole)):
        if proof is not None:
            bounds[name] = proof.bound
    return bounds


def enumerated(policy: Policy) -> float:
    """max over 0/1 patterns of |W_L D ... D W_1|: the constant of the slope relaxation."""
    weights = [layer.weight.astype(np.float64) for layer in policy.layers]
    best = 0.0
    sizes = [len(weight) for weight in weights[:-1]]
    for pattern in product([0.0, 1.0], repeat=sum(sizes)):
        jacobian, used = weights[0], 0
        for size, weight in zip(sizes, weights[1:], strict=True):
            jacobian = weight @ (np.array(pattern[used : used + size])[:, None] * jacobian)
            used += size
        best = max(best, float(np.linalg.norm(jacobian, 2)))
    return best


def sampled_slope(policy: Policy, rng: np.random.Generator) -> float:
    """The steepest pair of states that sampling finds."""
    states = rng.normal(0, 2, (2000, policy.obs_dim)) * 10.0 ** rng.uniform(-2, 0, (2000, 1))
    step = rng.standard_normal(states.shape) * 1e-3
    change = policy.network(states + step) - policy.network(states)
    return float((np.linalg.norm(change, axis=1) / np.linalg.norm(step, axis=1)).max())


def test_the_cancelling_network_has_its_known_bounds() -> None:
    bounds = all_bounds(build_policy([[[1], [1]], [[1, -1]]], Activation.RELU))
    known = {"paper_surrogate": 2, "absolute_product": 2, "spectral": 2, "combettes_pesquet": 1}
    for name, value in known.items():
        assert bounds[name] == pytest.approx(value, rel=1e-7)
    assert bounds["eclipse_fast"] == pytest.approx(2**0.5, rel=1e-6)
    assert 1 <= bounds["lipsdp"] <= 1.05


@pytest.mark.parametrize("activation", [Activation.TANH, Activation.RELU, Activation.ELU])
def test_bounds_are_ordered_between_enumeration_and_the_surrogate(activation: Activation) -> None:
    rng = np.random.default_rng(0)
    trials = 0
    for _ in range(12):
        sizes = [int(rng.integers(2, 5)), 4, 4, int(rng.integers(1, 4))]
        policy = draw_policy(rng, sizes, activation, sparsity=float(rng.choice([0, 0.5])))
        bounds = all_bounds(policy)
        if "lipsdp" not in bounds:
            continue
        slack = 1 + 1e-6
        relaxed = enumerated(policy)
        assert sampled_slope(policy, rng) <= relaxed * slack
        assert relaxed <= bounds["lipsdp"] * slack
        assert bounds["lipsdp"] <= bounds["eclipse_fast"] * slack
        assert bounds["eclipse_fast"] <= bounds["spectral"] * slack
        assert bounds["spectral"] <= bounds["paper_surrogate"] * slack
        assert relaxed <= bounds["combettes_pesquet"] <= bounds["spectral"] * slack
        assert relaxed <= bounds["absolute_product"] <= bounds["paper_surrogate"] * slack
        assert bounds["eclipse_fast"] >= bounds["spectral"] / 2 / slack
        assert bounds["combettes_pesquet"] >= bounds["spectral"] / 4 / slack
        trials += 1
    assert trials >= 8


def test_for_one_hidden_layer_lipsdp_is_at_most_combettes_pesquet() -> None:
    rng = np.random.default_rng(1)
    for _ in range(10):
        bounds = all_bounds(draw_policy(rng, [4, 8, 3]))
        assert bounds["lipsdp"] <= bounds["combettes_pesquet"] * (1 + 1e-4)


@pytest.mark.parametrize("activation", Activation)
def test_no_bound_is_below_a_sampled_slope(activation: Activation) -> None:
    rng = np.random.default_rng(2)
    for _ in range(6):
        sizes = [3, *rng.integers(3, 9, size=int(rng.integers(0, 4))), 2]
        policy = draw_policy(rng, sizes, activation, gain=3.0)
        low = sampled_slope(policy, rng)
        for name, bound in all_bounds(policy).items():
            assert low <= bound * (1 + 1e-9), name


def test_a_steep_activation_is_not_taken_for_a_flat_one() -> None:
    # Near 2.4 SiLU has slope 1.0998: every bound with slopes in [0, 1] would be violated.
    policy = build_policy([[[1]], [[1]]], Activation.SILU)
    states = np.array([[2.39], [2.41]])
    slope = float(np.diff(policy.network(states), axis=0)[0, 0] / 0.02)
    assert slope > 1.0998
    assert min(all_bounds(policy).values()) >= slope


def with_proofs(chain: Chain, ball: Ball, row_iterations: int = 5) -> LipschitzBounds:
    """The bounds of a chain with its semidefinite ones, those for a ball by a name of their own."""
    found = semidefinite_bounds(
        chain, iterations=10, row_iterations=row_iterations, balls=[replace(ball, epsilon=1.0)]
    )
    named = [("lipsdp", proof) for proof in found.rows]
    named += [("weighed", proof) for proof in found.weighed]
    return closed_form_bounds(chain).with_metrics(
        [
            ProvedMetric(name=name, metric=proof.metric, output=proof.output)
            for name, proof in named
            if proof is not None
        ]
    )


def deviation_bounds(policy: Policy, epsilon: float, norm: Norm) -> dict[str, np.ndarray]:
    ball = Ball(norm=norm, epsilon=epsilon)
    return with_proofs(action_chain(policy), ball).deviations(epsilon, norm)


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("squash", Squash)
def test_no_actuator_moves_more_than_its_bound(norm: Norm, squash: Squash) -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        policy = draw_policy(
            rng, [5, 8, 8, 3], gain=2.0, squash=squash, half_range=float(rng.uniform(0.3, 3))
        )
        bounds = deviation_bounds(policy, 0.1, norm)
        states = rng.normal(0, 0.5, (4000, 5))
        step = rng.standard_normal(states.shape)
        step = 0.1 * (
            np.sign(step) if norm is Norm.LINF else step / np.linalg.norm(step, axis=1)[:, None]
        )
        moved = np.abs(policy.outputs_at(states + step) - policy.outputs_at(states)).max(axis=0)
        for name, rows in bounds.items():
            assert (moved <= rows * (1 + 1e-12)).all(), name


def test_no_actuator_moves_more_than_the_bound_of_a_product_of_ellipsoids() -> None:
    rng = np.random.default_rng(4)
    groups = ((0, 3), (1, 5, 2))
    for _ in range(4):
        policy = draw_policy(rng, [6, 8, 8, 2], gain=2.0)
        shares = rng.uniform(0.01, 1, 6)
        ball = Ball(norm=Norm.LINF, epsilon=0.1, sensors=tuple(shares.tolist()), groups=groups)
        bounds = with_proofs(action_chain(policy), ball, row_iterations=4)
        together = bounds.deviations(0.1, Norm.LINF, shares, groups)
        alone = bounds.deviations(0.1, Norm.LINF, shares)
        states = rng.normal(0, 0.5, (4000, 6))
        step = ball.outermost(rng.standard_normal(states.shape))
        change = policy.outputs_at(states + step) - policy.outputs_at(states)
        for name, rows in together.items():
            assert (np.abs(change).max(axis=0) <= rows * (1 + 1e-12)).all(), name
            assert (rows < alone[name]).all(), name
        size, _ = bounds.vector_deviation(0.1, Norm.LINF, shares, groups)
        assert np.linalg.norm(change, axis=1).max() <= size * (1 + 1e-12)


def test_what_cancels_for_a_group_and_is_small_for_the_rest_is_bounded_by_group() -> None:
    turn = np.zeros((5, 5))
    turn[:4, :4] = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
    turn[4, 4] = 0.1
    back = turn.copy()
    back[4, 4] = 1.0
    policy = build_policy([turn, back, np.array([[1.0, 0, 0, 0, 1]])])
    bounds = closed_form_bounds(network_chain(policy)).deviations(
        1.0, Norm.LINF, np.ones(5), ((0, 1, 2, 3),)
    )
    # By hand: the absolute product of the group is 2, that of the last sensor .1, and the ball
    # is sqrt 2 long, of which the group is 1.
    constant = bounds["combettes_pesquet"][0] / np.sqrt(2)
    assert constant < 2
    assert bounds["absolute_product"][0] == pytest.approx(constant + 0.1, rel=1e-6)
    assert bounds["absolute_product"][0] < 0.8 * bounds["combettes_pesquet"][0]


def test_an_l2_constant_times_an_linf_epsilon_is_violated() -> None:
    # mathematics.md, 11.3: g sums 11 sensors, eps .075: deviation .825 against .24875 as printed.
    policy = build_policy([np.ones((1, 11))])
    bounds = closed_form_bounds(network_chain(policy))
    deviation = float(policy.network(np.full((1, 11), 0.075))[0, 0])
    assert deviation == pytest.approx(0.825)
    assert bounds.whole["paper_surrogate"] * 0.075 == pytest.approx(0.24875, abs=1e-5)
    for rows in bounds.deviations(0.075, Norm.LINF).values():
        assert rows[0] >= deviation
    assert bounds.deviations(0.075, Norm.LINF)["absolute_product"][0] == pytest.approx(0.825)


def test_pruning_need_not_lower_the_surrogate() -> None:
    before = all_bounds(build_policy([np.diag([1, 0.5])]))["paper_surrogate"]
    after = all_bounds(build_policy([np.diag([1, 0])]))["paper_surrogate"]
    assert before == pytest.approx(1.0)
    assert after == pytest.approx(1.0)


def test_pruning_can_hurt_robustness_while_the_surrogate_falls() -> None:
    # mathematics.md, 11.4: tanh(z) - tanh(z) is constant; without one of the two it is not.
    dense = build_policy([[[1], [1]], [[1, -1]]])
    pruned = build_policy([[[1], [1]], [[1, 0]]])
    states = np.linspace(-1, 1, 201)[:, None]
    assert np.abs(dense.network(states + 0.075) - dense.network(states)).max() < 1e-15
    moved = float(np.abs(pruned.network(np.array([[0.0375], [-0.0375]]))).sum())
    assert gaussian_tv(0.074930 / 0.1) == pytest.approx(0.29211, abs=1e-3)
    assert moved > 0.0749
    assert all_bounds(dense)["paper_surrogate"] == pytest.approx(2.0)
    assert all_bounds(pruned)["paper_surrogate"] == pytest.approx(2**0.5)


def test_zeroing_one_weight_can_raise_the_spectral_bounds() -> None:
    before = all_bounds(build_policy([[[1, 1], [1, -1]], np.eye(2)], Activation.RELU))
    after = all_bounds(build_policy([[[1, 1], [1, 0]], np.eye(2)], Activation.RELU))
    for name in ("spectral", "combettes_pesquet"):
        assert before[name] == pytest.approx(1.41421, abs=1e-4)
        assert after[name] == pytest.approx(1.61803, abs=1e-4)
    assert after["eclipse_fast"] > before["eclipse_fast"]
    assert after["paper_surrogate"] <= before["paper_surrogate"]
    assert after["absolute_product"] <= before["absolute_product"]


def test_removing_a_neuron_can_raise_combettes_pesquet() -> None:
    before = all_bounds(build_policy([[[-2, 1], [2, 1], [0, -2]], [[-1, -1, -1]]]))
    after = all_bounds(build_policy([[[-2, 1], [2, 1]], [[-1, -1]]]))
    assert before["combettes_pesquet"] == pytest.approx(2.44949, abs=1e-4)
    assert after["combettes_pesquet"] == pytest.approx(3.0, abs=1e-4)
    assert after["eclipse_fast"] <= before["eclipse_fast"] * (1 + 1e-9)


def test_monotone_bounds_never_rise_when_weights_are_zeroed() -> None:
    rng = np.random.default_rng(4)
    rises = 0
    for _ in range(60):
        policy = draw_policy(rng, [5, 16, 16, 3])
        masked = []
        for layer in policy.layers:
            threshold = np.quantile(np.abs(layer.weight), rng.uniform(0.02, 0.2))
            masked.append(np.where(np.abs(layer.weight) > threshold, layer.weight, 0))
        before = closed_form_bounds(network_chain(policy))
        from_masked = network_chain(draw_like(policy, masked))
        after = closed_form_bounds(from_masked)
        for name in ("paper_surrogate", "absolute_product"):
            assert after.whole[name] <= before.whole[name] * (1 + 1e-9)
        assert (after.absolute <= before.absolute * (1 + 1e-12)).all()
        rises += after.whole["spectral"] > before.whole["spectral"]
    assert rises > 5  # so that nobody inherits it


def draw_like(policy: Policy, weights: list[np.ndarray]) -> Policy:
    from dataclasses import replace

    layers = tuple(
        replace(layer, weight=weight.astype(np.float32))
        for layer, weight in zip(policy.layers, weights, strict=True)
    )
    return replace(policy, layers=layers)


def test_per_sensor_epsilons_bound_what_each_sensor_may_do() -> None:
    rng = np.random.default_rng(5)
    policy = draw_policy(rng, [4, 8, 8, 2])
    shares = np.array([1.0, 0.0, 0.05, 0.5])
    epsilon = 0.2 * shares
    bounds = closed_form_bounds(action_chain(policy)).deviations(0.2, Norm.LINF, shares)
    states = rng.normal(0, 1, (5000, 4))
    moved = policy.outputs_at(states + epsilon * rng.choice([-1, 1], states.shape))
    deviation = np.abs(moved - policy.outputs_at(states)).max(axis=0)
    for name, rows in bounds.items():
        assert (deviation <= rows * (1 + 1e-12)).all(), name
    uniform = closed_form_bounds(action_chain(policy)).deviations(0.2, Norm.LINF)
    assert (bounds["absolute_product"] <= uniform["absolute_product"]).all()


def test_distribution_bounds_hold_for_unequal_standard_deviations() -> None:
    rng = np.random.default_rng(6)
    policy = draw_policy(rng, [4, 8, 3])
    from dataclasses import replace

    policy = replace(policy, head=replace(policy.head, std=np.array([0.1, 0.37, 2.0])))
    bounds = closed_form_bounds(distribution_chain(policy))
    states, step = rng.normal(0, 1, (2, 5000, 4))
    change = (policy.network(states + step * 1e-2) - policy.network(states)) / policy.head.std
    slope = np.linalg.norm(change, axis=1) / np.linalg.norm(step * 1e-2, axis=1)
    assert slope.max() <= min(bounds.whole.values())


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1e20, 3e38])
def test_tiny_and_huge_weights_never_give_a_false_or_undefined_bound(scale: float) -> None:
    policy = build_policy([scale * np.eye(2), scale * np.eye(2), scale * np.ones((1, 2))])
    states = np.array([[0.3, -0.2], [0.31, -0.2]])
    slope = abs(float(np.diff(policy.network(states), axis=0)[0, 0])) / 0.01
    for name, bound in all_bounds(policy).items():
        assert not np.isnan(bound), name
        assert bound >= slope * (1 - 1e-6), name


def test_tiny_layers_before_large_ones_are_no_zero() -> None:
    """Nine factors of 1e-38 underflow, but the nine of 1e38 behind them make 1 of it again."""
    weights = [[[1e-38]]] * 9 + [[[1e38]]] * 9
    chain = action_chain(build_policy(weights, Activation.IDENTITY))
    slope = math.prod(Fraction(float(matrix.centre[0, 0])) for matrix in chain.matrices)
    for name, bound in closed_form_bounds(chain).whole.items():
        assert bound >= slope, name
