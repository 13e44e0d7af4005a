"""A population that is annealed: many chains, each of which may step down while it is hot.

The network is flat between the kinks of piecewise linear activations, so that no gradient leads
from one steep piece to the next; chains that also accept a little less get there (Kirkpatrick,
Gelatt and Vecchi, Science 220 (1983), 671-680). Now and then the best chains take the places of the
worst (Hukushima and Iba, AIP Conf. Proc. 690 (2003), 200). Nothing here proves anything.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from surefoot.ball import Ball
from surefoot.certify.ascent import network_and_gradient, second_fixed
from surefoot.certify.bounds.upward import Float
from surefoot.certify.search_goals import Goal
from surefoot.policy import Array, Policy

_HOT, _COLD = 0.1, 0.005
"""Shares of its value that a chain gives up, in the mean, at the first and at the last move."""

_SPREAD, _SCALES = 0.2, 2.0
"""Largest standard deviation of a move, in boxes, and the powers of ten below it."""

_RESAMPLINGS = 8
"""How often the best quarter of the chains takes the place of the worst: more often, and all chains
soon climb the widest peak, which need not be the highest."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Population:
    """States and perturbations that a search goes on from.

    Attributes:
        states: Shape (n, obs_dim), normalised units.
        delta: Perturbations, of the same shape.
        starts: Numbers of the starts that they come from, shape (n,).
    """

    states: Array
    delta: Array
    starts: NDArray[np.intp]

    def of(self, chosen: NDArray[np.intp]) -> "Population":
        """Return some of them, in this order."""
        return Population(
            states=self.states[chosen], delta=self.delta[chosen], starts=self.starts[chosen]
        )

    def joined(self, other: "Population") -> "Population":
        """Return these and others."""
        return Population(
            states=np.concatenate([self.states, other.states]),
            delta=np.concatenate([self.delta, other.delta]),
            starts=np.concatenate([self.starts, other.starts]),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Search:
    """What is searched.

    Attributes:
        policy: The network.
        ball: The perturbations that are allowed.
        goal: What to climb, for each start.
        box: Largest state, normalised units.
        rng: Draws perturbations to start from, and moves of the states.
    """

    policy: Policy
    ball: Ball
    goal: Goal
    box: float
    rng: np.random.Generator

    def around(self, states: Array) -> Population:
        """Return random perturbations of the states to start from."""
        noise = self.rng.standard_normal(states.shape).astype(states.dtype)
        size = self.rng.random((len(states), 1)).astype(states.dtype)
        delta = self.ball.project(self.ball.outermost(noise) * size).astype(states.dtype)
        return Population(states=states, delta=delta, starts=np.arange(len(states)))

    def goal_of(self, population: Population) -> Goal:
        """Return what the members of a population climb."""
        return self.goal.of(population.starts)

    def values(self, population: Population) -> Array:
        """Return the objective of each member, shape (n,)."""
        moved, base = (
            self.policy.network(states)
            for states in (population.states + population.delta, population.states)
        )
        return _known(self.goal_of(population).value(moved, base))

    def moves(self, states: Array, spread: float, scales: float) -> Array:
        """Return random moves, of sizes spread over powers of ten: no one suits every network."""
        sizes = spread * self.box * 10 ** self.rng.uniform(-scales, 0, (len(states), 1))
        moves: Array = (sizes * self.rng.standard_normal(states.shape)).astype(np.float32)
        return moves

    def inside(self, states: Array) -> Array:
        """Return the states, cut off at the box."""
        return np.clip(states, -self.box, self.box)


def annealed(search: Search, chains: Population, moves: int) -> Population:
    """Return the best states and perturbations of chains, the better quarter of the chains.

    Args:
        search: What is searched.
        chains: Where the chains start; their perturbations may lie outside the ball.
        moves: Moves of each chain.
    """
    period = max(1, moves // _RESAMPLINGS)
    chains = replace(chains, delta=search.ball.project(chains.delta).astype(np.float32))
    values = search.values(chains)
    best, most = chains, values
    for number, heat in enumerate(np.geomspace(_HOT, _COLD, moves).tolist()):
        if number and number % period == 0:
            order = _resampled(values)
            chains, values, best, most = (
                chains.of(order),
                values[order],
                best.of(order),
                most[order],
            )
        proposed, found = _proposed(search, chains)
        slack = heat * np.abs(values) * search.rng.exponential(size=len(values))
        chains, values = _replaced(chains, values, proposed, found, found > values - slack)
        best, most = _replaced(best, most, chains, values, values > most)
    return best.of(np.argsort(-most, kind="stable")[: -(-len(most) // 4)])


def _proposed(search: Search, chains: Population) -> tuple[Population, Array]:
    """Return a random move of each chain, its perturbation a corner of the gradient; and values."""
    policy, ball, goal = search.policy, search.ball, search.goal_of(chains)
    moves = search.moves(chains.states, _SPREAD, _SCALES)
    states = search.inside(chains.states + moves)
    base = policy.network(states)
    _, gradient = network_and_gradient(
        policy, states + chains.delta, partial(second_fixed, goal.gradient, base)
    )
    delta = ball.project(ball.outermost(gradient)).astype(states.dtype)
    values = _known(goal.value(policy.network(states + delta), base))
    return replace(chains, states=states, delta=delta), values


def _known(values: Array) -> Array:
    return np.where(np.isfinite(values), values, -np.inf)


def _replaced(
    old: Population, values: Array, new: Population, found: Array, where: NDArray[np.bool_]
) -> tuple[Population, Array]:
    """Return a population and its values, some of them replaced by others."""
    rows = where[:, None]
    taken = Population(
        states=np.where(rows, new.states, old.states),
        delta=np.where(rows, new.delta, old.delta),
        starts=np.where(where, new.starts, old.starts),
    )
    return taken, np.where(where, found, values)


def _resampled(values: Float) -> NDArray[np.intp]:
    """Return the numbers of the chains, those of the worst quarter replaced by the best."""
    ranked = np.argsort(-values, kind="stable")
    count, order = len(values) // 4, np.arange(len(values))
    order[ranked[len(values) - count :]] = ranked[:count]
    return order
