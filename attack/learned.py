"""Learned adversaries: a second agent, trained by PPO to make the frozen controller fail.

SA-RL learns the perturbation of every state itself (`game.Direct`); PA-AD learns only in which
direction the action should go (`director.Direct`...). Both play `game.Game` against the controller
as it is deployed: deterministic.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from surefoot.attack.ball import Ball, Randoms, States
from surefoot.attack.game import Craft, Game
from surefoot.envs.vector import VectorEnv
from surefoot.errors import DivergenceError, InputError
from surefoot.policy import CategoricalHead, Policy
from surefoot.train.config import LearnedNoise, TrainConfig
from surefoot.train.run import Run

MakeEnv = Callable[[int], VectorEnv]
"""From a number of environments to that many environments of the task."""

_LARGEST_STATE = 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnedSettings:
    """How an adversary is trained.

    Attributes:
        total_steps: Environment steps.
        learning_rate: Of Adam, for both networks, at the start.
        anneal: Whether it falls to zero.
        entropy: Coefficient of the entropy bonus.
        clip_range: Of the probability ratio.
        sigma: Standard deviation of the moves at the start, in units of epsilon.
        hidden: Widths of both networks.
        num_envs: Environments stepped together.
        seed: Of every random draw.
    """

    total_steps: int = 1_000_000
    learning_rate: float = 1e-3
    anneal: bool = True
    entropy: float = 0.0
    clip_range: float = 0.2
    sigma: float = 1.0
    hidden: tuple[int, ...] = (64, 64)
    num_envs: int = 32
    rollout_steps: int = 64
    minibatch_size: int = 256
    epochs: int = 10
    seed: int = 0

    def config(self, env_id: str, clip: float) -> TrainConfig:
        """Return the configuration of the adversary's own training."""
        return TrainConfig(
            env_id=env_id,
            seed=self.seed,
            total_steps=self.total_steps,
            num_envs=self.num_envs,
            rollout_steps=self.rollout_steps,
            minibatch_size=self.minibatch_size,
            epochs=self.epochs,
            hidden=self.hidden,
            critic_hidden=self.hidden,
            noise=LearnedNoise(initial=self.sigma),
            learning_rate=self.learning_rate,
            anneal_to=0.0 if self.anneal else 1.0,
            clip_range=self.clip_range,
            entropy_coefficient=self.entropy,
            normalise_observations=False,
            observation_clip=min(clip, _LARGEST_STATE),
            num_evaluations=10,
            evaluation_episodes=16,
            select="best",
            visited_states=0,
        )


class LearnedAdversary:
    """A trained actor and what turns its moves into perturbations."""

    def __init__(self, actor: Policy, craft: Craft) -> None:
        self.ball: Ball = craft.ball
        self.actor = actor
        self._craft = craft

    def perturb(self, state_ND: States, randoms: Randoms) -> States:
        """Return the states as the actor's mean (or most probable) moves perturb them."""
        del randoms
        # In float64 the moves do not depend on how many states come together.
        outputs = self.actor.outputs_at(state_ND.astype(np.float64))
        return self._craft(state_ND, self.actor.head.select(outputs))
