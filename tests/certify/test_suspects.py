"""Suspects lie in their boxes, and those of a linear controller are where it is worst."""

import itertools

import numpy as np

from support.policies import linear_policy, random_policy
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.bounds.conditions import ConditionBounds
from surefoot.certify.suspects import climbed, suspects
from surefoot.policy import Policy
from surefoot.question import Condition

LOW, HIGH = np.array([-0.5, 0.25]), np.array([0.5, 1.0])


def bounds_of(policy: Policy, text: str) -> ConditionBounds:
    condition = Condition.parse((text,), ())
    return ConditionBounds(policy, condition, LOW, HIGH, ARITHMETICS["float32"])


def test_the_worst_of_a_linear_controller_is_the_worst_corner() -> None:
    bounds = bounds_of(linear_policy([[2.0, -1.0]]), "action[0] <= -9")
    corners = [np.array(each) for each in itertools.product(*zip(LOW, HIGH, strict=True))]
    worst = max(corners, key=lambda corner: 2 * corner[0] - corner[1]).tolist()
    assert suspects(bounds, LOW[None], HIGH[None])[0].tolist() == worst
    assert climbed(bounds, (LOW, HIGH), 0)[0].tolist() == worst


def test_suspects_lie_in_their_boxes_and_seem_to_break_the_condition() -> None:
    for seed in range(4):
        policy = random_policy(np.random.default_rng(seed), [2, 8, 8, 1])
        bounds = bounds_of(policy, "action[0] <= 0")
        for point in [*suspects(bounds, LOW[None], HIGH[None]), *climbed(bounds, (LOW, HIGH), 0)]:
            assert ((point >= LOW) & (point <= HIGH)).all()
            assert policy.outputs_at(point[None])[0, 0] > 0
