"""By how much a condition may be broken in a box: never less than the deployed arithmetic shows."""

import numpy as np
import pytest

from support.policies import file_of, linear_policy, random_policy
from surefoot.activation import AnyActivation
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.bounds.conditions import ConditionBounds
from surefoot.certify.counterexamples import deployed_arithmetic
from surefoot.certify.questions import states_between
from surefoot.policy import Activation, Squash
from surefoot.question import Condition

FLOAT32 = ARITHMETICS["float32"]
CONDITION = Condition.parse(
    ("action[0] - 2 * action[1] <= 0.3", "action[1] >= -0.5"),
    ("action[0] <= 0.1", "action[0] + action[1] > 0.2"),
)


@pytest.mark.parametrize("squash", [*Squash, None])
@pytest.mark.parametrize("activation", [Activation.TANH, Activation.RELU, Activation.ELU])
def test_no_input_of_a_box_exceeds_its_bound_in_deployed_arithmetic(
    activation: AnyActivation, squash: Squash | None
) -> None:
    rng = np.random.default_rng(3)
    rows, limits = CONDITION.rows(2)
    for size in (0.0, 1e-6, 0.03, 0.5):
        policy = random_policy(rng, [3, 8, 8, 2], activation, squash)
        replay = deployed_arithmetic(file_of(policy))
        low = rng.normal(0, 1, (4, 3)).astype(np.float32).astype(np.float64)
        high = low + size * rng.random((4, 3))
        bounds = ConditionBounds(policy, CONDITION, low.min(axis=0), high.max(axis=0), FLOAT32)
        proved = bounds.excesses(low, high)
        for box in range(len(low)):
            shares = np.concatenate([rng.random((200, 3)), rng.integers(0, 2, (50, 3))])
            points = (low[box] + shares * (high[box] - low[box])).astype(np.float32)
            inside = ((points >= low[box]) & (points <= high[box])).all(axis=1)
            outputs = replay.outputs_at(points[inside]).astype(np.float64)
            assert (outputs @ rows.T - limits <= proved[box]).all()
        assert (bounds.violations(low, high) == CONDITION.violation(proved)).all()


@pytest.mark.parametrize("squash", [*Squash, None])
@pytest.mark.parametrize("activation", [Activation.TANH, Activation.RELU])
def test_no_reading_of_a_box_exceeds_the_bound_of_a_condition_about_it(
    activation: AnyActivation, squash: Squash | None
) -> None:
    """Raw units, and a normaliser of any mean and scale."""
    rng = np.random.default_rng(5)
    condition = Condition.parse(
        ("action[0] - 1.7 * sensor[2] <= 0.3", "sensor[0] + sensor[2] <= 0.1"),
        ("action[1] >= 3 * sensor[0]", "sensor[2] > 0.2"),
    )
    rows, limits = condition.rows(2)
    for size in (0.0, 1e-6, 0.03, 0.5):
        policy = random_policy(rng, [3, 8, 8, 2], activation, squash)
        replay, normaliser = deployed_arithmetic(file_of(policy)), policy.normaliser
        low = (normaliser.mean + normaliser.scale * rng.normal(0, 1, 3)).astype(np.float32)
        high = (low + size * normaliser.scale * rng.random(3)).astype(np.float32)
        ends = states_between(low.astype(np.float64), high.astype(np.float64), policy)
        bounds = ConditionBounds(policy, condition, *ends, FLOAT32)
        proved = bounds.excesses(ends[0][None], ends[1][None])[0]
        shares = np.concatenate([rng.random((200, 3)), rng.integers(0, 2, (50, 3))])
        readings = np.clip((low + shares * (high - low)).astype(np.float32), low, high)
        outputs = replay.outputs_at(policy.state(readings, np.float32)).astype(np.float64)
        exact = readings.astype(np.float64) @ condition.reading_rows(3).T
        assert (outputs @ rows.T + exact - limits <= proved + 1e-15).all()
        if size == 0.0:  # and hardly more than what is there
            np.testing.assert_allclose(proved, (outputs @ rows.T + exact - limits)[0], atol=1e-4)


def test_an_action_that_follows_its_sensor_is_bounded_as_one() -> None:
    """Of a = 2 o on a wide box, a - 2 o is 0 everywhere, though a and o are not."""
    policy = linear_policy([[2.0]])
    condition = Condition.parse(("action[0] - 2 * sensor[0] <= 0.5",), ())
    ends = np.array([-3.0]), np.array([3.0])
    bounds = ConditionBounds(policy, condition, *ends, FLOAT32)
    assert bounds.violations(ends[0][None], ends[1][None])[0] == pytest.approx(-0.5, abs=1e-4)


def test_the_bound_of_a_linear_controller_is_exact_but_for_rounding() -> None:
    policy = linear_policy([[1.0, -1.0], [0.5, 0.0]])
    condition = Condition.parse(("action[0] - 2 * action[1] <= 0.5",), ())
    low, high = np.array([[-0.5, -0.25]]), np.array([[0.5, 0.75]])
    bounds = ConditionBounds(policy, condition, low[0], high[0], FLOAT32)
    # (x - y) - 2 (x / 2) = -y, at most 0.25: a quarter below the limit.
    assert bounds.violations(low, high)[0] == pytest.approx(-0.25, abs=1e-5)


def test_a_rounded_bound_is_no_less_and_hardly_more() -> None:
    policy = linear_policy([[1.0]])
    bounds = ConditionBounds(
        policy, Condition.parse(("action[0] <= 1",), ()), -np.ones(1), np.ones(1), FLOAT32
    )
    for value in np.random.default_rng(0).normal(0, 1, 100).tolist():
        assert value <= bounds.rounded(value) <= value + 2.0**-29
    assert bounds.rounded(np.inf) == np.inf
