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

from surefoot.envs.contract import (
    ContractError,
    require_flags,
    require_rows,
    require_unmasked,
    require_width,
)
from surefoot.envs.derived import Derived
from surefoot.envs.mujoco_task import MujocoTask
from surefoot.envs.randomiser import Randomiser
from surefoot.envs.simulations import STATE, Arrays, Simulations, Start
from surefoot.envs.user_code import user_code
from surefoot.envs.vector import Flags, Floats, State
from surefoot.errors import DivergenceError, InputError

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

    def __init__(
        self, task: MujocoTask, num_envs: int, num_threads: int = 1, obs_dim: int = 0
    ) -> None:
        """Make the simulations.

        Args:
            task: What they simulate.
            num_envs: Number of simulations.
            num_threads: Threads that step them.
            obs_dim: Length of an observation; 0 for that of the first one.

        Raises:
            InputError: If the model, or one of its names, is at fault.
        """
        self.task = task
        self.num_steps = np.zeros(num_envs, np.int64)
        self._ids = np.arange(num_envs, dtype=np.int32)
        self._asked = ""
        self.batch = _batch_of(task, num_envs, num_threads)
        self._data = mujoco.MjData(task.model) if task.with_body_forces else None
        self._ctrl = self.batch.bind("ctrl")
        self._num_bad = self.batch.warning[:, _BAD_STATE, 1]
        # qpos, qvel and act follow each other.
        self._motion = self.batch.state[:, task.layout.qpos.start : _end_of_act(task)]
        self._derived = Derived(self.batch, self._forward)
        self._arrays = self._make_arrays(num_envs)
        self._everyone = Simulations(self._arrays, slice(None))
        self._obs = np.zeros((num_envs, obs_dim))
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
        with user_code(self._failed):
            self._place(ids, streams)
            self._randomiser.begin(ids, streams)
            self._derived.begin(ids)
            started = Simulations(self._arrays, ids)
            self._begin_memory(started, ids)
            return self._observe(started, ids, is_start=True)

    def advance(self, actions: NDArray[np.float32]) -> Advance:
        """Apply one action to every simulation for a control period.

        Args:
            actions: float32 (N, A).

        Raises:
            DivergenceError: If a simulation diverged.
            UserCodeError: If a function of the task fails.
        """
        with user_code(self._failed):
            self._randomiser.push()
            self._apply(actions)
            self.num_steps += 1
            self._compute(lambda: self.batch.step(nstep=self.task.num_substeps))
            self._derived.step()
            self._check_finite()
            if self._data is not None:
                self._update_body_forces(self._data)
            return self._judge()

    def state_dict(self) -> State:
        """Return everything that the future depends on, as copies."""
        arrays = self._arrays
        return {
            "integration": self.batch.state.copy(),
            "num_steps": self.num_steps.copy(),
            "action": arrays.action.copy(),
            "previous_action": arrays.previous_action.copy(),
            "before": arrays.before.copy(),
            "terminated": arrays.terminated.copy(),
            "body_forces": arrays.body_forces.copy(),
            "derived": self._derived.copies(),
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
        for name in ("action", "previous_action", "before", "terminated", "body_forces"):
            setattr(self._arrays, name, state[name].copy())
        self._derived.load(state["derived"])
        self._randomiser.load_state_dict(state["randomised"], streams)
        self._obs = state["obs"].copy()
        return self._obs.copy()

    def _make_arrays(self, num_envs: int) -> Arrays:
        num_actions = self.task.action_bounds.shape[1]
        num_bodies = self.task.model.nbody if self.task.with_body_forces else 0
        return Arrays(
            state={name: _read_only(self.batch.bind(name)) for name in STATE},
            derived=self._derived,
            body_forces=np.zeros((num_envs, num_bodies, 6)),
            action=np.zeros((num_envs, num_actions), np.float32),
            previous_action=np.zeros((num_envs, num_actions), np.float32),
            before=np.zeros((num_envs, 0)),
            terminated=np.zeros(num_envs, np.bool_),
            dt_s=self.task.dt_s,
            names=self.task.names,
        )

    def _place(self, ids: NDArray[np.int32], streams: Sequence[np.random.Generator]) -> None:
        task = self.task
        self.num_steps[ids] = 0
        rows = np.repeat(task.start_row[None], len(ids), axis=0)
        if task.reset is not None:
            self._asked = "reset"
            task.reset(Start(rows, streams, task.layout, task.names))
            self._require_finite("start", rows, ids)
        self.batch.state[ids] = rows
        self.batch.warning[ids] = 0
        self._arrays.action[ids] = self._arrays.previous_action[ids] = 0
        self._arrays.terminated[ids] = False
        if self._data is not None:
            self._arrays.body_forces[ids] = 0  # by mj_resetData; mj_forward leaves them

    def _begin_memory(self, started: Simulations, ids: NDArray[np.int32]) -> None:
        """Forget what was remembered; at first, learn how much it is."""
        if self.task.remember is None:
            return
        if self._arrays.before.size == 0:
            first = self._ask("remember", self.task.remember, started, ids, 2)
            self._arrays.before = np.zeros((len(self.num_steps), first.shape[1]))
        self._arrays.before[ids] = 0

    def _apply(self, actions: NDArray[np.float32]) -> None:
        task, arrays = self.task, self._arrays
        if task.remember is not None:
            before = self._ask("remember", task.remember, self._everyone, self._ids, 2)
            require_width(before, arrays.before.shape[1])
            arrays.before[:] = before
        arrays.previous_action[:] = arrays.action
        arrays.action[:] = actions
        if task.control is None:
            self._ctrl[:] = actions
            return
        ctrl = self._ask("control", task.control, self._everyone, self._ids, 2)
        if ctrl.shape != self._ctrl.shape:
            raise ContractError(
                f"it must return one number for each of {task.model.nu} actuators,"
                f" got {ctrl.shape[1]}"
            )
        self._ctrl[:] = ctrl

    def _judge(self) -> Advance:
        arrays, now = self._arrays, self._everyone
        if self.task.terminated is not None:
            self._asked = "terminated"
            flags = np.array(self.task.terminated(now))
            require_flags(flags, len(self.num_steps))
            arrays.terminated[:] = flags
        reward = self._ask("reward", self.task.reward, now, self._ids, 1)
        return Advance(self._observe(now, self._ids), reward, arrays.terminated.copy())

    def _forward(self, ids: NDArray[np.int32], stage: int) -> None:
        self._compute(lambda: self.batch.forward(ids, stage))

    def _compute(self, call: Callable[[], None]) -> None:
        try:
            call()
        except SimulationError as error:
            raise self._divergence(int(error.ids[0]), str(error)) from error

    def _observe(
        self, simulations: Simulations, ids: NDArray[np.int32], *, is_start: bool = False
    ) -> Floats:
        obs = self._ask("observe", self.task.observe, simulations, ids, 2)
        if self._obs.size == 0:
            self._obs = np.zeros((len(self.num_steps), obs.shape[1]))
        require_width(obs, self._obs.shape[1])
        if is_start:
            self._randomiser.begin_errors(obs, ids)
        self._randomiser.disturb(obs, ids)
        self._obs[ids if is_start else slice(None)] = obs
        return obs

    def _ask(
        self,
        name: str,
        function: Function,
        simulations: Simulations,
        ids: NDArray[np.int32],
        num_axes: int,
    ) -> Floats:
        """Return a copy of what a function of the task gives, one row for each simulation."""
        self._asked = name
        given = function(simulations)
        require_unmasked(given)
        values = np.array(given, np.float64)
        require_rows(values, len(ids), num_axes)
        self._require_finite(name, values, ids)
        return values

    def _update_body_forces(self, data: mujoco.MjData) -> None:
        """Compute cfrc_ext of all simulations."""
        for i, forces in enumerate(self._arrays.body_forces):
            self.batch.get_data(i, data)
            mujoco.mj_rnePostConstraint(self.task.model, data)
            forces[:] = data.cfrc_ext

    def _check_finite(self) -> None:
        """Refuse a state that MuJoCo replaced or that is not finite.

        Raises:
            DivergenceError: If there is one.
        """
        if self._num_bad.any():
            i = _first_row(self._num_bad > 0)
            kind = mujoco.mjtWarning(_BAD_STATE.start + int(np.argmax(self._num_bad[i] > 0)))
            raise self._divergence(i, f"MuJoCo warned {kind.name}")
        self._require_finite("state", self._motion, self._ids)

    def _require_finite(self, what: str, values: Floats, ids: NDArray[np.int32]) -> None:
        finite = np.isfinite(values)
        if not finite.all():
            raise self._divergence(int(ids[_first_row(~finite)]), f"its {what} is not finite")

    def _failed(self) -> str:
        return f"{self.task.env_id} failed in {self._asked}"

    def _divergence(self, i: int, reason: str) -> DivergenceError:
        return DivergenceError(
            f"{self.task.env_id}: environment {i} diverged at step {self.num_steps[i]}"
            f" of its episode: {reason}"
        )


def _batch_of(task: MujocoTask, num_envs: int, num_threads: int) -> Batch:
    """Return simulations of the task's model.

    Raises:
        InputError: If the model keeps something outside its state, which cannot be resumed.
    """
    # mj_rnePostConstraint needs the contacts of the step, which only a persistent batch keeps.
    model, persistent = task.model, task.with_body_forces
    try:
        return Batch(model, num_envs, num_threads, persistent=persistent)
    except ValueError as error:
        raise InputError(f"{task.env_id}: mjcf must suit mujoco.batch: {error}") from None


def _first_row(flags: Flags) -> int:
    """Return the first row with a flag."""
    return int(np.argmax(flags.reshape(len(flags), -1).any(axis=1)))


def _read_only(array: Floats) -> Floats:
    view = array.view()
    view.flags.writeable = False
    return view


def _end_of_act(task: MujocoTask) -> int:
    return int(task.layout.qvel.stop + task.model.na)
