"""MuJoCo tasks on `mujoco.batch`: threaded, resumable, and those of Gymnasium to the bit."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray

from surefoot.envs.mujoco_simulations import MujocoSimulations
from surefoot.envs.mujoco_task import MujocoTask
from surefoot.envs.vector import (
    EnvSpec,
    Floats,
    State,
    StepResult,
    check_actions,
    check_seeds,
    check_state,
    generator_from_state,
    generator_state,
)
from surefoot.errors import InputError


class MujocoBatchEnv:
    """A `VectorEnv` whose simulations are rows of one `mujoco.batch.Batch`.

    The environment does not clip actions: MuJoCo clamps the control, and a task sees the action as
    given.
    """

    resumable = True

    def __init__(self, task: MujocoTask, spec: EnvSpec, *, num_envs: int, num_threads: int) -> None:
        """Make the simulations."""
        self.spec = spec
        self.num_envs = num_envs
        self.simulations = MujocoSimulations(task, num_envs, num_threads, spec.obs_dim)
        self._np_random: list[np.random.Generator] = []

    def reset(self, seeds: Sequence[int] | None = None) -> Floats:
        """Start an episode everywhere; see `VectorEnv.reset`."""
        if seeds is not None:
            self._np_random = [
                seeding.np_random(seed)[0] for seed in check_seeds(seeds, self.num_envs)
            ]
        elif not self._np_random:
            self._np_random = [seeding.np_random()[0] for _ in range(self.num_envs)]
        return self._begin_episodes(np.arange(self.num_envs, dtype=np.int32))

    def step(self, actions: NDArray[Any]) -> StepResult:
        """Apply float32 actions (N, A); see `VectorEnv.step`.

        Raises:
            InputError: If the actions do not fit, or nothing was reset before.
            DivergenceError: If a simulation diverged.
            UserCodeError: If a function of the task fails.
        """
        check_actions(actions, self.spec, self.num_envs)
        if not self._np_random:
            raise InputError(f"{self.spec.env_id}: reset() must come before step()")
        led_to = self.simulations.advance(actions)
        truncated = self.simulations.num_steps >= (self.spec.max_episode_steps or np.inf)
        obs = led_to.obs.copy()
        ids = np.flatnonzero(led_to.terminated | truncated).astype(np.int32)
        if len(ids):
            obs[ids] = self._begin_episodes(ids)
        return StepResult(obs, led_to.reward, led_to.terminated, truncated, led_to.obs)

    def state_dict(self) -> State:
        """Return everything that the future depends on.

        Raises:
            InputError: If nothing was reset before.
        """
        if not self._np_random:
            raise InputError(f"{self.spec.env_id}: reset() must come before state_dict()")
        return {
            "env_id": self.spec.env_id,
            "num_envs": self.num_envs,
            **self.simulations.state_dict(),
            "np_random": {str(i): generator_state(g) for i, g in enumerate(self._np_random)},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> Floats:
        """Go back to a stored state; see `VectorEnv.load_state_dict`."""
        check_state(state, self.spec, self.num_envs)
        self._np_random = [
            generator_from_state(state["np_random"][str(i)]) for i in range(self.num_envs)
        ]
        return self.simulations.load_state_dict(state, self._np_random)

    def close(self) -> None:
        """Nothing to release: the simulations are memory."""

    def _begin_episodes(self, ids: NDArray[np.int32]) -> Floats:
        return self.simulations.begin(ids, [self._np_random[i] for i in ids.tolist()])
