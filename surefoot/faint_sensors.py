"""Sensors of which a perturbation in raw units says little, each in one line."""

from surefoot.misreading import Perturbation, by_entries
from surefoot.policy import Normaliser
from surefoot.robot import Robot, Sensor
from surefoot.sensors import SensorScales


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
    lines = (
        f"{robot.sensor_labels[entry]}: {words}"
        for entries, errors in by_entries(perturb, robot)
        for entry in entries
        if (words := _faint(errors.largest, robot.each_sensor[entry], entry, scales))
    )
    return tuple(dict.fromkeys(lines))


def _faint(size: float, sensor: Sensor, entry: int, scales: SensorScales) -> str:
    """Say why an error of a reading says little; nothing where it says enough."""
    words = []
    if entry in scales.degenerate:
        scale = sensor.in_units(float(scales.scale[entry]))
        words.append(f"its scale {scale} is at the floor: it never moved in training")
    if size and sensor.resolution is not None and sensor.resolution > size:
        coarse, fine = sensor.in_units(sensor.resolution), sensor.in_units(size)
        words.append(f"its resolution {coarse} is coarser than the error {fine}")
    step = float(scales.float32_step[entry] * scales.scale[entry])
    if size and not step <= size:
        words.append(f"one float32 step is {sensor.in_units(step)}, more than the error")
    return "; ".join(words)
