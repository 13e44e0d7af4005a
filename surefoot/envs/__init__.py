"""Environments: many copies of a task, stepped together, reproducible and resumable bit for bit.

`make_env` takes any Gymnasium id with flat observations and continuous or discrete actions. A
`MujocoTask` runs threaded on `mujoco.batch`, and so do Gymnasium's Hopper, Walker2d, HalfCheetah
and Ant, with exactly Gymnasium's numbers; all else runs on Gymnasium's own vector environment.
"""

from surefoot.envs.make import describe_env, function_of, make_env, module_digest
from surefoot.envs.mujoco_task import MujocoTask
from surefoot.envs.randomisation import Push, Randomisation
from surefoot.envs.replay import check_replay
from surefoot.envs.simulations import Contact, Frame, Joint, Simulations, Start
from surefoot.envs.vector import (
    BoxActions,
    DiscreteActions,
    EnvSpec,
    State,
    StepResult,
    VectorEnv,
)

__all__ = [
    "BoxActions",
    "Contact",
    "DiscreteActions",
    "EnvSpec",
    "Frame",
    "Joint",
    "MujocoTask",
    "Push",
    "Randomisation",
    "Simulations",
    "Start",
    "State",
    "StepResult",
    "VectorEnv",
    "check_replay",
    "describe_env",
    "function_of",
    "make_env",
    "module_digest",
]
