"""A robot of one's own: a cart that balances a pole, registered as ``Balance-v0``.

    pipeline run --config examples/my_robot.toml --env-module examples/my_robot.py --out runs/mine

Anything that Gymnasium can make works the same way, if its observations are one vector and its
actions are a bounded vector or a choice.
"""

from typing import TYPE_CHECKING

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces

if TYPE_CHECKING:
    from surefoot.attack import PlayedEpisode

MODEL = """
<mujoco>
  <option timestep="0.005"/>
  <worldbody>
    <body name="cart">
      <joint name="slide" type="slide" axis="1 0 0" range="-1 1" limited="true" damping="0.1"/>
      <geom type="box" size="0.1 0.05 0.05" mass="1"/>
      <body name="pole" pos="0 0 0.05">
        <joint name="hinge" type="hinge" axis="0 1 0"/>
        <geom type="capsule" fromto="0 0 0 0 0 0.6" size="0.02" mass="0.1"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="slide" gear="10"/></actuator>
</mujoco>
"""


class Balance(gymnasium.Env):
    """Push the cart so that the pole stays up.

    Observation: cart position (m), pole angle (rad), cart speed (m/s), pole speed (rad/s).
    Action: force on the cart in [-1, 1], times 10 N. An episode ends when the pole falls.
    """

    control_steps = 4
    dt = 0.02

    def __init__(self) -> None:
        self.model = mujoco.MjModel.from_xml_string(MODEL)
        self.data = mujoco.MjData(self.model)
        self.observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float64)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict | None = None
    ) -> tuple[np.ndarray, dict]:
        """Start near upright."""
        super().reset(seed=seed, options=options)
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:] = self.np_random.uniform(-0.05, 0.05, 2)
        mujoco.mj_forward(self.model, self.data)
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Hold the force for one control period; each upright step is worth up to 1."""
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data, self.control_steps)
        position, angle = self.data.qpos
        reward = 1.0 - 0.1 * position**2 - 0.01 * float(np.square(action).sum())
        return self._observe(), reward, bool(abs(angle) > 0.3), False, {}

    def _observe(self) -> np.ndarray:
        return np.concatenate([self.data.qpos, self.data.qvel])


def stays_up(episode: "PlayedEpisode") -> bool:
    """Say whether an episode did the task: the pole stood until the end, near the middle."""
    position = episode.observations[-1, 0]
    return not episode.terminated and abs(position) < 0.9


gymnasium.register("Balance-v0", Balance, max_episode_steps=500)
