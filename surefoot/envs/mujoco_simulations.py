"""The simulations of a task on one `mujoco.batch.Batch`, without episodes that end.

N = all simulations, n = some of them, A = actions, O = observation length, K = what is remembered.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from mujoco.batch import Batch, SimulationError
from numpy.typing import NDArray

from surefoot.envs.contract import require_flags, require_rows
from surefoot.envs.mujoco_task import MujocoTask
from surefoot.envs.randomiser import Randomiser
from surefoot.envs.simulations import DERIVED, STATE, Arrays, Simulations, Start
from surefoot.envs.user_code import user_code
from surefoot.envs.vector import Flags, Floats, State
from surefoot.errors import DivergenceError, InputError, UserCodeError

_BAD_STATE = slice(mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADCTRL + 1)
"""Warnings about NaN, infinite or huge numbers: MuJoCo answers them by a silent reset."""


Function = Callable[[Simulations], Floats]


@dataclass(frozen=True, slots=True)
class Advance:
    """What one control period led to.

    Attributes:
        obs: Observations, (N, O).
        reward: Rewards, (N,).
        terminated: Whether the episode ended, (N,).
    """

    obs: Floats
    reward: Floats
    terminated: Flags


class MujocoSimulations:
    """Robots of one task, begun and advanced together; all share one model."""

    def __init__(self, task: MujocoTask, num_envs: int, num_threads: int = 1) -> None:
        """Make the simulations.

        Raises:
            InputError: If the model, or one of its names, is at fault.
        """
        self.task = task
        self.num_steps = np.zeros(num_envs, np.int64)
        # mj_rnePostConstraint needs the contacts of the step, which only a persistent batch keeps.
        persistent = task.with_body_forces
        self.batch = Batch(task.model, num_envs, num_threads, persistent=persistent)
        self._data = mujoco.MjData(task.model)
        self._ctrl = self.batch.bind("ctrl")
        self._num_bad = self.batch.warning[:, _BAD_STATE, 1]
        self._motion = self.batch.state[:, _motion_of(task.model)]
        self._derived = {name: self._bind(name) for name in DERIVED}
        self._arrays = self._make_arrays(num_envs)
        self._everyone = Simulations(self._arrays, slice(None))
        self._obs = np.zeros((num_envs, 0))
        self._randomiser = Randomiser(task.randomisation, self.batch, task.names)

    def begin(self, ids: NDArray[np.int32], streams: Sequence[np.random.Generator]) -> Floats:
        """Start episodes, everywhere at first; return observations.

        Args:
            ids: The simulations, (n,).
            streams: The random stream of each of them.

        Raises:
            DivergenceError: If a start is not finite.
            UserCodeError: If a function of the task fails.
        """
        self._place(ids, streams)
        self._randomiser.begin(ids, streams)
        self._compute(lambda: self.batch.forward(ids))
        started = Simulations(self._arrays, ids)
        if self.task.remember is not None:
            before = self._ask("remember", self.task.remember, started, 2)
            if self._arrays.before.shape[1] != before.shape[1]:
                self._arrays.before = np.zeros((len(self.num_steps), before.shape[1]))
            self._arrays.before[ids] = before
        return self._observe(started, ids, is_start=True)

    def advance(self, actions: NDArray[np.float32]) -> Advance:
        """Apply one action to every simulation for a control period.

        Args:
            actions: float32 (N, A).

        Raises:
            DivergenceError: If a simulation diverged.
            UserCodeError: If a function of the task fails.
        """
        self._randomiser.push()
        self._apply(actions)
        self.num_steps += 1
        self._compute(lambda: self.batch.step(nstep=self.task.num_substeps))
        if self.task.with_body_forces:
            self._update_body_forces()
        everyone, num_envs = self._everyone, len(self.num_steps)
        reward = self._ask("reward", self.task.reward, everyone, 1)
        terminated = np.zeros(num_envs, np.bool_)
        if self.task.terminated is not None:
            terminated = self._ask_flags(self.task.terminated)
        return Advance(self._observe(everyone, np.arange(num_envs)), reward, terminated)

    def state_dict(self) -> State:
        """Return everything that the future depends on, as copies."""
        arrays = self._arrays
        return {
            "integration": self.batch.state.copy(),
            "num_steps": self.num_steps.copy(),
            "action": arrays.action.copy(),
            "previous_action": arrays.previous_action.copy(),
            "before": arrays.before.copy(),
            "body_forces": arrays.body_forces.copy(),
            "derived": {name: self._fields[name].copy() for name in DERIVED},
            "obs": self._obs.copy(),
            "randomised": self._randomiser.state_dict(),
        }

    def load_state_dict(
        self, state: Mapping[str, Any], streams: Sequence[np.random.Generator]
    ) -> Floats:
        """Go back to a stored state; return the observations that the policy sees next, (N, O).

        Args:
            state: What `state_dict` gave.
            streams: The random stream of each simulation, from which its episode goes on drawing.

        Raises:
            InputError: If the state is of another model.
        """
        if state["integration"].shape != self.batch.state.shape:
            raise InputError(
                f"state must be of the model of {self.task.env_id}, got rows of"
                f" {state['integration'].shape[1]} numbers for {self.batch.nstate}"
            )
        self.batch.state[:] = state["integration"]
        self.batch.warning[:] = 0
        self.num_steps[:] = state["num_steps"]
        for name in ("action", "previous_action", "before", "body_forces"):
            setattr(self._arrays, name, state[name].copy())
        # What MuJoCo derived is no part of its state; the next step computes it anew.
        self._fields.update({name: state["derived"][name].copy() for name in DERIVED})
        self._randomiser.load_state_dict(state["randomised"], streams)
        self._obs = state["obs"].copy()
        return self._obs.copy()

    def _make_arrays(self, num_envs: int) -> Arrays:
        num_actions = self.task.action_bounds.shape[1]
        self._fields = {name: _read_only(self.batch.bind(name)) for name in STATE}
        self._fields.update(self._derived)
        num_bodies = self.task.model.nbody if self.task.with_body_forces else 0
        return Arrays(
            fields=self._fields,
            body_forces=np.zeros((num_envs, num_bodies, 6)),
            action=np.zeros((num_envs, num_actions), np.float32),
            previous_action=np.zeros((num_envs, num_actions), np.float32),
            before=np.zeros((num_envs, 0)),
            dt_s=self.task.dt_s,
            names=self.task.names,
        )

    def _bind(self, name: str) -> Floats:
        """Return a derived field of all simulations, empty if the model has nothing of it."""
        shape = getattr(self._data, name).shape
        if 0 in shape:
            return np.zeros((self.batch.nsim, *shape))
        bound: Floats = self.batch.bind(name)
        return bound

    def _place(self, ids: NDArray[np.int32], streams: Sequence[np.random.Generator]) -> None:
        task = self.task
        rows = np.tile(task.start_row, (len(ids), 1))
        if task.reset is not None:
            with user_code(lambda: self._failed("reset")):
                task.reset(Start(rows, streams, task.model, task.names))
        self.batch.state[ids] = rows
        self.batch.warning[ids] = 0
        self.num_steps[ids] = 0
        self._arrays.action[ids] = self._arrays.previous_action[ids] = 0
        self._arrays.body_forces[ids] = 0  # by mj_resetData; mj_forward does not compute them

    def _apply(self, actions: NDArray[np.float32]) -> None:
        task, arrays = self.task, self._arrays
        if task.remember is not None:
            arrays.before[:] = self._ask("remember", task.remember, self._everyone, 2)
        arrays.previous_action[:] = arrays.action
        arrays.action[:] = actions
        if task.control is None:
            self._ctrl[:] = actions
            return
        ctrl = self._ask("control", task.control, self._everyone, 2)
        if ctrl.shape != self._ctrl.shape:
            raise UserCodeError(
                f"{self._failed('control')}: it must return one number for each of"
                f" {task.model.nu} actuators, got {ctrl.shape[1]}"
            )
        self._ctrl[:] = ctrl

    def _compute(self, call: Callable[[], None]) -> None:
        try:
            call()
        except SimulationError as error:
            raise self._divergence(int(error.ids[0]), str(error)) from error
        self._fields.update(self._derived)
        self._check_finite()

    def _observe(
        self, simulations: Simulations, ids: NDArray[np.integer[Any]], *, is_start: bool = False
    ) -> Floats:
        obs = self._ask("observe", self.task.observe, simulations, 2)
        if self._obs.shape[1] != obs.shape[1]:
            self._obs = np.zeros((len(self.num_steps), obs.shape[1]))
        if is_start:
            self._randomiser.begin_errors(obs, ids)
        self._randomiser.disturb(obs, ids)
        self._obs[ids] = obs
        return obs

    def _ask(
        self, name: str, function: Function, simulations: Simulations, num_axes: int
    ) -> Floats:
        """Return a copy of what a function of the task gives, one row for each simulation."""
        with user_code(lambda: self._failed(name)):
            values = np.array(function(simulations), np.float64)
            require_rows(values, len(simulations.qpos), num_axes)
        self._require_finite(name, values)
        return values

    def _ask_flags(self, function: Callable[[Simulations], Flags]) -> Flags:
        with user_code(lambda: self._failed("terminated")):
            flags = np.array(function(self._everyone))
            require_flags(flags, len(self.num_steps))
        return flags

    def _update_body_forces(self) -> None:
        """Compute cfrc_ext of all simulations."""
        for i, forces in enumerate(self._arrays.body_forces):
            self.batch.get_data(i, self._data)
            mujoco.mj_rnePostConstraint(self.task.model, self._data)
            forces[:] = self._data.cfrc_ext

    def _check_finite(self) -> None:
        """Refuse a state that MuJoCo replaced or that is not finite.

        Raises:
            DivergenceError: If there is one.
        """
        if self._num_bad.any():
            i = _first_row(self._num_bad > 0)
            kind = mujoco.mjtWarning(_BAD_STATE.start + int(np.argmax(self._num_bad[i] > 0)))
            raise self._divergence(i, f"MuJoCo warned {kind.name}")
        self._require_finite("state", self._motion)

    def _require_finite(self, what: str, values: Floats) -> None:
        finite = np.isfinite(values)
        if not finite.all():
            raise self._divergence(_first_row(~finite), f"its {what} is not finite")

    def _failed(self, name: str) -> str:
        return f"{self.task.env_id} failed in {name}"

    def _divergence(self, i: int, reason: str) -> DivergenceError:
        return DivergenceError(
            f"{self.task.env_id}: environment {i} diverged at step {self.num_steps[i]}"
            f" of its episode: {reason}"
        )


def _first_row(flags: Flags) -> int:
    """Return the first row with a flag."""
    return int(np.argmax(flags.reshape(len(flags), -1).any(axis=1)))


def _read_only(array: Floats) -> Floats:
    view = array.view()
    view.flags.writeable = False
    return view


def _motion_of(model: mujoco.MjModel) -> slice:
    """Return where qpos, qvel and act lie in a row, by the order of their bits (mj_getState)."""
    start = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_TIME)
    return slice(start, start + model.nq + model.nv + model.na)
