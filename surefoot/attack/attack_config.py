"""Which attacks are played, with what effort, and on how many episodes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from surefoot.attack.adversary import NoAdversary, random_variants
from surefoot.attack.bias import BIAS, bias_variants
from surefoot.attack.blackbox_attacks import corner_variants, spsa_variants, square_variants
from surefoot.attack.constant import CONSTANT, constant_variants
from surefoot.attack.critic_attacks import critic_variants, rs_mad_variants, rs_variants
from surefoot.attack.late import DELAY, late_variants
from surefoot.attack.learned_attacks import pa_ad_variants, sa_rl_variants
from surefoot.attack.mad import SLACK, mad_variants
from surefoot.attack.perturbation_set import Configured
from surefoot.attack.push import push_variants
from surefoot.attack.sarsa import SarsaSettings
from surefoot.attack.target import AttackTarget, Variants
from surefoot.attack.transfer import transfer_variants
from surefoot.ball import Norm
from surefoot.config import settle_choices
from surefoot.errors import InputError, did_you_mean
from surefoot.misreading import Misreading
from surefoot.ranges import MOST_AT_ONCE, MOST_THREADS, require_at_least
from surefoot.records import ACTION, CLEAN
from surefoot.runtime.load import Backend

Attack = Callable[[AttackTarget, "AttackConfig"], Variants]
"""From what is attacked to the variants of an attack; the strongest is reported."""

QUICK: Mapping[str, Attack] = {
    CLEAN: lambda target, config: Variants(adversaries={CLEAN: NoAdversary()}),
    "random": lambda target, config: Variants(adversaries=random_variants(target.ball)),
    "mad": lambda target, config: Variants(
        adversaries=mad_variants(target.policy, target.ball, SLACK)
    ),
    "push": lambda target, config: Variants(adversaries=push_variants(target.policy, target.ball)),
    DELAY: lambda target, config: late_variants(target),
    BIAS: lambda target, config: bias_variants(target),
}
"""What ends within a minute: no training, one gradient search per step."""

FULL: Mapping[str, Attack] = {
    **{name: made for name, made in QUICK.items() if name != BIAS},
    "mad": lambda target, config: Variants(adversaries=mad_variants(target.policy, target.ball)),
    "critic": lambda target, config: critic_variants(target, config.critic_steps),
    "rs": lambda target, config: rs_variants(target, config.sarsa),
    "rs+mad": lambda target, config: rs_mad_variants(target, config.sarsa),
    "corners": lambda target, config: corner_variants(target, config.sarsa),
    "square": lambda target, config: square_variants(target, config.sarsa),
    "spsa": lambda target, config: spsa_variants(target, config.sarsa),
    "transfer": lambda target, config: transfer_variants(target),
    CONSTANT: lambda target, config: constant_variants(target),
    "pa-ad": lambda target, config: pa_ad_variants(target, config.adversary_steps),
    "sa-rl": lambda target, config: sa_rl_variants(target, config.adversary_steps),
    BIAS: QUICK[BIAS],
}
"""Everything. Learned adversaries come last, as they may start from what the others found, and
then what puts biases before the strongest of all."""

PAPER: Mapping[str, Attack] = {
    name: FULL[name] for name in (CLEAN, "random", "critic", "mad", "rs")
}
"""Those of "Pruning Cannot Hurt Robustness", Table 1: random, value-guided, MAD, Robust Sarsa."""

SUITES: Mapping[str, Mapping[str, Attack]] = {"quick": QUICK, "paper": PAPER, "full": FULL}

OF_WHOLE_BALL = frozenset({CONSTANT, DELAY, BIAS})
"""Attacks that keep what stays the same: the others have what may vary from step to step."""

LEARNED = frozenset({"pa-ad", "sa-rl"})
"""Attacks whose adversary trains in the task, and resumes there when it was interrupted."""

STEPS_PER_ATTACK = 100
_MOST_BOXES = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackConfig:
    """What is attacked, how, and on how many episodes.

    Attributes:
        suite: Attacks that are played.
        attacks: Names of attacks of the full suite to play instead, beside the clean loop. With
            `action` the actions themselves are moved as far as the certificate lets them.
        backend: Backend that computes the controller. NumPy computes the same bits on every
            processor with AVX2; ONNX Runtime has no switch for its kernels.
        epsilon: Radius of the perturbation set, normalised units; that of the certificate's table
            if it is not given, or the first perturbation of its budget in raw units.
        perturb: Errors of the readings by sensor or group of the robot, in their own units, as in a
            budget, instead of epsilon; ``noise`` for what its description says.
        norm: Norm of the perturbation.
        episodes: Evaluation episodes of each attack: the ones that are reported.
        selection_episodes: Other episodes, on which the variant of each attack is chosen.
        critic_steps: Environment steps from which a critic is fitted to the controller; 0 to fit
            none.
        sarsa: Settings of the critics of Robust Sarsa.
        adversary_steps: Environment steps of each training of a learned adversary.
        transfer_from: Other controllers of the task (files, runs or bundles), such as the dense one
            that this was pruned from: what moves their actions most is played on this one.
        env_id: Gymnasium id; the one that the file names if it is not given.
        env_module: Module that registers it. What the file names is not imported here: a file may
            come from anywhere.
        success: Name of a function of ``env_module`` that says whether an episode did the task; see
            ``surefoot.attack.success``.
        actions: What is played: the mean or most probable action, as deployed, or a sample of the
            policy's law, which the theorems on returns are about. Adversaries are searched and
            trained on the former.
        gate: Play a controller behind the gate of its bundle, if it has one, as it is deployed;
            sampled actions pass none. Every variant of an attack is then tried as it is, and kept
            within the ranges and rates of the gate. Adversaries are searched and trained without
            the gate.
        fallback: Name of a function of ``env_module`` to which a gate falls back, from an
            observation to an action. Without one the actuators rest, as wherever a gate gives no
            action: at zero, or at what of their range is nearest to it.
        num_threads: Threads of the physics; results do not depend on it.
    """

    suite: Literal["quick", "paper", "full"] = "quick"
    attacks: tuple[str, ...] = ()
    backend: Backend = Backend.NUMPY
    epsilon: float | None = None
    perturb: Mapping[str, float | str | Misreading] | str | None = None
    norm: Norm = Norm.LINF
    episodes: int = 50
    selection_episodes: int = 10
    critic_steps: int = 32_768
    sarsa: SarsaSettings = field(default_factory=SarsaSettings)
    adversary_steps: int = 1_000_000
    transfer_from: tuple[str, ...] = ()
    env_id: str | None = None
    env_module: str | None = None
    success: str | None = None
    actions: Literal["deterministic", "sampled"] = "deterministic"
    gate: bool = True
    fallback: str | None = None
    num_threads: int = 2

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If one does not hold.
        """
        settle_choices(self)
        _check_attacks(self.attacks)
        self.perturbation.check()
        require_at_least(self, 0, "critic_steps")
        require_at_least(self, 1, "adversary_steps")
        require_at_least(self, 1, "episodes", "selection_episodes", most=MOST_AT_ONCE)
        require_at_least(self, 1, "num_threads", most=MOST_THREADS)

    @property
    def perturbation(self) -> Configured:
        """What is configured about the perturbation set."""
        return Configured(epsilon=self.epsilon, norm=self.norm, perturb=self.perturb)

    @property
    def played(self) -> Mapping[str, Attack]:
        """The attacks that are played, by name, in the order of their suite."""
        if not self.attacks:
            return SUITES[self.suite]
        return {name: made for name, made in FULL.items() if name in (CLEAN, *self.attacks)}

    @property
    def samples(self) -> bool:
        """Whether the policy samples its actions."""
        return self.actions == "sampled"

    @property
    def plays_actions(self) -> bool:
        """Whether the actions themselves are attacked, too, where a certificate bounds them."""
        return ACTION in self.attacks if self.attacks else self.suite == "full"

    @property
    def suite_name(self) -> str:
        """The suite as a record names it."""
        return "chosen" if self.attacks else self.suite

    @property
    def num_steps(self) -> int:
        """Steps in which progress is told: a hundred for each attack."""
        return STEPS_PER_ATTACK * (len(self.played) + _MOST_BOXES * self.plays_actions)


def _check_attacks(names: tuple[str, ...]) -> None:
    """Check names of attacks.

    Raises:
        InputError: If one is unknown, named twice, or the clean loop, which is always played.
    """
    known = [*(name for name in FULL if name != CLEAN), ACTION]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise InputError(f"attacks must be among {', '.join(known)}, got {name!r}{hint}")
    if len(set(names)) != len(names):
        raise InputError(f"attacks must name each attack once, got {', '.join(names)}")
