"""The search for the state at which a perturbation does most: many starts, of which few go on.

Successive halving (Jamieson and Talwalkar, AISTATS 2016) spends steps where they pay, and a
population evolves from what is left. Copies of what goes on are moved at random, since the gradient
of a piecewise linear network is flat between its kinks. Halving drops starts whose peak is narrow
before they climb it, so that a part of the starts is annealed beside them. Nothing here proves
anything.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from surefoot.ball import Ball
from surefoot.certify.annealing import Population, Search, annealed
from surefoot.certify.ascent import (
    network_and_gradient,
    network_and_inputs,
    pulled_back,
    second_fixed,
)
from surefoot.certify.search_goals import Goal
from surefoot.policy import Array, Policy


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
_SCALES = 1.5
"""Powers of ten over which the moves of copies are spread: no one length suits every network."""

_SHARE = 8
"""One start of so many is annealed."""

_WORK = 2**23
"""Multiplications of one move of all chains that are annealed: wide networks gain nothing by it."""

_LEAST, _MOST = 8, 64
"""Moves of each chain, times the gradient steps by which the effort counts."""

_CHEAP = 2**16
"""Multiplications of one move of one chain, times the moves: more of them in a small network."""

_CROWD = 6
"""Chains for each of these moves at the least: a search from few starts is meant to be quick."""

_FEWEST = 4
"""Starts that go on at the least."""


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
    search = Search(policy=policy, ball=ball, goal=goal, box=box, rng=rng)
    population = search.around(starts.astype(np.float32))
    others = _annealed_part(search, population, steps)
    for turn in (*_NARROWING, *_GENERATIONS):
        population = _after(turn, search, population, steps)
    population = population.joined(others)
    for turn in _POLISHING:
        population = _after(turn, search, population, steps)
    return population.states, population.delta


def _annealed_part(search: Search, population: Population, steps: int) -> Population:
    """Return what annealing finds from a share of the starts, from fewer in a wide network."""
    count = len(population.states)
    size = sum(layer.weight.size for layer in search.policy.layers)
    apart = max(_SHARE, -(-count * size // _WORK))
    chains = population.of(np.arange(0, count, apart))
    most = min(_MOST, len(chains.states) // _CROWD, _CHEAP // size)
    return annealed(search, chains, max(_LEAST, most) * steps)


def _after(turn: _Round, search: Search, population: Population, steps: int) -> Population:
    """Return what goes on after a round, best first, and its copies moved at random."""
    goal, states, delta = search.goal_of(population), population.states, population.delta
    around = replace(search.ball, epsilon=turn.reach * search.ball.epsilon)
    count = max(1, round(turn.steps * steps))
    for share in np.geomspace(turn.first, turn.last, count).tolist():
        states, delta = _step(search.policy, around, states, delta, goal, search.box, share)
    climbed = replace(population, states=states, delta=delta)
    values = search.values(climbed)
    best = np.argsort(-values, kind="stable")[: max(int(turn.kept * len(values)), _FEWEST)]
    kept = climbed.of(np.repeat(best, turn.copies))
    moves = search.moves(kept.states, turn.spread, _SCALES)
    moves[:: turn.copies] = 0.0
    return replace(kept, states=search.inside(kept.states + moves))


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
