"""Parity accepts the policy up to rounding, and of any other form names the first difference."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from support.policies import file_of, random_policy
from surefoot.activation import RmsNorm
from surefoot.errors import CheckError, InputError
from surefoot.export.exporter import ExportConfig, check_exported
from surefoot.export.forms import Target, build_form
from surefoot.export.parity import check_parity, parity_observations, parity_states
from surefoot.policy import Activation, Array, Squash
from surefoot.runtime.arithmetic import runtime_error
from surefoot.runtime.controller import CheckedController
from surefoot.runtime.load import Backend, controller_of

CONFIG = ExportConfig(num_random=2000)
Change = Callable[[Array, Array], Array]
"""From what went in and what came out to what comes out instead."""


# Every pair of an activation, a squash (None for choices) and a clip.
KINDS = [
    (activation, squash, (10.0, 5.0, math.inf)[(row + column) % 3])
    for row, activation in enumerate(Activation)
    for column, squash in enumerate([*Squash, None])
]


@pytest.mark.parametrize(("activation", "squash", "clip"), KINDS)
def test_every_backend_computes_the_policy(
    activation: Activation, squash: Squash | None, clip: float
) -> None:
    rng = np.random.default_rng(0)
    policy = random_policy(rng, (11, 32, 3), activation, squash, clip)
    file = file_of(policy)
    forms = [build_form(file, target, CONFIG.c) for target in (Target.ONNX, Target.C)]
    visited = policy.normaliser.mean + rng.normal(0, 0.1, (50, 11))
    parities = check_exported(file, forms, visited, None, CONFIG)
    assert [parity.backend for parity in parities] == ["numpy", "onnx", "c"]
    assert all((parity.worst > 0).any() for parity in parities)
    assert all((parity.worst <= parity.bound).all() for parity in parities)
    # Where no clip takes them back, observations beyond the limit do not count.
    least = CONFIG.num_random * (2 if math.isfinite(clip) else 1)
    assert all(parity.num_inputs > least for parity in parities)


class Altered:
    """A controller whose answers pass through a function of what went in and came out."""

    def __init__(
        self,
        controller: CheckedController,
        at_obs: Change | None = None,
        at_state: Change | None = None,
    ) -> None:
        self._controller, self._at_obs, self._at_state = controller, at_obs, at_state
        self.name, self.obs_dim = "altered", controller.obs_dim
        self.num_outputs = controller.num_outputs

    def __call__(self, obs: NDArray[np.float32]) -> NDArray[np.float32]:
        outputs = self._controller(obs)
        return self._at_obs(obs, outputs) if self._at_obs else outputs

    def from_state(self, state: NDArray[np.float32]) -> NDArray[np.float32]:
        outputs = self._controller.from_state(state)
        return self._at_state(state, outputs) if self._at_state else outputs


def bump(where: Callable[[Array], NDArray[np.bool_]]) -> Change:
    """Add 1e-2 to output 1 of the rows that ``where`` selects."""

    def change(inputs: NDArray[np.float32], outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        outputs[where(inputs), 1] += 1e-2
        return outputs

    return change


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"at_obs": bump(lambda obs: np.abs(obs).max(1) > 1e38)}, "at observation .*output 1 is"),
        ({"at_obs": bump(lambda obs: (obs == 0).all(1))}, r"at observation \[-?0\.0.*output 1 is"),
        ({"at_obs": bump(lambda obs: np.arange(len(obs)) == 5)}, r"\(batch of 1021\)"),
        ({"at_obs": bump(lambda obs: np.full(len(obs), len(obs) == 1))}, r"\(batch of 1\)"),
        ({"at_state": bump(lambda state: np.abs(state).max(1) == 10)}, "at state"),
        ({"at_state": bump(lambda state: np.abs(state).max(1) < 1e-30)}, "at state"),
        ({"at_obs": lambda obs, outputs: outputs * np.nan}, "output 0 is nan"),
    ],
)
def test_a_form_that_differs_anywhere_is_refused_by_the_first_difference(
    changes: dict[str, Change], message: str
) -> None:
    policy = random_policy(np.random.default_rng(1), (4, 8, 2))
    rng = np.random.default_rng(2)
    observations = parity_observations(policy, rng, 3000)
    states = parity_states(policy, rng, 3000)
    bound = np.full(2, 5e-3)
    controller = controller_of(file_of(policy), Backend.NUMPY)
    check_parity(Altered(controller), policy, observations, states, bound)
    with pytest.raises(CheckError, match=f"altered is not the policy: .*{message}"):
        check_parity(Altered(controller, **changes), policy, observations, states, bound)


def test_a_normaliser_that_is_clipped_elsewhere_is_seen() -> None:
    # The classic defect: the exported graph forgets the clip, which ordinary inputs do not show.
    policy = random_policy(np.random.default_rng(3), (4, 8, 2), Activation.RELU, Squash.IDENTITY)
    unclipped = replace(policy, normaliser=replace(policy.normaliser, clip=math.inf))
    bound = runtime_error(policy, state_limit=10.0)
    rng = np.random.default_rng(4)
    ordinary = rng.normal(0, 1, (1000, 4)).astype(np.float32)
    states = parity_states(policy, rng, 100)
    controller = controller_of(file_of(unclipped), Backend.ONNX)
    check_parity(controller, policy, ordinary, states, bound)
    with pytest.raises(CheckError, match="onnx is not the policy: at observation"):
        check_parity(controller, policy, parity_observations(policy, rng, 1), states, bound)


def test_a_normalised_controller_is_held_against_its_bound_at_each_state() -> None:
    """That of all states, which is about variances near zero, would excuse any difference."""
    policy = random_policy(np.random.default_rng(5), (4, 16, 2), RmsNorm(2.0**-17))
    bound = runtime_error(policy, state_limit=10.0)
    rng = np.random.default_rng(6)
    states = rng.uniform(-10, 10, (1000, 4)).astype(np.float32)
    observations = rng.normal(0, 3, (1000, 4)).astype(np.float32)
    controller = controller_of(file_of(policy), Backend.ONNX)
    check_parity(controller, policy, observations, states, bound)
    moved = Altered(controller, at_state=lambda state, outputs: outputs + np.float32(1e-3))
    assert (bound > 2e-3).all()
    with pytest.raises(CheckError, match="altered is not the policy: at state"):
        check_parity(moved, policy, observations, states, bound)


def test_one_weight_moved_by_more_than_the_bound_is_seen() -> None:
    policy = random_policy(np.random.default_rng(5), (4, 2), squash=Squash.IDENTITY)
    weight = policy.layers[0].weight.copy()
    weight[1, 2] += np.float32(1e-3)
    moved = replace(policy, layers=(replace(policy.layers[0], weight=weight),))
    bound = runtime_error(policy, state_limit=10.0)
    rng = np.random.default_rng(6)
    observations, states = parity_observations(policy, rng, 1), parity_states(policy, rng, 1)
    with pytest.raises(CheckError, match="output 1 is"):
        check_parity(
            controller_of(file_of(moved), Backend.ONNX), policy, observations, states, bound
        )


def test_inputs_reach_every_edge() -> None:
    policy = random_policy(np.random.default_rng(7), (4, 8, 2))
    observations = parity_observations(policy, np.random.default_rng(8), 100)
    assert observations.dtype == np.float32
    assert np.isfinite(observations).all()
    assert np.abs(observations).max() == np.finfo(np.float32).max
    assert ((np.abs(observations) < 2.0**-126) & (observations != 0)).any()
    assert (observations == 0).all(axis=1).any()
    assert (np.signbit(observations) & (observations == 0)).any()
    unclipped = replace(policy.normaliser, clip=math.inf)
    state = replace(policy, normaliser=unclipped).state(observations)
    for column, end in itertools.product(range(4), (10, -10)):  # just inside and just outside
        near = state[:, column][np.abs(state[:, column] - end) < 1e-4]
        assert near.min() < end < near.max()
    states = parity_states(policy, np.random.default_rng(9), 100)
    assert np.abs(states).max() == 10
    assert (np.abs(states) == 10).all(axis=1).any()


@pytest.mark.parametrize("bound", [np.ones(1), np.ones(3), np.array([1, np.inf]), np.ones((1, 2))])
def test_a_bound_is_one_finite_number_per_output(bound: NDArray[np.float64]) -> None:
    policy = random_policy(np.random.default_rng(10), (4, 8, 2))
    inputs = np.zeros((1, 4), np.float32)
    controller = controller_of(file_of(policy), Backend.NUMPY)
    with pytest.raises(InputError, match="bound must hold 2 finite numbers"):
        check_parity(controller, policy, inputs, inputs, bound)
