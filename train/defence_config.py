"""What can be chosen about the defence against perturbed observations.

The ball of perturbations grows from nothing, linearly between two shares of the training: a policy
that is attacked at full strength from the first step often learns to do nothing.
"""

from dataclasses import dataclass
from typing import ClassVar

from surefoot.train.ranges import require_at_least, require_fraction, require_order


@dataclass(frozen=True, kw_only=True, slots=True)
class GrowingBall:
    """An linf ball around each state whose radius is a ramp: what every defence is trained on.

    Attributes:
        epsilon: Radius of the ball, normalised units.
        fraction: Share of each minibatch that is perturbed, in (0, 1].
        ramp_start: Share of the training at which the radius starts to grow from zero.
        ramp_end: Share of the training at which it reaches ``epsilon``.
    """

    epsilon: float
    fraction: float = 1.0
    ramp_start: float = 0.0
    ramp_end: float = 0.75

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If one does not hold.
        """
        require_at_least(self, 0, "epsilon", "ramp_start")
        require_fraction(self, "fraction")
        require_order(self, "ramp_start", "ramp_end")

    def ramp(self, progress: float) -> float:
        """Return the share of the full strength, in [0, 1], after a share of the training."""
        length = self.ramp_end - self.ramp_start
        return min(max((progress - self.ramp_start) / length, 0), 1)

    def radius(self, progress: float) -> float:
        """Return the radius after a share of the training."""
        return self.epsilon * self.ramp(progress)


@dataclass(frozen=True, kw_only=True, slots=True)
class NoDefence:
    """Plain PPO."""

    kind: ClassVar[str] = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class StateAdversarial(GrowingBall):
    """SA-PPO: add kappa E[max D^2(s, s')] to the loss, the maximum by SGLD in an linf ball.

    D^2 = sum_j ((mu_j(s') - mu_j(s)) / sigma_j)^2 = 2 KL, as in the code of SA-PPO; the kappa of
    "Pruning Cannot Hurt Robustness" multiplies KL, so half of it is the same strength here.

    Attributes:
        kappa: Weight of D^2 in the loss.
        inner_steps: Steps of the search for s'.
    """

    kind: ClassVar[str] = "sa"
    kappa: float
    inner_steps: int = 10

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If one does not hold.
        """
        GrowingBall.__post_init__(self)
        require_at_least(self, 0, "kappa")
        require_at_least(self, 1, "inner_steps")

    def radius(self, progress: float) -> float:
        """Return the radius after a share of the training; zero where it has no weight."""
        return GrowingBall.radius(self, progress) if self.kappa else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvexStateAdversarial(GrowingBall):
    """SA-PPO with a bound in place of the search: kappa E[bound on max D^2(s, s')].

    The actor's outputs are enclosed by beta IBP + (1 - beta) CROWN, beta rising from 0 to 1 as the
    radius does; the bound is never below what any search can find, and trains the network to be
    one that is easy to certify.

    Attributes:
        kappa: Weight of the bound in the loss.
    """

    kind: ClassVar[str] = "sa_convex"
    kappa: float

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If one does not hold.
        """
        GrowingBall.__post_init__(self)
        require_at_least(self, 0, "kappa")

    def radius(self, progress: float) -> float:
        """Return the radius after a share of the training; zero where it has no weight."""
        return GrowingBall.radius(self, progress) if self.kappa else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class AdversarialReturn(GrowingBall):
    """ARPO: learn from the actions as they would be played at the worst state in the ball.

    The loss is L_rob(s') + guidance L_nat, L_rob being the surrogate with pi(a|s') in place of
    pi(a|s), and s' the maximiser of L_rob itself, found by projected gradient ascent.

    Attributes:
        guidance: Weight of the natural surrogate L_nat beside L_rob.
        inner_steps: Steps of the search for s'.
    """

    kind: ClassVar[str] = "arpo"
    guidance: float = 0.0
    inner_steps: int = 10

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If one does not hold.
        """
        GrowingBall.__post_init__(self)
        require_at_least(self, 0, "guidance")
        require_at_least(self, 1, "inner_steps")


@dataclass(frozen=True, kw_only=True, slots=True)
class BoundedAdversarialReturn(AdversarialReturn):
    """BARPO, a reconstruction of BAR-PPO: ARPO with the s' at which the policy changes most.

    The adversary is the SGLD search of SA-PPO, which maximises D^2 = 2 KL instead of the loss: it
    is weaker, and the policies that it leads to keep more clean return. The authors' weights of
    the natural surrogate are not known.

    Attributes:
        guidance: Weight of the natural surrogate L_nat beside L_rob; 0 for BARPO unguided.
    """

    kind: ClassVar[str] = "barpo"
    guidance: float = 1.0


Defence = (
    NoDefence
    | StateAdversarial
    | ConvexStateAdversarial
    | AdversarialReturn
    | BoundedAdversarialReturn
)
