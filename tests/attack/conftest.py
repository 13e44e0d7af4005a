"""What tests of attacks share: hand-made controllers and an environment that is a formula."""

import json
from functools import partial

import numpy as np
import pytest
import torch

from surefoot.attack import imitation, learned_attacks
from surefoot.attack.learned import LearnedConfig
from surefoot.attack.store import Store
from surefoot.attack.target import AttackTarget
from surefoot.envs.vector import BoxActions, DiscreteActions, EnvSpec, StepResult
from surefoot.errors import DivergenceError
from surefoot.onnx_file import policy_from_onnx, policy_to_onnx


class FormulaEnv:
    """An environment whose every number is a formula of the seed, the step and the action.

    The observation of a seed is the same at every step, the reward is that of the action, and the
    episodes of seed s last s % 7 + 1 steps. A seed of ``diverges`` diverges in its second step.
    """

    resumable = True

    def __init__(
        self, obs_dim, act_dim, num_envs, reward=lambda action: 1.0, spread=1.0, diverges=()
    ):
        limit = np.full(act_dim, 1e3, np.float32)
        self.spec = EnvSpec(
            env_id="Formula-v0",
            obs_dim=obs_dim,
            actions=BoxActions(-limit, limit),
            dt_s=None,
            max_episode_steps=1000,
            packages={},
        )
        self.num_envs = num_envs
        self.num_steps_in_all = 0
        self._reward = reward
        self._spread = spread
        self._diverges = diverges

    def reset(self, seeds=None):
        self._seeds = list(seeds)
        self._num_steps = np.zeros(self.num_envs, np.int64)
        return self._obs()

    def step(self, actions):
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

    def close(self):
        pass

    def _obs(self):
        draws = [np.random.default_rng(s).normal(size=self.spec.obs_dim) for s in self._seeds]
        return self._spread * np.array(draws)


class GridEnv:
    """A corridor of cells for a controller with two choices, 0 to the left and 1 to the right.

    A controller sees (cell / 4 - 1, 0); each step pays the number of the cell it leads to; episodes
    last HORIZON steps and begin at cell seed % 3 + 2.
    """

    resumable = True
    CELLS, HORIZON = 9, 12

    def __init__(self, num_envs):
        self.spec = EnvSpec(
            env_id="Grid-v0",
            obs_dim=2,
            actions=DiscreteActions(2),
            dt_s=None,
            max_episode_steps=self.HORIZON,
            packages={},
        )
        self.num_envs = num_envs
        self._random = np.random.default_rng(0)

    def reset(self, seeds=None):
        self._cell = np.array(seeds) % 3 + 2
        self._steps = np.zeros(self.num_envs, np.int64)
        return self._obs()

    def step(self, actions):
        self._cell = np.clip(self._cell + 2 * np.asarray(actions) - 1, 0, self.CELLS - 1)
        self._steps += 1
        reward, terminal = self._cell.astype(np.float64), self._obs()
        over = self._steps >= self.HORIZON
        self._steps[over] = 0
        self._cell[over] = self._random.integers(2, 5, over.sum())
        return StepResult(self._obs(), reward, np.zeros_like(over), over, terminal)

    def state_dict(self):
        return {"cell": self._cell.copy(), "steps": self._steps.copy()}

    def load_state_dict(self, state):
        self._cell, self._steps = state["cell"].copy(), state["steps"].copy()
        return self._obs()

    def close(self):
        pass

    def _obs(self):
        return np.stack([self._cell / 4 - 1, np.zeros(self.num_envs)], axis=1)


class OneStepEnv:
    """Every episode is one step from a random state; the reward is gain times the action."""

    resumable = True

    def __init__(self, num_envs, obs_dim, gain):
        limit = np.full(len(gain), 1e3, np.float32)
        self.spec = EnvSpec(
            env_id="OneStep-v0",
            obs_dim=obs_dim,
            actions=BoxActions(-limit, limit),
            dt_s=None,
            max_episode_steps=1,
            packages={},
        )
        self.num_envs = num_envs
        self._gain = np.asarray(gain)

    def reset(self, seeds=None):
        self._random = np.random.default_rng(list(seeds))
        first = [np.random.default_rng(seed).normal(size=self.spec.obs_dim) for seed in seeds]
        self._obs = np.array(first)
        return self._obs

    def step(self, actions):
        reward = actions.astype(np.float64) @ self._gain
        over = np.ones(self.num_envs, np.bool_)
        obs = self._draw()
        return StepResult(obs, reward, over, np.zeros_like(over), obs)

    def state_dict(self):
        return {"random": json.dumps(self._random.bit_generator.state), "obs": self._obs.copy()}

    def load_state_dict(self, state):
        self._random = np.random.default_rng()
        self._random.bit_generator.state = json.loads(state["random"])
        self._obs = state["obs"].copy()
        return self._obs

    def close(self):
        pass

    def _draw(self):
        self._obs = self._random.normal(size=(self.num_envs, self.spec.obs_dim))
        return self._obs


def make_target(policy, ball, make_env, **changes):
    """Return what an attack sees of a controller that is its own runtime."""
    fields = {
        "policy": policy,
        "ball": ball,
        "make_env": make_env,
        "store": Store(),
        "key": "a test",
        "tell": lambda share, remark: None,
        "query": lambda state: policy.outputs_at(state),
    }
    return AttackTarget(**fields | changes)


def as_file(policy, metadata=None):
    """Return the policy as read back from its file."""
    return policy_from_onnx(policy_to_onnx(policy, metadata))


def streams(num, seed=0):
    """Return one random stream per row."""
    return [np.random.default_rng([seed, row]) for row in range(num)]


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """On networks this small a second thread only waits for the first."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def shorten(monkeypatch, lesson_steps, epochs, num_envs, rollout_steps):
    """Make lessons and iterations of learned adversaries short."""
    monkeypatch.setattr(imitation, "_NUM_STEPS", lesson_steps)
    monkeypatch.setattr(imitation, "_EPOCHS", epochs)
    brief = partial(LearnedConfig, num_envs=num_envs, rollout_steps=rollout_steps)
    monkeypatch.setattr(learned_attacks, "LearnedConfig", brief)


@pytest.fixture
def brief_training(monkeypatch):
    """Learned adversaries that learn in iterations of 128 steps, after very short lessons."""
    shorten(monkeypatch, lesson_steps=16, epochs=2, num_envs=8, rollout_steps=16)


@pytest.fixture
def short_training(monkeypatch):
    """Learned adversaries that learn in iterations of 384 steps, after lessons for small tasks."""
    shorten(monkeypatch, lesson_steps=60, epochs=10, num_envs=16, rollout_steps=24)


@pytest.fixture(scope="session")
def grid_env():
    return GridEnv


@pytest.fixture(scope="session")
def one_step_env():
    return OneStepEnv


@pytest.fixture(scope="session")
def target_of():
    return make_target


@pytest.fixture(scope="session")
def formula_env():
    return FormulaEnv


@pytest.fixture(scope="session")
def file_of():
    return as_file


@pytest.fixture(scope="session")
def random_streams():
    return streams
