"""Environments on Gymnasium's vector environment: the same numbers, exact resume by replay."""

import json
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from surefoot.envs import DiscreteActions, VectorEnv, make_env
from surefoot.envs.gymnasium_vector import GymnasiumVectorEnv
from surefoot.errors import CheckError, DivergenceError, InputError
from surefoot.policy import Array

OTHERS = ("CartPole-v1", "Pendulum-v1", "InvertedPendulum-v5", "MountainCarContinuous-v0")


class Drift(gymnasium.Env):
    """A point that is pushed by the action and by noise; what goes wrong is set by a test."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-2.0, 3.0, (1,), np.float64)

    def __init__(
        self, *, obs_at_3: float | None = None, reward_at_3: float = 0.0, own_random: bool = False
    ) -> None:
        self.obs_at_3, self.reward_at_3 = obs_at_3, reward_at_3
        self.draw = np.random.default_rng() if own_random else None

    def reset(
        self, *, seed: int | None = None, options: None = None
    ) -> tuple[NDArray[np.float32], dict[str, object]]:
        super().reset(seed=seed)
        self.steps, self.place = 0, self.np_random.normal()
        return self.observe(), {}

    def step(
        self, action: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], np.float64, np.bool_, bool, dict[str, object]]:
        assert action.dtype == np.float64
        self.steps += 1
        self.place += action[0] + (self.draw or self.np_random).normal()
        obs, reward = self.observe(), -self.place
        if self.steps == 3:
            obs = obs if self.obs_at_3 is None else np.array([self.obs_at_3], np.float32)
            reward += self.reward_at_3
        action[:] = np.nan  # the array is the environment's own
        return obs, reward, abs(self.place) > 4.0, False, {}

    def observe(self) -> NDArray[np.float32]:
        return np.array([self.place], np.float32)


class Ball(gymnasium.Env):
    """A user's own MuJoCo robot, which does not look at MuJoCo's warnings."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    xml = """<mujoco><worldbody>
        <body><joint type="slide"/><geom size=".1"/></body>
    </worldbody></mujoco>"""

    def __init__(self) -> None:
        self.model = mujoco.MjModel.from_xml_string(self.xml)
        self.data = mujoco.MjData(self.model)

    def reset(
        self, *, seed: int | None = None, options: None = None
    ) -> tuple[NDArray[np.float64], dict[str, object]]:
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        return self.data.qpos.copy(), {}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, object]]:
        self.data.qfrc_applied[:] = 1e300 if action[0] > 0.5 else 0.0
        mujoco.mj_step(self.model, self.data)
        return self.data.qpos.copy(), 0.0, False, False, {}


@pytest.fixture(autouse=True)
def _user_envs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    registered = dict(gymnasium.registry)
    gymnasium.register("Drift-v0", Drift, max_episode_steps=12)
    gymnasium.register("Ball-v0", Ball)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(registered)


def draw_actions(env: VectorEnv, num_steps: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if hasattr(env.spec.actions, "num"):
        return rng.integers(env.spec.actions.num, size=(num_steps, env.num_envs))
    low, high = env.spec.actions.low, env.spec.actions.high
    return rng.uniform(low, high, (num_steps, env.num_envs, len(low))).astype(np.float32)


@pytest.mark.parametrize("env_id", [*OTHERS, "Drift-v0"])
def test_steps_equal_single_environments_through_resets(env_id: str) -> None:
    seeds = [3, 4, 5]
    env = make_env(env_id, 3)
    assert isinstance(env, GymnasiumVectorEnv)
    references = [gymnasium.make(env_id) for _ in seeds]
    obs = env.reset(seeds)
    assert obs.dtype == np.float64
    for i, reference in enumerate(references):
        np.testing.assert_array_equal(obs[i], reference.reset(seed=seeds[i])[0])
    num_ended = 0
    for actions in draw_actions(env, 1010, seed=0):
        result = env.step(actions)
        for i, reference in enumerate(references):
            action = actions[i].astype(reference.action_space.dtype)
            obs, reward, terminated, truncated, _ = reference.step(action)
            np.testing.assert_array_equal(result.terminal_obs[i], obs)
            assert result.reward[i] == reward
            assert (result.terminated[i], result.truncated[i]) == (terminated, truncated)
            if terminated or truncated:
                obs, _ = reference.reset()
                num_ended += 1
            np.testing.assert_array_equal(result.obs[i], obs)
    assert num_ended >= 3


@pytest.mark.parametrize("start", [0, 5, -1])
def test_choices_are_the_tasks_own_numbers(start: int) -> None:
    taken = []

    class Counting(Drift):
        action_space = gymnasium.spaces.Discrete(2, start=start)

        def step(
            self, action: np.int64
        ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, object]]:
            assert self.action_space.contains(action)
            taken.append(int(action))
            return self.observe(), 0.0, False, False, {}

    gymnasium.register("Counting-v0", Counting)
    env = make_env("Counting-v0", 2)
    assert env.spec.actions == DiscreteActions(2, start)
    env.reset([0, 1])
    taken.clear()
    env.step(np.array([start, start + 1]))
    assert taken == [start, start + 1]


class Hoarder(Drift):
    """Fills the same arrays again and again, as fast simulators do."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.paid = np.zeros(1, np.float32), np.zeros(())
        self.told = {"place": self.seen}

    def reset(self, **how: object) -> tuple[NDArray[np.float32], dict[str, object]]:
        self.seen[:] = super().reset(**how)[0]
        return self.seen, self.told

    def step(
        self, action: np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, object]]:
        obs, reward, terminated, truncated, _ = super().step(action)
        self.seen[:], self.paid[()] = obs, reward
        return self.seen, self.paid, terminated, truncated, self.told


def test_a_task_that_reuses_its_arrays_plays_as_one_that_does_not() -> None:
    gymnasium.register("Hoarder-v0", Hoarder, max_episode_steps=12)
    hoarder, drift = make_env("Hoarder-v0", 3), make_env("Drift-v0", 3)
    first = hoarder.reset([1, 2, 3]), drift.reset([1, 2, 3])
    actions = draw_actions(drift, 60, seed=4)
    played = [(hoarder.step(a), drift.step(a)) for a in actions]
    assert sum(theirs.truncated.sum() for _, theirs in played) > 3
    np.testing.assert_array_equal(*first)  # after all that was played since
    for ours, theirs in played:
        for name in ("obs", "reward", "terminated", "truncated", "terminal_obs"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def through_json(
    value: int | str | Array | dict[str, object],
) -> int | str | Array | dict[str, object]:
    """Store a state as a checkpoint does: scalars as JSON, arrays apart from it."""
    if isinstance(value, dict):
        return {key: through_json(part) for key, part in value.items()}
    return value if isinstance(value, np.ndarray) else json.loads(json.dumps(value))


@pytest.mark.parametrize("env_id", [*OTHERS, "Drift-v0", "Hopper-v5"])
@pytest.mark.parametrize("num_before", [0, 1, 47])
def test_a_loaded_state_has_the_same_future(env_id: str, num_before: int) -> None:
    env = make_env(env_id, 3)
    env.reset([1, 2, 3])
    actions = draw_actions(env, num_before + 60, seed=1)
    for a in actions[:num_before]:
        env.step(a)
    state = env.state_dict()
    future = [env.step(a) for a in actions[num_before:]]
    resumed = make_env(env_id, 3)
    resumed.load_state_dict(through_json(state))
    for a, theirs in zip(actions[num_before:], future, strict=True):
        ours = resumed.step(a)
        for name in ("obs", "reward", "terminated", "truncated", "terminal_obs"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_loading_returns_the_observation_that_the_policy_saw_last() -> None:
    env = make_env("Drift-v0", 2)
    env.reset([1, 2])
    obs = [env.step(a).obs for a in draw_actions(env, 17, seed=2)][-1]
    np.testing.assert_array_equal(make_env("Drift-v0", 2).load_state_dict(env.state_dict()), obs)


def test_a_task_with_random_numbers_of_its_own_is_refused_on_load() -> None:
    gymnasium.register("Moody-v0", Drift, kwargs={"own_random": True})
    env = make_env("Moody-v0", 1)
    env.reset([0])
    env.step(np.zeros((1, 1), np.float32))
    with pytest.raises(CheckError, match="Moody-v0: environment 0 cannot be resumed"):
        make_env("Moody-v0", 1).load_state_dict(env.state_dict())


def test_a_random_stream_that_cannot_be_stored_is_refused() -> None:
    class Mersenne(Drift):
        def reset(
            self, *, seed: int | None = None, options: None = None
        ) -> tuple[NDArray[np.float32], dict[str, object]]:
            self.np_random = np.random.Generator(np.random.MT19937(seed))
            return super().reset()

    gymnasium.register("Mersenne-v0", Mersenne)
    env = make_env("Mersenne-v0", 1)
    env.reset([0])
    env.reset()
    with pytest.raises(InputError, match=r"np_random must be a PCG64 generator .* got MT19937"):
        env.state_dict()


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"obs_at_3": np.nan}, "observation"),
        ({"obs_at_3": -np.inf}, "observation"),
        ({"reward_at_3": np.nan}, "reward"),
        ({"reward_at_3": np.inf}, "reward"),
    ],
)
def test_numbers_that_are_not_finite_stop_with_place_and_step(
    wrong: dict[str, float], what: str
) -> None:
    gymnasium.register("Wrong-v0", Drift, kwargs=wrong)
    env = make_env("Wrong-v0", 2)
    env.reset([0, 1])
    actions = np.zeros((2, 1), np.float32)
    env.step(actions)
    env.step(actions)
    with pytest.raises(
        DivergenceError,
        match=f"Wrong-v0: environment 0 diverged at step 3 of its episode: its {what} is not",
    ):
        env.step(actions)


def test_a_mujoco_robot_that_resets_itself_is_a_divergence() -> None:
    env = make_env("Ball-v0", 2)
    env.reset([0, 1])
    env.step(np.zeros((2, 1), np.float32))
    with pytest.raises(DivergenceError, match="Ball-v0: environment 1 diverged at step 2"):
        env.step(np.array([[0.0], [1.0]], np.float32))
    assert (env.reset([0, 1]) == 0).all()
    env.step(np.zeros((2, 1), np.float32))


@pytest.mark.parametrize(
    ("env_id", "actions", "wanted"),
    [
        ("CartPole-v1", np.zeros(2), r"integers of shape \(2,\)"),
        ("CartPole-v1", np.zeros((2, 1), np.int64), r"integers of shape \(2,\)"),
        ("Pendulum-v1", np.zeros((2, 1)), r"float32 of shape \(2, 1\)"),
    ],
)
def test_actions_of_another_type_or_shape_are_refused(
    env_id: str, actions: Array, wanted: str
) -> None:
    env = make_env(env_id, 2)
    env.reset([0, 1])
    with pytest.raises(InputError, match=f"{env_id}: actions must be {wanted}"):
        env.step(actions)


def test_nothing_works_before_the_first_reset() -> None:
    env = make_env("CartPole-v1", 2)
    with pytest.raises(InputError, match=r"reset\(\) must come before step\(\)"):
        env.step(np.zeros(2, np.int64))
    with pytest.raises(InputError, match=r"reset\(\) must come before state_dict\(\)"):
        env.state_dict()
    with pytest.raises(InputError, match="seeds must be 2 non-negative integers"):
        env.reset([1])


def test_the_state_of_another_task_is_refused() -> None:
    env = make_env("CartPole-v1", 2)
    env.reset([0, 1])
    with pytest.raises(InputError, match="must be of 2 x Pendulum-v1, got one of 2 x CartPole-v1"):
        make_env("Pendulum-v1", 2).load_state_dict(env.state_dict())
