"""What is compressed: a controller, what it visits, and where it can be played."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from surefoot.errors import InputError
from surefoot.onnx_file import ControllerFile, read_beside
from surefoot.policy import Array, Policy, weights_sha256
from surefoot.recordings import StatesFile
from surefoot.robot import ROBOT_FILE
from surefoot.run_folder import CRITIC_FILE, controller_folder
from surefoot.runtime.controller_file import load_controller_file
from surefoot.visited import VISITED_FILE, Visited
from surefoot.workflow.listener import SILENCE, Listener
from surefoot.workflow.opening import environment_module
from surefoot.workflow.recorded_states import read_states

if TYPE_CHECKING:
    from surefoot.envs import VectorEnv

NUM_EPISODES = 16
"""Episodes of a clean return, and environments that are played together."""

_NUM_POOL = 4096


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Source:
    """What is compressed.

    Attributes:
        folder: Where it lies.
        file: Its controller.
        visited: Visited states stored in its folder; None if there are none.
        observations: A user's own observations for calibration, (n, obs_dim), raw units; or None.
        critic: The critic's file, or None.
        env_module: Module or file that registers the environment.
        robot: Description of the robot, as its folder has it; None for none.
    """

    folder: Path
    file: ControllerFile
    visited: Visited | None
    observations: Array | None
    critic: bytes | None
    env_module: str | None
    robot: bytes | None = None

    def seen(self) -> Array | None:
        """Return all observations that are known, or None: (n, obs_dim), raw units."""
        if self.observations is not None:
            return self.observations
        if self.visited is None:
            return None
        known = np.concatenate([self.visited.pool, self.visited.independent])
        return known if len(known) else None

    def play(self, policy: Policy, num_states: int, *, instead: str) -> Visited:
        """Play the deterministic policy in the environment and return what it visits.

        Args:
            policy: Policy to play.
            num_states: States that are drawn from independent episodes.
            instead: Option to name in the error if there is no environment.

        Raises:
            InputError: If the file names no environment.
        """
        from surefoot.train.visited_recorder import record_visited

        env = self._environment(instead)
        # A seed that no other policy has: what is found here was not used to make the policy.
        seed = int(weights_sha256(policy)[:15], 16)
        return record_visited(policy, env, seed, num_states=num_states, num_pool=_NUM_POOL)

    def clean_return(self, policy: Policy, *, instead: str) -> float:
        """Return the mean return over a few episodes, the same ones for every policy.

        Args:
            policy: Policy to play.
            instead: Option to name in the error if there is no environment.

        Raises:
            InputError: If the file names no environment.
        """
        from surefoot.train.evaluation import clean_returns

        seeds = list(range(NUM_EPISODES))
        return float(clean_returns(policy, self._environment(instead), seeds).mean())

    def _environment(self, instead: str) -> "VectorEnv":
        from surefoot.envs import make_env

        if self.file.env_id is None:
            raise InputError(
                "states that the policy visits are needed: its folder holds none and its file "
                f"names no environment to play; give {instead}"
            )
        return make_env(self.file.env_id, NUM_EPISODES, env_module=self.env_module)


def read_source(
    path: Path,
    calibration: StatesFile | None,
    env_module: str | None,
    output: str | None,
    *,
    discrete: bool = False,
    listener: Listener = SILENCE,
) -> Source:
    """Read a controller with what it visits.

    Args:
        path: A run, a policy folder, a bundle or an ``.onnx`` file.
        calibration: States of the user's own instead of those that the policy visits.
        env_module: Module or file that registers the environment.
        output: Output of a foreign file that holds the actions, if it has several outputs.
        discrete: Whether a foreign file's outputs are logits, of which the largest is chosen.
        listener: Is told how these states were read.

    Raises:
        InputError: If the path holds no controller, or the states are not those of it.
        IntegrityError: If a file was changed.
    """
    file = load_controller_file(path, output, discrete=discrete)
    folder = read_beside(path)
    files: Mapping[str, bytes] = {} if folder is None else folder.files
    data = files.get(VISITED_FILE)
    return Source(
        folder=controller_folder(path) or path.parent,
        file=file,
        visited=None if data is None else Visited.from_bytes(data),
        observations=None if calibration is None else read_states(calibration, file, listener).pool,
        critic=files.get(CRITIC_FILE),
        env_module=environment_module(file, path, env_module),
        robot=files.get(ROBOT_FILE),
    )
