"""What epsilon is on each sensor, against float32 itself."""

from itertools import pairwise

import numpy as np
import pytest

from surefoot.policy import Array, Normaliser
from surefoot.sensors import SCALE_FLOOR, SensorScales


def scales_of(mean: list[float], scale: list[float]) -> SensorScales:
    return SensorScales.of(Normaliser(mean=np.float32(mean), scale=np.float32(scale), clip=10.0))


def distinct_states(mean: float, scale: float) -> Array:
    """The states of neighbouring float32 readings about one deviation above the mean."""
    reading = np.float32(mean + scale)
    readings = [reading]
    for _ in range(4):
        readings.append(np.nextafter(readings[-1], np.float32(np.inf)))
    return (np.array(readings, np.float64) - np.float64(np.float32(mean))) / np.float32(scale)


@pytest.mark.parametrize(
    ("mean", "scale"), [(0.0, 1.0), (24.0, 1e-8), (5.4e6, 0.6), (-300.0, 2.0), (0.0, 1e-8)]
)
def test_a_step_is_the_distance_of_two_readings_in_normalised_units(
    mean: float, scale: float
) -> None:
    step = scales_of([mean], [scale]).float32_step[0]
    gaps = [after - before for before, after in pairwise(distinct_states(mean, scale))]
    assert max(gaps) <= 2 * step
    assert min(gaps) >= step / 2


def test_a_constant_voltage_and_a_far_position_are_named_and_others_are_not() -> None:
    sensors = scales_of([0.1, 24.0, 5.4e6, 0.0], [0.5, SCALE_FLOOR, 0.6, SCALE_FLOOR])
    assert sensors.degenerate == (1, 3)
    assert sensors.unresolved(0.05) == (1, 2)
    assert sensors.unresolved(1.0) == (1,)
    lines = sensors.warnings(0.05)
    assert [line.split(":")[0] for line in lines] == ["sensor 1", "sensor 2", "sensor 3"]
    assert "epsilon 0.05 is 5e-10 of its raw unit" in lines[0]
    assert "it never moved in training" in lines[0]
    assert "one float32 step is 0.833 normalised units, more than epsilon" in lines[1]
    assert "never moved" not in lines[1]
    assert "float32" not in lines[2]
    assert not any("\n" in line for line in lines)


def test_a_reading_that_float32_cannot_hold_resolves_nothing() -> None:
    sensors = scales_of([3e38], [3e38])
    assert sensors.unresolved(1e9) == (0,)
