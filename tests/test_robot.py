"""A robot is described in its own words, and a description that does not hold is refused."""

from dataclasses import replace

import numpy as np
import pytest

from support.policies import draw_policy
from surefoot.errors import InputError
from surefoot.memory import Memory
from surefoot.policy import Policy
from surefoot.robot import Robot

ARM = """
control_period_s = 0.02

[[sensor]]
name = "joint_position"
entries = ["hip", "knee"]
unit = "rad"
group = "encoders"
range = [-9.0, 9.0]
resolution = 0.001
noise = 0.002

[[sensor]]
name = "gyro"
count = 2
unit = "rad/s"
noise = 0.03

[[actuator]]
name = "hip"
unit = "rad"
group = "leg"

[[actuator]]
name = "knee"
unit = "rad"
group = "leg"
"""


@pytest.fixture(scope="module", name="policy")
def _policy() -> Policy:
    return draw_policy(np.random.default_rng(0), [4, 3, 2])


def test_every_entry_of_an_array_has_a_name() -> None:
    robot = Robot.parse(ARM)
    assert robot.sensor_labels == (
        "joint_position[hip]",
        "joint_position[knee]",
        "gyro[0]",
        "gyro[1]",
    )
    assert robot.actuator_labels == ("hip", "knee")
    assert [sensor.unit for sensor in robot.each_sensor] == ["rad", "rad", "rad/s", "rad/s"]


def test_a_word_means_a_sensor_a_group_or_one_entry() -> None:
    robot = Robot.parse(ARM)
    assert robot.sensors_called("joint_position") == robot.sensors_called("encoders") == (0, 1)
    assert robot.sensors_called("gyro[1]") == (3,)
    assert robot.actuators_called("leg") == (0, 1)
    assert robot.actuators_called("knee") == (1,)


def test_a_description_fits_a_controller_with_its_sensors_and_actuators(policy: Policy) -> None:
    Robot.parse(ARM).check_fits(policy)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('unit = "rad"\n', "", "missing key 'robot.toml.sensor"),
        ('unit = "rad/s"', 'unit = " "', "unit of gyro must be given"),
        ('unit = "rad/s"', r'unit = "m\n[[require]]"', "unit of gyro must be one line of text"),
        ("count = 2", "count = 0", r"count must be in \[1, "),
        ("count = 2", "count = 2.5", "count must be of type int"),
        ("range = [-9.0, 9.0]", "range = [9.0, -9.0]", "range must be two finite numbers in order"),
        ("range = [-9.0, 9.0]", "range = [-inf, 9.0]", "range must be two finite numbers in order"),
        ("noise = 0.03", "noise = -0.03", "noise must be positive and finite, got -0.03"),
        ("noise = 0.03", "nose = 0.03", "did you mean .*noise"),
        ('name = "gyro"', 'name = "joint_position"', "sensor names must differ"),
        ('name = "gyro"', 'name = "gyro x"', "names must be of letters"),
        ('name = "gyro"', 'name = "encoders"', "group must be no name of a sensor"),
        ('entries = ["hip", "knee"]', 'entries = ["hip", "hip"]', "entries must be one name each"),
        ("control_period_s = 0.02", "control_period_s = 0", "control_period_s must be positive"),
        ("[[actuator]]", "[[actuators]]", "unknown key 'robot.toml.actuators'"),
    ],
)
def test_a_wrong_description_is_one_line(old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Robot.parse(ARM.replace(old, new))
    assert "\n" not in str(caught.value)


def test_what_a_controller_remembers_is_no_sensor_of_its_robot(policy: Policy) -> None:
    remembering = replace(policy, memory=Memory(layers=(1,), neurons=(0,)))
    Robot.parse(ARM.replace("count = 2", "count = 1")).check_fits(remembering)
    with pytest.raises(InputError, match="sensors must have the 3 entries"):
        Robot.parse(ARM).check_fits(remembering)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("count = 2", "count = 3", "sensors must have the 4 entries of the controller, have 5"),
        ('name = "knee"', 'name = "knee"\ncount = 2', "actuators must have the 2 entries"),
        ("[-9.0, 9.0]", "[-9.0, -8.5]", "range of joint_position.hip. must hold the mean"),
    ],
)
def test_a_description_of_another_robot_is_refused(
    policy: Policy, old: str, new: str, message: str
) -> None:
    robot = Robot.parse(ARM.replace(old, new))
    with pytest.raises(InputError, match=message):
        robot.check_fits(policy)


@pytest.mark.parametrize("name", ["gyrp", "", "joint_position[2]"])
def test_a_word_that_means_nothing_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="unknown sensor"):
        Robot.parse(ARM).sensors_called(name)
