"""Rollouts that are played at perturbed states: collection under attack.

N = environments, D = obs_dim.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from numpy import int64
from numpy.typing import NDArray

from surefoot.ball import Ball
from surefoot.policy import Policy
from surefoot.train.agent import Agent
from surefoot.train.defence_config import StateAdversarial
from surefoot.train.perturbation_search import farthest_perturbation
from surefoot.train.rollout import Disturbance, Flags, Floats, Singles
from surefoot.train.streams import Stream, torch_stream
from surefoot.train.train_config import TrainConfig


class AttackedCollection:
    """Shows the policy, at every step, the state of the ball at which its actions differ most.

    It is the search of the penalty of SA, with the actor of the moment.

    Reference:
        "Pruning Cannot Hurt Robustness", algorithm 1, line 3.
    """

    def __init__(self, config: TrainConfig, agent: Agent, device: torch.device) -> None:
        """Share an agent that learns; it is only read.

        Args:
            config: Training whose defence is SA.
            agent: Agent of the training.
            device: Device of the search.
        """
        assert isinstance(config.defence, StateAdversarial)
        self._agent, self._device = agent, device
        self._steps = config.defence.inner_steps
        self._generator = torch_stream(config.seed, Stream.COLLECTION, device)

    def disturbance(self, policy: Policy, ball: Ball) -> Disturbance | None:
        """Return the disturbance in a ball, see `rollout.TrainingAdversary`."""
        del policy  # its layers are those of the agent
        if ball.epsilon == 0:
            return None
        return FarthestStates(self._agent, ball, self._steps, self._generator)

    def iterate(self, policy: Policy, ball: Ball) -> None:
        """Do nothing: it searches and does not learn."""

    def row(self) -> dict[str, float | None]:
        """Return no point for the curves."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that later searches depend on."""
        return {"generator": self._generator.get_state().cpu().numpy().copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a stored state."""
        self._generator.set_state(torch.tensor(state["generator"]))


@dataclass(frozen=True, slots=True)
class FarthestStates:
    """Moves every state to where the actions of an agent differ most, in all environments.

    Attributes:
        agent: The actor, and the law of its actions.
        ball: The perturbation set.
        steps: Gradient steps of the search.
        generator: Random numbers of its starts and noise.
    """

    agent: Agent
    ball: Ball
    steps: int
    generator: torch.Generator

    def see(self, state_ND: Singles, env_N: NDArray[int64]) -> Singles:
        """Return the farthest states that were found, (n, D); see `rollout.Disturbance`."""
        delta = farthest_perturbation(
            self.agent.actor.mlp,
            self.agent.distribution,
            torch.from_numpy(state_ND).to(self.generator.device),
            self.ball,
            steps=self.steps,
            generator=self.generator,
        )
        return self.ball.perturbed(state_ND, delta.cpu().numpy())

    def stepped(self, returns_N: Floats, done_N: Flags) -> None:
        """Do nothing: each state is searched by itself."""
