"""Where each named object of a MuJoCo model lies in MuJoCo's arrays."""

from collections.abc import Mapping
from typing import TypeVar

import mujoco

from surefoot.errors import InputError, did_you_mean

_Place = TypeVar("_Place")

_WIDTHS = {
    mujoco.mjtJoint.mjJNT_FREE: (7, 6),
    mujoco.mjtJoint.mjJNT_BALL: (4, 3),
    mujoco.mjtJoint.mjJNT_SLIDE: (1, 1),
    mujoco.mjtJoint.mjJNT_HINGE: (1, 1),
}
"""Positions and velocities of a joint of each type."""


class Names:
    """The joints, sensors, bodies, sites, geoms and actuators of a model by their names."""

    def __init__(self, model: mujoco.MjModel) -> None:
        """Look up every name once."""
        self._joints = {model.joint(i).name: _joint(model, i) for i in range(model.njnt)}
        self._sensors = {model.sensor(i).name: _sensor(model, i) for i in range(model.nsensor)}
        self._bodies = {model.body(i).name: i for i in range(model.nbody)}
        self._sites = {model.site(i).name: i for i in range(model.nsite)}
        self._geoms = {model.geom(i).name: i for i in range(model.ngeom)}
        self._actuators = {model.actuator(i).name: i for i in range(model.nu)}
        self._keyframes = {model.key(i).name: i for i in range(model.nkey)}

    def joint(self, name: str) -> tuple[slice, slice]:
        """Return where the positions and the velocities of a joint lie."""
        return _find(self._joints, "joint", name)

    def sensor(self, name: str) -> slice:
        """Return where the readings of a sensor lie."""
        return _find(self._sensors, "sensor", name)

    def body(self, name: str) -> int:
        """Return the number of a body."""
        return _find(self._bodies, "body", name)

    def site(self, name: str) -> int:
        """Return the number of a site."""
        return _find(self._sites, "site", name)

    def geom(self, name: str) -> int:
        """Return the number of a geom."""
        return _find(self._geoms, "geom", name)

    def actuator(self, name: str) -> int:
        """Return the number of an actuator."""
        return _find(self._actuators, "actuator", name)

    def keyframe(self, name: str) -> int:
        """Return the number of a keyframe."""
        return _find(self._keyframes, "keyframe", name)


def _joint(model: mujoco.MjModel, number: int) -> tuple[slice, slice]:
    num_qpos, num_qvel = _WIDTHS[mujoco.mjtJoint(model.jnt_type[number])]
    qpos, qvel = int(model.jnt_qposadr[number]), int(model.jnt_dofadr[number])
    return slice(qpos, qpos + num_qpos), slice(qvel, qvel + num_qvel)


def _sensor(model: mujoco.MjModel, number: int) -> slice:
    start = int(model.sensor_adr[number])
    return slice(start, start + int(model.sensor_dim[number]))


def _find(places: Mapping[str, _Place], kind: str, name: str) -> _Place:
    try:
        return places[name]
    except KeyError:
        hint = did_you_mean(name, places)
        raise InputError(f"{kind} must be one of the model, got {name!r}{hint}") from None
