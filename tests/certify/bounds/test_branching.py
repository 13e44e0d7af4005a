"""Where a box is cut: every sensor has its place, and one that changes nothing comes last."""

from dataclasses import replace

import numpy as np

from support.policies import random_policy
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.bounds.branching import sensors_to_cut
from surefoot.certify.bounds.conditions import ConditionBounds
from surefoot.policy import Activation, Policy
from surefoot.question import Condition

CONDITION = Condition.parse(("action[0] <= -5", "action[1] <= 9"), ())


def order_of(policy: Policy, sides: list[float]) -> list[int]:
    low, high = np.zeros((1, 3)), np.array([sides])
    bounds = ConditionBounds(policy, CONDITION, low[0], high[0], ARITHMETICS["float32"])
    order: list[int] = sensors_to_cut(bounds, low, high, bounds.excesses(low, high))[0].tolist()
    return order


def blind(policy: Policy) -> Policy:
    """The policy that does not read sensor 1."""
    first = policy.layers[0]
    weight = first.weight.copy()
    weight[:, 1] = 0
    return replace(policy, layers=(replace(first, weight=weight), *policy.layers[1:]))


def test_every_sensor_has_its_place_and_one_that_changes_nothing_the_last() -> None:
    for seed in range(4):
        for activation in (Activation.TANH, Activation.RELU):
            policy = random_policy(np.random.default_rng(seed), [3, 8, 8, 2], activation)
            for order in (order_of(blind(policy), [0.5] * 3), order_of(policy, [0.5, 0.0, 0.5])):
                assert sorted(order) == [0, 1, 2]
                assert order[-1] == 1


def test_a_neuron_that_nothing_moves_leaves_the_order_of_the_sensors() -> None:
    """The rounding of its lines is a cost that no cut lessens."""
    policy = random_policy(np.random.default_rng(0), [3, 8, 8, 2], Activation.TANH, zeros=0.0)
    first = policy.layers[0]
    weight, bias = first.weight.copy(), first.bias.copy()
    weight[0], bias[0] = [1, 0, 0], 0.3
    still = replace(policy, layers=(replace(first, weight=weight, bias=bias), *policy.layers[1:]))
    order = order_of(still, [0.0, 0.5, 0.5])
    assert order[-1] == 0
    weight, bias = weight[1:], bias[1:]
    without = replace(
        policy,
        layers=(
            replace(first, weight=weight, bias=bias),
            replace(policy.layers[1], weight=policy.layers[1].weight[:, 1:]),
            *policy.layers[2:],
        ),
    )
    assert order == order_of(without, [0.0, 0.5, 0.5])
