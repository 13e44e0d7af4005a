"""From the units of a robot to those of a controller: wrong readings as a set of wrong states.

Let a sensor read o where it should read o', both float32, with |o - o'| <= r in its own unit. With
z = clip((o - mean) / scale) in real arithmetic, the states differ by at most r / scale, and the
normaliser of the runtime is off by at most e at each of them:

    |z_rt(o) - z_rt(o')| <= r / scale + e(z) + e(z') =: radius

The ball of these radii therefore holds the states of every wrong reading, as real numbers and as
the deployed arithmetic computes them. All of it is computed in fractions and rounded up once.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from surefoot.ball import Ball, Norm
from surefoot.errors import InputError
from surefoot.policy import Normaliser
from surefoot.robot import PURE, ROBOT_FILE, Robot, Sensor
from surefoot.sensors import SensorScales

NOISE = "noise"
"""In place of sizes: the noise of every sensor that has one in the description of the robot."""

Perturbation = Mapping[str, float | str] | str
"""Largest error of a reading by sensor, group or entry, in raw units; or ``NOISE``.

A size may be written with its unit, as "0.03 rad/s": it must then be that of the sensor.
"""

_LARGEST = (2 - 2.0**-23) * 2.0**127
"""Largest float32: a reading that errs by more is none."""

_UNIT_ROUNDOFF = Fraction(1, 2**24)
_SMALLEST = Fraction(1, 2**126)
"""Smallest normal float32: more than is lost where a result is flushed to zero."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OnRobot:
    """What the words of a requirement mean on one robot.

    Attributes:
        readings: Largest error of the readings of each sensor that is named, with its unit.
        outputs: Numbers of the outputs that are limited; None for all.
        unit: Unit of the limit; empty where the actuators have several.
    """

    readings: Mapping[str, str]
    outputs: tuple[int, ...] | None = None
    unit: str = ""


def check_perturbation(perturb: Perturbation) -> None:
    """Check the sizes of a perturbation in raw units.

    Raises:
        InputError: If there is none, one is not a positive float32, or a word is not ``NOISE``.
    """
    if isinstance(perturb, str):
        if perturb != NOISE:
            raise InputError(f"perturb must be sizes by sensor, or {NOISE!r}, got {perturb!r}")
        return
    if not perturb:
        raise InputError("perturb must name at least one sensor")
    for name, size in perturb.items():
        if not 0 < _amount(name, size)[0] <= _LARGEST:
            raise InputError(f"perturb.{name} must be in (0, {_LARGEST:.4g}], got {size}")


def _amount(name: str, size: float | str) -> tuple[float, str | None]:
    """Return a size and the unit with which it is written, None for none.

    Raises:
        InputError: If it is neither a number nor a number with a unit.
    """
    if not isinstance(size, str):
        return size, None
    number, _, unit = size.partition(" ")
    try:
        return float(number), unit.strip() or None
    except ValueError:
        raise InputError(
            f"perturb.{name} must be a number, or one with its unit, got {size!r}"
        ) from None


def sizes_of(perturb: Perturbation, robot: Robot) -> dict[str, float]:
    """Return the largest error of the readings by the name of a sensor, raw units.

    Raises:
        InputError: If the noise is asked for and no sensor has one, a sensor is unknown, or a unit
            is not its own.
    """
    if not isinstance(perturb, str):
        return {name: _in_unit(name, size, robot) for name, size in perturb.items()}
    noise = {sensor.name: sensor.noise for sensor in robot.sensors if sensor.noise is not None}
    if not noise:
        raise InputError(f"perturb = {NOISE!r} needs a sensor with a noise in {ROBOT_FILE}")
    return noise


def _in_unit(name: str, size: float | str, robot: Robot) -> float:
    """Return a size in the unit of its sensors.

    Raises:
        InputError: If the sensors are unknown, or it is written with another unit than theirs.
    """
    value, written = _amount(name, size)
    for entry in robot.sensors_called(name):
        unit = robot.each_sensor[entry].unit
        if written is not None and written != unit:
            raise InputError(f"perturb.{name} must be in {unit}, as its sensor is, got {size!r}")
    return value


def entry_errors(perturb: Perturbation, robot: Robot) -> tuple[float, ...]:
    """Return the largest error of each entry of the observation, raw units; 0 for none.

    Raises:
        InputError: If a sensor is unknown or named twice.
    """
    errors = [0.0] * len(robot.sensor_labels)
    for name, size in sizes_of(perturb, robot).items():
        for entry in robot.sensors_called(name):
            if errors[entry]:
                raise InputError(
                    f"perturb names {robot.sensor_labels[entry]} twice, by {name!r} the second time"
                )
            errors[entry] = size
    return tuple(errors)


def readings_of(perturb: Perturbation, robot: Robot) -> dict[str, str]:
    """Return the largest error of the readings by the name of a sensor, with its unit.

    Raises:
        InputError: If a sensor is unknown, or a group has several units.
    """
    words = {}
    for name, size in sorted(sizes_of(perturb, robot).items()):  # as JSON has them
        units = {robot.each_sensor[entry].unit for entry in robot.sensors_called(name)}
        if len(units) > 1:
            raise InputError(
                f"perturb.{name} must be of sensors with one unit, have {', '.join(sorted(units))}"
            )
        words[name] = with_unit(size, units.pop())
    return words


def ball_of(
    perturb: Perturbation, robot: Robot, normaliser: Normaliser, state_limit: float | None = None
) -> Ball:
    """Return the smallest set of this form that holds the states of all wrong readings.

    Args:
        perturb: Largest error of the readings, raw units; sensors that are not named err by none.
        robot: The robot.
        normaliser: Normaliser of its controller.
        state_limit: Largest state that is assumed, normalised units, where nothing clips it.

    Raises:
        InputError: If a sensor is unknown or named twice, or nothing bounds its state.
    """
    radii = [Fraction(0)] * normaliser.mean.size  # no error of what a controller remembers
    for entry, error in enumerate(entry_errors(perturb, robot)):
        if error:
            radii[entry] = _radius(error, entry, normaliser, state_limit)
    epsilon = _up(max(radii))
    shares = tuple(min(_up(radius / Fraction(epsilon)), 1.0) for radius in radii)
    return Ball(norm=Norm.LINF, epsilon=epsilon, sensors=shares)


def radii_of(
    perturb: Perturbation, robot: Robot, normaliser: Normaliser, state_limit: float | None = None
) -> dict[str, tuple[float, float]]:
    """Return the least and largest radius of the entries of each sensor, normalised units.

    Args:
        perturb: Largest error of the readings, raw units.
        robot: The robot.
        normaliser: Normaliser of its controller.
        state_limit: Largest state that is assumed, normalised units, where nothing clips it.

    Raises:
        InputError: If a sensor is unknown or named twice, or nothing bounds its state.
    """
    ball = ball_of(perturb, robot, normaliser, state_limit)
    return sides_of(sizes_of(perturb, robot), robot, ball)


def sides_of(names: Iterable[str], robot: Robot, ball: Ball) -> dict[str, tuple[float, float]]:
    """Return the least and largest radius of the entries of each sensor, normalised units."""
    sides = {name: ball.sides[list(robot.sensors_called(name))] for name in names}
    return {name: (float(each.min()), float(each.max())) for name, each in sides.items()}


def faint_sensors(perturb: Perturbation, robot: Robot, normaliser: Normaliser) -> tuple[str, ...]:
    """Return a line for each sensor of which a perturbation in raw units says little.

    Args:
        perturb: Largest error of the readings, raw units.
        robot: The robot.
        normaliser: Normaliser of its controller.

    Raises:
        InputError: If a sensor is unknown.
    """
    scales = SensorScales.of(normaliser)
    return tuple(
        f"{robot.sensor_labels[entry]}: {words}"
        for name, size in sizes_of(perturb, robot).items()
        for entry in robot.sensors_called(name)
        if (words := _faint(size, robot.each_sensor[entry], entry, scales))
    )


def _faint(size: float, sensor: Sensor, entry: int, scales: SensorScales) -> str:
    """Say why an error of a reading says little; nothing where it says enough."""
    words = []
    if entry in scales.degenerate:
        scale = sensor.in_units(float(scales.scale[entry]))
        words.append(f"its scale {scale} is at the floor: it never moved in training")
    if sensor.resolution is not None and sensor.resolution > size:
        coarse, fine = sensor.in_units(sensor.resolution), sensor.in_units(size)
        words.append(f"its resolution {coarse} is coarser than the error {fine}")
    step = float(scales.float32_step[entry] * scales.scale[entry])
    if not step <= size:
        words.append(f"one float32 step is {sensor.in_units(step)}, more than the error")
    return "; ".join(words)


def _radius(size: float, entry: int, normaliser: Normaliser, state_limit: float | None) -> Fraction:
    """Return how far the deployed states of two readings may be apart.

    Raises:
        InputError: If nothing bounds the state of the sensor.
    """
    scale = Fraction(float(normaliser.scale[entry]))
    bound = min(normaliser.clip, math.inf if state_limit is None else state_limit)
    if math.isinf(bound):
        raise InputError(
            "perturb needs bounded states, and the controller has no clip after its normaliser; "
            "say how large they get with state_limit = ... under [assume] in a --config file"
        )
    apart = Fraction(size) / scale
    there = Fraction(bound) + apart
    radius = apart + 2 * _normaliser_error(there, entry, normaliser)
    if math.isinf(normaliser.clip):
        return radius
    # Two states inside the clip are no farther apart than its ends in float32, whatever is read.
    return min(radius, 2 * Fraction(normaliser.clip) * (1 + _UNIT_ROUNDOFF))


def _normaliser_error(largest: Fraction, entry: int, normaliser: Normaliser) -> Fraction:
    """Bound |z_rt - z| for states up to ``largest``.

    Reference:
        The standard model of rounding errors; gamma_n bounds n of them (Higham 2002, lemma 3.1).
    """
    rounded = normaliser.num_roundings * _UNIT_ROUNDOFF
    gamma = rounded / (1 - rounded)
    flushed = _SMALLEST * (2 + 1 / Fraction(float(normaliser.scale[entry])))
    # A state beyond the clip is cut off; rounded, one a little beyond it may still be inside.
    reach = largest * (1 + 4 * _UNIT_ROUNDOFF) + Fraction(float(normaliser.excess[entry]))
    return gamma * reach + flushed


def _up(value: Fraction) -> float:
    """Return the least float64 that is not below a fraction."""
    nearest = float(value)
    return nearest if Fraction(nearest) >= value else math.nextafter(nearest, math.inf)


def with_unit(value: float, unit: str) -> str:
    """Return a value that somebody gave with its unit, to twelve digits."""
    return f"{value:.12g}" if unit == PURE else f"{value:.12g} {unit}"


def outputs_unit(robot: Robot, outputs: tuple[int, ...] | None) -> str:
    """Return the unit that some actuators share; empty where they have several.

    Args:
        robot: The robot.
        outputs: Numbers of the outputs; None for all.
    """
    units = [actuator.unit for actuator in robot.each_actuator]
    shared = {units[output] for output in outputs or range(len(units))}
    return shared.pop() if len(shared) == 1 else ""
