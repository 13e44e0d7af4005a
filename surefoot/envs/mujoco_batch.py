"""Gymnasium's MuJoCo tasks on `mujoco.batch`: threaded, and bit-identical to Gymnasium.

N = simulations, A = actuators, O = obs_dim, S = nq + nv.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.utils import seeding
from mujoco.batch import Batch, SimulationError
from numpy.typing import NDArray

from surefoot.envs.tasks import Task
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
from surefoot.errors import DivergenceError, InputError

_BAD_STATE = slice(mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADCTRL + 1)
"""Warnings about NaN, infinite or huge numbers: MuJoCo answers them by a silent reset."""


class MujocoBatchEnv:
    """A `VectorEnv` whose simulations are rows of one `mujoco.batch.Batch`.

    The environment does not clip actions: MuJoCo clamps the control, the control cost is that of
    the action as given.
    """

    resumable = True

    def __init__(
        self, task: Task, model_env: MujocoEnv, spec: EnvSpec, *, num_envs: int, num_threads: int
    ) -> None:
        """Make the simulations; `model_env` gives the model and is not stepped."""
        self.spec = spec
        self.num_envs = num_envs
        self._task = task
        self._dt_s = model_env.dt
        self._frame_skip = model_env.frame_skip
        self._model = model = model_env.model
        has_contacts = task.contact_cost_weight is not None
        # mj_rnePostConstraint needs the contacts of the step, which only a persistent batch keeps.
        self._batch = Batch(model, num_envs, num_threads, persistent=has_contacts)
        self._ctrl = self._batch.bind("ctrl")
        self._num_bad = self._batch.warning[:, _BAD_STATE, 1]
        # mj_getState: the components lie in the order of their bits: time, qpos, qvel, ...
        start = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_TIME)
        self._state_NS = self._batch.state[:, start : start + model.nq + model.nv]
        # Gymnasium takes Ant's place from the torso's xpos, one substep behind the state.
        self._x = self._batch.bind("xpos")[:, 1, 0] if has_contacts else self._state_NS[:, 0]
        self._new_row = self._batch.state[0].copy()
        """State row of a new simulation, which is what mj_resetData gives."""
        self._num_positions = model.nq - task.num_hidden_qpos
        self._data = mujoco.MjData(model)
        self._forces = np.zeros((num_envs, model.nbody * 6 if has_contacts else 0))

        self._np_random: list[np.random.Generator] = []
        self._x_before = np.zeros(num_envs)
        self._num_steps = np.zeros(num_envs, np.int64)

    def reset(self, seeds: Sequence[int] | None = None) -> Floats:
        """Start an episode everywhere; see `VectorEnv.reset`."""
        if seeds is not None:
            self._np_random = [
                seeding.np_random(seed)[0] for seed in check_seeds(seeds, self.num_envs)
            ]
        elif not self._np_random:
            self._np_random = [seeding.np_random()[0] for _ in range(self.num_envs)]
        self._batch.warning[:] = 0
        return self._begin_episodes(np.arange(self.num_envs, dtype=np.int32))

    def step(self, actions: NDArray[Any]) -> StepResult:
        """Apply float32 actions (N, A); see `VectorEnv.step`.

        Raises:
            InputError: If the actions do not fit, or nothing was reset before.
            DivergenceError: If a simulation diverged.
        """
        check_actions(actions, self.spec, self.num_envs)
        if not self._np_random:
            raise InputError(f"{self.spec.env_id}: reset() must come before step()")
        self._ctrl[:] = actions
        self._num_steps += 1
        try:
            self._batch.step(nstep=self._frame_skip)
        except SimulationError as error:
            raise self._divergence(int(error.ids[0]), str(error)) from error
        self._check_finite()

        task = self._task
        x = self._x.copy()
        reward = (x - self._x_before) / self._dt_s
        self._x_before = x
        if task.healthy is None:
            terminated = np.zeros(self.num_envs, np.bool_)
        else:
            healthy = task.healthy(self._state_NS)
            terminated = ~healthy
            reward += healthy
        # In float32, as Gymnasium, and over contiguous rows: the order of the sum shows.
        cost = task.ctrl_cost_weight * np.square(np.ascontiguousarray(actions)).sum(axis=1)
        if task.contact_cost_weight is not None:
            self._update_forces()
            cost = cost + task.contact_cost_weight * np.square(self._forces).sum(axis=1)
        reward -= cost

        truncated = self._num_steps >= (self.spec.max_episode_steps or np.inf)
        terminal_obs = self._observe(self._state_NS, self._forces)
        done = terminated | truncated
        obs = terminal_obs.copy()
        if done.any():
            ids = np.flatnonzero(done).astype(np.int32)
            obs[ids] = self._begin_episodes(ids)
        return StepResult(obs, reward, terminated, truncated, terminal_obs)

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
            "integration": self._batch.state.copy(),
            "x_before": self._x_before.copy(),
            "num_steps": self._num_steps.copy(),
            "forces": self._forces.copy(),
            "np_random": {str(i): generator_state(g) for i, g in enumerate(self._np_random)},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> Floats:
        """Go back to a stored state; see `VectorEnv.load_state_dict`."""
        check_state(state, self.spec, self.num_envs)
        self._batch.state[:] = state["integration"]
        self._batch.warning[:] = 0
        self._x_before = state["x_before"].copy()
        self._num_steps = state["num_steps"].copy()
        self._forces = state["forces"].copy()
        self._np_random = [
            generator_from_state(state["np_random"][str(i)]) for i in range(self.num_envs)
        ]
        return self._observe(self._state_NS, self._forces)

    def close(self) -> None:
        """Nothing to release: the simulations are memory."""

    def _begin_episodes(self, ids: NDArray[np.int32]) -> Floats:
        """Reset simulations as Gymnasium does, positions drawn first; return observations."""
        self._batch.state[ids] = self._new_row
        for i in ids.tolist():
            self._state_NS[i] += self._task.initial_noise(self._np_random[i], self._model)
        if self._task.contact_cost_weight is not None:
            # Of Gymnasium's mj_forward only xpos is used later: it leaves the integration state as
            # it is (mj_step saves the warm start).
            self._batch.forward(ids, stage=mujoco.mjtStage.mjSTAGE_POS)
        self._x_before[ids] = self._x[ids]
        self._num_steps[ids] = 0
        self._forces[ids] = 0.0  # mj_resetData zeroes them, mj_forward does not compute them
        return self._observe(self._state_NS[ids], self._forces[ids])

    def _observe(self, state_NS: Floats, forces: Floats) -> Floats:
        """Positions without the place, velocities, contact forces without the world's: (N, O)."""
        obs = np.concatenate((state_NS[:, self._task.num_hidden_qpos :], forces[:, 6:]), axis=1)
        if (limit := self._task.velocity_limit) is not None:
            velocities = obs[:, self._num_positions :]
            np.clip(velocities, -limit, limit, out=velocities)
        return obs

    def _update_forces(self) -> None:
        """Compute the external contact forces of all bodies (cfrc_ext), clipped to [-1, 1]."""
        for i in range(self.num_envs):
            self._batch.get_data(i, self._data)
            mujoco.mj_rnePostConstraint(self._model, self._data)
            self._forces[i] = self._data.cfrc_ext.ravel()
        np.clip(self._forces, -1.0, 1.0, out=self._forces)

    def _check_finite(self) -> None:
        """Refuse a state that MuJoCo replaced or that is not finite.

        Raises:
            DivergenceError: If there is one.
        """
        if self._num_bad.any():
            i = int(np.flatnonzero(self._num_bad.any(axis=1))[0])
            kind = mujoco.mjtWarning(_BAD_STATE.start + int(np.argmax(self._num_bad[i] > 0)))
            raise self._divergence(i, f"MuJoCo warned {kind.name}")
        if not np.isfinite(self._state_NS).all():
            i = int(np.flatnonzero(~np.isfinite(self._state_NS).all(axis=1))[0])
            raise self._divergence(i, "its state is not finite")

    def _divergence(self, i: int, reason: str) -> DivergenceError:
        return DivergenceError(
            f"{self.spec.env_id}: environment {i} diverged at step {self._num_steps[i]}"
            f" of its episode: {reason}"
        )
