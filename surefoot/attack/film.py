"""An episode of the deployed controller on film: what is played is what `evaluate` plays.

D = obs_dim, M = num_outputs, T = steps of the episode.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.attack.action import ActionAdversary
from surefoot.attack.adversary import Adversary
from surefoot.attack.behind_gate import DeployedGate
from surefoot.attack.closed_loop import EvaluateConfig, evaluate
from surefoot.attack.deployed import DeployedController
from surefoot.envs.camera import Pixels
from surefoot.envs.filming import Shot, filmed_env
from surefoot.envs.vector import Floats


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FilmedEpisode:
    """One episode, seen and measured.

    Attributes:
        pictures: The first at the beginning, then one after every ``every`` steps, and the last at
            the end.
        every: Steps between two pictures.
        actions: Actions that the robot got, action units; choices of a discrete task, (T, A).
        deviations: |a(z') - a(z)| of each output at each step, action units, (T, M).
        total: Return.
        terminated: Whether the task ended the episode before its time.
        failure: Why controller or simulation failed; None if they did not.
        dt_s: Control period in s; None where the task does not tell.
    """

    pictures: tuple[Pixels, ...]
    every: int
    actions: NDArray[np.generic]
    deviations: Floats
    total: float
    terminated: bool
    failure: str | None
    dt_s: float | None

    @property
    def length(self) -> int:
        """Steps of the episode."""
        return len(self.actions)


def film_episode(
    deployed: DeployedController,
    env_id: str,
    adversary: Adversary | ActionAdversary,
    seed: int,
    shot: Shot,
    *,
    certified_deviation: float | None = None,
    gate: DeployedGate | None = None,
    samples: bool = False,
    env_module: str | None = None,
) -> FilmedEpisode:
    """Play one episode and film it.

    Args:
        deployed: The controller and its twin.
        env_id: Gymnasium id of the task.
        adversary: Sees the true state, at every step.
        seed: Seed of the episode, as in :class:`EvaluateConfig`.
        shot: How it is filmed.
        certified_deviation: Proved bound on the change of one output, action units.
        gate: Gate that the readings and the actions pass; None for none.
        samples: Whether the policy samples its actions, as in :class:`EvaluateConfig`.
        env_module: Module that registers the task.

    Raises:
        InputError: If the task can be drawn in no way, or is not one of this controller.
        MissingLibraryError: If nothing that draws without a display is installed.
        CheckError: If a law of the closed loop does not hold, see :func:`evaluate`.
    """
    deviations: list[Floats] = []
    config = EvaluateConfig(
        seeds=(seed,),
        certified_deviation=certified_deviation,
        gate=gate,
        samples=samples,
        on_step=lambda moved_1M: deviations.append(moved_1M[0]),
    )
    with filmed_env(env_id, shot, env_module) as (env, reel):
        played = evaluate(deployed, env, adversary, config)
        num_steps = len(reel.actions)
        return FilmedEpisode(
            pictures=tuple(reel.pictures),
            every=shot.every,
            actions=np.array([np.atleast_1d(action) for action in reel.actions]),
            # Of an episode that failed, the controller acted once more than the robot.
            deviations=np.reshape(deviations[:num_steps], (num_steps, deployed.policy.num_outputs)),
            total=float(played.returns[0]),
            terminated=bool(played.terminated[0]),
            failure=played.failures[0],
            dt_s=env.spec.dt_s,
        )
