from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from support.policies import file_of, random_policy
from surefoot.attack.deployed import DeployedController
from surefoot.errors import CheckError, InputError
from surefoot.policy import Activation, Array, Policy, Squash
from surefoot.runtime.load import Backend, controller_of

BACKENDS = [Backend.NUMPY, Backend.ONNX]


class FakeController:
    """A policy in float32 that does what a test wants at some call."""

    name = "fake"

    def __init__(
        self, policy: Policy, spoil: Callable[[Array, int], Array] = lambda outputs, call: outputs
    ) -> None:
        self.obs_dim, self.num_outputs = policy.obs_dim, policy.num_outputs
        self.batches: list[int] = []
        self._policy, self._spoil = policy, spoil

    def __call__(self, obs: Array) -> Array:
        return self.from_state(self._policy.state(obs, np.float32))

    def from_state(self, state: NDArray[np.float32]) -> Array:
        self.batches.append(len(state))
        return self._spoil(self._policy.outputs_at(state), len(self.batches))


def raw_observations(policy: Policy, num: int, seed: int = 0) -> NDArray[np.float64]:
    """Draw observations inside and outside of the range of the clip, and at its edges."""
    rng = np.random.default_rng(seed)
    units = rng.normal(0, 6, (num, policy.obs_dim))
    units[: num // 4] = rng.choice([-1e6, -10, 0, 10, 1e6], (num // 4, policy.obs_dim))
    return policy.normaliser.mean + units * policy.normaliser.scale


def largest_weight_lost(policy: Policy, number: int) -> Policy:
    """Return the policy without the largest weight of one layer."""
    layers = list(policy.layers)
    weight = layers[number].weight.copy()
    weight.flat[np.abs(weight).argmax()] = 0
    layers[number] = replace(layers[number], weight=weight)
    return replace(policy, layers=tuple(layers))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("squash", [*Squash, None])
def test_observations_give_the_outputs_of_their_states_bit_for_bit(
    backend: Backend, squash: Squash | None
) -> None:
    policy = random_policy(np.random.default_rng(1), (11, 32, 32, 3), Activation.TANH, squash)
    file = file_of(policy)
    deployed = DeployedController(controller=controller_of(file, backend), policy=file.policy)
    obs = raw_observations(policy, 400)
    assert np.array_equal(deployed.at_observations(obs), deployed.at_states(deployed.states(obs)))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("activation", list(Activation))
def test_a_sound_controller_is_its_twin(backend: Backend, activation: Activation) -> None:
    file = file_of(random_policy(np.random.default_rng(2), (11, 64, 64, 3), activation))
    deployed = DeployedController(controller=controller_of(file, backend), policy=file.policy)
    states = np.random.default_rng(3).uniform(-10.1, 10.1, (300, 11)).astype(np.float32)
    assert np.isfinite(deployed.at_states(states)).all()
    assert np.isfinite(deployed.at_observations(raw_observations(file.policy, 300))).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("number", range(3))
def test_a_controller_with_one_weight_changed_is_found_out(backend: Backend, number: int) -> None:
    policy = random_policy(np.random.default_rng(4), (11, 64, 64, 3), Activation.TANH)
    altered = controller_of(file_of(largest_weight_lost(policy, number)), backend)
    deployed = DeployedController(controller=altered, policy=policy)
    states = np.random.default_rng(5).normal(size=(50, 11)).astype(np.float32)
    with pytest.raises(CheckError, match="not the controller that the file describes"):
        deployed.at_states(states)
    with pytest.raises(CheckError, match="not the controller that the file describes"):
        deployed.at_observations(raw_observations(policy, 50))


def test_one_observation_enters_per_call() -> None:
    policy = random_policy(np.random.default_rng(6), (4, 8, 2))
    fake = FakeController(policy)
    deployed = DeployedController(controller=fake, policy=policy)
    deployed.at_states(np.zeros((7, 4), np.float32))
    assert fake.batches == [1] * 7


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_not_finite_spoils_its_own_row(bad: float) -> None:
    policy = random_policy(np.random.default_rng(7), (4, 8, 2))

    def spoil(outputs: NDArray[np.float32], call: int) -> NDArray[np.float32]:
        return outputs + (bad if call == 3 else 0)

    deployed = DeployedController(controller=FakeController(policy, spoil), policy=policy)
    finite = np.isfinite(deployed.at_states(np.zeros((5, 4), np.float32))).all(axis=1)
    assert finite.tolist() == [True, True, False, True, True]


def test_an_overflow_that_the_controller_reports_spoils_its_own_row() -> None:
    policy = random_policy(np.random.default_rng(8), (4, 8, 2))

    def spoil(outputs: NDArray[np.float32], call: int) -> NDArray[np.float32] | None:
        if call == 2:
            raise CheckError("overflow")
        return outputs

    deployed = DeployedController(controller=FakeController(policy, spoil), policy=policy)
    finite = np.isfinite(deployed.at_states(np.zeros((3, 4), np.float32))).all(axis=1)
    assert finite.tolist() == [True, False, True]


def test_a_policy_without_clip_is_checked_as_far_as_its_states_go() -> None:
    policy = random_policy(np.random.default_rng(9), (4, 8, 2), clip=np.inf)
    deployed = DeployedController(controller=FakeController(policy), policy=policy)
    deployed.at_states(np.array([[1e4, 0, -3, 1], [0.1, 0, 0, 0]], np.float32))


def test_a_controller_of_other_sizes_is_refused() -> None:
    policy = random_policy(np.random.default_rng(10), (4, 8, 2))
    other = random_policy(np.random.default_rng(10), (5, 8, 2))
    with pytest.raises(InputError, match="the controller has"):
        DeployedController(controller=FakeController(other), policy=policy)
