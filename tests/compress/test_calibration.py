import numpy as np
import pytest
from numpy.typing import NDArray

from support.policies import random_policy
from surefoot.compress import calibration_states
from surefoot.compress.calibration import layer_inputs
from surefoot.errors import InputError
from surefoot.policy import Activation


def test_states_are_those_of_the_deployed_controller_clip_included() -> None:
    policy = random_policy(np.random.default_rng(0), (4, 6, 2), clip=1.5)
    observations = np.random.default_rng(1).normal(0, 5, (30, 4))
    states = calibration_states(policy, observations)
    np.testing.assert_array_equal(states, policy.state(observations, np.float32))
    assert np.abs(states).max() == 1.5


def test_the_inputs_of_the_last_layer_give_the_outputs() -> None:
    policy = random_policy(np.random.default_rng(0), (4, 6, 5, 2), Activation.SILU)
    states = np.random.default_rng(1).normal(0, 1, (20, 4))
    last = policy.layers[-1]
    outputs = layer_inputs(policy, states)[-1] @ last.weight.T + last.bias
    np.testing.assert_allclose(outputs, policy.network(states))


@pytest.mark.parametrize(
    ("observations", "message"),
    [
        (np.zeros((5, 4)), "calibration needs at least 6 observations, as many as the widest"),
        (np.zeros((30, 3)), r"must have shape \(n, 4\), got \(30, 3\)"),
        (np.zeros(30), r"must have shape \(n, 4\), got \(30,\)"),
        (np.where(np.arange(30)[:, None] == 7, np.nan, np.zeros((30, 4))), "row 7 is not"),
        (np.full((30, 4), np.inf), "must be finite, row 0 is not"),
    ],
)
def test_observations_that_cannot_calibrate_are_refused(
    observations: NDArray[np.float64], message: str
) -> None:
    policy = random_policy(np.random.default_rng(0), (4, 6, 2))
    with pytest.raises(InputError, match=message):
        calibration_states(policy, observations)
