"""Descriptions of a small robot: an angle of two entries, a gyro, and the actuators of a test."""

from surefoot.robot import Robot

SENSORS = """
[[sensor]]
name = "angle"
count = 2
unit = "rad"
noise = 0.02

[[sensor]]
name = "gyro"
unit = "rad/s"
"""


def robot_with(*actuators: str) -> Robot:
    """Return the robot with actuators of these names, in N m."""
    parts = [f'\n[[actuator]]\nname = "{name}"\nunit = "N m"\n' for name in actuators]
    return Robot.parse(SENSORS + "".join(parts))
