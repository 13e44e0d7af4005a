"""A task in which an attack may learn from a controller that fails.

N = environments, O = obs_dim. Failures count where episodes are reported (`evaluate`). Where an
attack only gathers data, one simulation that diverges must not end the attack on all others.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surefoot.envs.vector import Floats, State, StepResult, VectorEnv
from surefoot.errors import DivergenceError

_RESTARTS = "restarts"


class RestartingEnv:
    """Environments that begin anew, all of them, when one simulation diverges.

    The step that diverged pays nothing and cuts every episode where it was: `truncated`.
    """

    def __init__(self, env: VectorEnv) -> None:
        """Take over an environment."""
        self.spec, self.num_envs, self.resumable = env.spec, env.num_envs, env.resumable
        self.num_restarts = 0
        self._env = env

    def reset(self, seeds: Sequence[int] | None = None) -> Floats:
        """Start an episode everywhere; see `VectorEnv.reset`."""
        self._obs = self._env.reset(seeds)
        return self._obs

    def step(self, actions: NDArray[Any]) -> StepResult:
        """Apply one action per environment; see `VectorEnv.step`."""
        before = self._obs
        try:
            result = self._env.step(actions)
        except DivergenceError:
            self.num_restarts += 1
            sequence = np.random.SeedSequence([self.num_restarts, self.num_envs])
            self._obs = self._env.reset((sequence.generate_state(self.num_envs) // 2).tolist())
            return StepResult(
                obs=self._obs,
                reward=np.zeros(self.num_envs),
                terminated=np.zeros(self.num_envs, np.bool_),
                truncated=np.ones(self.num_envs, np.bool_),
                terminal_obs=before,
            )
        self._obs = result.obs
        return result

    def state_dict(self) -> State:
        """Return everything that the future depends on; see `VectorEnv.state_dict`."""
        return self._env.state_dict() | {_RESTARTS: np.array(self.num_restarts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> Floats:
        """Go back to a stored state; see `VectorEnv.load_state_dict`."""
        inner = dict(state)
        self.num_restarts = int(inner.pop(_RESTARTS, 0))
        self._obs = self._env.load_state_dict(inner)
        return self._obs

    def close(self) -> None:
        """Release the simulations."""
        self._env.close()
