"""Attacks that only ask the controller: they find corners, and are deceived by no gradient.

Also of ``attack/blackbox_attacks.py``.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from support.policies import linear_policy, random_policy, unit_range
from support.randomness import random_streams
from surefoot.attack.blackbox import CornerSearch, Oracle, Query, SpsaSearch, SquareSearch
from surefoot.attack.blackbox_attacks import Deviation, LowValue, masking_ratio, masking_signs
from surefoot.attack.deployed import DeployedController
from surefoot.ball import Ball, Norm
from surefoot.policy import Activation, Array, Layer, Policy

MATRIX = np.array([[3.0, -1.0, 0.5, 2.0, 1.0, -2.0], [-0.5, 2.0, 1.5, 1.0, -1.0, 0.0]])
SEARCHES = [CornerSearch, SquareSearch, SpsaSearch]
LINF = Ball(norm=Norm.LINF, epsilon=0.1)


def states(num: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(num, dim)).astype(np.float32)


Search = type[CornerSearch] | type[SpsaSearch] | type[SquareSearch]


def oracle_of(policy: Policy, ball: Ball = LINF, query: Query | None = None) -> Oracle:
    return Oracle(ball=ball, query=query or policy.outputs_at, harm=Deviation(policy))


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("search", SEARCHES)
def test_without_gradients_the_worst_case_of_a_linear_controller_is_nearly_met(
    search: Search, norm: Norm
) -> None:
    policy, ball = linear_policy(MATRIX), Ball(norm=norm, epsilon=0.1)
    state = states(30, 6)
    moved = search(oracle=oracle_of(policy, ball)).perturb(state, random_streams(30))
    assert ball.contains(state, moved).all()
    reached = np.square((moved.astype(np.float64) - state) @ MATRIX.T).sum(axis=1)
    corners = 0.1 * np.array(list(itertools.product([-1, 1], repeat=6)))
    if norm is Norm.LINF:
        worst = np.square(corners @ MATRIX.T).sum(axis=1).max()
    else:
        worst = (0.1 * np.linalg.norm(MATRIX, 2)) ** 2
    assert (reached <= worst * (1 + 1e-4)).all()
    assert reached.mean() >= 0.8 * worst


def test_enough_corners_are_all_corners() -> None:
    policy, state = linear_policy(MATRIX[:, :4]), states(20, 4)
    moved = CornerSearch(oracle=oracle_of(policy)).perturb(state, random_streams(20))
    reached = np.square((moved.astype(np.float64) - state) @ MATRIX[:, :4].T).sum(axis=1)
    corners = 0.1 * np.array(list(itertools.product([-1, 1], repeat=4)))
    worst = np.square(corners @ MATRIX[:, :4].T).sum(axis=1).max()
    np.testing.assert_allclose(reached, worst, rtol=1e-4)


@pytest.mark.parametrize("search", [CornerSearch, SquareSearch])
def test_states_are_attacked_alike_together_and_one_by_one(
    search: Search,
) -> None:
    adversary = search(oracle=oracle_of(linear_policy(MATRIX)))
    state = states(6, 6)
    together = adversary.perturb(state, random_streams(6))
    randoms = random_streams(6)
    alone = [adversary.perturb(state[i : i + 1], randoms[i : i + 1])[0] for i in range(6)]
    np.testing.assert_allclose(together, np.array(alone), atol=1e-7)


@pytest.mark.parametrize("search", [CornerSearch, SquareSearch])
def test_an_output_that_is_not_finite_is_the_greatest_harm(
    search: Search,
) -> None:
    policy = linear_policy(MATRIX)

    def query(state: NDArray[np.float32]) -> NDArray[np.float32]:
        outputs = policy.outputs_at(state)
        outputs[state[:, 0] > 0.05] = np.nan
        return outputs

    state = np.zeros((8, 6), np.float32)
    moved = search(oracle=oracle_of(policy, query=query)).perturb(state, random_streams(8))
    assert (moved[:, 0] > 0.05).all()


class Runtime:
    """A controller in float32 that is off by one rounding wherever the first state is large."""

    name = "a runtime that rounds its own way"

    def __init__(self, policy: Policy) -> None:
        self.obs_dim, self.num_outputs = policy.obs_dim, policy.num_outputs
        self._policy = policy
        self.num_batches = 0

    def __call__(self, obs: Array) -> Array:
        return self.from_state(self._policy.state(obs, np.float32))

    def from_state(self, state: NDArray[np.float32]) -> NDArray[np.float32]:
        self.num_batches += len(state) > 1
        outputs = self._policy.outputs_at(state)
        return np.where(state[:, :1] > 0.02, np.nextafter(outputs, np.float32(2)), outputs)


@pytest.mark.parametrize("search", SEARCHES)
def test_the_controller_that_is_asked_is_the_runtime_and_not_its_twin(
    search: Search,
) -> None:
    # To the twin no perturbation does anything.
    policy = linear_policy(np.zeros((2, 6)), bias=1.0)
    runtime = Runtime(policy)
    deployed = DeployedController(controller=runtime, policy=policy)
    state = np.zeros((12, 6), np.float32)
    moved = search(oracle=oracle_of(policy, query=deployed.query)).perturb(
        state, random_streams(12)
    )
    assert runtime.num_batches > 1
    assert (moved[:, 0] > 0.02).all()
    assert (deployed.at_states(moved) != deployed.at_states(state)).all()


def test_the_value_of_an_action_is_that_of_its_critic() -> None:
    policy = linear_policy(MATRIX)
    weight = np.arange(8.0)[None].astype(np.float32)
    critic = [Layer(weight=weight, bias=np.ones(1, np.float32), activation=Activation.IDENTITY)]
    state, actions = states(5, 6).astype(np.float64), np.random.default_rng(1).normal(size=(5, 2))
    expected = -(np.concatenate([state, actions], axis=1) @ np.arange(8.0) + 1)
    np.testing.assert_allclose(LowValue(policy, critic)(state, actions, actions), expected)


def test_masked_gradients_are_noticed() -> None:
    policy = unit_range(random_policy(np.random.default_rng(3), (8, 24, 2), Activation.TANH))
    state = states(24, 8)
    sound = masking_ratio(policy, LINF, policy.outputs_at, state, random_streams(24))
    assert 0.5 < sound <= 1.05
    # A first layer deep in saturation: its gradients underflow, while far corners still flip it.
    steep = [np.float32(400), *[np.float32(1)] * (len(policy.layers) - 1)]
    layers = tuple(
        Layer(weight=layer.weight * size, bias=layer.bias, activation=layer.activation)
        for layer, size in zip(policy.layers, steep, strict=True)
    )
    masked = replace(policy, layers=layers)
    ratio = masking_ratio(masked, LINF, masked.outputs_at, state, random_streams(24))
    assert ratio > 1.05
    assert "as far as gradients do" in masking_signs(ratio, {}, {}, {})[0]


def test_gradients_that_move_nothing_are_a_sign_without_a_ratio() -> None:
    # Flat to its twin and near the state; only a search of the whole ball comes by the edge.
    policy, state = linear_policy(np.zeros((2, 6))), np.zeros((24, 6), np.float32)

    def query(seen: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.where(np.abs(seen[:, :2]) > 0.5 * LINF.epsilon, 1.0, 0.0).astype(np.float32)

    ratio = masking_ratio(policy, LINF, query, state, random_streams(24))
    assert ratio is None
    (sign,) = masking_signs(ratio, {}, {}, {})
    assert "gradients do not" in sign
    assert masking_ratio(policy, LINF, policy.outputs_at, state, random_streams(24)) == 1.0


def test_random_corners_that_make_the_controller_fail_are_no_sound_ratio() -> None:
    # Gradients go up; it is the corners below that the controller does not survive.
    policy, state = linear_policy([[1.0, 0.0]]), np.zeros((24, 2), np.float32)

    def query(seen: NDArray[np.float32]) -> NDArray[np.float32]:
        fails = (seen[:, 1] < -0.5 * LINF.epsilon)[:, None]
        return np.where(fails, np.nan, policy.outputs_at(seen)).astype(np.float32)

    assert masking_ratio(policy, LINF, query, state, random_streams(24)) is None
    # Where it fails anyway no search does better.
    state[:, 1] = -1.0
    assert masking_ratio(policy, LINF, query, state, random_streams(24)) == 1.0


def test_a_gradient_free_attack_that_does_better_is_a_sign() -> None:
    errors = dict.fromkeys(("corners", "spsa", "constant", "mad", "push"), 10.0)
    means = {"mad": 900.0, "push": 1500.0, "corners": 600.0, "spsa": 2000.0}
    (sign,) = masking_signs(1.0, means, errors, {})
    assert "corners" in sign
    # A constant is chosen by returns: that it does better says nothing about gradients.
    assert masking_signs(1.0, means | {"constant": 500.0}, errors, {}) == [sign]
    assert not masking_signs(1.0, means | {"corners": 880.0}, errors, {})
    assert not masking_signs(1.0, {"mad": 900.0}, errors, {})


def test_failures_under_an_attack_are_a_sign_whatever_it_returns() -> None:
    means, errors = {"mad": 500.0, "corners": 900.0}, {"mad": 1.0, "corners": 1.0}
    (sign,) = masking_signs(1.0, means, errors, {"mad": 0, "corners": 3})
    assert "corners makes the controller fail in 3 episodes" in sign


def test_where_all_is_flat_spsa_walks_on_and_finds_the_edge() -> None:
    # Its probes reach half of epsilon, where nothing has changed yet.
    def query(state: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.where(np.abs(state) > 0.6 * LINF.epsilon, 1.0, 0.0).astype(np.float32)

    state = np.zeros((20, 2), np.float32)
    oracle = oracle_of(linear_policy(np.eye(2)), query=query)
    moved = SpsaSearch(oracle=oracle).perturb(state, random_streams(20))
    assert query(moved).any(axis=1).all()
