"""Every other Gymnasium environment, stepped by Gymnasium's own `SyncVectorEnv`."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from surefoot.envs.contract import Obs, take_reset, take_step
from surefoot.envs.process_settings import settings_of_user
from surefoot.envs.user_code import user_code
from surefoot.envs.vector import (
    EnvSpec,
    Floats,
    State,
    StepResult,
    check_actions,
    check_seeds,
    check_state,
    generator_from_state,
    stream_state,
)
from surefoot.errors import DivergenceError, InputError, ReplayError

AnyEnv = gymnasium.Env[Any, Any]


class GymnasiumVectorEnv:
    """A `VectorEnv` over environments whose simulator state cannot be read.

    Each environment remembers how its episode began and what was done since, so that a stored
    episode is played again from its start on load. The memory grows with the episode.
    """

    resumable = False

    def __init__(self, make_one: Callable[[], AnyEnv], spec: EnvSpec, *, num_envs: int) -> None:
        """Make the environments with `make_one`."""
        self.spec = spec
        self.num_envs = num_envs
        with (
            user_code(lambda: f"{spec.env_id}: {num_envs} environments cannot be made"),
            settings_of_user(),
        ):
            self._vector = SyncVectorEnv(
                [partial(_PlayedEpisode, make_one, spec.env_id, i) for i in range(num_envs)],
                autoreset_mode=AutoresetMode.SAME_STEP,
            )
        self._episodes: list[_PlayedEpisode] = self._vector.envs  # type: ignore[assignment]
        self._action_type = self._vector.single_action_space.dtype
        self._was_reset = False

    def reset(self, seeds: Sequence[int] | None = None) -> Floats:
        """Start an episode everywhere; see `VectorEnv.reset`."""
        checked: list[int | None] | None = None
        if seeds is not None:
            checked = [*check_seeds(seeds, self.num_envs)]
        obs, _ = self._vector.reset(seed=checked)
        self._was_reset = True
        return np.asarray(obs, np.float64)

    def step(self, actions: NDArray[Any]) -> StepResult:
        """Apply one action per environment; see `VectorEnv.step`.

        Raises:
            InputError: If the actions do not fit, or nothing was reset before.
        """
        check_actions(actions, self.spec, self.num_envs)
        if not self._was_reset:
            raise InputError(f"{self.spec.env_id}: reset() must come before step()")
        given = actions.astype(self._action_type)
        obs, reward, terminated, truncated, infos = self._vector.step(given)
        obs = np.asarray(obs, np.float64)
        terminal_obs = obs.copy()
        for i in np.flatnonzero(terminated | truncated):
            terminal_obs[i] = infos["final_obs"][i]
        return StepResult(obs, reward, terminated, truncated, terminal_obs)

    def state_dict(self) -> State:
        """Return the beginnings of the episodes in progress and the actions since.

        Raises:
            InputError: If nothing was reset before.
        """
        if not self._was_reset:
            raise InputError(f"{self.spec.env_id}: reset() must come before state_dict()")
        return {
            "env_id": self.spec.env_id,
            "num_envs": self.num_envs,
            "episodes": {str(i): episode.state_dict() for i, episode in enumerate(self._episodes)},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> Floats:
        """Play the stored episodes again; see `VectorEnv.load_state_dict`."""
        check_state(state, self.spec, self.num_envs)
        for i, episode in enumerate(self._episodes):
            episode.load_state_dict(state["episodes"][str(i)])
        self._was_reset = True
        return np.array([episode.obs for episode in self._episodes], np.float64)

    def close(self) -> None:
        """Close every environment."""
        self._vector.close()


class _PlayedEpisode(gymnasium.Wrapper[Any, Any, Any, Any]):
    """One environment that remembers its episode, and refuses what breaks the contract.

    What it hands on are copies: the environment may fill and return the same arrays for ever.
    """

    def __init__(self, make_one: Callable[[], AnyEnv], env_id: str, index: int) -> None:
        super().__init__(make_one())
        self.obs: Obs = np.empty(0)
        self._name = f"{env_id}: environment {index}"
        # Asked for once: a property of the user's own may fail later.
        self.action_space = self.env.action_space
        self._obs_space: spaces.Box = self.env.observation_space  # type: ignore[assignment]
        self.observation_space = self._obs_space
        self._start: State = {}
        self._actions: list[Any] = []
        # A robot of the user's own may be a MuJoCo model, which hides divergence by a reset.
        data = getattr(self.env.unwrapped, "data", None)
        self._mujoco = data if isinstance(data, mujoco.MjData) else None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, dict[str, Any]]:
        with user_code(lambda: f"{self._name} failed in reset()"), settings_of_user():
            if seed is None:
                self._start = {"np_random": self.env.unwrapped.np_random.bit_generator.state}
            else:
                self._start = {"seed": seed}
            self._actions = []
            self.obs = take_reset(self.env.reset(seed=seed, options=options), self._obs_space)
        self._check_finite()
        return self.obs, {}

    def step(self, action: NDArray[Any]) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        self._actions.append(np.array(action))  # a copy: the task may write into it
        with user_code(self._at_step):
            taken = take_step(self.env.step(action), self._obs_space)
        self.obs = taken.obs
        self._check_finite(taken.reward)
        return self.obs, taken.reward, taken.terminated, taken.truncated, {}

    def close(self) -> None:
        with user_code(lambda: f"{self._name} failed in close()"), settings_of_user():
            self.env.close()

    def state_dict(self) -> State:
        shape = (len(self._actions), *(self.action_space.shape or ()))
        actions = np.array(self._actions, self.action_space.dtype).reshape(shape)
        start = self._start
        if "np_random" in start:
            start = {"np_random": stream_state(start["np_random"])}
        return {**start, "actions": actions, "obs": self.obs.copy()}

    def load_state_dict(self, state: State) -> None:
        if "np_random" in state:
            with user_code(lambda: f"{self._name} failed to take its np_random"):
                self.env.unwrapped.np_random = generator_from_state(state["np_random"])
        self.reset(seed=state.get("seed"))
        for action in state["actions"]:
            self.step(action)
        if not np.array_equal(self.obs, state["obs"]):
            raise ReplayError(
                f"{self._name} cannot be resumed: the same start and the same"
                f" {len(self._actions)} actions led to another observation, so the task is not"
                " deterministic (randomness outside its np_random, or memory of past episodes)"
            )

    def _at_step(self) -> str:
        return f"{self._name} failed at step {len(self._actions)} of its episode"

    def _check_finite(self, reward: float = 0.0) -> None:
        for what, value in (("observation", self.obs), ("reward", reward)):
            if not np.isfinite(value).all():
                raise self._divergence(f"its {what} is not finite")
        if self._mujoco is not None:
            bad = self._mujoco.warning.number[mujoco.mjtWarning.mjWARN_BADQPOS :]
            if bad.any():
                raise self._divergence("MuJoCo warned of NaN, infinite or huge numbers")

    def _divergence(self, reason: str) -> DivergenceError:
        return DivergenceError(
            f"{self._name} diverged at step {len(self._actions)} of its episode: {reason}"
        )
