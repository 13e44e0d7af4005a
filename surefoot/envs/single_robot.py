"""One robot of a `MujocoTask` as an ordinary Gymnasium environment, with the same numbers."""

from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from surefoot.envs.mujoco_simulations import MujocoSimulations
from surefoot.envs.mujoco_task import MujocoTask
from surefoot.envs.vector import Floats

_FIRST = np.zeros(1, np.int32)


class SingleRobot(gymnasium.Env[Floats, NDArray[np.float32]]):
    """A simulation of a task, which Gymnasium's wrappers and other libraries take."""

    def __init__(self, task: MujocoTask) -> None:
        """Make the simulation.

        Raises:
            InputError: If the model, or one of its names, is at fault.
            UserCodeError: If a function of the task fails.
        """
        self.task = task
        self._simulations = MujocoSimulations(task, 1)
        low, high = task.action_bounds
        self.action_space = spaces.Box(low, high, dtype=np.float32)
        obs = self._simulations.begin(_FIRST, [np.random.default_rng(0)])
        self.observation_space = spaces.Box(-np.inf, np.inf, obs.shape[1:], np.float64)

    @property
    def dt(self) -> float:
        """Time between two actions in s."""
        return self.task.dt_s

    @property
    def model(self) -> mujoco.MjModel:
        """The model, which all simulations of the task share."""
        return self.task.model

    @property
    def data(self) -> mujoco.MjData:
        """A copy of the state, for a viewer; call `mujoco.mj_forward` before reading more of it."""
        return self._simulations.batch.get_data(0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Start an episode; ``options`` are not used."""
        super().reset(seed=seed)
        return self._simulations.begin(_FIRST, [self.np_random])[0], {}

    def step(self, action: NDArray[np.float32]) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        """Apply an action (A,) for a control period; nothing is clipped here."""
        led_to = self._simulations.advance(np.asarray(action, np.float32)[None])
        return led_to.obs[0], float(led_to.reward[0]), bool(led_to.terminated[0]), False, {}
