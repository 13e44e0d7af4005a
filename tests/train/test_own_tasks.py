"""Training on tasks of the user's own: what is deployed does what was trained.

Also of ``envs/replay.py``.
"""

import os
import signal
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from surefoot.errors import InputError, InterruptedRun, ReplayError
from surefoot.policy import Array, Squash, weights_sha256
from surefoot.runtime import load_controller_file
from surefoot.runtime.load import Backend, controller_of
from surefoot.train import Progress, TrainConfig, save_trained, train_policy
from surefoot.train.defence_config import AlternatingTraining, Defence, NoDefence
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

Result = tuple[Any, ...]


class Own(gymnasium.Env[Any, Any]):
    """Noise, and a reward for doing one thing; parts are replaced by the tests."""

    observation_space: Any = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space: Any = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Result:
        super().reset(seed=seed)
        return self.np_random.normal(size=2), {}

    def step(self, action: Array) -> Result:
        return self.np_random.normal(size=2), self.reward(action), False, False, {}

    def reward(self, action: Array) -> float:
        return -float(np.square(action).sum())


@pytest.fixture(autouse=True)
def _own_registry() -> Iterator[None]:
    registered = dict(gymnasium.registry)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(registered)


def register(**parts: object) -> None:
    gymnasium.register("Own-v0", type("Changed", (Own,), parts), max_episode_steps=10)


@pytest.mark.parametrize("squash", [Squash.CLIP, Squash.TANH])
@pytest.mark.parametrize(("low", "high"), [(-0.1, 0.1), (0.1, 0.7), (-1e-3, 1 / 3)])
def test_no_action_oversteps_float64_bounds(
    tmp_path: Path, squash: Squash, low: float, high: float
) -> None:
    space = gymnasium.spaces.Box(low, high, (3,), np.float64)

    def reward(self: Own, action: Array) -> float:
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


class Private(Own):
    """Draws from a generator of its own, which no seed of Gymnasium's sets."""

    def __init__(self, seed: int | None = None) -> None:
        self.draw = np.random.default_rng(seed)

    def step(self, action: Array) -> Result:
        return self.draw.normal(size=2), self.reward(action), False, False, {}


class Shared(Own):
    """All environments draw from one stream, which the last reset has seeded."""

    draw = np.random.default_rng(0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Result:
        if seed is not None:
            Shared.draw = np.random.default_rng(seed)
        return super().reset(seed=seed)

    def step(self, action: Array) -> Result:
        return Shared.draw.normal(size=2), self.reward(action), False, False, {}


class Remembering(Own):
    """Each episode starts where the number of those before it leads."""

    num_episodes = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Result:
        obs, info = super().reset(seed=seed)
        self.num_episodes += 1
        return obs + self.num_episodes, info


class OtherStream(Own):
    """Its stream is none that can be stored."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Result:
        if seed is not None:
            self.np_random = np.random.Generator(np.random.MT19937(seed))
        return self.np_random.normal(size=2), {}


class Unpaid(Own):
    """Only its rewards do not repeat themselves."""

    draw = np.random.default_rng()

    def reward(self, action: Array) -> float:
        return float(self.draw.normal())


UNREPEATABLE = (Private, lambda: Private(3), Shared, Remembering, OtherStream, Unpaid)


@pytest.mark.parametrize("task", UNREPEATABLE)
def test_a_task_that_cannot_be_replayed_is_refused_before_anything_is_written(
    tmp_path: Path, task: Callable[[], Own]
) -> None:
    gymnasium.register("Own-v0", task, max_episode_steps=10)
    with pytest.raises(ReplayError, match=r'^Own-v0.*; train\.resume = "new_episodes" begins new'):
        train_policy(TINY, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


DRAWS_ALONE = """
import numpy as np
from surefoot.envs import MujocoTask

draw = np.random.default_rng(0)


def reset(start):
    start.qpos[:] = draw.uniform(-0.1, 0.1, start.qpos.shape)


MujocoTask(
    env_id="Own-v0",
    mjcf="""
DRAWS_ALONE += repr(
    '<mujoco><worldbody><body><joint name="hinge"/><geom size="0.1"/></body></worldbody>'
    '<actuator><motor joint="hinge" ctrlrange="-1 1"/></actuator></mujoco>'
)
DRAWS_ALONE += """,
    period_s=0.002,
    observe=lambda now: now.qpos,
    reward=lambda now: now.qpos[:, 0],
    reset=reset,
).register()
"""


def test_a_mujoco_task_that_draws_from_its_own_generator_is_refused(tmp_path: Path) -> None:
    """Its simulations are stored and not replayed, so nothing else would find it out."""
    (tmp_path / "draws_alone.py").write_text(DRAWS_ALONE)
    config = replace(TINY, env_module=str(tmp_path / "draws_alone.py"))
    with pytest.raises(ReplayError, match="Own-v0 cannot be replayed: the steps after a replay"):
        train_policy(config)


def stopped_at(step: int, config: TrainConfig, out: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRun):
        train_policy(config, out=out, on_progress=stop)


def test_a_mujoco_task_with_pushes_goes_on_from_its_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    module = str(Path(__file__).parents[2] / "examples/two_links.py")
    config = replace(TINY, env_id="TwoLinks-v0", env_module=module)
    whole = train_policy(config)
    stopped_at(256, config, tmp_path)
    resumed = train_policy(config, out=tmp_path)
    assert weights_sha256(resumed.policy) == weights_sha256(whole.policy)


@pytest.mark.parametrize("task", UNREPEATABLE)
@pytest.mark.parametrize("defence", [NoDefence(), AlternatingTraining(epsilon=0.1)])
def test_new_episodes_let_it_go_on_and_stand_in_the_record(
    tmp_path: Path, task: Callable[[], Own], defence: Defence
) -> None:
    gymnasium.register("Own-v0", task, max_episode_steps=10)
    config = replace(TINY, resume="new_episodes", defence=defence)
    stopped_at(256, config, tmp_path)
    with pytest.warns(UserWarning, match="new episodes begin at step 256: the result is not that"):
        result = train_policy(config, out=tmp_path)
    assert result.facts["new_episodes_at"] == [256]
    assert result.facts["steps"] == 1024


def test_new_episodes_are_the_same_ones_wherever_a_training_goes_on_again(tmp_path: Path) -> None:
    register()
    config = replace(TINY, resume="new_episodes")
    digests = set()
    for number in range(2):
        stopped_at(512, config, tmp_path / str(number))
        with pytest.warns(UserWarning, match="new episodes"):
            result = train_policy(config, out=tmp_path / str(number))
        digests.add(weights_sha256(result.policy))
    whole = train_policy(config)
    assert whole.facts["new_episodes_at"] == []
    assert len(digests) == 1
    assert digests != {weights_sha256(whole.policy)}


def test_a_training_that_can_be_replayed_is_not_changed_by_the_wish_for_new_episodes() -> None:
    register()
    one, other = (train_policy(replace(TINY, resume=how)) for how in ("replay", "new_episodes"))
    assert weights_sha256(one.policy) == weights_sha256(other.policy)


def test_a_training_without_stored_episodes_is_not_replayed(tmp_path: Path) -> None:
    register()
    stopped_at(256, replace(TINY, resume="new_episodes"), tmp_path)
    with pytest.raises(InputError, match=r'train\.resume must be "new_episodes"'):
        train_policy(TINY, out=tmp_path)


def test_a_task_that_reuses_its_arrays_trains_the_same_policy() -> None:
    """Its episodes are cut: what is bootstrapped from is the last observation, not the next one."""

    class Hoarder(Own):
        def __init__(self) -> None:
            self.seen = np.zeros(2)

        def reset(
            self, *, seed: int | None = None, options: dict[str, Any] | None = None
        ) -> Result:
            self.seen[:] = super().reset(seed=seed)[0]
            return self.seen, {"seen": self.seen}

        def step(self, action: Array) -> Result:
            self.seen[:], *rest = super().step(action)
            return self.seen, *rest

    digests = []
    for task in (Own, Hoarder):
        gymnasium.registry.pop("Own-v0", None)
        gymnasium.register("Own-v0", task, max_episode_steps=10)
        digests.append(weights_sha256(train_policy(TINY).policy))
    assert digests[0] == digests[1]


class Powered(Own):
    """A robot that also tells its supply voltage, 24.0, and a channel that nothing is wired to."""

    observation_space: Any = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Result:
        obs, info = super().reset(seed=seed)
        return np.append(obs, [24.0, 0.0]), info

    def step(self, action: Array) -> Result:
        obs, *rest = super().step(action)
        return np.append(obs, [24.0, 0.0]), *rest


CONSTANT = r"sensors \[2, 3\] never moved while training.* their scale is {:g} of their raw unit"


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_sensors_that_never_moved_are_named_and_do_not_saturate_the_policy(scale: float) -> None:
    gymnasium.register("Own-v0", Powered, max_episode_steps=10)
    with pytest.warns(UserWarning, match=CONSTANT.format(scale)):
        result = train_policy(replace(TINY, constant_scale=scale))
    assert result.facts["constant_sensors"] == [2, 3]
    normaliser = result.policy.normaliser
    assert normaliser.scale[2:].tolist() == [scale, scale]
    obs = np.append(np.random.default_rng(0).normal(size=(50, 2)), [[24.0, 0.0]] * 50, axis=1)
    assert (result.policy.state(obs, np.float32)[:, 2:] == 0).all()
    # A tenth of a volt is a tenth of a unit, or two, and not the clip.
    moved = result.policy.state(obs + np.array([0, 0, 0.1, 0]), np.float32)[:, 2]
    assert moved == pytest.approx(0.1 / scale, rel=1e-5)


def test_a_sensor_that_begins_to_move_is_scaled_by_how_it_moves() -> None:
    class Late(Powered):
        num_resets = 0

        def reset(
            self, *, seed: int | None = None, options: dict[str, Any] | None = None
        ) -> Result:
            obs, info = super().reset(seed=seed)
            self.num_resets += 1
            return obs + np.array([0, 0, 1, 1]) * (self.num_resets > 20), info

    gymnasium.register("Own-v0", Late, max_episode_steps=10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = train_policy(replace(TINY, resume="new_episodes"))
    assert result.facts["constant_sensors"] == []
    assert (result.policy.normaliser.scale[2:] < 0.5).all()


def test_sensors_that_float32_cannot_resolve_are_named() -> None:
    class Surveyor(Own):
        """Tells its place in metres from a pole of the earth: one float32 step is half of one."""

        def reset(
            self, *, seed: int | None = None, options: dict[str, Any] | None = None
        ) -> Result:
            obs, info = super().reset(seed=seed)
            return obs + np.array([0, 5.4e6]), info

        def step(self, action: Array) -> Result:
            obs, *rest = super().step(action)
            return obs + np.array([0, 5.4e6]), *rest

    gymnasium.register("Own-v0", Surveyor, max_episode_steps=10)
    with pytest.warns(UserWarning, match="sensor 1: epsilon 0.05 .* one float32 step is 0.5"):
        train_policy(TINY)
