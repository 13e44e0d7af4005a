"""The search for weights of the sensors: its gradient, its start, and what it gains."""

import math

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from support.policies import build_policy, draw_policy
from surefoot.ball import Ball, Norm
from surefoot.certify.bounds import lipsdp_recursion
from surefoot.certify.bounds.chain import network_chain
from surefoot.certify.bounds.global_bounds import closed_form_bounds
from surefoot.certify.bounds.lipsdp import semidefinite_bounds
from surefoot.certify.bounds.sensor_weights import SensorWeights
from surefoot.policy import Activation

CUBE = Ball(norm=Norm.LINF, epsilon=1.0)
BALLS = {
    "cube": CUBE,
    "box": Ball(norm=Norm.LINF, epsilon=1.0, sensors=(1.0, 0.1, 0.0, 0.4)),
    "groups": Ball(norm=Norm.LINF, epsilon=1.0, sensors=(1.0, 0.1, 0.5, 0.4), groups=((3, 0),)),
    "l2": Ball(norm=Norm.L2, epsilon=1.0),
}


def reach(weights: np.ndarray, ball: Ball) -> float:
    sides = np.ones(len(weights)) if ball.sensors is None else np.array(ball.sensors)
    alone = [(k,) for k in range(len(sides)) if all(k not in g for g in ball.groups or ())]
    groups = [range(len(sides))] if ball.norm is Norm.L2 else [*(ball.groups or ()), *alone]
    return math.sqrt(sum((weights * sides**2)[list(group)].max() for group in groups))


@pytest.mark.parametrize("name", BALLS)
@pytest.mark.parametrize("many", [128, 4])
def test_the_gradient_by_hand_agrees_with_differences(
    name: str, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lipsdp_recursion, "_MANY", many)
    rng = np.random.default_rng(0)
    chain = network_chain(draw_policy(rng, [4, 6, 5, 2], Activation.SILU))
    weights = SensorWeights.of(BALLS[name], chain)
    point = np.concatenate([weights.start, lipsdp_recursion.start_parameters(chain)])
    point += 0.3 * rng.standard_normal(len(point))
    value, gradient = weights.log_squared_reach(point)
    numeric = approx_fprime(point, lambda x: weights.log_squared_reach(x)[0], 1e-7)
    assert np.isfinite(value)
    np.testing.assert_allclose(gradient, numeric, atol=3e-5)


@pytest.mark.parametrize("name", BALLS)
def test_what_is_searched_for_is_the_reach_of_the_weights(name: str) -> None:
    rng = np.random.default_rng(1)
    chain = network_chain(draw_policy(rng, [4, 6, 2]))
    weights = SensorWeights.of(BALLS[name], chain)
    point = np.concatenate([weights.start, lipsdp_recursion.start_parameters(chain)])
    squared = math.exp(weights.log_squared_reach(point + rng.standard_normal(len(point)))[0])
    ratios, _ = weights.split(point)
    # A sensor that does not move has a small side in the search.
    assert reach(squared * ratios, BALLS[name]) == pytest.approx(math.sqrt(squared), rel=1e-6)


def test_where_nothing_cancels_the_start_is_what_the_absolute_product_says() -> None:
    rng = np.random.default_rng(2)
    policy = build_policy([abs(rng.standard_normal(shape)) for shape in ((6, 4), (1, 6))])
    chain = network_chain(policy)
    weights = SensorWeights.of(CUBE, chain)
    ratios, _ = weights.split(weights.start)
    absolute = closed_form_bounds(chain).absolute[0]
    # sum_k M_k |d_k| <= (sum_k M_k)^(1/2) (sum_k M_k d_k^2)^(1/2), with equality on a corner.
    np.testing.assert_allclose(ratios, absolute / absolute.sum(), rtol=1e-9)


@pytest.mark.parametrize("name", ["cube", "box", "groups"])
def test_weights_fitted_to_a_ball_bound_it_more_tightly_than_a_constant(name: str) -> None:
    rng, ball = np.random.default_rng(3), BALLS[name]
    policy = draw_policy(rng, [4, 12, 12, 2])
    first = policy.layers[0].weight
    first *= np.array([1.0, 0.1, 3.0, 0.01], np.float32)
    chain = network_chain(policy)
    found = semidefinite_bounds(chain, iterations=15, row_iterations=8, balls=[ball, CUBE])
    fitted, equal = found.weighed[::2], found.weighed[1::2]
    for mine, other, constant in zip(fitted, equal, (found.whole, *found.rows), strict=True):
        assert constant is not None
        assert mine.output == other.output == constant.output
        length = reach(np.ones(4), ball)
        assert reach(mine.metric.weights, ball) < 0.95 * constant.bound * length
        assert reach(mine.metric.weights, ball) <= reach(other.metric.weights, ball) * 1.001


def test_sensors_that_reach_no_output_have_weights_all_the_same() -> None:
    first = np.array([[1.0, 0, 2], [0, 0, 1]])
    chain = network_chain(build_policy([first, [[1.0, 1]], [[0.5]]]))
    found = semidefinite_bounds(chain, iterations=5, row_iterations=5, balls=[CUBE])
    assert [proof.output for proof in found.weighed] == [None, 0]
    for proof in found.weighed:
        assert (proof.metric.weights > 0).all()
