"""The facts of the four tasks that run on `mujoco.batch`, as Gymnasium's v5 environments have them.

Reference: Gymnasium 1.4.0, `gymnasium/envs/mujoco/{hopper,walker2d,half_cheetah,ant}_v5.py`.

N = simulations, S = nq + nv, the joint positions followed by the joint velocities.
"""

from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import numpy as np
from gymnasium.envs.registration import EnvSpec as RegisteredEnv

from surefoot.envs.vector import Flags, Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a task adds to its MuJoCo model.

    Attributes:
        env_id: Gymnasium id.
        entry_point: Class that Gymnasium registers under this id.
        num_hidden_qpos: Leading positions (horizontal place) that are left out of observations.
        velocity_limit: Joint velocities are clipped to +- this in observations.
        initial_noise: What a reset adds to the model's initial positions and velocities, (S,).
        ctrl_cost_weight: Cost of the sum of squared actions.
        healthy: Flags (N,) from positions and velocities (N, S). A healthy step earns 1, any
            other terminates the episode. None: neither is the case.
        contact_cost_weight: Cost of the sum of squared contact forces, each clipped to [-1, 1],
            which are then observed as well. None: contact forces play no part, and the velocity
            in the reward is that of the first joint instead of the torso's.
    """

    env_id: str
    entry_point: str
    num_hidden_qpos: int = 1
    velocity_limit: float | None = None
    initial_noise: Callable[[np.random.Generator, mujoco.MjModel], Floats]
    ctrl_cost_weight: float
    healthy: Callable[[Floats], Flags] | None
    contact_cost_weight: float | None = None


def _uniform_noise(draw: np.random.Generator, model: mujoco.MjModel) -> Floats:
    # One draw gives the same numbers as Gymnasium's two: positions first, then velocities.
    noise: Floats = draw.uniform(-5e-3, 5e-3, model.nq + model.nv)
    return noise


def _uniform_then_normal_noise(draw: np.random.Generator, model: mujoco.MjModel) -> Floats:
    positions = draw.uniform(-0.1, 0.1, model.nq)
    return np.concatenate((positions, 0.1 * draw.standard_normal(model.nv)))


def _hopper_healthy(state_NS: Floats) -> Flags:
    z, angle = state_NS[:, 1], state_NS[:, 2]
    bounded = (np.abs(state_NS[:, 2:]) < 100.0).all(axis=1)
    return (z > 0.7) & (np.abs(angle) < 0.2) & bounded


def _walker2d_healthy(state_NS: Floats) -> Flags:
    z, angle = state_NS[:, 1], state_NS[:, 2]
    return (z > 0.8) & (z < 2.0) & (np.abs(angle) < 1.0)


def _ant_healthy(state_NS: Floats) -> Flags:
    z = state_NS[:, 2]
    return (z >= 0.2) & (z <= 1.0)


HOPPER = Task(
    env_id="Hopper-v5",
    entry_point="gymnasium.envs.mujoco.hopper_v5:HopperEnv",
    velocity_limit=10.0,
    initial_noise=_uniform_noise,
    ctrl_cost_weight=1e-3,
    healthy=_hopper_healthy,
)

WALKER2D = Task(
    env_id="Walker2d-v5",
    entry_point="gymnasium.envs.mujoco.walker2d_v5:Walker2dEnv",
    velocity_limit=10.0,
    initial_noise=_uniform_noise,
    ctrl_cost_weight=1e-3,
    healthy=_walker2d_healthy,
)

HALF_CHEETAH = Task(
    env_id="HalfCheetah-v5",
    entry_point="gymnasium.envs.mujoco.half_cheetah_v5:HalfCheetahEnv",
    initial_noise=_uniform_then_normal_noise,
    ctrl_cost_weight=0.1,
    healthy=None,
)

ANT = Task(
    env_id="Ant-v5",
    entry_point="gymnasium.envs.mujoco.ant_v5:AntEnv",
    num_hidden_qpos=2,
    initial_noise=_uniform_then_normal_noise,
    ctrl_cost_weight=0.5,
    healthy=_ant_healthy,
    contact_cost_weight=5e-4,
)

TASKS = (HOPPER, WALKER2D, HALF_CHEETAH, ANT)


def stock_task(registered: RegisteredEnv) -> Task | None:
    """Return the task that a registration means, or None if it is any other environment.

    An id with other arguments, wrappers or another class than Gymnasium's own registration is
    another environment, even under the same name.
    """
    for task in TASKS:
        if (registered.id, registered.entry_point) == (task.env_id, task.entry_point):
            changed = registered.kwargs or registered.additional_wrappers
            return None if changed else task
    return None
