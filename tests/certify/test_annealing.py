"""Annealed chains keep the best that they meet, inside box and ball, and find steep pieces."""

from dataclasses import replace

import numpy as np
import pytest

from support.policies import random_policy
from surefoot.ball import Ball, Norm
from surefoot.certify.annealing import Population, Search, annealed
from surefoot.certify.search_goals import goals
from surefoot.policy import Activation, Policy, Squash

EPSILON, BOX = 0.01, 3.0


def search_of(policy: Policy, norm: Norm, starts: np.ndarray) -> tuple[Search, Population]:
    """A search from ``starts`` for each action, and where it starts."""
    ((goal, froms),) = goals(policy, starts, distribution=False)
    ball = Ball(norm=norm, epsilon=EPSILON)
    search = Search(policy=policy, ball=ball, goal=goal, box=BOX, rng=np.random.default_rng(0))
    return search, search.around(froms.astype(np.float32))


@pytest.fixture(scope="module", name="policy")
def _policy() -> Policy:
    rng = np.random.default_rng(5)
    return random_policy(rng, [2, 16, 16, 1], Activation.RELU, Squash.IDENTITY)


def steepest(policy: Policy, norm: Norm) -> float:
    """The largest norm of the gradient on a fine grid, by central differences in float64."""
    axis, step = np.linspace(-BOX, BOX, 401), 1e-5
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    slopes = [
        policy.network(grid + step * unit) - policy.network(grid - step * unit)
        for unit in np.eye(2)
    ]
    gradient = np.concatenate(slopes, axis=1) / (2 * step)
    return float(np.linalg.norm(gradient, 1 if norm is Norm.LINF else 2, axis=1).max())


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_chains_find_the_steepest_piece_of_a_network_that_is_flat_between_its_kinks(
    policy: Policy, norm: Norm
) -> None:
    search, start = search_of(policy, norm, np.random.default_rng(1).uniform(-BOX, BOX, (64, 2)))
    found = annealed(search, start, 160)
    assert search.values(found)[0] >= 0.97 * EPSILON * steepest(policy, norm)


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_the_best_quarter_comes_back_and_is_no_worse_than_the_best_start(
    policy: Policy, norm: Norm
) -> None:
    search, start = search_of(policy, norm, np.random.default_rng(2).uniform(-BOX, BOX, (21, 2)))
    at_first = search.values(start)
    found = annealed(search, start, 1)
    values = search.values(found)
    assert len(values) == 6  # a quarter of 21, rounded up
    assert (np.diff(values) <= 0).all()
    assert values[0] >= at_first.max()
    assert np.abs(found.states).max() <= BOX
    size = np.linalg.norm(found.delta, np.inf if norm is Norm.LINF else 2, axis=1)
    assert (size <= EPSILON * (1 + 1e-6)).all()


def test_perturbations_that_lie_outside_the_ball_do_not_count(policy: Policy) -> None:
    starts = np.random.default_rng(3).uniform(-BOX, BOX, (16, 2))
    search, start = search_of(policy, Norm.LINF, starts)
    far = replace(start, delta=np.ones_like(start.delta))
    found = annealed(search, far, 1)
    assert np.abs(found.delta).max() <= np.float32(EPSILON)
    assert search.values(found).max() < search.values(far).max()
