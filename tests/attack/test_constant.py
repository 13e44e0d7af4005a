"""One perturbation for all steps of all episodes.

Also of ``attack/return_search.py``.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from support.attacks import target_of
from support.environments import FormulaEnv, OneStepEnv
from support.policies import linear_policy
from support.randomness import random_streams
from surefoot.attack.constant import ConstantAdversary, constant_variants
from surefoot.ball import Ball, Norm
from surefoot.envs.vector import StepResult
from surefoot.policy import Array

EPSILON = 0.5
LINF, L2 = (Ball(norm=norm, epsilon=EPSILON) for norm in (Norm.LINF, Norm.L2))
MATRIX = np.array([[2.0, -1.0, 0.5, 0.3], [-1.0, 0.5, 2.0, -0.4]])
GAIN = np.array([1.0, -0.5])
Reward = Callable[[Array], float]


def found_by(ball: Ball, reward: Reward, spread: float) -> dict[str, NDArray[np.float64]]:
    """What the search finds where the action is MATRIX times the state, by its variant."""

    def make_env(num: int) -> FormulaEnv:
        return FormulaEnv(4, 2, num, reward=reward, spread=spread)

    target = target_of(linear_policy(MATRIX), ball, make_env)
    return {name: one.delta for name, one in constant_variants(target).adversaries.items()}


REWARDS: dict[str, tuple[Reward, float]] = {
    "linear": (lambda action: action @ GAIN, 1.0),
    # No coordinate tells by itself which way is down.
    "saddle": (lambda action: 2 * action[0] * action[1] + 0.1 * action[0], 0.02),
}


@pytest.mark.parametrize("kind", REWARDS)
def test_the_search_finds_the_worst_of_all_corners(kind: str) -> None:
    reward, spread = REWARDS[kind]
    corners = EPSILON * np.array(list(itertools.product([-1.0, 1.0], repeat=4)))
    worst = min(corners, key=lambda delta: reward(MATRIX @ delta))
    for delta in found_by(LINF, reward, spread).values():
        np.testing.assert_array_equal(delta, worst)


def test_in_the_l2_ball_it_comes_near_to_the_best_direction() -> None:
    slope = MATRIX.T @ GAIN
    for delta in found_by(L2, lambda action: action @ GAIN, 1.0).values():
        assert -delta @ slope >= 0.95 * EPSILON * np.linalg.norm(slope)


def test_what_was_found_is_kept_and_its_effort_is_every_step_that_was_played() -> None:
    played = []

    class Counted(OneStepEnv):
        def step(self, actions: NDArray[np.float32]) -> StepResult:
            played.append(len(actions))
            return super().step(actions)

    target = target_of(linear_policy(MATRIX), LINF, lambda num: Counted(num, 4, GAIN))
    first = constant_variants(target)
    assert first.effort.env_steps == sum(played)
    assert (first.effort.gradients, first.effort.queries) == (0, 0)
    again = constant_variants(replace(target, make_env=None))
    assert again.effort == first.effort
    for name, adversary in first.adversaries.items():
        np.testing.assert_array_equal(again.adversaries[name].delta, adversary.delta)


def test_the_same_perturbation_is_added_to_every_state() -> None:
    delta = np.array([0.5, -0.25, 0.0])
    state = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    moved = ConstantAdversary(LINF, delta).perturb(state, random_streams(20))
    np.testing.assert_allclose(moved - state, np.tile(delta, (20, 1)), atol=1e-6)
