import itertools
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from support.policies import linear_policy, random_policy
from surefoot.ball import Ball, Norm
from surefoot.policy import Activation, Array, Squash
from surefoot.train.pa_ad import Director

MATRIX = np.array([[3.0, -1.0, 0.5, 2.0], [-0.5, 2.0, 1.5, 1.0]])
EPSILON = 0.1


def states(num: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(num, dim)).astype(np.float32)


def objective(change: NDArray[np.float64], direction: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(change, axis=-1)
    return change @ direction / (length * np.linalg.norm(direction)) + length


@pytest.mark.parametrize("angle", np.linspace(0, 2 * np.pi, 8, endpoint=False))
def test_the_action_goes_towards_the_direction_and_as_well_as_any_corner(angle: np.float64) -> None:
    direction = np.array([np.cos(angle), np.sin(angle)])
    director = Director(linear_policy(MATRIX), Ball(norm=Norm.LINF, epsilon=EPSILON))
    state = states(6, 4)
    moved = director(state, np.tile(direction, (6, 1)).astype(np.float32))
    assert director.ball.contains(state, moved).all()
    change = (moved.astype(np.float64) - state) @ MATRIX.T
    corners = EPSILON * np.array(list(itertools.product([-1, 1], repeat=4))) @ MATRIX.T
    assert (change @ direction > 0).all()
    assert (objective(change, direction) >= 0.97 * objective(corners, direction).max()).all()


def test_an_actuator_that_can_go_no_further_does_not_count_towards_a_direction() -> None:
    policy = linear_policy(MATRIX, bias=[2.0, 0.0])
    policy = replace(policy, head=replace(policy.head, squash=Squash.CLIP))
    director = Director(policy, Ball(norm=Norm.LINF, epsilon=EPSILON))
    state = 0.05 * states(20, 4)
    moved = director(state, np.ones((20, 2), np.float32))
    clean, after = (policy.outputs_at(one.astype(np.float64)) for one in (state, moved))
    worst = EPSILON * np.abs(MATRIX[1]).sum()
    assert not (after - clean)[:, 0].any()
    assert ((after - clean)[:, 1] >= 0.9 * worst).all()
    # Back into its range it can go, and does count.
    back = director(state, np.tile(np.array([[-1.0, 0.0]], np.float32), (20, 1)))
    change = (back.astype(np.float64) - state) @ MATRIX[0]
    assert (change <= -0.9 * EPSILON * np.abs(MATRIX[0]).sum()).all()


def test_opposite_directions_lead_to_opposite_changes() -> None:
    policy = random_policy(np.random.default_rng(1), (8, 16, 3), Activation.TANH)
    director = Director(policy, Ball(norm=Norm.L2, epsilon=0.01))
    state = states(10, 8)
    direction = np.random.default_rng(2).normal(size=(10, 3)).astype(np.float32)
    there, back = (
        policy.network(director(state, sign * direction).astype(np.float64))
        - policy.network(state.astype(np.float64))
        for sign in (1, -1)
    )
    assert ((there * direction).sum(1) > 0).all()
    assert ((back * direction).sum(1) < 0).all()


def test_a_choice_is_brought_ahead_of_the_others() -> None:
    policy = random_policy(np.random.default_rng(3), (6, 16, 4), Activation.TANH, None)
    director = Director(policy, Ball(norm=Norm.LINF, epsilon=0.2))
    state, target = states(40, 6), np.arange(40) % 4

    def lead(logits: Array) -> Array:
        others = logits.copy()
        others[np.arange(40), target] = -np.inf
        return logits[np.arange(40), target] - others.max(axis=1)

    random = np.random.default_rng(4)
    tried = [
        lead(policy.network(state + random.choice([-0.2, 0.2], state.shape))) for _ in range(64)
    ]
    reached = lead(policy.network(director(state, target).astype(np.float64)))
    assert (reached > lead(policy.network(state))).all()
    assert reached.mean() > np.mean(tried)
    assert (reached >= np.max(tried, axis=0) - 0.1).mean() > 0.8


def test_the_same_move_gives_the_same_perturbation_whatever_comes_with_it() -> None:
    policy = random_policy(np.random.default_rng(5), (8, 16, 3), Activation.TANH)
    director = Director(policy, Ball(norm=Norm.LINF, epsilon=0.1))
    state, moves = states(12, 8), states(12, 3, seed=1)
    together = director(state, moves)
    alone = [director(state[i : i + 1], moves[i : i + 1])[0] for i in range(12)]
    assert np.array_equal(together, np.array(alone))


def test_moves_are_read_back_from_what_they_did() -> None:
    director = Director(linear_policy(MATRIX), Ball(norm=Norm.LINF, epsilon=EPSILON))
    state = states(9, 4)
    perturbed = director.ball.perturbed(state, 0.05 * states(9, 4, seed=3).astype(np.float64))
    change = (perturbed.astype(np.float64) - state) @ MATRIX.T
    moves = director.moves_of(state, perturbed)
    np.testing.assert_allclose(np.abs(moves).max(axis=1), 1, rtol=1e-6)
    cosine = (moves * change).sum(1) / np.linalg.norm(moves, axis=1)
    np.testing.assert_allclose(cosine, np.linalg.norm(change, axis=1), rtol=1e-5)


def test_a_director_has_a_move_for_every_actuator() -> None:
    director = Director(linear_policy(np.ones((2, 5))), Ball(norm=Norm.LINF, epsilon=0.2))
    assert director.moves.dim == 2
