"""What a search over all states climbs: the change of an action, of a choice, or of a law.

Nothing here proves anything.
"""

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from surefoot.certify.ascent import (
    Objective,
    far_in,
    far_in_probability,
    leads,
    overtaking,
)
from surefoot.policy import Array, CategoricalHead, GaussianHead, Head, Policy, Squash


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


def _actions(policy: Policy, outputs: Array) -> Array:
    """Return the actions of outputs, behind squash and scale, but for the centre."""
    if not isinstance(policy.head, GaussianHead):
        return outputs
    squash: Squash = policy.head.squash
    return np.asarray(squash(outputs) * policy.head.half_range)
