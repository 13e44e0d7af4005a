"""Sensors that are off by a part that stays the same, and by a part that varies from step to step.

N = batch, D = obs_dim.
"""

from dataclasses import dataclass

import numpy as np

from surefoot.attack.adversary import Adversary, NoAdversary
from surefoot.attack.cost import Cost
from surefoot.attack.target import AttackTarget, Variants
from surefoot.ball import Ball, Deltas, Randoms, States
from surefoot.errors import CheckError

BIAS = "bias"

_NUM_DRAWS = 8
"""Corners of the biases that are tried; beside them that of the best constant perturbation."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BiasedAdversary:
    """Another adversary, whose true states are off by the same biases at all steps.

    Attributes:
        ball: The whole perturbation set.
        delta: The biases, normalised units, (D,).
        inner: What varies from step to step.
    """

    ball: Ball
    delta: Deltas
    inner: Adversary

    @property
    def effort(self) -> Cost:
        """That of what varies."""
        return self.inner.effort

    def perturb(self, state_ND: States, randoms: Randoms) -> States:
        """Return the states that the inner adversary makes of biased ones.

        Raises:
            CheckError: If it moves them by more than may vary.
        """
        biased_ND = self.ball.steady.perturbed(
            state_ND, np.broadcast_to(self.delta, state_ND.shape)
        )
        seen_ND = self.inner.perturb(biased_ND, randoms)
        if not self.ball.varying.contains(biased_ND, seen_ND).all():
            raise CheckError(f"{type(self.inner).__name__} varied by more than may vary")
        return self.ball.perturbed(state_ND, seen_ND.astype(np.float64) - state_ND)


def bias_variants(target: AttackTarget) -> Variants:
    """Return what did most harm within the part that varies, behind several biases.

    Args:
        target: Controller and task under attack; its ball is the whole perturbation set.
    """
    ball, dim = target.ball, target.policy.obs_dim
    drawn = ball.steady.boundary([np.random.default_rng(0)], dim, _NUM_DRAWS)[:, 0]
    biases = {f"corner {number}": delta for number, delta in enumerate(drawn)}
    if target.constant is not None:
        still = np.zeros((1, dim), np.float32)
        found = target.constant[1].perturb(still, [np.random.default_rng(0)])
        biases["the best constant"] = ball.steady.outermost(found)[0]
    inner = NoAdversary() if target.strongest is None else target.strongest[1]
    return Variants(
        adversaries={
            name: BiasedAdversary(ball=ball, delta=delta, inner=inner)
            for name, delta in biases.items()
        },
        facts={"varies": None if target.strongest is None else target.strongest[0]},
    )
