"""Sensors of which an error in raw units says little are named, whatever kind it is of."""

import numpy as np
import pytest

from surefoot.faint_sensors import faint_sensors
from surefoot.misreading import Misreading, Perturbation
from surefoot.policy import Normaliser
from surefoot.robot import Robot

ROBOT = Robot.parse("""
[[sensor]]
name = "angle"
count = 2
unit = "rad"

[[sensor]]
name = "gyro"
unit = "rad/s"

[[sensor]]
name = "pressure"
unit = "bar"

[[actuator]]
name = "hip"
unit = "rad"
""")
NORMALISER = Normaliser(
    mean=np.array([0.3, -2e3, 0.0, 1e5], np.float32),
    scale=np.array([0.1, 7.0, 1e-8, 3e4], np.float32),
    clip=10.0,
)


def test_sensors_of_which_a_size_says_little_are_named() -> None:
    coarse = ROBOT.text.replace('unit = "bar"', 'unit = "bar"\nresolution = 2.0')
    lines = faint_sensors(
        {"angle": 1e-5, "gyro": 0.03, "pressure": 1e-4}, Robot.parse(coarse), NORMALISER
    )
    still, far, pressure = lines[1], lines[0], lines[2]
    assert far.startswith("angle[1]: one float32 step is 0.0001221 rad")
    assert still == "gyro: its scale 1e-08 rad/s is at the floor: it never moved in training"
    assert "its resolution 2 bar is coarser than the error 0.0001 bar" in pressure
    assert len(lines) == 3


@pytest.mark.parametrize(
    "said",
    [
        {"gyro": Misreading(bias=0.03)},
        {"gyro": Misreading(delay=1)},
        {"gyro": 0.03, "all": Misreading(delay=1)},
    ],
)
def test_a_sensor_that_never_moved_is_named_once_for_every_kind_of_error(
    said: Perturbation,
) -> None:
    lines = faint_sensors(said, ROBOT, NORMALISER)
    assert [line.partition(":")[0] for line in lines] == ["gyro"]
    assert "never moved in training" in lines[0]


def test_a_length_counts_as_what_one_reading_may_err_by() -> None:
    lines = faint_sensors({"angle": Misreading(l2=1e-5)}, ROBOT, NORMALISER)
    assert lines == ("angle[1]: one float32 step is 0.0001221 rad, more than the error",)
