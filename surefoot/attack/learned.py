"""Learned adversaries: a second agent, trained by PPO to make the frozen controller fail.

SA-RL learns the perturbation of every state itself (`game.Direct`), PA-AD only in which direction
the action should go (`pa_ad.Director`). Both play the game against the twin of the deployed
controller, without noise; what is reported is their mean or most probable move, on the deployed
controller itself.

Reference:
    Zhang et al., "Robust reinforcement learning on state observations with learned optimal
    adversary", ICLR 2021 (arXiv 2101.08452).
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from surefoot.artifact import Json
from surefoot.attack.adversary import Adversary
from surefoot.attack.cost import Cost
from surefoot.attack.imitation import effort_of, imitation
from surefoot.ball import Ball, Randoms, States
from surefoot.config import to_table
from surefoot.envs.vector import VectorEnv
from surefoot.errors import DivergenceError
from surefoot.onnx_file import policy_to_onnx
from surefoot.policy import Policy
from surefoot.train.checkpoint import CheckpointStore
from surefoot.train.game import Craft, Game, Moves
from surefoot.train.rollout import Singles
from surefoot.train.train_config import LearnedNoise, Resume, TrainConfig
from surefoot.train.training_run import Run

MakeEnv = Callable[[int], VectorEnv]
"""From a number of environments to that many environments of the task."""

_LARGEST_CLIP = 1e6
_WARM_UP = 0.1
"""Share of a training that was taught after whose iterations the actor is put back to its start,
so that the critic alone has learned: the first steps along the advantages of a critic that knows
nothing undo more than they add."""

_EVALUATION_EPISODES = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnedConfig:
    """How an adversary is trained; what is not here is as in `TrainConfig`.

    Attributes:
        total_steps: Environment steps.
        learning_rate: Learning rate of Adam at the start.
        anneal: Whether it falls to zero.
        entropy: Coefficient of the entropy bonus.
        clip_range: Largest distance of the probability ratio from 1 that is rewarded.
        gamma: Discount. Far above a controller's: what is reported is undiscounted, and it takes an
            adversary hundreds of steps to make a steady gait fall.
        gae_lambda: Lambda of generalised advantage estimation, for the same reason.
        sigma: Standard deviation of the moves at the start, in units of epsilon.
        lessons: Rounds in which it first learns to imitate an attack, see `imitation.imitation`.
        num_envs: Environments stepped together.
        rollout_steps: Steps of each between two updates.
        seed: Seed of every random draw.
        resume: How a training that was stopped resumes, see `TrainConfig`.
    """

    total_steps: int
    learning_rate: float = 1e-3
    anneal: bool = True
    entropy: float = 0.0
    clip_range: float = 0.2
    gamma: float = 0.999
    gae_lambda: float = 0.99
    sigma: float = 0.3
    lessons: int = 0
    num_envs: int = 32
    rollout_steps: int = 256
    seed: int = 0
    resume: Resume = "replay"

    def config(self, env: VectorEnv, clip: float) -> TrainConfig:
        """Return the configuration of the adversary's own training.

        Args:
            env: The game.
            clip: Largest magnitude of the states that it sees.
        """
        return TrainConfig(
            env_id=env.spec.env_id,
            seed=self.seed,
            total_steps=self.total_steps,
            num_envs=self.num_envs,
            rollout_steps=self.rollout_steps,
            num_threads=1,
            minibatch_size=self.num_envs * self.rollout_steps // 8,
            noise=LearnedNoise(initial=self.sigma),
            learning_rate=self.learning_rate,
            anneal_to=0.0 if self.anneal else 1.0,
            clip_range=self.clip_range,
            gamma=self.gamma,
            gae_lambda=self.gae_lambda,
            entropy_coefficient=self.entropy,
            normalise_observations=False,
            observation_clip=min(clip, _LARGEST_CLIP),
            evaluation_episodes=_EVALUATION_EPISODES,
            select="best",
            visited_states=0,
            resume=self.resume,
        )


class LearnedAdversary:
    """A trained actor and what turns its moves into perturbations."""

    def __init__(self, actor: Policy, craft: Craft) -> None:
        self.ball: Ball = craft.ball
        self.actor = actor
        self._craft = craft

    @property
    def effort(self) -> Cost:
        """What one state costs."""
        return Cost(gradients=self._craft.gradients)

    def perturb(self, state_ND: States, randoms: Randoms) -> States:
        """Return the states as the actor's mean (or most probable) moves perturb them."""
        del randoms
        # In float64 a move does not depend on how many states come together.
        outputs = self.actor.outputs_at(state_ND.astype(np.float64))
        return self._craft(state_ND, self.actor.head.select(outputs))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Learned:
    """A trained adversary.

    Attributes:
        actor: Network from states to moves, as an ONNX file.
        effort: Cost of the training.
        facts: How the training went: returns of the controller under the snapshots, and under the
            imitation at the start.
    """

    actor: bytes
    effort: Cost
    facts: dict[str, Json]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LearnedStart:
    """Where a training begins.

    Attributes:
        actor: Parameters of the actor, float32.
        clean_return: Return of the controller under it, on the episodes that compare snapshots.
        effort: Cost of learning it.
    """

    actor: Singles
    clean_return: float
    effort: Cost


def learn_start(
    policy: Policy,
    craft: Craft,
    settings: LearnedConfig,
    make_env: MakeEnv,
    teacher: Adversary,
) -> LearnedStart:
    """Return an actor that imitates an attack.

    It depends on the settings' seed and lessons alone, so that a scan learns it once.

    Args:
        policy: The controller, as read back from the deployed file.
        craft: Function from moves to perturbations.
        settings: Settings of the training that is to begin with them.
        make_env: Makes environments of the controller's task.
        teacher: The attack.
    """
    with closing(Game(make_env(_EVALUATION_EPISODES), policy, craft)) as game:
        config = replace(
            settings.config(game, policy.normaliser.clip),
            num_envs=_EVALUATION_EPISODES,
            minibatch_size=_EVALUATION_EPISODES * settings.rollout_steps,
        )
        run = Run(config, game, game, torch.device("cpu"))
        actor = imitation(run, teacher, policy, craft, make_env, settings.lessons)
        return LearnedStart(
            actor=actor,
            clean_return=-run.evaluate().clean_return,
            effort=effort_of(teacher, craft, settings.lessons)
            + Cost(
                env_steps=run.evaluation_steps, gradients=run.evaluation_steps * craft.gradients
            ),
        )


def _iterations(run: Run, until: float, start: LearnedStart | None) -> Iterator[float]:
    """Train to a share of all iterations, and yield the share that is done after each.

    Raises:
        DivergenceError: If the training becomes non-finite.
    """
    total = run.config.num_iterations
    while run.iteration < until * total:
        run.iterate()
        if start is not None and run.iteration <= _WARM_UP * total:
            run.take_actor(start.actor)
        yield run.iteration / total


def learn_adversary(
    policy: Policy,
    craft: Moves,
    settings: LearnedConfig,
    make_env: MakeEnv,
    *,
    start: LearnedStart | None = None,
    checkpoints: Path | None = None,
    until: float = 1.0,
    on_share: Callable[[float], None] = lambda share: None,
) -> Learned:
    """Train an adversary.

    The result is the best of ten snapshots, and of the imitation that it starts from if there is
    one, on episodes of the training's own: the one that left the controller the lowest return.

    Args:
        policy: The controller, as read back from the deployed file.
        craft: What the moves do.
        settings: Settings of the training.
        make_env: Makes environments of the controller's task.
        start: Actor to begin with.
        checkpoints: Where checkpoints go; a training that was stopped resumes from the newest.
        until: Share of the training after which to stop, in (0, 1]; the schedules are those of the
            whole.
        on_share: Is told after every iteration which share is done; may raise to stop.
    """
    with ExitStack() as stack:
        game, trial = (
            stack.enter_context(closing(Game(make_env(num_envs), policy, craft)))
            for num_envs in (settings.num_envs, _EVALUATION_EPISODES)
        )
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(1)
        config = settings.config(game, policy.normaliser.clip)
        run = Run(config, game, trial, torch.device("cpu"))
        store = None if checkpoints is None else CheckpointStore(checkpoints, to_table(config))
        stored = None if store is None else store.load()
        if stored is not None:
            run.load_checkpoint(stored)
        elif start is not None:
            run.take_actor(start.actor)
            run.evaluate()
        # What is left if not even the first evaluation is reached.
        best = (stored.files if stored else {}).get("best.onnx") or policy_to_onnx(run.policy())
        diverged = None
        try:
            for share in _iterations(run, until, start):
                if run.curves["clean_return"][-1] is not None:
                    checkpoint = run.checkpoint()
                    best = checkpoint.files["best.onnx"]
                    if store is not None:
                        store.save(checkpoint)
                on_share(share)
        except DivergenceError as error:
            diverged = str(error)
        returns = [-value for value in run.curves.get("clean_return", []) if value is not None]
        began: dict[str, Json] = {} if start is None else {"start": start.clean_return}
        return Learned(
            actor=best,
            effort=Cost(
                env_steps=run.step + run.evaluation_steps,
                gradients=(run.step + run.evaluation_steps) * craft.gradients,
                updates=run.iteration * config.updates_per_iteration,
            ),
            facts={"returns": returns, "diverged": diverged, **began},
        )
