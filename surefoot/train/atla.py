"""The adversary that learns beside the policy (ATLA): a second learner, in a game of its own.

N = environments, D = obs_dim.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from surefoot.ball import Ball, Norm
from surefoot.envs.vector import VectorEnv
from surefoot.errors import DivergenceError
from surefoot.policy import Policy, Squash
from surefoot.train.defence_config import AlternatingTraining, NoDefence
from surefoot.train.game import Craft, Direct, Game, with_fast_layers
from surefoot.train.learner import Learner
from surefoot.train.pa_ad import Director
from surefoot.train.pruning_config import NoPruning
from surefoot.train.rollout import Flags, Floats, Singles
from surefoot.train.streams import Stream, numpy_stream
from surefoot.train.train_config import LearnedNoise, TrainConfig

_SIGMA = 0.6
"""Standard deviation of its moves at the start, with which an untrained adversary does best."""


class LearningAdversary:
    """Learns which perturbation of a true state makes the policy lose most.

    It has the policy's own PPO, dense and without a defence; rewards are those of the policy with
    the sign turned. It stands still while the ball is a point. A longer sight than the policy's
    (gamma 0.999) kept a Hopper policy at 1400 that came to 3300 otherwise (PA-AD, one seed).
    """

    def __init__(
        self, config: TrainConfig, env: VectorEnv, policy: Policy, device: torch.device
    ) -> None:
        """Start untrained, with networks of the widths of the critic.

        Args:
            config: Configuration of the policy's training.
            env: Its task, with as many environments; is taken over.
            policy: The first one that is faced.
            device: Device of the updates.
        """
        assert isinstance(config.defence, AlternatingTraining)
        self._defence = config.defence
        self._num_attacked = max(1, round(config.defence.attacked * config.num_envs))
        self._game = Game(env, policy, self._craft(policy, Ball(norm=Norm.LINF, epsilon=0.0)))
        self._learner = Learner(_adversary_config(config), self._game, device)
        self._iteration = 0
        self._batch_size = config.batch_size

    @property
    def step(self) -> int:
        """Environment steps done."""
        return self._iteration * self._batch_size

    def disturbance(self, policy: Policy, ball: Ball) -> "MeanMoves | None":
        """Return the function that perturbs a policy's states by the mean moves of this moment.

        Args:
            policy: Policy that sees them.
            ball: What it may do to a state; if it is a point, the result is None.
        """
        if ball.epsilon == 0:
            return None
        return MeanMoves(
            actor=with_fast_layers(self._learner.policy()),
            craft=self._craft(policy, ball),
            num_attacked=self._num_attacked,
        )

    def iterate(self, policy: Policy, ball: Ball) -> None:
        """Play one rollout against a policy and learn from it.

        Args:
            policy: Is frozen, and acts deterministically.
            ball: What the adversary may do to a state.

        Raises:
            DivergenceError: If the simulation, a loss or a parameter becomes non-finite.
        """
        if ball.epsilon == 0:
            return
        self._learner.collector.look(self._game.face(policy, self._craft(policy, ball)))
        try:
            self._learner.learn(self._learner.play())
        except DivergenceError as error:
            raise DivergenceError(f"the adversary: {error}") from error
        self._iteration += 1

    def row(self) -> dict[str, float | None]:
        """Return its point in the curves: its steps, and the attacked return of the policy."""
        returns = self._learner.collector.recent_returns
        return {
            "adversary_steps": self.step,
            "attacked_return": -float(np.mean(returns)) if returns else None,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return everything that later moves depend on."""
        return {"iteration": self._iteration, "learner": self._learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a stored state."""
        self._iteration = state["iteration"]
        self._learner.load_state_dict(state["learner"])

    def _craft(self, policy: Policy, ball: Ball) -> Craft:
        if self._defence.adversary == "pa_ad":
            return Director(policy, ball)
        return Direct(ball, policy.obs_dim)


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanMoves:
    """The mean moves of a frozen adversary in the first environments, as attacks are played.

    Attributes:
        actor: Network from states to moves.
        craft: Map from moves to perturbed states.
        num_attacked: Environments in which it moves.
    """

    actor: Policy
    craft: Craft
    num_attacked: int

    def see(self, state_ND: Singles, env_N: NDArray[np.int64]) -> Singles:
        """Return the states as they are seen, (n, D); see `rollout.Disturbance`."""
        seen_ND, here = state_ND.copy(), env_N < self.num_attacked
        attacked = state_ND[here]
        moves = self.actor.head.select(self.actor.outputs_at(attacked))
        seen_ND[here] = self.craft(attacked, moves)
        return seen_ND

    def stepped(self, returns_N: Floats, done_N: Flags) -> None:
        """Do nothing: it learns in a game of its own."""


def _adversary_config(config: TrainConfig) -> TrainConfig:
    """Return the policy's configuration as the adversary learns by it."""
    return replace(
        config,
        seed=int(numpy_stream(config.seed, Stream.ADVERSARY).integers(2**31)),
        hidden=config.critic_hidden,
        noise=LearnedNoise(initial=_SIGMA),
        squash=Squash.CLIP,
        defence=NoDefence(),
        pruning=NoPruning(),
        normalise_observations=False,
    )
