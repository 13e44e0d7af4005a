"""A search finds what is there, and is replayed in deployed arithmetic."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from support.policies import build_policy, draw_policy, file_of
from surefoot.ball import Ball, Norm
from surefoot.certify import counterexamples as search
from surefoot.policy import Activation, Squash

SMOOTH = [activation for activation in Activation if activation is not Activation.RELU]


@pytest.mark.parametrize("activation", SMOOTH)
def test_the_gradient_by_hand_agrees_with_differences(activation: Activation) -> None:
    policy = draw_policy(np.random.default_rng(1), [3, 8, 8, 2], activation)
    state = np.array([0.3, -0.7, 1.1])
    cotangent = np.array([[0.4, -1.3]])
    _, gradient = search.network_and_gradient(policy, state[None], lambda _: cotangent)
    numeric = approx_fprime(state, lambda x: float(policy.network(x[None])[0] @ cotangent[0]), 1e-6)
    np.testing.assert_allclose(gradient[0], numeric, atol=1e-5)


def test_the_search_finds_the_corner_of_a_linear_policy() -> None:
    weight = np.array([[1.0, -2.0, 3.0]])
    file = file_of(build_policy([weight]))
    replay = search.deployed_arithmetic(file)
    states = np.zeros((2, 3), dtype=np.float32)
    for norm, exact in ((Norm.LINF, 0.6), (Norm.L2, 0.1 * np.linalg.norm(weight))):
        found = search.worst_at(
            file.policy,
            replay,
            states,
            Ball(epsilon=0.1, norm=norm),
            steps=5,
            restarts=1,
            seed=0,
        )
        np.testing.assert_allclose(found.values["deviation"], exact, rtol=1e-4)


def test_the_replay_is_onnx_runtime_on_the_very_file() -> None:
    file = file_of(draw_policy(np.random.default_rng(2), [4, 8, 2], squash=Squash.TANH))
    replay = search.deployed_arithmetic(file)
    assert "ONNX Runtime" in replay.name
    states = np.random.default_rng(3).normal(0, 1, (9, 4)).astype(np.float32)
    np.testing.assert_allclose(replay.outputs_at(states), file.policy.outputs_at(states), atol=1e-5)


def test_where_the_deployed_arithmetic_overflows_nothing_is_found() -> None:
    # In float64 the laws differ there; no witness could be written down.
    policy = build_policy([np.ones((2, 2))])
    overflowing = search.Replay("overflow", lambda states: np.full_like(states, np.inf))
    found = search.worst_at(
        policy,
        overflowing,
        np.zeros((3, 2), np.float32),
        Ball(norm=Norm.LINF, epsilon=0.1),
        steps=2,
        restarts=0,
        seed=0,
        distribution=True,
    )
    assert all(not values.any() for values in found.values.values())


def test_jacobian_norms_are_those_of_finite_differences() -> None:
    policy = draw_policy(np.random.default_rng(4), [3, 8, 2], squash=Squash.TANH, half_range=2.0)
    states = np.random.default_rng(5).normal(0, 1, (5, 3))
    norms, directions = search.jacobian_norms(policy, states)
    for state, norm, direction in zip(states, norms, directions, strict=True):
        rows = [
            approx_fprime(state, lambda x, j=j: float(policy.outputs_at(x[None])[0, j]), 1e-7)
            for j in range(2)
        ]
        assert np.linalg.norm(rows, 2) == pytest.approx(norm, rel=1e-4)
        assert np.linalg.norm(np.array(rows) @ direction) == pytest.approx(norm, rel=1e-4)


def test_more_effort_never_finds_less() -> None:
    file = file_of(draw_policy(np.random.default_rng(6), [4, 16, 16, 2], gain=3.0))
    replay = search.deployed_arithmetic(file)
    states = np.random.default_rng(7).normal(0, 1, (30, 4)).astype(np.float32)
    ball = Ball(epsilon=0.5, norm=Norm.LINF)
    few, many = (
        search.worst_at(
            file.policy, replay, states, ball, steps=8, restarts=restarts, seed=0
        ).values["deviation"]
        for restarts in (0, 4)
    )
    assert (many >= few).all()
    assert many.sum() > few.sum()
