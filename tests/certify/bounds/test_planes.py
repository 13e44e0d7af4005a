"""What planes leave of a box: no state outside of it exceeds the level, in any arithmetic."""

import numpy as np
import pytest

from support.policies import file_of, random_policy
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.bounds.branch_and_bound import region_between
from surefoot.certify.bounds.conditions import ConditionBounds
from surefoot.certify.bounds.crown import bounds_and_planes
from surefoot.certify.bounds.planes import Plane, share_of
from surefoot.certify.bounds.region import network_of
from surefoot.certify.counterexamples import deployed_arithmetic
from surefoot.policy import Activation
from surefoot.question import Condition

FLOAT32 = ARITHMETICS["float32"]


@pytest.mark.parametrize("sizes", [[3, 2], [3, 8, 2], [3, 8, 8, 2]])
def test_no_state_outside_of_a_part_exceeds_the_level(sizes: list[int]) -> None:
    rng = np.random.default_rng(len(sizes))
    policy = random_policy(rng, sizes, Activation.TANH)
    low = rng.normal(0, 1, (20, 3))
    high = low + rng.choice([0.0, 0.05, 0.5], (20, 3))
    network = network_of(policy)
    bounds, planes = bounds_and_planes(network, region_between(low, high))
    points = low + rng.random((400, 20, 3)) * (high - low)
    points[:200] = np.where(rng.random((200, 20, 3)) < 0.5, low, high)
    values = np.stack([policy.network(each) for each in points])
    assert (bounds.upper <= planes.largest).all()
    boxes, count = np.arange(len(low)), 0
    for output in range(2):
        plane, own = planes.above(boxes, np.full(len(low), output)), values[..., output]
        for level in np.quantile(own, [0.02, 0.5, 0.9, 0.99]).tolist():
            part = plane.part_above(low, high, level)
            outside = ((points < part[0]) | (points > part[1])).any(axis=-1)
            assert (own[outside] <= level).all()
            count += int(outside.sum())
    assert count > 1000


def test_planes_that_say_nothing_leave_the_whole_box() -> None:
    low, high = np.zeros((4, 2)), np.ones((4, 2))
    slopes = np.array([[1.0, -1.0], [np.inf, np.nan], [0.0, 0.0], [1.0, 1.0]])
    largest = np.array([np.inf, np.inf, 1.0, -1.0])
    part = Plane(slopes, largest).part_above(low, high, 0.0)
    np.testing.assert_array_equal(part, (low, high))
    np.testing.assert_array_equal(share_of(part, low, high), np.ones(4))


@pytest.mark.parametrize("words", ["<=", "<"])
def test_a_limit_that_crown_alone_leaves_open_is_proved_on_what_its_planes_leave(
    words: str,
) -> None:
    """Of two inequalities, each against what the runtime itself shows on the box."""
    rng = np.random.default_rng(1)
    policy = random_policy(rng, [4, 12, 12, 2])
    low, high = np.full((1, 4), -0.3), np.full((1, 4), 0.3)
    points = low + rng.random((4000, 4)) * (high - low)
    points[:400] = np.where(rng.random((400, 4)) < 0.5, low, high)
    outputs = deployed_arithmetic(file_of(policy)).outputs_at(points.astype(np.float32))
    limits = outputs.astype(np.float64).max(axis=0) + 3e-3
    clauses = tuple(
        f"action[{number}] {words} {float(limit)!r}" for number, limit in enumerate(limits)
    )
    for condition in (Condition.parse(clauses, ()), Condition.parse((), clauses)):
        bounds = ConditionBounds(policy, condition, low[0], high[0], FLOAT32)
        once, proved = bounds.crown_excesses(low, high), bounds.excesses(low, high)
        assert condition.violation(once)[0] > 0
        assert condition.violation(proved)[0] <= 0
        assert (outputs - limits <= proved).all()
        assert (proved <= once).all()
