"""What can be chosen about the defence against perturbed observations.

Every defence starts weak and is at full strength only after a share of the training: a policy that
is attacked at full strength from the first step often learns to do nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from surefoot.ball import Norm
from surefoot.config import settle_choices
from surefoot.errors import InputError
from surefoot.misreading import Misreading, check_perturbation
from surefoot.ranges import (
    require_at_least,
    require_fraction,
    require_order,
    require_positive,
)

_MOST_STEPS = 10**6
"""Largest number of steps of a search, which are drawn together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ramp:
    """A strength that rises linearly from zero to one between two shares of the training.

    Attributes:
        ramp_start: Share of the training at which it starts to rise.
        ramp_end: Share of the training from which it is one.
    """

    ramp_start: float = 0.0
    ramp_end: float = 0.75

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If one does not hold.
        """
        require_at_least(self, 0, "ramp_start")
        require_order(self, "ramp_start", "ramp_end")

    def ramp(self, progress: float) -> float:
        """Return the strength, in [0, 1], after a share of the training."""
        length = self.ramp_end - self.ramp_start
        return min(max((progress - self.ramp_start) / length, 0), 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class GrowingBall(Ramp):
    """An linf ball around each state, whose radius is a ramp.

    Attributes:
        epsilon: Radius of the ball, normalised units.
        fraction: Share of each minibatch that is perturbed, in (0, 1].
        perturb: In place of ``epsilon``, the errors of the readings by sensor or group of
            ``train.robot``, in their own units, as in a budget; or "noise". The radii follow the
            scales that the normaliser has at each update.
    """

    epsilon: float | None = None
    fraction: float = 1.0
    perturb: Mapping[str, float | str | Misreading] | str | None = None

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If one does not hold.
        """
        Ramp.__post_init__(self)
        if (self.epsilon is None) == (self.perturb is None):
            raise InputError("a defence must have epsilon, or perturb in its place")
        if self.epsilon is not None:
            require_at_least(self, 0, "epsilon")
        if self.perturb is not None:
            check_perturbation(self.perturb)
        require_fraction(self, "fraction")

    def strength(self, progress: float) -> float:
        """Return the share of the ball that is searched after a share of the training."""
        return self.ramp(progress)


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightedBall(GrowingBall):
    """A ball whose worst state is penalised.

    Attributes:
        kappa: Weight of the penalty in the loss.
    """

    kappa: float

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If one does not hold.
        """
        GrowingBall.__post_init__(self)
        require_at_least(self, 0, "kappa")

    def strength(self, progress: float) -> float:
        """Return the share of the ball that is searched; zero where it has no weight."""
        return self.ramp(progress) if self.kappa else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class NoDefence:
    """Plain PPO."""

    kind: ClassVar[str] = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class StateAdversarial(WeightedBall):
    """SA-PPO: add kappa E[max D^2(s, s')] to the loss, the maximum by SGLD in an linf ball.

    D^2 = sum_j ((mu_j(s') - mu_j(s)) / sigma_j)^2 = 2 KL, as in the code of SA-PPO; the kappa of
    "Pruning Cannot Hurt Robustness" multiplies KL, so half of it is the same strength here.

    Attributes:
        inner_steps: Steps of the search for s'.
        collect_attacked: Whether the policy sees s' in the rollouts, too, as in algorithm 1 of that
            paper, instead of the true states.
    """

    kind: ClassVar[str] = "sa"
    inner_steps: int = 10
    collect_attacked: bool = False

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If one does not hold.
        """
        WeightedBall.__post_init__(self)
        require_at_least(self, 1, "inner_steps", most=_MOST_STEPS)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvexStateAdversarial(WeightedBall):
    """SA-PPO with a bound in place of the search: kappa E[bound on max D^2(s, s')].

    The actor's outputs are enclosed by beta IBP + (1 - beta) CROWN, beta rising from 0 to 1 as the
    radius does; the bound is never below what any search can find, and trains the network to be
    one that is easy to certify.
    """

    kind: ClassVar[str] = "sa_convex"


@dataclass(frozen=True, kw_only=True, slots=True)
class AdversarialReturn(GrowingBall):
    """ARPO: learn from the actions as they would be played at the worst state in the ball.

    The loss is L_rob(s') + guidance L_nat, L_rob being the surrogate with pi(a|s') in place of
    pi(a|s), and s' the maximiser of L_rob itself, found by projected gradient ascent. Samples that
    are not perturbed (``fraction``) count in L_rob at s' = s.

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
        require_at_least(self, 1, "inner_steps", most=_MOST_STEPS)


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


@dataclass(frozen=True, kw_only=True, slots=True)
class DisturbedEpisodes(GrowingBall):
    """A ball in which whole episodes are disturbed, with or without the penalty of SA beside it.

    Attributes:
        kappa: Weight of D^2 in the loss, as in SA, at the states that the policy saw; 0 for none.
        inner_steps: Steps of the search of SA; of no effect if ``kappa`` is 0.
        fraction: Share of each minibatch that SA perturbs, in (0, 1]; likewise.
    """

    kappa: float = 0.0
    inner_steps: int = 10

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If one does not hold.
        """
        GrowingBall.__post_init__(self)
        require_at_least(self, 0, "kappa")
        require_at_least(self, 1, "inner_steps", most=_MOST_STEPS)


@dataclass(frozen=True, kw_only=True, slots=True)
class AlternatingTraining(DisturbedEpisodes):
    """ATLA: learn in turns with an adversary that learns to make the policy fail.

    While the policy plays, the adversary moves the states that it sees, by its mean move: so are
    attacks played. Then the adversary plays as many steps against the policy of that moment, which
    acts without noise: so it is deployed, and so the attacks that it has to stand are learned. The
    steps of the adversary come on top of ``total_steps``. It faces the weights of the moment, not
    their average over the training (``averaging``). Its networks have the widths of the critic.

    Attributes:
        adversary: What it learns: perturbations themselves (SA-RL), as published with ATLA, or the
            direction of the action, for which a search finds the perturbation (PA-AD): a move of
            one number per actuator instead of one per sensor, and so much sooner a strong one.
        attacked: Share of the environments in which it does so, in (0, 1], rounded to whole ones
            and at least one. In all of them, as published, a policy may come to need its adversary:
            one of Hopper returned 2750 at the end with it, and 354 without.

    Reference:
        Zhang et al., ICLR 2021 (arXiv 2101.08452), algorithm 1; with PA-AD: Sun et al., ICLR 2022
        (arXiv 2106.05087), section 5.
    """

    kind: ClassVar[str] = "atla"
    adversary: Literal["pa_ad", "sa_rl"] = "pa_ad"
    attacked: float = 0.5

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If one does not hold.
        """
        DisturbedEpisodes.__post_init__(self)
        settle_choices(self)
        require_fraction(self, "attacked")


@dataclass(frozen=True, kw_only=True, slots=True)
class SensorBiases(DisturbedEpisodes):
    """Learn with sensors that are off by the same amounts for a whole episode.

    A steady push fells gaits that stand any other disturbance of its size. Each bias is a corner of
    the ball: a random one, or one from a search for the corner under which the policy of the moment
    returns least. ``fraction`` is that of SA alone: the biases are in shares of the environments.

    Attributes:
        unbiased: Share of the environments whose sensors are right, in [0, 1].
        searched: Share of the environments with a bias of the search, in [0, 1]; those that are
            left have a random one.
        hold_steps: Steps after which a random bias changes within an episode; None for never.
    """

    kind: ClassVar[str] = "bias"
    unbiased: float = 0.25
    searched: float = 0.375
    hold_steps: int | None = None

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If one does not hold.
        """
        DisturbedEpisodes.__post_init__(self)
        require_at_least(self, 0, "unbiased", "searched")
        if self.unbiased + self.searched > 1:
            raise InputError(
                f"unbiased + searched must be at most 1, got {self.unbiased:g} + {self.searched:g}"
            )
        if self.hold_steps is not None:
            require_at_least(self, 1, "hold_steps")


@dataclass(frozen=True, kw_only=True, slots=True)
class LipschitzTarget(Ramp):
    """Keep a certified bound of the actor under a number, so that a budget is met by construction.

    After every update the weights are brought back to where the bound holds. It is a bound on
    |a(z + d) - a(z)| / |d| in action units per normalised unit, the same everywhere; a budget that
    allows a deviation x at epsilon is met with at_most = (x - 2 e) / epsilon, e being the
    ``runtime_error`` of its certificate: the certifier charges the rounding of what runs, 1e-6 for
    small networks, up to 1e-2 for wide ones. The limit starts ``headroom`` times as high and falls
    geometrically. For Gaussian actions only: what a categorical policy plays does not depend on the
    scale of its logits.

    Attributes:
        at_most: Limit of the bound at the end of the training.
        quantity: What the bound is about, as in a budget: each actuator alone (action_deviation),
            or the length of the whole change of the action (lipschitz).
        norm: Norm of the perturbation d.
        bound: The product of the absolute weights, or the sum of products of spectral norms of
            Combettes and Pesquet: at 64x64 several times the closer one, in linf too.
        projection: Scale all layers alike, or move the weights to about the nearest place.
        headroom: First limit, in units of ``at_most``.
    """

    kind: ClassVar[str] = "lipschitz"
    at_most: float
    quantity: Literal["action_deviation", "lipschitz"] = "action_deviation"
    norm: Norm = Norm.LINF
    bound: Literal["absolute_product", "combettes_pesquet"] = "combettes_pesquet"
    projection: Literal["scale", "nearest"] = "scale"
    headroom: float = 10.0

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If one does not hold.
        """
        Ramp.__post_init__(self)
        settle_choices(self)
        require_positive(self, "at_most", "headroom")
        require_at_least(self, 1, "headroom")

    def limit(self, progress: float) -> float:
        """Return the limit of the bound after a share of the training."""
        return self.at_most * float(self.headroom ** (1 - self.ramp(progress)))


Defence = (
    NoDefence
    | StateAdversarial
    | ConvexStateAdversarial
    | AdversarialReturn
    | BoundedAdversarialReturn
    | AlternatingTraining
    | SensorBiases
    | LipschitzTarget
)
"""One at a time: a Lipschitz target, say, is not combined with SA."""
