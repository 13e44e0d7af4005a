"""Training on tasks of the user's own: what is deployed does what was trained."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from surefoot.onnx_file import load_controller_file
from surefoot.policy import Squash
from surefoot.runtime.load import Backend, controller_of
from surefoot.train import TrainConfig, save_trained, train_policy
from surefoot.train.train_config import FixedNoise

TINY = TrainConfig(
    env_id="Own-v0",
    total_steps=1024,
    num_envs=4,
    rollout_steps=32,
    device="cpu",
    hidden=(8,),
    critic_hidden=(8,),
    epochs=4,
    minibatch_size=32,
    num_evaluations=2,
    evaluation_episodes=2,
    visited_states=2,
    checkpoint_steps=256,
)


class Own(gymnasium.Env[Any, Any]):
    """Noise, and a reward for doing one thing; parts are replaced by the tests."""

    observation_space: Any = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space: Any = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return self.np_random.normal(size=2), {}

    def step(self, action: Any) -> Any:
        return self.np_random.normal(size=2), self.reward(action), False, False, {}

    def reward(self, action: Any) -> float:
        return -float(np.square(action).sum())


@pytest.fixture(autouse=True)
def _own_registry() -> Iterator[None]:
    registered = dict(gymnasium.registry)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(registered)


def register(**parts: Any) -> None:
    gymnasium.register("Own-v0", type("Changed", (Own,), parts), max_episode_steps=10)


@pytest.mark.parametrize("squash", [Squash.CLIP, Squash.TANH])
@pytest.mark.parametrize(("low", "high"), [(-0.1, 0.1), (0.1, 0.7), (-1e-3, 1 / 3)])
def test_no_action_oversteps_float64_bounds(
    tmp_path: Path, squash: Squash, low: float, high: float
) -> None:
    space = gymnasium.spaces.Box(low, high, (3,), np.float64)

    def reward(self: Own, action: Any) -> float:
        assert action.dtype == np.float64
        assert space.contains(action)
        return float(action.sum())

    register(action_space=space, reward=reward)
    noise = FixedNoise(sigma=5.0)  # so that most samples meet the squash
    result = train_policy(replace(TINY, total_steps=256, squash=squash, noise=noise))
    # The same policy with outputs of its network that no squash lets through.
    steep = tuple(replace(layer, weight=layer.weight * 1000) for layer in result.policy.layers)
    policy_to_save = replace(result, policy=replace(result.policy, layers=steep))
    save_trained(tmp_path / "policy", policy_to_save)
    file = load_controller_file(tmp_path)
    obs = np.random.default_rng(0).normal(size=(1000, 2))
    for backend in (Backend.NUMPY, Backend.ONNX, Backend.C):
        actions = controller_of(file, backend)(obs).astype(np.float64)
        assert (actions >= low).all()
        assert (actions <= high).all()
        assert actions.min() < low + 1e-6 < high - 1e-6 < actions.max()


@pytest.mark.parametrize("backend", [Backend.NUMPY, Backend.ONNX])
def test_the_deployed_file_chooses_what_was_trained(tmp_path: Path, backend: Backend) -> None:
    """A reward for -1 in {-1, 0, 1}: the loop of the README earns what the training evaluated."""
    register(
        action_space=gymnasium.spaces.Discrete(3, start=-1),
        reward=lambda self, action: float(action == -1),
    )
    result = train_policy(replace(TINY, learning_rate=1e-2))
    assert result.facts["evaluation"]["last"] == 10
    save_trained(tmp_path / "policy", result)
    file = load_controller_file(tmp_path)
    control, head = controller_of(file, backend), file.policy.head
    env = gymnasium.make("Own-v0")
    obs, _ = env.reset(seed=3)
    earned = 0.0
    for _ in range(10):
        obs, reward, *_ = env.step(head.select(control(obs[None]))[0])
        earned += float(reward)
    assert earned == 10
