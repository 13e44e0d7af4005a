"""What can be chosen about the defence against perturbed observations.

Each one ramps its strength up from nothing, linearly between two shares of the training: a policy
that is defended from the first step often learns to do nothing.
"""

from dataclasses import dataclass
from typing import ClassVar

from surefoot.train.ranges import require_at_least, require_fraction, require_order


@dataclass(frozen=True, kw_only=True, slots=True)
class NoDefence:
    """Plain PPO."""

    kind: ClassVar[str] = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class StateAdversarial:
    """SA-PPO: add kappa E[max D^2(s, s')] to the loss, the maximum by SGLD in an linf ball.

    D^2 = sum_j ((mu_j(s') - mu_j(s)) / sigma_j)^2 = 2 KL, as in the code of SA-PPO; the kappa of
    "Pruning Cannot Hurt Robustness" multiplies KL, so half of it is the same strength here.

    Attributes:
        epsilon: Radius of the ball, normalised units.
        kappa: Weight of D^2 in the loss.
        inner_steps: Steps of the search for s'.
        fraction: Share of each minibatch that is regularised, in (0, 1].
        ramp_start: Share of the training at which the radius starts to grow from zero.
        ramp_end: Share of the training at which it reaches ``epsilon``.
    """

    kind: ClassVar[str] = "sa"
    epsilon: float
    kappa: float
    inner_steps: int = 10
    fraction: float = 1.0
    ramp_start: float = 0.0
    ramp_end: float = 0.75

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If one does not hold.
        """
        require_at_least(self, 0, "epsilon", "kappa", "ramp_start")
        require_at_least(self, 1, "inner_steps")
        require_fraction(self, "fraction")
        require_order(self, "ramp_start", "ramp_end")


Defence = NoDefence | StateAdversarial
