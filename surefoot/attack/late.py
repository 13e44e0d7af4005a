"""Adversaries that hold readings back: a slow bus, a filter, a dropped frame.

N = batch, D = obs_dim, A = ages: 0 is the newest state, before its first an episode repeats it.
Nothing errs besides; what errs is the ball of the other attacks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from surefoot.attack.cost import Cost
from surefoot.attack.target import AttackTarget, Variants
from surefoot.ball import Ball, Randoms, States
from surefoot.policy import Array

DELAY = "delay"

_NUM_DRAWS = 8
"""Delays of all sensors that the greedy adversary draws at each step, for each by itself."""


class Choice(StrEnum):
    """Which of the last readings are seen."""

    CONSTANT = "as late as they may be"
    RANDOM = "late by chance"
    GREEDY = "those that move the action most"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LateAdversary:
    """Shows the controller readings of steps before.

    Attributes:
        ball: The perturbation set, whose delays are used.
        choice: Which of the last readings are seen.
        query: The deployed controller: from states, (N, D), to its outputs.
    """

    ball: Ball
    choice: Choice
    query: Callable[[States], Array]

    @property
    def delays(self) -> NDArray[np.int64]:
        """Steps by which the reading of each sensor may be late, (D,), or () where none may."""
        return np.array(self.ball.delays or 0, np.int64)

    @property
    def effort(self) -> Cost:
        """What one call costs for each state."""
        greedy = self.choice is Choice.GREEDY
        return Cost(queries=int(self.delays.max(initial=0)) + _NUM_DRAWS + 1 if greedy else 0)

    def perturb(self, state_ND: States, randoms: Randoms) -> States:
        """Return the states as they are: without those before nothing is late."""
        del randoms
        return state_ND

    def late(self, seen_AND: States, randoms: Randoms) -> States:
        """Return what the controller sees.

        Args:
            seen_AND: True states of this step and of those before, normalised units.
            randoms: The stream of each row's episode; a call draws the same amount from each.
        """
        num, dim = seen_AND.shape[1:]
        delays = np.broadcast_to(self.delays, dim)
        if self.choice is Choice.CONSTANT:
            return _of_ages(seen_AND, np.broadcast_to(delays, (num, dim)))
        if self.choice is Choice.RANDOM:
            drawn = [random.integers(0, delays + 1) for random in randoms]
            return _of_ages(seen_AND, np.stack(drawn))
        own = [random.integers(0, delays + 1, (_NUM_DRAWS, dim)) for random in randoms]
        alike = np.minimum(np.arange(len(seen_AND))[:, None, None], delays)
        ages_CND = np.concatenate(
            [np.broadcast_to(alike, (len(seen_AND), num, dim)), np.stack(own, axis=1)]
        )
        shown_CND = np.stack([_of_ages(seen_AND, ages) for ages in ages_CND])
        outputs = self.query(shown_CND.reshape(-1, dim)).astype(np.float64)
        outputs_CNM = outputs.reshape(len(shown_CND), num, -1)
        moved_CN = np.abs(outputs_CNM - outputs_CNM[0]).sum(axis=2)
        worst_N = np.nan_to_num(moved_CN, nan=np.inf).argmax(axis=0)
        return np.asarray(shown_CND[worst_N, np.arange(num)])

    def explains(self, seen_AND: States, shown_ND: States) -> NDArray[np.bool_]:
        """Return for each row whether it lies between states that may be seen, (N,)."""
        allowed = np.arange(len(seen_AND))[:, None] <= np.atleast_1d(self.delays)
        low = np.where(allowed[:, None], seen_AND, np.inf).min(axis=0)
        high = np.where(allowed[:, None], seen_AND, -np.inf).max(axis=0)
        return np.asarray(((shown_ND >= low) & (shown_ND <= high)).all(axis=1))


def _of_ages(seen_AND: States, ages_ND: NDArray[np.int64]) -> States:
    """Return the state of each row whose sensors are as old as this."""
    return np.asarray(np.take_along_axis(seen_AND, ages_ND[None], axis=0)[0])


def late_variants(target: AttackTarget) -> Variants:
    """Return the adversaries that hold readings back, by which of them they show."""
    return Variants(
        adversaries={
            choice.value: LateAdversary(ball=target.ball, choice=choice, query=target.query)
            for choice in Choice
        }
    )
