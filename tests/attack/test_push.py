import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from support.policies import linear_policy, random_policy
from support.randomness import random_streams
from surefoot.attack.push import push_variants
from surefoot.ball import Ball, Norm
from surefoot.policy import Activation

MATRIX = np.array([[3.0, -0.2, 1.0, 0.7], [-1.0, 2.0, 0.5, -0.1]], np.float32)


def states(num: int, dim: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(num, dim)).astype(np.float32)


@pytest.mark.parametrize("norm", list(Norm))
def test_each_push_meets_the_analytic_worst_case_of_a_linear_controller(norm: Norm) -> None:
    policy, ball = linear_policy(MATRIX), Ball(norm=norm, epsilon=0.5)
    state = states(20, 4)
    variants = push_variants(policy, ball)
    assert len(variants) == 4
    for number, (way, sign) in itertools.product(range(2), (("up", 1), ("down", -1))):
        moved = variants[f"actuator {number} {way}"].perturb(state, random_streams(20))
        change = (moved.astype(np.float64) - state) @ MATRIX[number]
        size = np.abs(MATRIX[number]).sum() if norm is Norm.LINF else np.linalg.norm(MATRIX[number])
        # l2 steps of a quarter of the radius close in on the direction, signs are right at once.
        np.testing.assert_allclose(sign * change, 0.5 * size, rtol=1e-6 if norm == "linf" else 0.02)


def test_a_push_all_but_always_beats_the_best_of_a_hundred_random_perturbations() -> None:
    policy = random_policy(np.random.default_rng(1), (11, 32, 32, 3), Activation.TANH)
    ball = Ball(norm=Norm.LINF, epsilon=0.1)
    state = states(30, 11)
    for number, (way, sign) in itertools.product(range(3), (("up", 1), ("down", -1))):
        adversary = push_variants(policy, ball)[f"actuator {number} {way}"]
        randoms = random_streams(30)

        def gain(
            moved: NDArray[np.float32], number: int = number, sign: int = sign
        ) -> NDArray[np.float32]:
            return sign * (policy.network(moved) - policy.network(state))[:, number]

        found = gain(adversary.perturb(state, random_streams(30)))
        tries = [gain(ball.perturbed(state, ball.boundary(randoms, 11))) for _ in range(100)]
        assert (found > np.max(tries, axis=0)).mean() > 0.9


def test_a_discrete_controller_is_pushed_towards_each_action() -> None:
    policy = random_policy(np.random.default_rng(2), (4, 16, 3), Activation.RELU, None)
    state = states(200, 4)
    before = policy.head.select(policy.network(state))
    variants = push_variants(policy, Ball(norm=Norm.LINF, epsilon=0.5))
    assert list(variants) == ["action 0", "action 1", "action 2"]
    for number, adversary in enumerate(variants.values()):
        moved = adversary.perturb(state, random_streams(200))
        after = policy.head.select(policy.network(moved))
        assert (after[before == number] == number).mean() > 0.95  # a search may lose what it had
        assert (after == number).sum() > (before == number).sum()
