import numpy as np
import pytest

from surefoot.envs.vector import (
    BoxActions,
    EnvSpec,
    StepResult,
    generator_from_state,
    generator_state,
)
from surefoot.train.train_config import TrainConfig


class TargetEnv:
    """Play the number that is shown: reward -(action - target)^2.

    An observation is (target, step of the episode, number of the environment). Episodes last 1 to
    `horizon` steps, drawn at reset; shorter ones terminate, full ones are truncated.
    """

    resumable = True

    def __init__(self, num_envs, horizon=6, shortest=1):
        self.num_envs = num_envs
        self.spec = EnvSpec(
            env_id="Target-v0",
            obs_dim=3,
            actions=BoxActions(np.full(1, -2, np.float32), np.full(1, 4, np.float32)),
            dt_s=0.01,
            max_episode_steps=horizon,
            packages={},
        )
        self._shortest = shortest

    def reset(self, seeds=None):
        if seeds is not None:
            self.generators = [np.random.default_rng(seed) for seed in seeds]
        self.target, self.time, self.length = np.zeros((3, self.num_envs))
        self._restart(range(self.num_envs))
        return self._obs()

    def _restart(self, indices):
        for index in indices:
            generator = self.generators[index]
            self.target[index] = generator.uniform(-1, 1)
            self.length[index] = generator.integers(
                self._shortest, self.spec.max_episode_steps, endpoint=True
            )
            self.time[index] = 0

    def _obs(self):
        return np.stack([self.target, self.time, np.arange(self.num_envs)], axis=1)

    def step(self, actions):
        assert actions.dtype == np.float32
        assert actions.shape == (self.num_envs, 1)
        reward = -((actions[:, 0] - self.target) ** 2).astype(np.float64)
        self.time += 1
        done = self.time == self.length
        truncated = done & (self.length == self.spec.max_episode_steps)
        terminal_obs = self._obs()
        self._restart(np.flatnonzero(done))
        return StepResult(self._obs(), reward, done & ~truncated, truncated, terminal_obs)

    def state_dict(self):
        return {
            "arrays": np.stack([self.target, self.time, self.length]),
            "generators": {
                str(index): generator_state(generator)
                for index, generator in enumerate(self.generators)
            },
        }

    def load_state_dict(self, state):
        self.target, self.time, self.length = state["arrays"].copy()
        self.generators = [
            generator_from_state(state["generators"][str(index)]) for index in range(self.num_envs)
        ]
        return self._obs()

    def close(self):
        pass


@pytest.fixture(scope="session")
def target_env():
    return TargetEnv


@pytest.fixture
def target_task(monkeypatch):
    """Let every task be TargetEnv."""
    monkeypatch.setattr(
        "surefoot.train.trainer.make_env", lambda env_id, num_envs, **more: TargetEnv(num_envs)
    )


@pytest.fixture
def tiny():
    """A training of eight iterations; a module may override it with what else it needs."""
    return TrainConfig(
        env_id="Target-v0",
        total_steps=1024,
        num_envs=4,
        rollout_steps=32,
        device="cpu",
        hidden=(8, 12),
        critic_hidden=(10,),
        epochs=2,
        minibatch_size=32,
        num_evaluations=2,
        evaluation_episodes=2,
        visited_states=2,
        averaging=0.2,
        checkpoint_steps=256,
    )
