"""The search for the state at which a perturbation does most: many starts, of which few go on.

Successive halving (Jamieson and Talwalkar, AISTATS 2016) spends steps where they pay, and a
population evolves from what is left. Copies of what goes on are moved at random, since the gradient
of a piecewise linear network is flat between its kinks. Nothing here proves anything.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from surefoot.ball import Ball
from surefoot.certify.ascent import (
    Objective,
    far_in,
    far_in_probability,
    leads,
    network_and_gradient,
    network_and_inputs,
    overtaking,
    pulled_back,
    second_fixed,
)
from surefoot.policy import Array, CategoricalHead, GaussianHead, Head, Policy, Squash


@dataclass(frozen=True, kw_only=True, slots=True)
class _Round:
    """One round of the search.

    Attributes:
        steps: Gradient steps, as a share of those that the caller counts in.
        first: Size of the first step, as a share of the ball and of a tenth of the box.
        last: Size of the last step; sizes fall geometrically.
        kept: Share of the starts that go on, the best.
        copies: How often each of them goes on.
        spread: Largest standard deviation by which all copies but the first are moved, in boxes.
        reach: Size of the ball, times the one that counts. Across the kinks of a piecewise linear
            network a large one shows where it is steep; inside a small one it is linear.
    """

    steps: float
    first: float
    last: float
    kept: float
    copies: int
    spread: float
    reach: float


_NARROWING = (
    _Round(steps=0.25, first=1.0, last=0.3, kept=0.12, copies=4, spread=0.3, reach=8.0),
    _Round(steps=0.4, first=0.6, last=0.2, kept=0.12, copies=4, spread=0.2, reach=4.0),
    _Round(steps=0.5, first=0.5, last=0.1, kept=0.12, copies=4, spread=0.2, reach=2.0),
    _Round(steps=0.6, first=0.4, last=0.05, kept=0.125, copies=8, spread=0.2, reach=1.5),
)
_GENERATIONS = 8 * (
    _Round(steps=0.4, first=0.3, last=0.03, kept=0.125, copies=8, spread=0.1, reach=1.0),
)
"""A population of one size: the best eighth, each with seven neighbours near and far."""

_POLISHING = (
    _Round(steps=1.0, first=0.2, last=0.002, kept=0.125, copies=2, spread=0.0, reach=1.0),
    _Round(steps=4.0, first=0.1, last=0.0005, kept=0.5, copies=1, spread=0.0, reach=1.0),
)
_ROUNDS = (*_NARROWING, *_GENERATIONS, *_POLISHING)
_SCALES = 1.5
"""Powers of ten over which the moves of copies are spread: no one length suits every network."""

_FEWEST = 4
"""Starts that go on at the least."""


class Goal(Protocol):
    """What the search climbs, for each of its starts."""

    def gradient(self, outputs: Array, base: Array) -> Array:
        """Return the gradient with respect to the moved outputs, shape (n, num_outputs)."""

    def back(self, outputs: Array, base: Array) -> Array | None:
        """Return minus the gradient with respect to the unmoved outputs; None for none."""

    def value(self, outputs: Array, base: Array) -> Array:
        """Return the objective of each row, shape (n,)."""

    def of(self, chosen: NDArray[np.intp]) -> Self:
        """Return the goal of some of the starts."""


@dataclass(frozen=True, slots=True, eq=False)
class OneAction:
    """The change of one action, another one for each start.

    Attributes:
        policy: The network, whose head turns outputs into actions.
        numbers: Numbers of the outputs, shape (n,).
    """

    policy: Policy
    numbers: NDArray[np.intp]

    def gradient(self, outputs: Array, base: Array) -> Array:
        """Return the direction in which the output has moved already."""
        rows, direction = np.arange(len(outputs)), np.zeros_like(outputs)
        moved = outputs[rows, self.numbers] - base[rows, self.numbers]
        direction[rows, self.numbers] = np.where(moved < 0, -1.0, 1.0)
        return direction

    def back(self, outputs: Array, base: Array) -> Array:
        """Return the same: a difference grows from both of its ends."""
        return self.gradient(outputs, base)

    def value(self, outputs: Array, base: Array) -> Array:
        """Return the change of the action, action units (or logits)."""
        change = np.abs(_actions(self.policy, outputs) - _actions(self.policy, base))
        return np.asarray(change[np.arange(len(change)), self.numbers])

    def of(self, chosen: NDArray[np.intp]) -> "OneAction":
        """Return the goal of some of the starts."""
        return OneAction(self.policy, self.numbers[chosen])


@dataclass(frozen=True, slots=True, eq=False)
class LawChange:
    """The distance between the laws of the sampled action.

    Attributes:
        objective: Its gradient.
        weights: Weights of the outputs, shape (num_outputs,).
    """

    objective: Objective
    weights: Array

    def gradient(self, outputs: Array, base: Array) -> Array:
        """Return the gradient of the distance."""
        return self.objective(outputs, base)

    def back(self, outputs: Array, base: Array) -> Array:
        """Return the same: a distance grows from both of its ends."""
        return self.gradient(outputs, base)

    def value(self, outputs: Array, base: Array) -> Array:
        """Return the length of the weighted change, which ranks starts as the distance does."""
        return np.asarray(np.linalg.norm((outputs - base) * self.weights, axis=1))

    def of(self, chosen: NDArray[np.intp]) -> "LawChange":
        """Return the same: it is one goal for every start."""
        return self


class OtherChoice:
    """The lead of another choice over the one that the unmoved state makes."""

    def gradient(self, outputs: Array, base: Array) -> Array:
        """Return the gradient of the lead."""
        return overtaking(outputs, base)

    def back(self, outputs: Array, base: Array) -> None:
        """Return None: of the unmoved outputs only their order counts."""

    def value(self, outputs: Array, base: Array) -> Array:
        """Return the lead, logits."""
        return leads(outputs, base)

    def of(self, chosen: NDArray[np.intp]) -> "OtherChoice":
        """Return the same: it is one goal for every start."""
        return self


def goals(policy: Policy, starts: Array, *, distribution: bool) -> list[tuple[Goal, Array]]:
    """Return what to climb and where from: each action from each start, and distances of laws.

    Args:
        policy: The network.
        starts: States, shape (n, obs_dim).
        distribution: Whether distances of action laws are searched for.
    """
    numbers = np.repeat(np.arange(policy.num_outputs), len(starts))
    found: list[tuple[Goal, Array]] = [
        (OneAction(policy, numbers), np.tile(starts, (policy.num_outputs, 1)))
    ]
    if isinstance(policy.head, CategoricalHead):
        found.append((OtherChoice(), starts))
    return [*found, (_law_of(policy.head), starts)] if distribution else found


def _law_of(head: Head) -> LawChange:
    if isinstance(head, CategoricalHead):
        return LawChange(far_in_probability, np.ones(head.num_actions))
    weights = 1 / head.noise.astype(np.float64)
    return LawChange(far_in(weights), weights)


def farthest(
    policy: Policy,
    ball: Ball,
    starts: Array,
    goal: Goal,
    *,
    box: float,
    steps: int,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Return the states and perturbations that the last round keeps, best first.

    Args:
        policy: The network.
        ball: The perturbations that are allowed.
        starts: States to start from, shape (n, obs_dim).
        goal: What to climb.
        box: Largest state, normalised units.
        steps: Gradient steps by which the effort counts.
        rng: Draws perturbations to start from, and moves of the states.
    """
    states = starts.astype(np.float32)
    noise = rng.standard_normal(states.shape).astype(np.float32)
    size = rng.random((len(states), 1)).astype(np.float32)
    delta = ball.project(ball.outermost(noise) * size).astype(np.float32)
    for turn in _ROUNDS:
        around = replace(ball, epsilon=turn.reach * ball.epsilon)
        count = max(1, round(turn.steps * steps))
        for share in np.geomspace(turn.first, turn.last, count).tolist():
            states, delta = _step(policy, around, states, delta, goal, box, share)
        value = goal.value(policy.network(states + delta), policy.network(states))
        value = np.where(np.isfinite(value), value, -np.inf)
        best = np.argsort(-value, kind="stable")[: max(int(turn.kept * len(value)), _FEWEST)]
        chosen = np.repeat(best, turn.copies)
        states, delta, goal = states[chosen], delta[chosen], goal.of(chosen)
        sizes = turn.spread * box * 10 ** rng.uniform(-_SCALES, 0, (len(states), 1))
        moves = (sizes * rng.standard_normal(states.shape)).astype(np.float32)
        moves[:: turn.copies] = 0.0
        states = np.clip(states + moves, -box, box)
    return states, delta


def _step(
    policy: Policy,
    ball: Ball,
    states: Array,
    delta: Array,
    goal: Goal,
    box: float,
    share: float,
) -> tuple[Array, Array]:
    """Return states and perturbations after one step; the change grows from both of its ends."""
    base, inputs = network_and_inputs(policy, states)
    outputs, gradient = network_and_gradient(
        policy, states + delta, partial(second_fixed, goal.gradient, base)
    )
    climbed = gradient
    if (back := goal.back(outputs, base)) is not None:
        climbed = gradient - pulled_back(policy, inputs, back)
    delta = ball.project(delta + ball.outermost(gradient) * min(1.0, 2 * share))
    moved = states + np.sign(climbed) * (0.1 * box * share)
    return np.clip(moved, -box, box), delta.astype(np.float32)


def _actions(policy: Policy, outputs: Array) -> Array:
    """Return the actions of outputs, behind squash and scale, but for the centre."""
    if not isinstance(policy.head, GaussianHead):
        return outputs
    squash: Squash = policy.head.squash
    return np.asarray(squash(outputs) * policy.head.half_range)
