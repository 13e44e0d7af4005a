"""What learns by playing: an agent, its environments, its statistics and its update.

A training has one for the policy, and a second one where an adversary learns as well.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from surefoot.envs.vector import VectorEnv
from surefoot.errors import DivergenceError
from surefoot.policy import Normaliser, Policy
from surefoot.robot import Robot
from surefoot.train.agent import new_agent
from surefoot.train.moments import Moments, RewardNormaliser, normaliser_of
from surefoot.train.networks import Mlp
from surefoot.train.ppo import Ppo
from surefoot.train.rollout import Collector, Disturbance, Rollout, advantages, values_after
from surefoot.train.samples import Samples
from surefoot.train.streams import Stream, env_seeds, numpy_stream, torch_stream
from surefoot.train.train_config import TrainConfig

_LARGEST_REWARD = 1e12
"""A minibatch of ten thousand squared sums of a thousand such rewards still fits float32."""


class Learner:
    """PPO on one task. Law: what it does after `load_state_dict` equals what it did before.

    Attributes:
        agent: The networks and the law of the actions.
        ppo: Their update.
        collector: The environments.
    """

    def __init__(
        self,
        config: TrainConfig,
        env: VectorEnv,
        device: torch.device,
        planned_updates: int | None = None,
        robot: Robot | None = None,
    ) -> None:
        """Start untrained.

        Args:
            config: Configuration of the learning.
            env: The task; is reset here.
            device: Device of the updates.
            planned_updates: Optimiser steps over which sparsity and a defence rise; those of the
                configuration if not given.
            robot: Robot whose sensors the defence names; None for none.

        Raises:
            InputError: If the defence does not fit the actions of the task or its words the robot,
                or a network cannot be pruned as asked.
        """
        self.agent = new_agent(config, env.spec, device)
        self.ppo = Ppo(
            self.agent,
            config,
            minibatch_generator=torch_stream(config.seed, Stream.MINIBATCHES, device),
            search_generator=torch_stream(config.seed, Stream.SEARCH, device),
            planned_updates=planned_updates,
            robot=robot,
        )
        seeds = env_seeds(numpy_stream(config.seed, Stream.ENVIRONMENTS), config.num_envs)
        self.collector = Collector(
            env,
            seeds,
            numpy_stream(config.seed, Stream.ACTIONS),
            stores_episodes=config.resume == "replay",
        )
        self._config = config
        self._device = device
        self._moments = Moments.none(env.spec.obs_dim)
        self._rewards = RewardNormaliser(
            config.num_envs, gamma=config.gamma, clip=config.reward_clip
        )

    def policy(self, network: Mlp | None = None) -> Policy:
        """Return the deterministic policy of this moment, or that of another network."""
        return self.agent.policy(self._normaliser(), network)

    def play(self, disturbance: Disturbance | None = None) -> Rollout:
        """Play one rollout, see `Collector.collect`.

        Raises:
            DivergenceError: If a simulation or the policy becomes non-finite.
        """
        return self.collector.collect(
            self.policy(), self.agent.distribution, self._config.rollout_steps, disturbance
        )

    def learn(self, rollout: Rollout) -> dict[str, float]:
        """Learn from a rollout; return the means of the parts of the loss.

        Raises:
            DivergenceError: If a reward is too large, an observation does not fit the normaliser,
                or a loss or a parameter becomes non-finite.
        """
        losses = self.ppo.update(self._samples(rollout))
        self._refuse_divergence(losses)
        if self._config.normalise_observations:
            # Of what is true, not of what an adversary made of it.
            obs = rollout.obs.reshape(-1, rollout.obs.shape[2])
            self._moments = self._moments.merge(Moments.of(obs))
            if not self._moments.fit_float32:
                raise DivergenceError(
                    f"{self._config.env_id}: an observation of {np.abs(obs).max():.3g} is too large"
                    " for a normaliser in float32"
                )
            self.ppo.look_through(self._normaliser())
        return losses

    def state_dict(self) -> dict[str, Any]:
        """Return everything that later rollouts and updates depend on."""
        return {
            "ppo": self.ppo.state_dict(),
            "collector": self.collector.state_dict(),
            "moments": self._moments.state_dict(),
            "rewards": self._rewards.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a stored state, and begin new episodes where the run is configured so.

        Raises:
            InputError: If the episodes of the state are wanted and it holds none.
        """
        config = self._config
        self.ppo.load_state_dict(state["ppo"])
        self._moments = Moments.from_state(state["moments"])
        self.ppo.look_through(self._normaliser())
        self._rewards.load_state_dict(state["rewards"])
        new_seeds = None
        if config.resume == "new_episodes":
            # Seeds of their own for every place at which a run may be stopped.
            stream = numpy_stream(config.seed, Stream.ENVIRONMENTS, self.ppo.num_updates)
            new_seeds = env_seeds(stream, config.num_envs)
            self._rewards.begin_episodes()
        self.collector.load_state_dict(state["collector"], new_seeds)

    def _normaliser(self) -> Normaliser:
        return normaliser_of(self._moments, self._config.observation_clip)

    @torch.no_grad()
    def _samples(self, rollout: Rollout) -> Samples:
        """Turn a rollout into the samples of an update.

        Raises:
            DivergenceError: If a reward is too large.
        """
        config, agent = self._config, self.agent
        num_steps, num_envs = rollout.rewards.shape
        done = rollout.terminated | rollout.truncated
        if (largest := np.abs(rollout.rewards).max()) > _LARGEST_REWARD:
            raise DivergenceError(
                f"{config.env_id}: a reward of {largest:.3g} is too large to be learned from, at"
                f" most {_LARGEST_REWARD:g}"
            )
        rewards = (
            self._rewards(rollout.rewards, done) if config.normalise_rewards else rollout.rewards
        )
        states = torch.from_numpy(rollout.states).to(self._device).flatten(0, 1)
        cut_states = torch.from_numpy(rollout.cut_states).to(self._device)
        all_values = agent.critic.mlp(torch.cat([states, cut_states]))[:, 0].cpu().double().numpy()
        values, cut_values = np.split(all_values, [len(states)])
        values = values.reshape(num_steps + 1, num_envs)
        result = advantages(
            rewards,
            values[:-1],
            values_after(values, cut_values, rollout.truncated),
            rollout.terminated,
            rollout.truncated,
            gamma=config.gamma,
            gae_lambda=config.gae_lambda,
        )
        states = states[: num_steps * num_envs]
        actions = torch.from_numpy(rollout.actions).to(self._device).flatten(0, 1)
        return Samples(
            states=states,
            actions=actions,
            # NumPy played them; the ratio must start at exactly what PyTorch computes.
            log_probs=agent.distribution.log_prob(agent.actor.mlp(states), actions).value,
            values=self._column(values[:-1]),
            advantages=self._column(result),
            returns=self._column(result + values[:-1]),
        )

    def _column(self, array: np.ndarray[Any, Any]) -> torch.Tensor:
        return torch.from_numpy(array.astype(np.float32).reshape(-1)).to(self._device)

    def _refuse_divergence(self, losses: Mapping[str, float]) -> None:
        finite = {name: bool(np.isfinite(loss)) for name, loss in losses.items()}
        finite["parameters"] = self.ppo.is_finite()
        for name, holds in finite.items():
            if not holds:
                raise DivergenceError(f"{self._config.env_id}: {name} became non-finite")
