"""Statistics and ranges of actions mean what the libraries mean by them."""

import numpy as np
import pytest

from surefoot.activation import Activation
from surefoot.convert.ends import (
    clipped_actions,
    plain_actions,
    raw_observations,
    running_statistics,
    squashed_actions,
)
from surefoot.errors import InputError
from surefoot.policy import Layer, Policy

RNG = np.random.default_rng(0)
LOW, HIGH = np.array([-1.0, 0.2, -30.0]), np.array([3.0, 0.3, -20.0])
STD = np.array([0.1, 2.0, 0.5])
LAST = Layer(
    weight=10 * RNG.normal(size=(3, 4)), bias=RNG.normal(size=3), activation=Activation.IDENTITY
)
OBS = RNG.normal(size=(200, 4)).astype(np.float32)
OUTPUTS = OBS.astype(np.float64) @ LAST.weight.T + LAST.bias


def test_clipped_actions_are_the_outputs_clipped_and_their_noise_is_that_of_the_outputs() -> None:
    layer, head = clipped_actions(LAST, LOW, HIGH, STD)
    policy = Policy(normaliser=raw_observations(4), layers=(layer,), head=head)
    np.testing.assert_allclose(policy.outputs(OBS), np.clip(OUTPUTS, LOW, HIGH), atol=1e-12)
    # A sample of the inner mean, one deviation away, is the output one deviation away.
    sampled = head.outputs(policy.network(policy.state(OBS)) + head.noise)
    np.testing.assert_allclose(sampled, np.clip(OUTPUTS + STD, LOW, HIGH), atol=1e-12)


def test_squashed_actions_go_from_low_to_high() -> None:
    head = squashed_actions(LOW, HIGH)
    np.testing.assert_allclose(head.outputs(np.full((1, 3), -50.0))[0], LOW, rtol=1e-15)
    np.testing.assert_allclose(head.outputs(np.full((1, 3), 50.0))[0], HIGH, rtol=1e-15)


def test_plain_actions_are_the_outputs() -> None:
    policy = Policy(normaliser=raw_observations(4), layers=(LAST,), head=plain_actions(3))
    np.testing.assert_array_equal(policy.outputs(OBS), OUTPUTS)


def test_running_statistics_normalise_and_clip() -> None:
    mean, var = RNG.normal(size=(2, 2)), RNG.uniform(0, 2, (2, 2))
    normaliser = running_statistics(mean, var, 1e-2, 1.5)
    policy = Policy(normaliser=normaliser, layers=(LAST,), head=plain_actions(3))
    plain = (OBS - mean.reshape(-1)) / np.sqrt(var.reshape(-1) + 1e-2)
    np.testing.assert_allclose(policy.state(OBS), np.clip(plain, -1.5, 1.5), rtol=1e-12)


@pytest.mark.parametrize(
    ("mean", "var"), [([np.nan], [1.0]), ([0.0], [-1.0]), ([0.0], [np.inf]), ([0.0], [1.0, 1.0])]
)
def test_statistics_that_are_none_are_refused(mean: list[float], var: list[float]) -> None:
    with pytest.raises(InputError, match="normaliser"):
        running_statistics(np.array(mean), np.array(var), 1e-8, 10.0)


@pytest.mark.parametrize(("low", "high"), [(-1.0, np.inf), (1.0, 1.0), (2.0, 1.0)])
def test_a_range_that_is_none_is_refused(low: float, high: float) -> None:
    with pytest.raises(InputError, match="head"):
        clipped_actions(LAST, np.full(3, low), np.full(3, high), None)
