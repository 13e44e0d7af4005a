"""One training run: its state, and one iteration of it."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace

import numpy as np
import torch
from numpy.typing import NDArray

from surefoot.artifact import Json
from surefoot.config import config_sha256, to_table
from surefoot.envs.vector import VectorEnv
from surefoot.errors import InputError
from surefoot.onnx_file import policy_from_onnx, policy_to_onnx
from surefoot.policy import Layer, Policy
from surefoot.provenance import made_on
from surefoot.robot import Robot
from surefoot.sensors import SensorScales
from surefoot.train.atla import LearningAdversary
from surefoot.train.attacked_collection import AttackedCollection
from surefoot.train.averaging import WeightAverage
from surefoot.train.biases import EpisodeBiases
from surefoot.train.checkpoint import Checkpoint
from surefoot.train.defence_ball import check_same_errors, errors_in_training
from surefoot.train.defence_config import AlternatingTraining, SensorBiases, StateAdversarial
from surefoot.train.distributions import Gaussian
from surefoot.train.evaluated_policy import EvaluatedPolicy
from surefoot.train.evaluation import clean_episodes
from surefoot.train.learner import Learner
from surefoot.train.moments import with_constant_scale
from surefoot.train.result import TrainResult
from surefoot.train.resume import Extension
from surefoot.train.rollout import TrainingAdversary
from surefoot.train.screen import screened_return
from surefoot.train.streams import Stream, env_seeds, numpy_stream
from surefoot.train.train_config import TrainConfig
from surefoot.train.visited_recorder import record_visited

_BEST_FILE = "best.onnx"

Measure = Callable[[Policy], Mapping[str, float]]
"""Numbers about a policy by name, which the curves hold at each evaluation."""


def planned_steps(checkpoint: Checkpoint) -> int:
    """Return the steps that the run of a loaded checkpoint was begun with."""
    extensions = checkpoint.tree.get("extensions")
    return int((extensions[0] if extensions else checkpoint.config)["total_steps"])


def seconds_of(checkpoint: Checkpoint) -> float:
    """Return the seconds of training up to a checkpoint, without those between interruptions."""
    return float(sum(checkpoint.tree["timing"].values()))


class Run:
    """The state of a run. Law: iterations done after `load_checkpoint` equal those before it.

    Attributes:
        config: The run.
        iteration: Iterations done.
        evaluation_steps: Environment steps of all evaluations.
        curves: One value per iteration, by name.
        timing: Seconds, by what they were spent on.
        extensions: Where the run was given more steps than before.
    """

    def __init__(
        self,
        config: TrainConfig,
        env: VectorEnv,
        eval_env: VectorEnv,
        device: torch.device,
        rival_env: VectorEnv | None = None,
        planned_steps: int | None = None,
        measure: Measure | None = None,
        robot: Robot | None = None,
    ) -> None:
        """Start at iteration zero.

        Args:
            config: The run.
            env: The task to train on.
            eval_env: The same task with ``evaluation_episodes`` environments.
            device: Device of the updates.
            rival_env: The same task with ``num_envs`` environments, where an adversary learns too.
            planned_steps: Steps that the run was begun with; ``config.total_steps`` if it was not
                extended.
            measure: What is measured of each evaluated policy beside its return.
            robot: Robot whose sensors the defence names; None for none.

        Raises:
            InputError: If the environments of the adversary are missing, the defence does not fit
                the actions of the task or its words the robot, or a network cannot be pruned as
                asked.
        """
        self.config = config
        self.iteration = 0
        self.evaluation_steps = 0
        self.curves: dict[str, list[float | None]] = {}
        self.timing = {"rollout": 0.0, "update": 0.0, "evaluation": 0.0}
        self._eval_env = eval_env
        self._measure = measure
        self._device = device
        planned = replace(config, total_steps=planned_steps or config.total_steps)
        self._errors = errors_in_training(config, robot)
        self._learner = Learner(config, env, device, planned.num_updates, robot)
        self._agent, self._ppo = self._learner.agent, self._learner.ppo
        self._collector = self._learner.collector
        self._adversary = self._new_adversary(rival_env)
        if isinstance(self._adversary, LearningAdversary):
            self.timing["adversary"] = 0.0
        self._average = WeightAverage(self._agent.actor, config.averaging * config.num_iterations)
        self._best: EvaluatedPolicy | None = None
        self.extensions: list[Extension] = []
        self._new_episodes: list[int] = []

    def _new_adversary(self, rival_env: VectorEnv | None) -> TrainingAdversary | None:
        """Return the adversary of the rollouts, None if the defence has none.

        Raises:
            InputError: If the environments of a learning adversary are missing.
        """
        config, defence = self.config, self.config.defence
        if isinstance(defence, AlternatingTraining):
            if rival_env is None:
                raise InputError("defence atla needs rival_env: environments for the adversary")
            return LearningAdversary(config, rival_env, self._learner.policy(), self._device)
        if isinstance(defence, SensorBiases):
            return EpisodeBiases(config, self._collector.env.spec.obs_dim)
        if isinstance(defence, StateAdversarial) and defence.collect_attacked:
            return AttackedCollection(config, self._agent, self._device)
        return None

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
        return replace(
            policy,
            normaliser=with_constant_scale(policy.normaliser, self.config.constant_scale),
            layers=self._deployed("actor", policy.layers),
        )

    @property
    def constant_sensors(self) -> tuple[int, ...]:
        """Sensors that have never moved, numbered from 0."""
        return SensorScales.of(self._masked_policy().normaliser).degenerate

    def _masked_policy(self) -> Policy:
        """Return the same, with pruned neurons as zeros."""
        return self._learner.policy(self._average.mlp)

    def _deployed(self, network: str, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        pruner = self._ppo.pruners.get(network)
        return pruner.deployed(layers) if pruner else layers

    def iterate(self) -> None:
        """Play one rollout, learn from it, let the adversary do so, and evaluate if it is time.

        Raises:
            DivergenceError: If the simulation, a loss or a parameter becomes non-finite.
        """
        began = time.perf_counter()
        disturbance = None
        if self._adversary:
            disturbance = self._adversary.disturbance(self._learner.policy(), self._ppo.ball())
        rollout = self._learner.play(disturbance)
        played = time.perf_counter()
        losses = self._learner.learn(rollout)
        pruner = self._ppo.pruners.get("actor")
        self._average.update(pruner.mask if pruner else None)
        self._ppo.hold_limit(self._average.parameters)
        self.iteration += 1
        learned = time.perf_counter()
        if self._adversary:
            self._adversary.iterate(self._learner.policy(), self._ppo.ball())
        if "adversary" in self.timing:
            self.timing["adversary"] += time.perf_counter() - learned
        evaluated = time.perf_counter()
        evaluated_one = self.evaluate() if self._is_evaluation_due() else None
        self._extend_curves(losses, evaluated_one)
        self.timing["rollout"] += played - began
        self.timing["update"] += learned - played
        self.timing["evaluation"] += time.perf_counter() - evaluated

    def evaluate(self) -> EvaluatedPolicy:
        """Return the policy of now with its returns; it may be the best so far.

        The episodes are always the same ones; no training step has seen them.

        Raises:
            DivergenceError: If a simulation diverges.
        """
        policy, config = self.policy(), self.config
        seeds = env_seeds(numpy_stream(config.seed, Stream.EVALUATION), config.evaluation_episodes)
        returns, lengths = clean_episodes(policy, self._eval_env, seeds)
        self.evaluation_steps += int(lengths.sum())
        eligible, screened = self._ppo.is_at_full_strength(), None
        if eligible and config.select == "robust":
            screened, num_steps = screened_return(
                policy, self._ppo.ball(), self._eval_env, seeds, config.seed
            )
            self.evaluation_steps += num_steps
        candidate = EvaluatedPolicy(policy, self.step, float(returns.mean()), screened)
        if eligible and (self._best is None or candidate.merit > self._best.merit):
            self._best = candidate
        return candidate

    def _is_evaluation_due(self) -> bool:
        """Whether the grid of evaluations has a point in the iteration just done."""
        grid, total = self.config.num_evaluations, self.config.num_iterations
        return self.iteration * grid // total > (self.iteration - 1) * grid // total

    def _extend_curves(
        self, losses: Mapping[str, float], evaluated: EvaluatedPolicy | None
    ) -> None:
        row: dict[str, float | None] = {
            "step": self.step,
            "return": self.mean_return,
            "episodes": self._collector.num_episodes,
            "clean_return": None if evaluated is None else evaluated.clean_return,
            "sparsity": self._masked_policy().sparsity,
            "epsilon": self._ppo.ball().epsilon,
            **losses,
        }
        if isinstance(self._agent.distribution, Gaussian):
            row["sigma"] = float(self._agent.distribution.log_std.exp().mean())
        if self._ppo.limit is not None:
            row["lipschitz"] = float(self._ppo.limit.bound(self._average.mlp))
        if self._adversary:
            row |= self._adversary.row()
        if self.config.select == "robust":
            row["screened_return"] = None if evaluated is None else evaluated.screened_return
        if self._measure is not None and evaluated is not None:
            row |= self._measure(evaluated.policy)
        for name in {**self.curves, **row}:
            # One that is not measured at every iteration, or that an older version did not know.
            column = self.curves.setdefault(name, [None] * (self.iteration - 1))
            column.append(row.get(name))

    def checkpoint(self) -> Checkpoint:
        """Return everything that the rest of the run depends on."""
        curves = {
            name: np.array([np.nan if value is None else value for value in column])
            for name, column in self.curves.items()
        }
        return Checkpoint(
            step=self.step,
            tree={
                "iteration": self.iteration,
                "evaluation_steps": self.evaluation_steps,
                **self._learner.state_dict(),
                "adversary": self._adversary and self._adversary.state_dict(),
                "average": self._average.state_dict(),
                "curves": curves,
                "timing": self.timing,
                "best": self._best and self._best.facts(),
                "extensions": [asdict(entry) for entry in self.extensions],
                "new_episodes": self._new_episodes,
                "errors": None if self._errors is None else np.array(self._errors),
            },
            files={_BEST_FILE: policy_to_onnx(self._best.policy)} if self._best else {},
        )

    def take_actor(self, parameters: NDArray[np.float32]) -> None:
        """Put other parameters in the place of the actor's and of their average."""
        ppo, average = self._ppo.state_dict(), self._average.state_dict()
        ppo["parameters"]["actor"] = parameters
        self._ppo.load_state_dict(ppo)
        self._average.load_state_dict(average | {"parameters": parameters})

    def load_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Go back to a stored state, and note for the facts what the run then does not repeat.

        Raises:
            InputError: If the description of the robot says another perturbation since.
            ReplayError: If its episodes cannot be replayed.
        """
        tree = checkpoint.tree
        check_same_errors(tree.get("errors"), self._errors)
        self.iteration = tree["iteration"]
        self.evaluation_steps = tree.get("evaluation_steps", 0)  # not in those of version 0.1
        self._learner.load_state_dict(tree)
        if self._adversary:
            self._adversary.load_state_dict(tree["adversary"])
        self._average.load_state_dict(tree["average"])
        self.curves = {
            name: [None if np.isnan(value) else value for value in column.tolist()]
            for name, column in tree["curves"].items()
        }
        self.timing = dict(tree["timing"])
        # What came after version 0.1 stands with its default.
        self.extensions = [Extension(**entry) for entry in tree.get("extensions", [])]
        self._new_episodes = list(tree.get("new_episodes", []))
        if (total := checkpoint.config.get("total_steps", math.inf)) < self.config.total_steps:
            self.extensions.append(Extension(step=checkpoint.step, total_steps=total))
        if self.config.resume == "new_episodes":
            self._new_episodes.append(checkpoint.step)
        self._best = None
        if tree["best"]:
            best = policy_from_onnx(checkpoint.files[_BEST_FILE], _BEST_FILE).policy
            self._best = EvaluatedPolicy.from_facts(best, tree["best"])

    def result(self, visited_env: VectorEnv) -> TrainResult:
        """Return the finished run.

        Args:
            visited_env: The task, for the episodes whose states are recorded.

        Raises:
            InputError: If too few episodes reach the steps at which states are recorded.
            DivergenceError: If a simulation diverges.
        """
        config = self.config
        assert self._best is not None, "the last evaluation is at full strength"
        policy = self.policy() if config.select == "last" else self._best.policy
        return TrainResult(
            policy=policy,
            critic=self._deployed("critic", self._agent.critic.mlp.to_layers()),
            curves=self.curves,
            visited=record_visited(
                policy,
                visited_env,
                config.seed,
                num_states=config.visited_states,
                num_trials=config.gate_trials,
            ),
            config=config,
            spec=self._collector.env.spec,
            facts=self._facts(policy),
            timing=self.timing,
        )

    def _facts(self, policy: Policy) -> dict[str, Json]:
        assert self._best is not None
        pruner = self._ppo.pruners.get("actor")
        adversary = self._adversary
        learned = (
            {"adversary_steps": adversary.step} if isinstance(adversary, LearningAdversary) else {}
        )
        return {
            "env": {
                "id": self._collector.env.spec.env_id,
                "packages": self._collector.env.spec.packages,
            },
            "config_sha256": config_sha256(self.config),
            "seed": self.config.seed,
            "steps": self.step,
            **learned,
            "updates": self._ppo.num_updates,
            "episodes": self._collector.num_episodes,
            "sparsity": policy.sparsity,
            "target_sparsity": pruner.schedule.target if pruner else 0.0,
            "hidden": [layer.weight.shape[0] for layer in policy.layers[:-1]],
            "selected": self.config.select,
            "constant_sensors": list(self.constant_sensors),
            **({} if self._errors is None else {"errors": list(self._errors)}),
            "extensions": [asdict(entry) for entry in self.extensions],
            "new_episodes_at": self._new_episodes,
            "evaluation": {
                "episodes": self.config.evaluation_episodes,
                "steps": self.evaluation_steps,
                "last": self.curves["clean_return"][-1],
                "best": self._best.facts(),
            },
            "device": self._device.type,
            "threads": {"physics": self.config.num_threads, "torch": self.config.torch_threads},
            "made_on": to_table(made_on(), nulls=True),
        }
