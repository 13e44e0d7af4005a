"""What the functions of a task see: arrays over simulations, by the names of the model.

n = the simulations asked about, A = actions; nq, nv, nu and nbody as in MuJoCo.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from surefoot.envs.derived import Derived
from surefoot.envs.names import Names
from surefoot.envs.vector import Flags, Floats

Ids = slice | NDArray[np.int32]

STATE = ("qpos", "qvel", "act", "ctrl", "userdata", "time")
"""Fields of the state: those of the end of the step."""


@dataclass(frozen=True, slots=True)
class Joint:
    """One joint in every simulation.

    Attributes:
        qpos: Positions, (n, 1) in m or rad; (n, 4) of a ball and (n, 7) of a free joint, with unit
            quaternions.
        qvel: Velocities, (n, 1) in m/s or rad/s; (n, 3) of a ball and (n, 6) of a free joint.
    """

    qpos: Floats
    qvel: Floats


@dataclass(frozen=True, slots=True)
class Frame:
    """One body or site in every simulation, seen from the world.

    Attributes:
        xpos: Places in m, (n, 3).
        xmat: Rotations from its own axes to the world's, (n, 3, 3).
    """

    xpos: Floats
    xmat: Floats


@dataclass(frozen=True, slots=True)
class Contact:
    """What two geoms do to each other in every simulation.

    Attributes:
        touching: Whether they touch, (n,).
        force: Net force on the first of the two in N along the world's axes, (n, 3).
    """

    touching: Flags
    force: Floats


@dataclass(slots=True)
class Arrays:
    """The arrays over all simulations that a view is of.

    Attributes:
        state: Fields of the state by MuJoCo's names, (N, ...).
        derived: What MuJoCo derives from them.
        body_forces: External forces and torques by body, (N, nbody, 6); (N, 0, 6) if not asked for.
        action: Last action, float32 (N, A).
        previous_action: Action before the last, float32 (N, A).
        before: What the task remembers from before the last step, (N, K).
        terminated: Whether the task ended in the last step, (N,).
        dt_s: Control period in s.
        names: The names of the model.
    """

    state: Mapping[str, Floats]
    derived: Derived
    body_forces: Floats
    action: NDArray[np.float32]
    previous_action: NDArray[np.float32]
    before: Floats
    terminated: Flags
    dt_s: float
    names: Names


class Simulations:
    """Read-only arrays over simulations, as they are after a control period or a reset.

    Positions, velocities and time are those of the end of the period. What MuJoCo derives from
    them (bodies, sites, sensors, contacts) is one substep older, as `mujoco.mj_step` leaves it.
    """

    def __init__(self, arrays: Arrays, ids: Ids) -> None:
        """Look at the simulations ``ids`` of ``arrays``."""
        self._arrays = arrays
        self._ids = ids

    @property
    def dt_s(self) -> float:
        """Control period in s."""
        return self._arrays.dt_s

    @property
    def qpos(self) -> Floats:
        """Joint positions, (n, nq)."""
        return self._field("qpos")

    @property
    def qvel(self) -> Floats:
        """Joint velocities, (n, nv)."""
        return self._field("qvel")

    @property
    def ctrl(self) -> Floats:
        """Controls of the actuators, (n, nu)."""
        return self._field("ctrl")

    @property
    def actuator_force(self) -> Floats:
        """Forces of the actuators in N or N m, (n, nu)."""
        return self._derived("actuator_force")

    @property
    def userdata(self) -> Floats:
        """What `reset` left for the episode, (n, nuserdata): a commanded speed, say."""
        return self._field("userdata")

    @property
    def time_s(self) -> Floats:
        """Time since the episode began in s, (n,)."""
        return self._field("time")

    @property
    def action(self) -> NDArray[np.float32]:
        """Last action as the policy gave it, float32 (n, A); zeros at a reset."""
        return self._arrays.action[self._ids]

    @property
    def previous_action(self) -> NDArray[np.float32]:
        """Action before the last, float32 (n, A); zeros at a reset and after the first step."""
        return self._arrays.previous_action[self._ids]

    @property
    def before(self) -> Floats:
        """What ``remember`` gave before the last step, (n, K); zeros at a reset."""
        return self._arrays.before[self._ids]

    @property
    def body_forces(self) -> Floats:
        """External forces and torques on each body (cfrc_ext), (n, nbody, 6)."""
        return self._arrays.body_forces[self._ids]

    def joint(self, name: str) -> Joint:
        """Return the positions and velocities of a joint."""
        qpos, qvel = self._arrays.names.joint(name)
        return Joint(self.qpos[:, qpos], self.qvel[:, qvel])

    def sensor(self, name: str) -> Floats:
        """Return the readings of a sensor of the model, (n, dim)."""
        return self._derived("sensordata")[:, self._arrays.names.sensor(name)]

    def body(self, name: str) -> Frame:
        """Return where a body is."""
        return self._frame("xpos", "xmat", self._arrays.names.body(name))

    def site(self, name: str) -> Frame:
        """Return where a site is."""
        return self._frame("site_xpos", "site_xmat", self._arrays.names.site(name))

    def contact(self, name: str) -> Contact:
        """Return a contact that the task named in ``contacts``."""
        found = self.sensor(name)
        # MuJoCo's sensor has the force that the first exerts on the second.
        return Contact(found[:, 0] > 0, -found[:, 1:])

    @property
    def terminated(self) -> Flags:
        """What ``terminated`` said of the last step, (n,), for `reward` and `observe`."""
        return self._arrays.terminated[self._ids]

    def _frame(self, places: str, rotations: str, number: int) -> Frame:
        rotation = self._derived(rotations)[:, number]
        return Frame(self._derived(places)[:, number], rotation.reshape(len(rotation), 3, 3))

    def _field(self, name: str) -> Floats:
        return self._arrays.state[name][self._ids]

    def _derived(self, name: str) -> Floats:
        return self._arrays.derived.read(name)[self._ids]


@dataclass(frozen=True, slots=True)
class StateLayout:
    """Where components lie in a row of the integration state.

    Attributes:
        qpos: Joint positions.
        qvel: Joint velocities.
        userdata: Numbers of the task's own.
    """

    qpos: slice
    qvel: slice
    userdata: slice


def layout_of(model: mujoco.MjModel) -> StateLayout:
    """Return where components lie, by the order of their bits (`mj_getState`)."""

    def place(component: mujoco.mjtState) -> slice:
        lower = int(mujoco.mjtState.mjSTATE_INTEGRATION) & (int(component) - 1)
        start = mujoco.mj_stateSize(model, lower)
        return slice(start, start + mujoco.mj_stateSize(model, int(component)))

    state = mujoco.mjtState
    return StateLayout(
        place(state.mjSTATE_QPOS), place(state.mjSTATE_QVEL), place(state.mjSTATE_USERDATA)
    )


class Start:
    """The state in which episodes begin, for ``reset`` to change: rows of n simulations.

    Every simulation draws from the random stream of its own environment, so its episode does not
    depend on which others begin.
    """

    def __init__(
        self,
        rows: Floats,
        streams: Sequence[np.random.Generator],
        layout: StateLayout,
        names: Names,
    ) -> None:
        """Look at integration states, (n, nstate)."""
        self._rows = rows
        self._streams = streams
        self._layout = layout
        self._names = names

    @property
    def qpos(self) -> Floats:
        """Joint positions to write, (n, nq)."""
        return self._rows[:, self._layout.qpos]

    @property
    def qvel(self) -> Floats:
        """Joint velocities to write, (n, nv)."""
        return self._rows[:, self._layout.qvel]

    @property
    def userdata(self) -> Floats:
        """Numbers of the task's own to write, (n, nuserdata); they last for the episode."""
        return self._rows[:, self._layout.userdata]

    def joint(self, name: str) -> Joint:
        """Return the positions and velocities of a joint to write."""
        qpos, qvel = self._names.joint(name)
        return Joint(self.qpos[:, qpos], self.qvel[:, qvel])

    def uniform(self, low: float | Floats, high: float | Floats, size: int) -> Floats:
        """Draw numbers between two bounds, or between two bounds for each, (n, size)."""
        return np.array([stream.uniform(low, high, size) for stream in self._streams])

    def normal(self, size: int) -> Floats:
        """Draw from the standard normal distribution, (n, size)."""
        return np.array([stream.standard_normal(size) for stream in self._streams])
