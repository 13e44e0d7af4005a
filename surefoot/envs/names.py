"""Where each named object of a MuJoCo model lies in MuJoCo's arrays."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
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
    """The objects of a model by their names."""

    def __init__(self, model: mujoco.MjModel) -> None:
        """Look up every name once."""
        self._joints = {model.joint(i).name: _joint(model, i) for i in range(model.njnt)}
        self._sensors = {model.sensor(i).name: _sensor(model, i) for i in range(model.nsensor)}
        self._numbers = {
            "body": {model.body(i).name: i for i in range(model.nbody)},
            "site": {model.site(i).name: i for i in range(model.nsite)},
            "geom": {model.geom(i).name: i for i in range(model.ngeom)},
            "actuator": {model.actuator(i).name: i for i in range(model.nu)},
            "sensor": {model.sensor(i).name: i for i in range(model.nsensor)},
            "keyframe": {model.key(i).name: i for i in range(model.nkey)},
        }

    def joint(self, name: str) -> tuple[slice, slice]:
        """Return where the positions and the velocities of a joint lie."""
        return _find(self._joints, "joint", name)

    def sensor(self, name: str) -> slice:
        """Return where the readings of a sensor lie."""
        return _find(self._sensors, "sensor", name)

    def body(self, name: str) -> int:
        """Return the number of a body."""
        return _find(self._numbers["body"], "body", name)

    def site(self, name: str) -> int:
        """Return the number of a site."""
        return _find(self._numbers["site"], "site", name)

    def keyframe(self, name: str) -> int:
        """Return the number of a keyframe."""
        return _find(self._numbers["keyframe"], "keyframe", name)

    def matching(self, kind: str, pattern: str) -> list[int]:
        """Return the numbers of all objects of a kind whose name matches a pattern such as ``*_x``.

        The kind ``dof`` means the velocities of joints.

        Raises:
            InputError: If there is none.
        """
        if kind == "dof":
            dofs = {name: range(qvel.start, qvel.stop) for name, (_, qvel) in self._joints.items()}
            return [i for name in _names_like(dofs, "joint", pattern) for i in dofs[name]]
        numbers = self._numbers[kind]
        return [numbers[name] for name in _names_like(numbers, kind, pattern)]


def _names_like(known: Iterable[str], kind: str, pattern: str) -> list[str]:
    matched = [name for name in known if name and fnmatchcase(name, pattern)]
    if not matched:
        hint = did_you_mean(pattern, known)
        raise InputError(f"{kind} must be one of the model, got {pattern!r}{hint}")
    return matched


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
