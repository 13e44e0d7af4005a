"""One training run: everything that changes while it goes on, and one iteration of it."""

import platform
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from surefoot.artifact import Json
from surefoot.config import config_sha256
from surefoot.envs.vector import VectorEnv
from surefoot.errors import DivergenceError
from surefoot.onnx_format import policy_from_onnx, policy_to_onnx
from surefoot.policy import Layer, Normaliser, Policy
from surefoot.train.agent import new_agent
from surefoot.train.averaging import WeightAverage
from surefoot.train.checkpoint import Checkpoint
from surefoot.train.config import TrainConfig
from surefoot.train.distributions import Gaussian
from surefoot.train.evaluate import clean_returns
from surefoot.train.moments import Moments, RewardNormaliser, normaliser_of
from surefoot.train.ppo import Ppo
from surefoot.train.result import TrainResult
from surefoot.train.rollout import Collector, Rollout, advantages, values_after
from surefoot.train.samples import Samples
from surefoot.train.streams import Stream, env_seeds, numpy_stream, torch_stream
from surefoot.train.visited import record_visited

_BEST_FILE = "best.onnx"


class Run:
    """The state of a run. Law: iterations done after `load_state` equal those done before it."""

    def __init__(
        self, config: TrainConfig, env: VectorEnv, eval_env: VectorEnv, device: torch.device
    ) -> None:
        """Start at iteration zero.

        Args:
            config: The run.
            env: The task to train on.
            eval_env: The same task with ``evaluation_episodes`` environments.
            device: Of the updates.
        """
        self.config = config
        self.iteration = 0
        self.curves: dict[str, list[float | None]] = {}
        self.timing = {"rollout": 0.0, "update": 0.0, "evaluation": 0.0}
        self._eval_env = eval_env
        self._device = device
        self._agent = new_agent(config, env.spec, device)
        self._ppo = Ppo(
            self._agent,
            config,
            minibatch_generator=torch_stream(config.seed, Stream.MINIBATCHES, device),
            search_generator=torch_stream(config.seed, Stream.SEARCH, device),
        )
        seeds = env_seeds(numpy_stream(config.seed, Stream.ENVIRONMENTS), config.num_envs)
        self._collector = Collector(env, seeds, numpy_stream(config.seed, Stream.ACTIONS))
        self._moments = Moments.none(env.spec.obs_dim)
        self._rewards = RewardNormaliser(
            config.num_envs, gamma=config.gamma, clip=config.reward_clip
        )
        self._average = WeightAverage(self._agent.actor, config.averaging * config.num_iterations)
        self._best: tuple[float, int, Policy] | None = None

    @property
    def step(self) -> int:
        """Environment steps done."""
        return self.iteration * self.config.batch_size

    @property
    def is_finished(self) -> bool:
        """Whether all iterations are done."""
        return self.iteration >= self.config.num_iterations

    @property
    def mean_return(self) -> float | None:
        """Mean return of the last 100 training episodes."""
        returns = self._collector.recent_returns
        return float(np.mean(returns)) if returns else None

    def policy(self) -> Policy:
        """Return the policy that would be deployed if the training ended now."""
        policy = self._masked_policy()
        return replace(policy, layers=self._deployed("actor", policy.layers))

    def _masked_policy(self) -> Policy:
        """Return the same, with pruned neurons as zeros."""
        return self._agent.policy(self._normaliser(), self._average.mlp)

    def _deployed(self, network: str, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        pruner = self._ppo.pruners.get(network)
        return pruner.deployed(layers) if pruner else layers

    def iterate(self) -> None:
        """Play one rollout, learn from it, and evaluate if it is time.

        Raises:
            DivergenceError: If the simulation, a loss or a parameter becomes non-finite.
        """
        began = time.perf_counter()
        rollout = self._collector.collect(
            self._agent.policy(self._normaliser()),
            self._agent.distribution,
            self.config.rollout_steps,
        )
        played = time.perf_counter()
        losses = self._ppo.update(self._samples(rollout))
        self._refuse_divergence(losses)
        pruner = self._ppo.pruners.get("actor")
        self._average.update(pruner.mask if pruner else None)
        self._ppo.hold_limit(self._average.parameters)
        if self.config.normalise_observations:
            obs_dim = rollout.obs.shape[2]
            self._moments = self._moments.merge(Moments.of(rollout.obs.reshape(-1, obs_dim)))
        self.iteration += 1
        learned = time.perf_counter()
        clean_return = self._evaluate() if self._is_evaluation_due() else None
        self._extend_curves(losses, clean_return)
        self.timing["rollout"] += played - began
        self.timing["update"] += learned - played
        self.timing["evaluation"] += time.perf_counter() - learned

    def _normaliser(self) -> Normaliser:
        return normaliser_of(self._moments, self.config.observation_clip)

    @torch.no_grad()
    def _samples(self, rollout: Rollout) -> Samples:
        """Turn a rollout into what the update learns from."""
        config, agent = self.config, self._agent
        num_steps, num_envs = rollout.rewards.shape
        done = rollout.terminated | rollout.truncated
        rewards = (
            self._rewards(rollout.rewards, done) if config.normalise_rewards else (rollout.rewards)
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
        finite["parameters"] = self._ppo.is_finite()
        for name, holds in finite.items():
            if not holds:
                raise DivergenceError(f"{self.config.env_id}: {name} became non-finite")

    def _is_evaluation_due(self) -> bool:
        """Return whether the grid of evaluations has a point in the iteration just done."""
        grid, total = self.config.num_evaluations, self.config.num_iterations
        return self.iteration * grid // total > (self.iteration - 1) * grid // total

    def _evaluate(self) -> float:
        """Return the mean clean return of the deterministic policy.

        The episodes are always the same ones; no training step has seen them.
        """
        policy = self.policy()
        generator = numpy_stream(self.config.seed, Stream.EVALUATION)
        seeds = env_seeds(generator, self.config.evaluation_episodes)
        clean_return = float(clean_returns(policy, self._eval_env, seeds).mean())
        if self._ppo.is_at_full_strength() and (self._best is None or clean_return > self._best[0]):
            self._best = (clean_return, self.step, policy)
        return clean_return

    def _extend_curves(self, losses: Mapping[str, float], clean_return: float | None) -> None:
        row: dict[str, float | None] = {
            "step": self.step,
            "return": self.mean_return,
            "episodes": self._collector.num_episodes,
            "clean_return": clean_return,
            "sparsity": self._masked_policy().sparsity,
            "epsilon": self._ppo.epsilon(),
            **losses,
        }
        if isinstance(self._agent.distribution, Gaussian):
            row["sigma"] = float(self._agent.distribution.log_std.exp().mean())
        if self._ppo.limit is not None:
            row["lipschitz"] = float(self._ppo.limit.bound(self._average.mlp))
        for name, value in row.items():
            self.curves.setdefault(name, []).append(value)

    def checkpoint(self) -> Checkpoint:
        """Return everything that the rest of the run depends on."""
        curves = {
            name: np.array([np.nan if value is None else value for value in column])
            for name, column in self.curves.items()
        }
        best = self._best and {"clean_return": self._best[0], "step": self._best[1]}
        return Checkpoint(
            step=self.step,
            tree={
                "iteration": self.iteration,
                "ppo": self._ppo.state_dict(),
                "collector": self._collector.state_dict(),
                "moments": self._moments.state_dict(),
                "rewards": self._rewards.state_dict(),
                "average": self._average.state_dict(),
                "curves": curves,
                "timing": self.timing,
                "best": best,
            },
            files={_BEST_FILE: policy_to_onnx(self._best[2])} if self._best else {},
        )

    def load_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Go back to a stored state."""
        tree = checkpoint.tree
        self.iteration = tree["iteration"]
        self._ppo.load_state_dict(tree["ppo"])
        self._collector.load_state_dict(tree["collector"])
        self._moments = Moments.from_state(tree["moments"])
        self._rewards.load_state_dict(tree["rewards"])
        self._average.load_state_dict(tree["average"])
        self.curves = {
            name: [None if np.isnan(value) else value for value in column.tolist()]
            for name, column in tree["curves"].items()
        }
        self.timing = dict(tree["timing"])
        self._best = None
        if tree["best"]:
            best = policy_from_onnx(checkpoint.files[_BEST_FILE], _BEST_FILE).policy
            self._best = (tree["best"]["clean_return"], tree["best"]["step"], best)

    def result(self, visited_env: VectorEnv) -> TrainResult:
        """Return the finished run.

        Args:
            visited_env: The task, for the episodes whose states are recorded.

        Raises:
            DivergenceError: If a simulation diverges.
        """
        config = self.config
        assert self._best is not None, "the last evaluation is at full strength"
        policy = self._best[2] if config.select == "best" else self.policy()
        return TrainResult(
            policy=policy,
            critic=self._deployed("critic", self._agent.critic.mlp.to_layers()),
            curves=self.curves,
            visited=record_visited(
                policy, visited_env, config.seed, num_states=config.visited_states
            ),
            config=config,
            spec=self._collector.env.spec,
            facts=self._facts(policy),
            timing=self.timing,
        )

    def _facts(self, policy: Policy) -> dict[str, Json]:
        assert self._best is not None
        pruner = self._ppo.pruners.get("actor")
        return {
            "env": {
                "id": self._collector.env.spec.env_id,
                "packages": self._collector.env.spec.packages,
            },
            "config_sha256": config_sha256(self.config),
            "seed": self.config.seed,
            "steps": self.step,
            "updates": self._ppo.num_updates,
            "episodes": self._collector.num_episodes,
            "sparsity": policy.sparsity,
            "target_sparsity": pruner.schedule.target if pruner else 0.0,
            "hidden": [layer.weight.shape[0] for layer in policy.layers[:-1]],
            "selected": self.config.select,
            "evaluation": {
                "episodes": self.config.evaluation_episodes,
                "last": self.curves["clean_return"][-1],
                "best": {"clean_return": self._best[0], "step": self._best[1]},
            },
            "device": self._device.type,
            "threads": {"physics": self.config.num_threads, "torch": self.config.torch_threads},
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
            },
        }
