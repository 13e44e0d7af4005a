"""What can be chosen about a training run."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from surefoot.config import settle_choices
from surefoot.errors import InputError
from surefoot.policy import Activation, Squash
from surefoot.ranges import (
    MOST_AT_ONCE,
    MOST_THREADS,
    require_at_least,
    require_fraction,
    require_positive,
)
from surefoot.train.defence_config import Defence, GrowingBall, NoDefence
from surefoot.train.pruning_config import NoPruning, Pruning

WITHOUT_EFFECT = ("num_threads", "checkpoint_steps", "resume", "robot")
"""Settings that nothing of a training depends on, as long as it is not stopped."""

_WIDEST = 2**16
"""Widest layer: two of them make a matrix of 17 GB."""

Resume = Literal["replay", "new_episodes"]
"""How a stopped training resumes, see `TrainConfig`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedNoise:
    """A Gaussian whose standard deviation never changes (the paper's choice).

    Attributes:
        sigma: Standard deviation of every actuator, in units of the squashed action.
    """

    kind: ClassVar[str] = "fixed"
    sigma: float = 0.1

    def __post_init__(self) -> None:
        """Check the range.

        Raises:
            InputError: If it is not positive.
        """
        require_positive(self, "sigma")


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnedNoise:
    """A Gaussian whose standard deviation, one per actuator, is learned.

    Attributes:
        initial: Standard deviation at the start, in units of the squashed action.
    """

    kind: ClassVar[str] = "learned"
    initial: float = 1.0

    def __post_init__(self) -> None:
        """Check the range.

        Raises:
            InputError: If it is not positive.
        """
        require_positive(self, "initial")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """A training run: PPO, optionally robust (defence) and sparse (pruning).

    One iteration is a rollout of ``num_envs`` x ``rollout_steps`` steps and ``epochs`` passes over
    it in minibatches; an update is one optimiser step.

    Attributes:
        env_id: Gymnasium id of the task.
        env_module: Module that registers it, if it is not Gymnasium's own.
        robot: Description of the robot, a TOML file that is kept beside the policy; a budget may
            then speak of its sensors and actuators.
        seed: Seed of every random draw of the run.
        total_steps: Environment steps, rounded up to whole iterations.
        num_envs: Environments stepped together.
        rollout_steps: Steps per environment and iteration.
        num_threads: Threads of the physics; results do not depend on it.
        torch_threads: Threads of PyTorch; more than one pays only for wide networks.
        device: Where the updates run; the physics always runs on the CPU.
        hidden: Widths of the actor's hidden layers.
        critic_hidden: Widths of the critic's hidden layers.
        activation: Function between the layers of both networks.
        noise: Exploration of a Gaussian policy; discrete actions ignore it.
        squash: Function that brings the Gaussian mean into [-1, 1], which is then scaled to the
            action range.
        learning_rate: Learning rate of Adam at the start.
        anneal_to: Share of the learning rate that is left at the end, reached linearly.
        weight_decay: Decoupled weight decay (AdamW) of the weights and biases of both networks.
        gamma: Discount of the return.
        gae_lambda: Lambda of generalised advantage estimation.
        clip_range: Largest distance of the probability ratio from 1 that is rewarded.
        epochs: Passes over each rollout.
        minibatch_size: Samples per update; divides the rollout.
        entropy_coefficient: Weight of the entropy bonus, for learned noise and discrete actions.
        value_coefficient: Weight of the mean squared value error in the loss.
        value_clip: Largest change of a predicted value per iteration, if any.
        max_grad_norm: l2 norm to which gradients are clipped.
        joint_gradient: Whether the gradients of actor and critic are clipped as one vector, and not
            each by itself, so that a large regulariser slows the critic down, too.
        normalise_observations: Whether observations are normalised by running statistics.
        constant_scale: Scale that is deployed for a sensor that never moved while training, raw
            units per normalised unit; the statistics say none.
        normalise_rewards: Whether rewards are divided by the running std of the discounted return.
        observation_clip: Largest magnitude of a state, normalised units.
        reward_clip: Largest magnitude of a normalised reward.
        defence: Defence against perturbed observations.
        pruning: Pruning of weights while training.
        averaging: Share of the training over which the actor's weights are averaged
            (exponentially) for the policy that is evaluated and deployed; 0 for the last weights.
        num_evaluations: Number of evaluations of the deterministic policy, the last at the end.
        evaluation_episodes: Episodes of each evaluation.
        select: Policy that is the result: the last; or, of those evaluated when the ramp of the
            defence is over and the final sparsity is reached, the one that returns most without an
            adversary (best), or under the worst of a few cheap attacks in the ball of the defence
            (robust).
        visited_states: Independent states that are recorded for certification.
        gate_trials: States of further independent episodes, on which alone a gate is tried: 29,956
            without a false alarm bound their rate by 1e-4 per step with confidence 95 %.
        checkpoint_steps: Environment steps between two checkpoints.
        resume: How a stopped training resumes: with its episodes, which are replayed, so that the
            result is that of a training that was never stopped; or with new episodes, for tasks
            that do not repeat themselves.
    """

    env_id: str
    env_module: str | None = None
    robot: str | None = None
    seed: int = 0
    total_steps: int = 1_000_000
    num_envs: int = 16
    rollout_steps: int = 128
    num_threads: int = 2
    torch_threads: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    hidden: tuple[int, ...] = (64, 64)
    critic_hidden: tuple[int, ...] = (64, 64)
    activation: Activation = Activation.TANH
    noise: FixedNoise | LearnedNoise = field(default_factory=FixedNoise)
    squash: Squash = Squash.CLIP
    learning_rate: float = 3e-4
    anneal_to: float = 0.0
    weight_decay: float = 0.0
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    epochs: int = 10
    minibatch_size: int = 256
    entropy_coefficient: float = 0.0
    value_coefficient: float = 0.5
    value_clip: float | None = None
    max_grad_norm: float = 0.5
    joint_gradient: bool = False
    normalise_observations: bool = True
    constant_scale: float = 1.0
    normalise_rewards: bool = True
    observation_clip: float = 10.0
    reward_clip: float = 10.0
    defence: Defence = field(default_factory=NoDefence)
    pruning: Pruning = field(default_factory=NoPruning)
    averaging: float = 0.0
    num_evaluations: int = 10
    evaluation_episodes: int = 10
    select: Literal["last", "best", "robust"] = "last"
    visited_states: int = 384
    gate_trials: int = 0
    checkpoint_steps: int = 50_000
    resume: Resume = "replay"

    def __post_init__(self) -> None:
        """Check choices, ranges and that the sizes fit each other.

        Raises:
            InputError: If one does not hold.
        """
        settle_choices(self)
        positive = (
            "learning_rate clip_range max_grad_norm observation_clip constant_scale reward_clip"
        )
        require_positive(self, *positive.split())
        require_at_least(self, 0, "seed", most=2**128)
        require_at_least(self, 0, "weight_decay", "entropy_coefficient", "value_coefficient")
        require_at_least(self, 1, "total_steps", "epochs", "num_evaluations", "checkpoint_steps")
        sizes = ("num_envs", "rollout_steps", "evaluation_episodes")
        require_at_least(self, 1, *sizes, most=MOST_AT_ONCE)
        require_at_least(self, 1, "num_threads", "torch_threads", most=MOST_THREADS)
        require_at_least(self, 0, "visited_states", "gate_trials", most=MOST_AT_ONCE)
        if self.gate_trials and not self.visited_states:
            raise InputError("gate_trials must be 0 without visited_states, which make the limits")
        require_at_least(self, 2, "minibatch_size")  # advantages are divided by their std
        require_fraction(self, "gamma", "gae_lambda")
        for name in ("anneal_to", "averaging"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        if self.select == "robust" and not isinstance(self.defence, GrowingBall):
            raise InputError(
                "select must not be 'robust' without a defence that has a ball to attack in, got "
                f"defence {self.defence.kind!r}"
            )
        if self.value_clip is not None:
            require_positive(self, "value_clip")
        for name in ("hidden", "critic_hidden"):
            if not all(width >= 1 for width in getattr(self, name)):
                raise InputError(f"{name} must hold positive widths, got {getattr(self, name)}")
            if not all(width <= _WIDEST for width in getattr(self, name)):
                raise InputError(f"{name} must hold widths of at most {_WIDEST}")
        if self.batch_size % self.minibatch_size:
            raise InputError(
                f"minibatch_size must divide num_envs * rollout_steps = {self.batch_size},"
                f" got {self.minibatch_size}"
            )

    @property
    def batch_size(self) -> int:
        """Steps per iteration."""
        return self.num_envs * self.rollout_steps

    @property
    def num_iterations(self) -> int:
        """Iterations of the run."""
        return -(-self.total_steps // self.batch_size)

    @property
    def updates_per_iteration(self) -> int:
        """Optimiser steps per iteration."""
        return self.epochs * (self.batch_size // self.minibatch_size)

    @property
    def num_updates(self) -> int:
        """Optimiser steps of the run."""
        return self.num_iterations * self.updates_per_iteration
