"""Who perturbs the observations, and the adversaries that need nothing but a ball.

N = batch, D = obs_dim. Each further adversary is one module beside this one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from surefoot.attack.cost import Cost
from surefoot.ball import Ball, Norm, Randoms, States


class Adversary(Protocol):
    """What may be done to the state at every control step.

    An adversary keeps nothing between two calls: what is random comes from the streams of the
    episodes, so that a result does not depend on which episodes are played together.
    """

    @property
    def ball(self) -> Ball:
        """The perturbation set."""

    @property
    def effort(self) -> Cost:
        """What one call costs for each state, beside the actions that are played."""

    def perturb(self, state_ND: States, randoms: Randoms) -> States:
        """Return perturbed states, each in the ball around its row of ``state_ND``.

        Args:
            state_ND: True states, after normaliser and clip, normalised units.
            randoms: The stream of each row's episode; a call draws the same amount from each.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class NoAdversary:
    """The clean loop."""

    @property
    def ball(self) -> Ball:
        """Nothing but the state itself."""
        return Ball(norm=Norm.LINF, epsilon=0.0)

    @property
    def effort(self) -> Cost:
        """Nothing."""
        return Cost()

    def perturb(self, state_ND: States, randoms: Randoms) -> States:
        """Return the states as they are."""
        del randoms
        return state_ND


class Draw(StrEnum):
    """Where random perturbations lie."""

    UNIFORM = "uniform"
    BOUNDARY = "boundary"


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomAdversary:
    """A new random perturbation at every step.

    Attributes:
        ball: The perturbation set.
        draw: Uniform in the ball, or as large as it may be: corners of the linf ball, the sphere
            of the l2 ball.
    """

    ball: Ball
    draw: Draw = Draw.UNIFORM

    @property
    def effort(self) -> Cost:
        """Nothing but random numbers."""
        return Cost()

    def perturb(self, state_ND: States, randoms: Randoms) -> States:
        """Return the states plus random perturbations."""
        draw = self.ball.uniform if self.draw is Draw.UNIFORM else self.ball.boundary
        return self.ball.perturbed(state_ND, draw(randoms, state_ND.shape[1]))


def random_variants(ball: Ball) -> Mapping[str, Adversary]:
    """Return the random adversaries by where they draw."""
    return {draw.value: RandomAdversary(ball=ball, draw=draw) for draw in Draw}
