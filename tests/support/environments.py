"""Environments that cost nothing, and about which everything is known."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from surefoot.envs.vector import (
    Actions,
    BoxActions,
    DiscreteActions,
    EnvSpec,
    Floats,
    State,
    StepResult,
    generator_from_state,
    generator_state,
)
from surefoot.errors import DivergenceError
from surefoot.policy import Array


def spec_of(
    env_id: str, obs_dim: int, actions: Actions, *, horizon: int, dt_s: float | None = None
) -> EnvSpec:
    """The description of a task that depends on no package."""
    return EnvSpec(
        env_id=env_id,
        obs_dim=obs_dim,
        actions=actions,
        dt_s=dt_s,
        max_episode_steps=horizon,
        packages={},
    )


def wide_box(dim: int) -> BoxActions:
    """Actuators that take any action that a test can think of."""
    limit = np.full(dim, 1e3, np.float32)
    return BoxActions(-limit, limit)


class FakeEnv:
    """What all of them have."""

    resumable = True

    def __init__(self, spec: EnvSpec, num_envs: int) -> None:
        self.spec, self.num_envs = spec, num_envs

    def state_dict(self) -> State:
        raise NotImplementedError

    def load_state_dict(self, state: Mapping[str, Any]) -> Floats:
        raise NotImplementedError

    def close(self) -> None:
        pass


class TargetEnv(FakeEnv):
    """Play the number that is shown: reward -(action - target)^2.

    An observation is (target, step of the episode, number of the environment). Episodes last 1 to
    `horizon` steps, drawn at reset; shorter ones terminate, full ones are truncated.
    """

    def __init__(self, num_envs: int, horizon: int = 6, shortest: int = 1) -> None:
        actions = BoxActions(np.full(1, -2, np.float32), np.full(1, 4, np.float32))
        super().__init__(spec_of("Target-v0", 3, actions, horizon=horizon, dt_s=0.01), num_envs)
        self._shortest, self._horizon = shortest, horizon

    def reset(self, seeds: Sequence[int] | None = None) -> Floats:
        if seeds is not None:
            self.generators = [np.random.default_rng(seed) for seed in seeds]
        self.target, self.time, self.length = np.zeros((3, self.num_envs))
        self._restart(range(self.num_envs))
        return self._obs()

    def _restart(self, indices: Iterable[int]) -> None:
        for index in indices:
            generator = self.generators[index]
            self.target[index] = generator.uniform(-1, 1)
            self.length[index] = generator.integers(self._shortest, self._horizon, endpoint=True)
            self.time[index] = 0

    def _obs(self) -> Floats:
        return np.stack([self.target, self.time, np.arange(self.num_envs)], axis=1)

    def step(self, actions: Array) -> StepResult:
        assert actions.dtype == np.float32
        assert actions.shape == (self.num_envs, 1)
        reward = -((actions[:, 0] - self.target) ** 2).astype(np.float64)
        self.time += 1
        done = self.time == self.length
        truncated = done & (self.length == self._horizon)
        terminal_obs = self._obs()
        self._restart(np.flatnonzero(done))
        return StepResult(self._obs(), reward, done & ~truncated, truncated, terminal_obs)

    def state_dict(self) -> State:
        return {
            "arrays": np.stack([self.target, self.time, self.length]),
            "generators": {
                str(index): generator_state(generator)
                for index, generator in enumerate(self.generators)
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> Floats:
        self.target, self.time, self.length = state["arrays"].copy()
        self.generators = [
            generator_from_state(state["generators"][str(index)]) for index in range(self.num_envs)
        ]
        return self._obs()


class FormulaEnv(FakeEnv):
    """An environment whose every number is a formula of the seed, the step and the action.

    The observation of a seed is the same at every step, the reward is that of the action, and the
    episodes of seed s last s % 7 + 1 steps. A seed of ``diverges`` diverges in its second step.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        num_envs: int,
        reward: Callable[[Array], float] = lambda action: 1.0,
        spread: float = 1.0,
        diverges: Sequence[int] = (),
    ) -> None:
        super().__init__(spec_of("Formula-v0", obs_dim, wide_box(act_dim), horizon=1000), num_envs)
        self.num_steps_in_all = 0
        self._reward = reward
        self._spread = spread
        self._diverges = diverges

    def reset(self, seeds: Sequence[int] | None = None) -> Floats:
        assert seeds is not None
        self._seeds = list(seeds)
        self._num_steps = np.zeros(self.num_envs, np.int64)
        return self._obs()

    def step(self, actions: Array) -> StepResult:
        self.num_steps_in_all += 1
        self._num_steps += 1
        for seed in self._diverges:
            if seed in self._seeds and self._num_steps[self._seeds.index(seed)] == 2:
                raise DivergenceError(f"seed {seed} diverged")
        reward = np.array([float(self._reward(action)) for action in actions])
        terminated = self._num_steps >= [seed % 7 + 1 for seed in self._seeds]
        self._num_steps[terminated] = 0
        obs = self._obs()
        return StepResult(obs, reward, terminated, np.zeros_like(terminated), obs)

    def _obs(self) -> Floats:
        draws = [np.random.default_rng(s).normal(size=self.spec.obs_dim) for s in self._seeds]
        return self._spread * np.array(draws)


class GridEnv(FakeEnv):
    """A corridor of cells for a controller with two choices, 0 to the left and 1 to the right.

    A controller sees (cell / 4 - 1, 0); each step pays the number of the cell it leads to; episodes
    last HORIZON steps and begin at cell seed % 3 + 2.
    """

    CELLS, HORIZON = 9, 12

    def __init__(self, num_envs: int) -> None:
        super().__init__(spec_of("Grid-v0", 2, DiscreteActions(2), horizon=self.HORIZON), num_envs)
        self._random = np.random.default_rng(0)

    def reset(self, seeds: Sequence[int] | None = None) -> Floats:
        assert seeds is not None
        self._cell = np.array(seeds) % 3 + 2
        self._steps = np.zeros(self.num_envs, np.int64)
        return self._obs()

    def step(self, actions: Array) -> StepResult:
        self._cell = np.clip(self._cell + 2 * np.asarray(actions) - 1, 0, self.CELLS - 1)
        self._steps += 1
        reward, terminal = self._cell.astype(np.float64), self._obs()
        over = self._steps >= self.HORIZON
        self._steps[over] = 0
        self._cell[over] = self._random.integers(2, 5, over.sum())
        return StepResult(self._obs(), reward, np.zeros_like(over), over, terminal)

    def state_dict(self) -> State:
        return {"cell": self._cell.copy(), "steps": self._steps.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> Floats:
        self._cell, self._steps = state["cell"].copy(), state["steps"].copy()
        return self._obs()

    def _obs(self) -> Floats:
        return np.stack([self._cell / 4 - 1, np.zeros(self.num_envs)], axis=1)


class OneStepEnv(FakeEnv):
    """Every episode is one step from a random state; the reward is gain times the action."""

    def __init__(self, num_envs: int, obs_dim: int, gain: ArrayLike) -> None:
        self._gain = np.asarray(gain)
        spec = spec_of("OneStep-v0", obs_dim, wide_box(len(self._gain)), horizon=1)
        super().__init__(spec, num_envs)

    def reset(self, seeds: Sequence[int] | None = None) -> Floats:
        assert seeds is not None
        self._random = np.random.default_rng(list(seeds))
        first = [np.random.default_rng(seed).normal(size=self.spec.obs_dim) for seed in seeds]
        self._obs = np.array(first)
        return self._obs

    def step(self, actions: Array) -> StepResult:
        reward = actions.astype(np.float64) @ self._gain
        over = np.ones(self.num_envs, np.bool_)
        obs = self._draw()
        return StepResult(obs, reward, over, np.zeros_like(over), obs)

    def state_dict(self) -> State:
        return {"random": json.dumps(self._random.bit_generator.state), "obs": self._obs.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> Floats:
        self._random = np.random.default_rng()
        self._random.bit_generator.state = json.loads(state["random"])
        self._obs = state["obs"].copy()
        return self._obs

    def _draw(self) -> Floats:
        self._obs = self._random.normal(size=(self.num_envs, self.spec.obs_dim))
        return self._obs
