"""A task of one's own: a MuJoCo model, and functions over arrays of all simulations."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

from surefoot.envs.names import Names
from surefoot.envs.randomisation import Randomisation, add_buffers
from surefoot.envs.simulations import Simulations, Start, StateLayout, layout_of
from surefoot.envs.vector import Flags, Floats
from surefoot.errors import InputError

_PERIOD_TOLERANCE = 1e-6
"""Relative distance of a control period from a multiple of the timestep that is rounding."""


@dataclass(frozen=True, kw_only=True)
class MujocoTask:
    """What a controller has to do with a robot that MuJoCo simulates.

    The functions see all simulations at once (n of them) and must not keep anything between two
    calls, so that a training can be resumed bit for bit.

    Attributes:
        env_id: Gymnasium id with its version.
        mjcf: Path of an MJCF file, its text, or a `mujoco.MjSpec`.
        period_s: Control period in s, a multiple of the model's timestep.
        observe: What the policy sees, (n, O).
        reward: Reward of the step, (n,).
        terminated: Whether the episode ended, (n,); asked before ``reward``. None: it never does.
        reset: Changes the start of episodes in place. None: it is the model's own.
        keyframe: Name of the model's keyframe at which episodes start. None: its reference pose.
        remember: What ``reward`` needs from before the step, (n, K), as `Simulations.before`.
        control: Controls of the actuators, (n, nu), from `Simulations.action`. None: the actions
            are the controls, within the control ranges of the model.
        num_actions: Number of actions in [-1, 1] where there is a ``control``. None: one for each
            actuator.
        contacts: Pairs of geoms by a name of one's own, read by `Simulations.contact`.
        randomisation: How simulations differ from each other and from the model.
        with_body_forces: Whether `Simulations.body_forces` is computed, at about 5 us a step.
        max_episode_steps: Steps after which an episode is truncated.
    """

    env_id: str
    mjcf: str | Path | mujoco.MjSpec
    period_s: float
    observe: Callable[[Simulations], Floats]
    reward: Callable[[Simulations], Floats]
    terminated: Callable[[Simulations], Flags] | None = None
    reset: Callable[[Start], None] | None = None
    keyframe: str | None = None
    remember: Callable[[Simulations], Floats] | None = None
    control: Callable[[Simulations], Floats] | None = None
    num_actions: int | None = None
    contacts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    randomisation: Randomisation = field(default_factory=Randomisation)
    with_body_forces: bool = False
    max_episode_steps: int = 1000

    def register(self) -> None:
        """Register one robot of the task with Gymnasium, under its id."""
        gymnasium.register(
            self.env_id,
            "surefoot.envs.single_robot:SingleRobot",
            max_episode_steps=self.max_episode_steps,
            kwargs={"task": self},
        )

    def __deepcopy__(self, memo: object) -> "MujocoTask":
        """Return the task itself: Gymnasium copies what it makes environments of."""
        return self

    @cached_property
    def model(self) -> mujoco.MjModel:
        """The compiled model, which all simulations share.

        Raises:
            InputError: If MuJoCo refuses it, or a contact names no geom of it.
        """
        try:
            return self._compile()
        except (ValueError, OSError, mujoco.FatalError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{self.env_id}: mjcf must be a MuJoCo model: {reason}") from None

    @cached_property
    def names(self) -> Names:
        """The names of the model."""
        return Names(self.model)

    @cached_property
    def layout(self) -> StateLayout:
        """Where components lie in a row of the integration state."""
        return layout_of(self.model)

    @cached_property
    def num_substeps(self) -> int:
        """Number of MuJoCo's timesteps in a control period.

        Raises:
            InputError: If the period is not a multiple of the timestep.
        """
        timestep = self.model.opt.timestep
        number = round(self.period_s / timestep) if np.isfinite(self.period_s) else 0
        if number < 1 or abs(self.period_s / timestep / number - 1) > _PERIOD_TOLERANCE:
            raise InputError(
                f"{self.env_id}: period_s must be a multiple of the model's timestep {timestep:g} s"
                f", got {self.period_s:g}"
            )
        return number

    @property
    def dt_s(self) -> float:
        """Time between two actions in s."""
        return float(self.model.opt.timestep * self.num_substeps)

    @cached_property
    def action_bounds(self) -> NDArray[np.float32]:
        """Smallest and largest actions, float32 (2, A).

        Raises:
            InputError: If an actuator whose control is an action has no control range, or the
                number of actions is not positive or has no effect.
        """
        model = self.model
        if self.num_actions is not None and (self.control is None or self.num_actions < 1):
            raise InputError(
                f"{self.env_id}: num_actions must be positive and go with a control, got "
                f"{self.num_actions}{' without one' if self.control is None else ''}"
            )
        if self.control is not None:
            ones = np.ones(model.nu if self.num_actions is None else self.num_actions, np.float32)
            return np.stack((-ones, ones))
        for number in np.flatnonzero(~model.actuator_ctrllimited.astype(bool)):
            raise InputError(
                f"{self.env_id}: every actuator must have a ctrlrange, or the task a control;"
                f" {model.actuator(number).name or number!r} has none"
            )
        bounds: NDArray[np.float32] = model.actuator_ctrlrange.T.astype(np.float32)
        return bounds

    @cached_property
    def start_row(self) -> Floats:
        """Integration state in which an episode starts before ``reset`` changes it, (nstate,)."""
        data = mujoco.MjData(self.model)
        if self.keyframe is not None:
            number = self.names.keyframe(self.keyframe)
            mujoco.mj_resetDataKeyframe(self.model, data, number)
        row = np.empty(mujoco.mj_stateSize(self.model, mujoco.mjtState.mjSTATE_INTEGRATION))
        mujoco.mj_getState(self.model, data, row, mujoco.mjtState.mjSTATE_INTEGRATION)
        return row

    def _compile(self) -> mujoco.MjModel:
        is_text = isinstance(self.mjcf, str) and self.mjcf.lstrip().startswith("<")
        is_changed = self.contacts or self.randomisation.has_delays
        if not is_changed and not isinstance(self.mjcf, mujoco.MjSpec):
            load = mujoco.MjModel.from_xml_string if is_text else mujoco.MjModel.from_xml_path
            return load(os.fspath(self.mjcf))
        spec = self._spec(is_text)
        self._add_contacts(spec)
        add_buffers(spec, self.randomisation)
        return spec.compile()

    def _spec(self, is_text: bool) -> mujoco.MjSpec:
        if isinstance(self.mjcf, mujoco.MjSpec):
            return self.mjcf.copy()
        load = mujoco.MjSpec.from_string if is_text else mujoco.MjSpec.from_file
        return load(os.fspath(self.mjcf))

    def _add_contacts(self, spec: mujoco.MjSpec) -> None:
        """Add a sensor for each contact; a sensor changes no motion."""
        for name, (geom, other) in self.contacts.items():
            sensor = spec.add_sensor(
                name=name,
                type=mujoco.mjtSensor.mjSENS_CONTACT,
                objtype=mujoco.mjtObj.mjOBJ_GEOM,
                objname=geom,
                reftype=mujoco.mjtObj.mjOBJ_GEOM,
                refname=other,
            )
            sensor.intprm[:3] = _CONTACT_DATA


_NET_FORCE = 3
_FOUND_AND_FORCE = (1 << mujoco.mjtConDataField.mjCONDATA_FOUND.value) | (
    1 << mujoco.mjtConDataField.mjCONDATA_FORCE.value
)
_CONTACT_DATA = (_FOUND_AND_FORCE, _NET_FORCE, 1)
"""Data, reduction and number of a contact sensor: one net force, along the world's axes.

Reference: MuJoCo, XML reference, sensor/contact.
"""
