"""Two links that stand upright and withstand pushes, registered as ``TwoLinks-v0``.

    pipeline run --config examples/two_links.toml --env-module examples/two_links.py --out runs/two

Each function sees all simulations at once: n robots, one row for each.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from surefoot.envs import MujocoTask, Push, Randomisation, Simulations, Start

if TYPE_CHECKING:
    from surefoot.attack import PlayedEpisode


def lean(start: Start) -> None:
    """Begin a little off upright."""
    start.joint("ankle").qpos[:] = start.uniform(-0.1, 0.1, 1)
    start.joint("hip").qpos[:] = start.uniform(-0.2, 0.2, 1)


def observe(now: Simulations) -> np.ndarray:
    """Return both angles (rad) and their speeds (rad/s), (n, 4)."""
    return np.concatenate((now.qpos, now.qvel), axis=1)


def reward(now: Simulations) -> np.ndarray:
    """Return what a step is worth, (n,): a high head over the foot, with little torque."""
    head = now.site("head").xpos
    effort = np.square(now.action).sum(axis=1)
    return head[:, 2] / 0.6 - np.abs(head[:, 0]) - 0.05 * effort


def has_fallen(now: Simulations) -> np.ndarray:
    """Say whose head is too low, (n,)."""
    return now.site("head").xpos[:, 2] < 0.4


def stands(episode: "PlayedEpisode") -> bool:
    """Say whether an episode did the task: nothing fell."""
    return not episode.terminated


MujocoTask(
    env_id="TwoLinks-v0",
    mjcf=Path(__file__).with_name("two_links.xml"),
    period_s=0.02,
    observe=observe,
    reward=reward,
    terminated=has_fallen,
    reset=lean,
    randomisation=Randomisation(
        mass={"upper": (0.8, 1.2)},
        obs_noise=0.002,
        push=Push(body="upper", force_N=(0.0, 5.0), every_s=(0.5, 1.5), lasts_s=0.1),
    ),
    max_episode_steps=250,
).register()
