"""A Unitree Go1 that walks forward, registered as ``Go1-v0``.

    make go1    # its model and meshes, from the wheel of mjlab (Apache-2.0), into build/mjlab
    pipeline train --set train.env_id=Go1-v0 --env-module examples/go1.py --out runs/go1

Joints, gains and the home pose are those of mjlab 1.6, `asset_zoo/robots/unitree_go1`.
"""

from pathlib import Path

import mujoco
import numpy as np

from surefoot.envs import MujocoTask, Simulations, Start

MJLAB = Path(__file__).parents[1] / "build/mjlab"
MJCF = MJLAB / "mjlab/asset_zoo/robots/unitree_go1/xmls/go1.xml"
SPEED = 0.6  # m/s, wanted along the robot's own x axis
REACH = 0.5  # rad that an action of 1 moves the target of a joint away from home
HOME = np.tile([0.0, 0.9, -1.8], 4) + np.kron([0.1, -0.1, 0.1, -0.1], [1.0, 0.0, 0.0])
HEIGHT = 0.278  # m of the trunk at home

# Rotor inertia through the gearbox; servos of 10 Hz with twice the critical damping.
ARMATURE = 0.000111842 * np.array([6.0, 6.0, 9.0]) ** 2
STIFFNESS = ARMATURE * (2 * np.pi * 10) ** 2
DAMPING = 2 * 2.0 * ARMATURE * (2 * np.pi * 10)
LARGEST_TORQUE = np.array([23.7, 23.7, 35.55])  # N m


def robot() -> mujoco.MjSpec:
    """Return the robot of mjlab on a floor, with a servo for each joint; only feet touch.

    Raises:
        FileNotFoundError: If its model was not fetched.
    """
    if not MJCF.exists():
        raise FileNotFoundError("the model of the Go1 is not there; make go1 fetches it")
    spec = mujoco.MjSpec.from_file(str(MJCF))
    spec.option.timestep = 0.005
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.iterations, spec.option.ls_iterations = 10, 20
    for geom in spec.geoms:
        is_foot = geom.name.endswith("foot_collision")
        geom.contype, geom.conaffinity = 0, int(is_foot)
        if is_foot:
            geom.condim, geom.priority, geom.friction[0] = 3, 1, 0.6
    plane = mujoco.mjtGeom.mjGEOM_PLANE
    spec.worldbody.add_geom(name="floor", type=plane, size=[0, 0, 0.05], conaffinity=0)
    for number, joint in enumerate(spec.joints[1:]):
        add_servo(spec, joint, number % 3)
    spec.add_key(name="home", qpos=[0, 0, HEIGHT, 1, 0, 0, 0, *HOME], ctrl=HOME)
    return spec


def add_servo(spec: mujoco.MjSpec, joint: mujoco.MjsJoint, kind: int) -> None:
    """Drive a joint: hip, thigh or calf."""
    joint.armature = ARMATURE[kind]
    servo = spec.add_actuator(name=joint.name, target=joint.name)
    servo.trntype = mujoco.mjtTrn.mjTRN_JOINT
    servo.set_to_position(kp=STIFFNESS[kind], kv=DAMPING[kind])
    servo.forcerange = [-LARGEST_TORQUE[kind], LARGEST_TORQUE[kind]]


def begin(start: Start) -> None:
    """Stand at home, a little off."""
    start.qpos[:, 7:] += start.uniform(-0.1, 0.1, 12)
    start.qvel[:] = start.uniform(-0.1, 0.1, 18)


def observe(now: Simulations) -> np.ndarray:
    """Return what a Go1 knows of itself, (n, 45).

    Trunk velocity (m/s) and turning rate (rad/s) in its own axes, the direction of gravity there,
    joint angles from home (rad), joint speeds (rad/s), and the last action.
    """
    gravity = -now.sensor("imu_upvector")
    velocity, turning = now.sensor("imu_lin_vel"), now.sensor("imu_ang_vel")
    angles, speeds = now.qpos[:, 7:] - HOME, now.qvel[:, 6:]
    return np.concatenate((velocity, turning, gravity, angles, speeds, now.action), axis=1)


def reward(now: Simulations) -> np.ndarray:
    """Return what a step is worth, (n,): the wanted speed, without swaying, jerks or strain."""
    velocity, turning = now.sensor("imu_lin_vel"), now.sensor("imu_ang_vel")
    swaying = np.square(velocity[:, 1:]).sum(axis=1) + 0.1 * np.square(turning).sum(axis=1)
    jerks = np.square(now.action - now.previous_action).sum(axis=1)
    strain = np.square(now.actuator_force).sum(axis=1)
    walking = np.exp(-np.square(velocity[:, 0] - SPEED) / 0.1)
    return 0.2 + walking - 0.3 * swaying - 0.01 * jerks - 2e-4 * strain


def has_fallen(now: Simulations) -> np.ndarray:
    """Say which robots lie or lean too far, (n,)."""
    return (now.qpos[:, 2] < 0.15) | (now.sensor("imu_upvector")[:, 2] < 0.6)


GO1 = MujocoTask(
    env_id="Go1-v0",
    mjcf=robot(),
    period_s=0.02,
    observe=observe,
    reward=reward,
    terminated=has_fallen,
    reset=begin,
    keyframe="home",
    control=lambda now: HOME + REACH * now.action,
    max_episode_steps=1000,
)
GO1.register()
