"""Random networks in random products of ellipsoids and intervals, behind random late readings.

Every bound of the certificate is held against a search for what breaks it.
``SUREFOOT_TRIALS=10000 pytest tests/certify/test_product_soundness.py`` looks for longer.
"""

import os

import numpy as np
import pytest

from support.policies import draw_policy
from surefoot.ball import Ball, Norm
from surefoot.certify.ascent import climb, objectives
from surefoot.certify.at_states import AtStates, Effort
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.everywhere import Everywhere
from surefoot.certify.lateness import Lateness
from surefoot.policy import Activation, Array, Policy, Squash
from surefoot.unknown import Unknown

TRIALS = int(os.environ.get("SUREFOOT_TRIALS", "12"))
ACTIVATIONS = [Activation.TANH, Activation.RELU, Activation.SILU, Activation.SIGMOID]
ROWS = 6


def drawn_ball(rng: np.random.Generator, dim: int) -> Ball:
    """A ball of several groups, some sensors by themselves, and some that do not move."""
    shares = rng.uniform(0.01, 1, dim) * (rng.random(dim) < 0.85)
    order = rng.permutation(np.flatnonzero(shares)).tolist()
    cut = int(rng.integers(0, len(order) + 1))
    groups = tuple(tuple(part) for part in (order[:cut], order[cut:]) if len(part) > 1)
    chosen = groups[: int(rng.integers(0, 3))] or None
    return Ball(
        norm=Norm.LINF,
        epsilon=10 ** rng.uniform(-3, 0),
        sensors=tuple(shares.tolist()),
        groups=chosen,
        delays=None if rng.random() < 0.5 else tuple(rng.integers(0, 4, dim).tolist()),
    )


def drawn_policy(rng: np.random.Generator, dim: int) -> Policy:
    sizes = [dim, *rng.integers(2, 9, int(rng.integers(1, 3))).tolist(), 2]
    squash = list(Squash)[int(rng.integers(len(Squash)))]
    activation = ACTIVATIONS[int(rng.integers(len(ACTIVATIONS)))]
    return draw_policy(rng, sizes, activation, gain=10 ** rng.uniform(-0.3, 0.6), squash=squash)


def seen(states: Array, ball: Ball, rng: np.random.Generator, policy: Policy) -> Array:
    """Float32 states that may be seen: late, and then moved; by chance and by climbing."""
    dim, found = states.shape[1], []
    ages = [min(delay, row) for row in range(len(states)) for delay in ball.delays or (0,) * dim]
    most = np.array(ages).reshape(len(states), dim)
    for _ in range(12):
        rows = np.arange(len(states))[:, None] - rng.integers(0, most + 1)
        late = states[rows, np.arange(dim)]
        shares = rng.random((len(states), dim))
        other = states[np.arange(len(states))[:, None] - most, np.arange(dim)]
        between = (shares * late + (1 - shares) * other).astype(np.float32)
        inside = np.clip(between, np.minimum(late, other), np.maximum(late, other))
        for here in (late, inside):
            step = ball.outermost(rng.standard_normal(here.shape))
            found.append(ball.perturbed(here, step))
        found += [
            ball.perturbed(late, climb(policy, late, ball, objective, steps=3))
            for objective in objectives(policy, distribution=False)
        ]
    return np.stack(found)


def test_no_late_and_moved_state_breaks_a_bound_of_a_product() -> None:
    rng, checked = np.random.default_rng(0), 0
    for _ in range(TRIALS):
        dim = int(rng.integers(2, 7))
        policy, ball = drawn_policy(rng, dim), drawn_ball(rng, dim)
        walk = np.cumsum(rng.normal(0, 10 ** rng.uniform(-2, 0), (ROWS, dim)), axis=0)
        states = np.clip(walk, -10, 10).astype(np.float32)
        everywhere = Everywhere(policy, ARITHMETICS["float32"])
        lateness = Lateness.of(states, states, np.zeros(ROWS, np.int64))
        effort = Effort(alpha_steps=int(rng.integers(0, 3)))
        there = AtStates(everywhere, states, effort, Unknown("none"), lateness)
        bounds = there.whole_deviation(ball)
        moved = seen(states, ball, rng, policy)
        for dtype in (np.float32, np.float64):
            outputs = policy.outputs_at(moved.reshape(-1, dim).astype(dtype)).astype(np.float64)
            here = policy.outputs_at(states.astype(dtype)).astype(np.float64)
            change = np.abs(outputs.reshape(-1, ROWS, 2) - here).max(axis=(0, 2))
            assert not isinstance(bounds, Unknown)
            assert (change <= bounds.values).all()
            if ball.delays is None:
                deployed = everywhere.deployed_deviation(ball)
                assert not isinstance(deployed, Unknown)
                assert change.max() <= deployed.rows.max()
            checked += len(moved) * ROWS
    assert checked > 500 * TRIALS


@pytest.mark.parametrize("norm", Norm)
def test_a_ball_without_shares_is_around_late_readings_too(norm: Norm) -> None:
    rng = np.random.default_rng(1)
    policy = draw_policy(rng, [3, 8, 2], Activation.RELU)
    states = np.cumsum(rng.normal(0, 0.2, (ROWS, 3)), axis=0).astype(np.float32)
    lateness = Lateness.of(states, states, np.zeros(ROWS, np.int64))
    everywhere = Everywhere(policy, ARITHMETICS["float32"])
    there = AtStates(everywhere, states, Effort(), Unknown("none"), lateness)
    bounds = there.whole_deviation(Ball(norm=norm, epsilon=1e-3, delays=(1, 1, 1)))
    change = np.abs(np.diff(policy.outputs_at(states), axis=0)).max(axis=1)
    assert not isinstance(bounds, Unknown)
    assert (change <= bounds.values[1:]).all()
