"""The four tasks of Gymnasium that run on `mujoco.batch`, with exactly its v5 numbers.

Reference: Gymnasium 1.4.0, `gymnasium/envs/mujoco/{hopper,walker2d,half_cheetah,ant}_v5.py`.

n = simulations.
"""

from collections.abc import Callable
from pathlib import Path

import gymnasium.envs.mujoco
import numpy as np
from gymnasium.envs.registration import EnvSpec as RegisteredEnv

from surefoot.envs.mujoco_task import MujocoTask
from surefoot.envs.simulations import Simulations, Start
from surefoot.envs.vector import Flags, Floats

Function = Callable[[Simulations], Floats]

_ASSETS = Path(gymnasium.envs.mujoco.__file__).parent / "assets"


def _uniform_noise(start: Start) -> None:
    # One draw gives the same numbers as Gymnasium's two: positions first, then velocities.
    num_qpos, num_qvel = start.qpos.shape[1], start.qvel.shape[1]
    noise = start.uniform(-5e-3, 5e-3, num_qpos + num_qvel)
    start.qpos[:] += noise[:, :num_qpos]
    start.qvel[:] += noise[:, num_qpos:]


def _uniform_then_normal_noise(start: Start) -> None:
    start.qpos[:] += start.uniform(-0.1, 0.1, start.qpos.shape[1])
    start.qvel[:] += 0.1 * start.normal(start.qvel.shape[1])


def _place(now: Simulations) -> Floats:
    return now.qpos[:, :1]


def _torso_place(now: Simulations) -> Floats:
    """Return x of Ant's torso, one substep behind the state as in Gymnasium."""
    return now.body("torso").xpos[:, :1]


def _control_cost(now: Simulations, weight: float) -> Floats:
    # In float32, as Gymnasium, and over contiguous rows: the order of the sum shows.
    cost: Floats = weight * np.square(now.action).sum(axis=1)
    return cost


def _hopper_falls(now: Simulations) -> Flags:
    qpos = now.qpos
    bounded = (np.abs(qpos[:, 2:]) < 100.0).all(axis=1) & (np.abs(now.qvel) < 100.0).all(axis=1)
    return ~((qpos[:, 1] > 0.7) & (np.abs(qpos[:, 2]) < 0.2) & bounded)


def _walker2d_falls(now: Simulations) -> Flags:
    z, angle = now.qpos[:, 1], now.qpos[:, 2]
    return ~((z > 0.8) & (z < 2.0) & (np.abs(angle) < 1.0))


def _ant_falls(now: Simulations) -> Flags:
    z = now.qpos[:, 2]
    return ~((z >= 0.2) & (z <= 1.0))


def _observe_clipped(now: Simulations) -> Floats:
    return np.concatenate((now.qpos[:, 1:], np.clip(now.qvel, -10.0, 10.0)), axis=1)


def _observe_half_cheetah(now: Simulations) -> Floats:
    return np.concatenate((now.qpos[:, 1:], now.qvel), axis=1)


def _observe_ant(now: Simulations) -> Floats:
    # The world's own contact forces are left out.
    return np.concatenate((now.qpos[:, 2:], now.qvel, _ant_contacts(now)[:, 6:]), axis=1)


def _ant_contacts(now: Simulations) -> Floats:
    contacts: Floats = np.clip(now.body_forces, -1.0, 1.0)
    return contacts.reshape(len(contacts), -1)


def _planar_reward(cost_weight: float, *, is_alive_worth: bool) -> Function:
    """Return speed along x, plus 1 where it goes on, minus the cost of the control."""

    def reward(now: Simulations) -> Floats:
        gain: Floats = (now.qpos[:, 0] - now.before[:, 0]) / now.dt_s
        if is_alive_worth:
            gain += ~now.terminated
        return gain - _control_cost(now, cost_weight)

    return reward


def _ant_reward(now: Simulations) -> Floats:
    gain: Floats = (_torso_place(now)[:, 0] - now.before[:, 0]) / now.dt_s
    gain += ~now.terminated
    contact_cost: Floats = 5e-4 * np.square(_ant_contacts(now)).sum(axis=1)
    return gain - (_control_cost(now, 0.5) + contact_cost)


HOPPER = MujocoTask(
    env_id="Hopper-v5",
    mjcf=_ASSETS / "hopper.xml",
    period_s=0.008,
    observe=_observe_clipped,
    reward=_planar_reward(1e-3, is_alive_worth=True),
    terminated=_hopper_falls,
    reset=_uniform_noise,
    remember=_place,
)

WALKER2D = MujocoTask(
    env_id="Walker2d-v5",
    mjcf=_ASSETS / "walker2d_v5.xml",
    period_s=0.008,
    observe=_observe_clipped,
    reward=_planar_reward(1e-3, is_alive_worth=True),
    terminated=_walker2d_falls,
    reset=_uniform_noise,
    remember=_place,
)

HALF_CHEETAH = MujocoTask(
    env_id="HalfCheetah-v5",
    mjcf=_ASSETS / "half_cheetah.xml",
    period_s=0.05,
    observe=_observe_half_cheetah,
    reward=_planar_reward(0.1, is_alive_worth=False),
    reset=_uniform_then_normal_noise,
    remember=_place,
)

ANT = MujocoTask(
    env_id="Ant-v5",
    mjcf=_ASSETS / "ant.xml",
    period_s=0.05,
    observe=_observe_ant,
    reward=_ant_reward,
    terminated=_ant_falls,
    reset=_uniform_then_normal_noise,
    remember=_torso_place,
    with_body_forces=True,
)

_STOCK = {
    "gymnasium.envs.mujoco.hopper_v5:HopperEnv": HOPPER,
    "gymnasium.envs.mujoco.walker2d_v5:Walker2dEnv": WALKER2D,
    "gymnasium.envs.mujoco.half_cheetah_v5:HalfCheetahEnv": HALF_CHEETAH,
    "gymnasium.envs.mujoco.ant_v5:AntEnv": ANT,
}
"""Tasks by the class that Gymnasium registers under their id."""

TASKS = tuple(_STOCK.values())


def stock_task(registered: RegisteredEnv) -> MujocoTask | None:
    """Return the task that a registration means, or None if it is any other environment.

    An id with other arguments, wrappers or another class than Gymnasium's own registration is
    another environment, even under the same name.
    """
    task = _STOCK.get(str(registered.entry_point))
    if task is None or task.env_id != registered.id:
        return None
    return None if registered.kwargs or registered.additional_wrappers else task
