"""The search over all states finds worst cases that are known, and ten times more finds little.

Also of ``certify/ascent.py``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from support.policies import build_policy, random_policy
from surefoot.ball import Ball, Norm
from surefoot.certify import counterexamples as search
from surefoot.certify.state_search import farthest
from surefoot.policy import Activation, Array, Policy, Squash

WEIGHT = np.array([3.0, -2.0, 1.0, 0.5])
EPSILON = 0.05


def worst(policy: Policy, norm: Norm, *, starts: int = 256, steps: int = 20) -> float:
    """The largest deviation that is found, replayed by NumPy in float32."""
    found = search.worst_anywhere(
        policy,
        search.Replay("NumPy", policy.outputs_at),
        Ball(norm=norm, epsilon=EPSILON),
        starts=search.start_states(policy, starts, seed=0),
        steps=steps,
        seed=0,
    )
    return float(found.values["deviation"].max())


def slab(norm: Norm) -> tuple[Policy, float]:
    """Steep between two parallel planes and flat elsewhere, where every gradient is 0."""
    low, high = 12.0, 40.0
    rows = [WEIGHT, WEIGHT]
    policy = build_policy([rows, [[1.0, -1.0]]], Activation.RELU, biases=[[-low, -high], [0.0]])
    return policy, EPSILON * reach(norm)


def ridge(norm: Norm) -> tuple[Policy, float]:
    """Steepest on one plane, which no start lies in: tanh is odd about its steepest point.

    Of two states whose arguments are t apart, those on both sides of the plane differ most.
    """
    policy = build_policy([[2 * WEIGHT], [[1.0]]], Activation.TANH, biases=[[-18.0], [0.0]])
    return policy, float(2 * np.tanh(EPSILON * reach(norm)))


def reach(norm: Norm) -> float:
    """How far one unit of the ball moves the argument."""
    return float(np.linalg.norm(WEIGHT, 1 if norm is Norm.LINF else 2))


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
@pytest.mark.parametrize("case", [slab, ridge])
def test_a_worst_case_that_is_known_is_found_and_never_exceeded(
    case: Callable[[Norm], tuple[Policy, float]], norm: Norm
) -> None:
    policy, exact = case(norm)
    found = worst(policy, norm)
    assert found <= exact * (1 + 1e-4)
    assert found >= 0.98 * exact


@pytest.mark.parametrize("activation", [Activation.TANH, Activation.RELU, Activation.ELU])
@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_a_search_ten_times_longer_finds_little_more(activation: Activation, norm: Norm) -> None:
    policy = random_policy(np.random.default_rng(3), [4, 12, 12, 2], activation, Squash.IDENTITY)
    short = worst(policy, norm, starts=384)
    longer = max(worst(policy, norm, starts=384, steps=200), worst(policy, norm, starts=3840))
    assert longer <= 1.05 * short


@dataclass(frozen=True)
class Outwards:
    """Drives every state out of any box, and keeps the outputs at the unmoved states."""

    bases: list[Array] = field(default_factory=list)

    def gradient(self, outputs: Array, base: Array) -> Array:
        self.bases.append(base)
        return np.where(base < 0, -1.0, 1.0)

    def back(self, outputs: Array, base: Array) -> None:
        return None

    def value(self, outputs: Array, base: Array) -> Array:
        self.bases.append(base)
        return np.asarray(np.abs(base).max(axis=1))

    def of(self, chosen: NDArray[np.intp]) -> "Outwards":
        return self


def test_no_state_outside_the_box_is_searched() -> None:
    goal, rng, box = Outwards(), np.random.default_rng(0), 2.0
    states, _ = farthest(
        build_policy([np.eye(3)]),  # its outputs are the states
        Ball(norm=Norm.LINF, epsilon=EPSILON),
        rng.uniform(-box, box, (64, 3)),
        goal,
        box=box,
        steps=20,
        rng=rng,
    )
    for seen in (*goal.bases, states):
        assert np.abs(seen).max() <= box
    assert np.abs(states).max() == box
