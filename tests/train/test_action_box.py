import numpy as np
import pytest

from support.policies import linear_policy, random_policy, unit_range
from surefoot.errors import InputError
from surefoot.policy import Activation, Policy, Squash
from surefoot.train.action_box import ActionBox

LIMITS = (0.3, 1e-3, 0.0)


def policy_with(squash: Squash | None) -> Policy:
    return random_policy(np.random.default_rng(0), (4, 8, 3), Activation.TANH, squash)


@pytest.mark.parametrize("squash", [Squash.CLIP, Squash.TANH, Squash.IDENTITY])
def test_every_move_stays_in_the_box_and_in_the_range_of_the_actuators(squash: Squash) -> None:
    rng = np.random.default_rng(1)
    policy = policy_with(squash) if squash is Squash.IDENTITY else unit_range(policy_with(squash))
    box = ActionBox(policy, LIMITS)
    outputs = policy.outputs_at(rng.normal(size=(500, 4)).astype(np.float32))
    moved = box.moved(outputs, rng.uniform(-2, 2, (500, 3)))  # moves beyond 1 are cut
    assert moved.dtype == np.float32
    assert box.contains(outputs, moved).all()
    assert (np.abs(moved.astype(np.float64) - outputs) <= LIMITS).all()
    if squash is not Squash.IDENTITY:
        assert (np.abs(moved) <= 1).all()


def test_a_whole_move_reaches_the_limit_up_to_one_rounding() -> None:
    policy = linear_policy(np.zeros((3, 4)))
    outputs = np.float32([[0.1, -7.0, 3.0]])
    moved = ActionBox(policy, LIMITS).moved(outputs, np.ones((1, 3)))
    reached = moved.astype(np.float64) - outputs
    np.testing.assert_allclose(reached[0], LIMITS, atol=2 * np.spacing(np.float32(7.0)))


def test_what_lies_beyond_a_limit_by_one_rounding_is_outside() -> None:
    box = ActionBox(linear_policy(np.zeros((1, 4))), (0.25,))
    edge = np.float32([[0.25], [np.nextafter(np.float32(0.25), np.float32(1))]])
    assert box.contains(np.zeros((2, 1), np.float32), edge).tolist() == [True, False]


@pytest.mark.parametrize("limits", [(0.1,), (0.1, 0.1, np.inf), (0.1, 0.1, -0.1)])
def test_limits_that_are_none_are_refused(limits: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="limits must be 3 numbers of at least 0 and finite"):
        ActionBox(policy_with(Squash.CLIP), limits)


def test_discrete_actions_have_no_box() -> None:
    with pytest.raises(InputError, match="needs continuous actions"):
        ActionBox(policy_with(None), LIMITS)
