"""How simulations of one task differ from each other: drawn anew at every reset."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import mujoco
import numpy as np

from surefoot.envs.vector import Floats
from surefoot.errors import InputError

Range = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """A force on one body, horizontal and of random direction, again and again.

    Attributes:
        body: Name of the body.
        force_N: Range of the force in N, through the body's centre of mass.
        every_s: Range of the time in s from a reset, or the end of a push, to the next one.
        lasts_s: Duration of a push in s, in whole control periods.
    """

    body: str
    force_N: Range  # noqa: N815 - newtons
    every_s: Range
    lasts_s: float

    def __post_init__(self) -> None:
        """Check the ranges."""
        require_range("push.force_N", self.force_N, at_least=0.0)
        require_range("push.every_s", self.every_s, at_least=0.0)
        require_range("push.lasts_s", (self.lasts_s, self.lasts_s), at_least=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Randomisation:
    """What is drawn for each simulation at each reset, uniformly between two bounds.

    Names may be patterns such as ``*_foot``; each object that matches gets a number of its own.

    Attributes:
        mass: Factor of the mass and inertia, by body.
        friction: Factor of the sliding friction, by geom. Of two geoms of equal priority the
            larger friction counts.
        damping: Factor of the damping, by joint.
        gain: Factor of gain and bias, by actuator: of stiffness and damping of a position servo.
        actuator_delay_s: Time in s from a control to its effect, by actuator.
        sensor_delay_s: Age in s of a sensor's reading, by sensor.
        obs_bias: Largest constant error of an episode by entry of the observation, (O,) or one
            number for all, in raw units.
        obs_noise: Standard deviation of a step's error by entry of the observation, likewise.
        push: An external push.
    """

    mass: Mapping[str, Range] = field(default_factory=dict)
    friction: Mapping[str, Range] = field(default_factory=dict)
    damping: Mapping[str, Range] = field(default_factory=dict)
    gain: Mapping[str, Range] = field(default_factory=dict)
    actuator_delay_s: Mapping[str, Range] = field(default_factory=dict)
    sensor_delay_s: Mapping[str, Range] = field(default_factory=dict)
    obs_bias: float | Floats = 0.0
    obs_noise: float | Floats = 0.0
    push: Push | None = None

    @property
    def has_delays(self) -> bool:
        """Whether a delay is drawn."""
        return bool(self.actuator_delay_s or self.sensor_delay_s)

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("mass", "friction", "damping", "gain", "actuator_delay_s", "sensor_delay_s"):
            for pattern, bounds in getattr(self, name).items():
                require_range(f"{name}[{pattern!r}]", bounds, at_least=0.0)


def require_range(name: str, bounds: Range, *, at_least: float) -> None:
    """Refuse bounds that are not a finite range above a number.

    Raises:
        InputError: If they are not.
    """
    low, high = bounds
    if not at_least <= low <= high < float("inf"):
        raise InputError(
            f"randomisation.{name} must be finite with {at_least:g} <= low <= high, got {bounds}"
        )


def require_matching_errors(randomisation: Randomisation, obs: Floats) -> None:
    """Refuse errors of sensors that do not fit observations, (n, O).

    Raises:
        InputError: If they are neither one number nor one for each entry, or negative.
    """
    for name in ("obs_bias", "obs_noise"):
        values = np.asarray(getattr(randomisation, name))
        if values.shape not in ((), obs.shape[1:]) or not (values >= 0).all():
            raise InputError(
                f"randomisation.{name} must be one number >= 0, or one for each of"
                f" {obs.shape[1]} entries of an observation, got {values}"
            )


def add_buffers(spec: mujoco.MjSpec, randomisation: Randomisation) -> None:
    """Give actuators and sensors the memory that MuJoCo needs for a drawn delay."""
    for kind, ranges in (
        (spec.actuators, randomisation.actuator_delay_s),
        (spec.sensors, randomisation.sensor_delay_s),
    ):
        longest_s = max((high for _, high in ranges.values()), default=0.0)
        if longest_s > 0:
            for one in kind:
                one.nsample = max(one.nsample, 1 + int(np.ceil(longest_s / spec.option.timestep)))
