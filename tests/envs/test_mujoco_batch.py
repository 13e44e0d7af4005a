"""The four tasks on `mujoco.batch` against Gymnasium itself: the same bits, step by step."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from surefoot.envs import VectorEnv, make_env
from surefoot.envs.mujoco_batch import MujocoBatchEnv
from surefoot.errors import DivergenceError, InputError
from surefoot.onnx_file import policy_from_onnx
from surefoot.policy import Array

TASKS = ("Hopper-v5", "Walker2d-v5", "HalfCheetah-v5", "Ant-v5")
NUM_ENVS = 4
DATA = Path(__file__).parent / "data"

Act = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(autouse=True)
def _no_log_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # gymnasium.make lets MuJoCo write MUJOCO_LOG.TXT


def joint_springs(env_id: str) -> Act:
    """Pull every joint to zero: Hopper then stands for whole episodes.

    The actuated joints are the last positions and the last velocities.
    """
    model = gymnasium.make(env_id).unwrapped.model
    num_hidden = 2 if env_id == "Ant-v5" else 1
    end_of_positions = model.nq - num_hidden
    end_of_velocities = end_of_positions + model.nv

    def act(obs: NDArray[np.float64]) -> NDArray[np.float64]:
        positions = obs[:, end_of_positions - model.nu : end_of_positions]
        velocities = obs[:, end_of_velocities - model.nu : end_of_velocities]
        return -(positions + 0.1 * velocities)

    return act


def springs_and_noise(env_id: str, seed: int) -> Act:
    """Springs in one half of the environments, noise beyond the actuators' range in the other."""
    springs, rng = joint_springs(env_id), np.random.default_rng(seed)

    def act(obs: NDArray[np.float64]) -> NDArray[np.float32]:
        actions = springs(obs)
        half = len(actions) // 2
        actions[half:] = rng.uniform(-1.3, 1.3, actions[half:].shape)
        return actions.astype(np.float32)

    return act


def integration_state(reference: gymnasium.Env) -> np.ndarray:
    model, data = reference.unwrapped.model, reference.unwrapped.data
    state = np.empty(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION))
    mujoco.mj_getState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    return state


def count_ends_in_parity(env_id: str, act: Act, num_steps: int) -> tuple[int, int]:
    """Assert equality with Gymnasium at 1 and 2 threads; return terminations and truncations."""
    seeds = [11, 22, 33, 44]
    vectors = [make_env(env_id, NUM_ENVS, num_threads=n) for n in (1, 2)]
    references = [gymnasium.make(env_id) for _ in seeds]
    obs = np.array([env.reset(seed=s)[0] for env, s in zip(references, seeds, strict=True)])
    for vector in vectors:
        np.testing.assert_array_equal(vector.reset(seeds), obs)
    num_terminated = num_truncated = 0
    for _ in range(num_steps):
        actions = act(obs)
        steps = [env.step(a)[:4] for env, a in zip(references, actions, strict=True)]
        terminal_obs, reward, terminated, truncated = map(np.array, zip(*steps, strict=True))
        obs = terminal_obs.copy()
        for i in np.flatnonzero(terminated | truncated):
            obs[i] = references[i].reset()[0]
        simulated = np.array([integration_state(env) for env in references])
        for vector in vectors:
            result = vector.step(actions)
            np.testing.assert_array_equal(result.terminal_obs, terminal_obs)
            np.testing.assert_array_equal(result.reward, reward)
            np.testing.assert_array_equal(result.terminated, terminated)
            np.testing.assert_array_equal(result.truncated, truncated)
            np.testing.assert_array_equal(result.obs, obs)
            np.testing.assert_array_equal(vector.state_dict()["integration"], simulated)
        num_terminated += terminated.sum()
        num_truncated += truncated.sum()
    return num_terminated, num_truncated


@pytest.mark.parametrize("env_id", TASKS)
def test_steps_equal_gymnasium_bit_for_bit_through_resets(env_id: str) -> None:
    num_terminated, num_truncated = count_ends_in_parity(
        env_id, springs_and_noise(env_id, seed=0), num_steps=1050
    )
    assert num_truncated >= 1
    assert num_terminated >= 5 or env_id == "HalfCheetah-v5"


def trained_policy(env_id: str) -> Act:
    """Act as a policy that `pipeline train` made with the preset of the task."""
    policy = policy_from_onnx((DATA / f"{env_id}.onnx").read_bytes()).policy
    return lambda obs: policy.outputs(obs, np.float32)


@pytest.mark.parametrize("env_id", TASKS)
def test_steps_of_a_trained_policy_equal_gymnasium_bit_for_bit(env_id: str) -> None:
    count_ends_in_parity(env_id, trained_policy(env_id), num_steps=300)


@pytest.mark.parametrize("env_id", TASKS)
def test_steps_from_far_away_states_equal_gymnasium(env_id: str) -> None:
    """States that a rollout seldom sees: beyond every bound of health, faster than the clip."""
    num_envs = 200
    env, reference = make_env(env_id, num_envs), gymnasium.make(env_id)
    env.reset(range(num_envs))
    assert isinstance(env, MujocoBatchEnv)
    qpos, qvel = env.simulations.batch.bind("qpos"), env.simulations.batch.bind("qvel")
    rng = np.random.default_rng(5)
    qpos[:100, 1:] += rng.normal(0, 0.5, qpos[:100, 1:].shape)  # the place stays, see reward
    qvel[:100] += rng.normal(0, 20, (100, 1)) * rng.normal(0, 1, qvel[:100].shape)
    qvel[100:, -1] = rng.uniform(-400, 400, 100)  # Hopper's bound on velocities alone
    start = [qpos.copy(), qvel.copy()]
    actions = rng.uniform(-1, 1, (num_envs, env.spec.actions.dim)).astype(np.float32)
    result = env.step(actions)
    for i in range(num_envs):
        reference.reset(seed=i)
        data = reference.unwrapped.data
        data.qpos[:], data.qvel[:] = start[0][i], start[1][i]
        obs, reward, terminated, _, _ = reference.step(actions[i])
        np.testing.assert_array_equal(result.terminal_obs[i], obs)
        assert (result.reward[i], result.terminated[i]) == (reward, terminated)
    assert 10 < result.terminated.sum() < 190 or env_id == "HalfCheetah-v5"


@pytest.mark.parametrize("env_id", TASKS)
def test_a_single_environment_equals_one_of_many(env_id: str) -> None:
    many, one = make_env(env_id, NUM_ENVS), make_env(env_id, 1)
    act = springs_and_noise(env_id, seed=1)
    obs = many.reset([1, 2, 3, 4])
    np.testing.assert_array_equal(one.reset([4]), obs[3:])
    for _ in range(100):
        actions = act(obs)
        result, alone = many.step(actions), one.step(actions[3:])
        obs = result.obs
        np.testing.assert_array_equal(alone.obs, obs[3:])
        np.testing.assert_array_equal(alone.reward, result.reward[3:])


def run(env: VectorEnv, actions_TNA: np.ndarray) -> list[np.ndarray]:
    results = [env.step(actions) for actions in actions_TNA]
    return [array for r in results for array in (r.obs, r.reward, r.terminated, r.truncated)]


@pytest.mark.parametrize("env_id", TASKS)
def test_a_loaded_state_has_the_same_future(env_id: str) -> None:
    env = make_env(env_id, NUM_ENVS, num_threads=2)
    env.reset([1, 2, 3, 4])
    rng = np.random.default_rng(2)
    actions = rng.uniform(-1, 1, (130, NUM_ENVS, env.spec.actions.dim)).astype(np.float32)
    run(env, actions[:57])
    state = env.state_dict()
    future = run(env, actions[57:])

    other = make_env(env_id, NUM_ENVS)
    other.reset([9, 9, 9, 9])
    run(other, actions[:3])
    for resumed in (other, env):
        resumed.load_state_dict(state)
        for ours, theirs in zip(run(resumed, actions[57:]), future, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("env_id", TASKS)
def test_loading_returns_the_observation_that_the_policy_saw_last(env_id: str) -> None:
    env = make_env(env_id, NUM_ENVS)
    env.reset([1, 2, 3, 4])
    actions = np.full((NUM_ENVS, env.spec.actions.dim), 0.3, np.float32)
    obs = [env.step(actions).obs for _ in range(20)][-1]
    fresh = make_env(env_id, NUM_ENVS)
    np.testing.assert_array_equal(fresh.load_state_dict(env.state_dict()), obs)


def test_time_limit_counts_through_a_loaded_state() -> None:
    env = make_env("HalfCheetah-v5", 1)
    env.reset([0])
    actions = np.zeros((1, 6), np.float32)
    for _ in range(600):
        env.step(actions)
    resumed = make_env("HalfCheetah-v5", 1)
    resumed.load_state_dict(env.state_dict())
    truncated = [bool(resumed.step(actions).truncated[0]) for _ in range(401)]
    assert truncated.index(True) == 399


def test_truncation_shows_the_last_observation_apart_from_the_next_first_one() -> None:
    env = make_env("HalfCheetah-v5", 1)
    env.reset([0])
    actions = np.zeros((1, 6), np.float32)
    results = [env.step(actions) for _ in range(1000)]
    for before, after in pairwise(results[:-1]):
        np.testing.assert_array_equal(before.obs, before.terminal_obs)
        assert not after.truncated
    last = results[-1]
    assert last.truncated
    assert not last.terminated
    # At rest after 50 s without control, while a new episode starts with velocity noise of 0.1.
    assert np.abs(last.terminal_obs[0, 8:]).max() < 0.01 < np.abs(last.obs[0, 8:]).max()


def test_reset_without_seeds_continues_the_random_streams() -> None:
    env = make_env("Hopper-v5", 2)
    reference = gymnasium.make("Hopper-v5")
    env.reset([5, 6])
    reference.reset(seed=6)
    for _ in range(3):
        np.testing.assert_array_equal(env.reset()[1], reference.reset()[0])


def test_results_belong_to_the_caller() -> None:
    env, twin = make_env("Ant-v5", 2), make_env("Ant-v5", 2)
    env.reset([0, 1])[:] = 7.0
    twin.reset([0, 1])
    actions = np.zeros((2, 8), np.float32)
    for _ in range(3):
        mine, theirs = env.step(actions), twin.step(actions)
        np.testing.assert_array_equal(mine.terminal_obs, theirs.terminal_obs)
        mine.obs[:] = mine.terminal_obs[:] = np.nan
    assert np.isfinite(env.load_state_dict(env.state_dict())).all()


def velocities(env: VectorEnv) -> np.ndarray:
    assert isinstance(env, MujocoBatchEnv)
    return env.simulations.batch.bind("qvel")


@pytest.mark.parametrize("env_id", TASKS)
@pytest.mark.parametrize(
    ("value", "warning"),
    [(np.nan, "mjWARN_BADQVEL"), (1e12, "mjWARN_BADQVEL"), (9e9, "mjWARN_BADQACC")],
)
def test_a_diverged_simulation_stops_with_its_place_and_step(
    env_id: str, value: float, warning: str
) -> None:
    env = make_env(env_id, 3, num_threads=2)
    env.reset([0, 1, 2])
    actions = np.zeros((3, env.spec.actions.dim), np.float32)
    env.step(actions)
    velocities(env)[1, 3] = value
    with pytest.raises(
        DivergenceError,
        match=rf"{env_id}: environment 1 diverged at step 2 of its episode: .*{warning}",
    ):
        env.step(actions)


@pytest.mark.parametrize("env_id", TASKS)
def test_after_a_divergence_a_reset_starts_afresh(env_id: str) -> None:
    env, twin = make_env(env_id, 2), make_env(env_id, 2)
    actions = np.zeros((2, env.spec.actions.dim), np.float32)
    env.reset([0, 1])
    velocities(env)[0] = np.inf
    with pytest.raises(DivergenceError, match="environment 0"):
        env.step(actions)
    np.testing.assert_array_equal(env.reset([3, 4]), twin.reset([3, 4]))
    for _ in range(5):
        np.testing.assert_array_equal(env.step(actions).obs, twin.step(actions).obs)


def test_an_action_that_is_not_finite_is_a_divergence() -> None:
    env = make_env("Hopper-v5", 2)
    env.reset([0, 1])
    actions = np.zeros((2, 3), np.float32)
    actions[1, 2] = np.nan
    with pytest.raises(DivergenceError, match=r"environment 1 diverged at step 1 .*BADCTRL"):
        env.step(actions)


def test_an_error_of_the_engine_is_a_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    env = make_env("Hopper-v5", 3)
    env.reset([0, 1, 2])
    assert isinstance(env, MujocoBatchEnv)

    def fail(**_: int) -> None:
        raise mujoco.batch.SimulationError(np.array([2]), "stack overflow")

    monkeypatch.setattr(env.simulations.batch, "step", fail)
    with pytest.raises(DivergenceError, match=r"environment 2 diverged at step 1 .*stack overflow"):
        env.step(np.zeros((3, 3), np.float32))


def test_a_state_that_ends_not_finite_is_a_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo looks at the state before a substep, never after the last one."""
    env = make_env("Hopper-v5", 3)
    env.reset([0, 1, 2])
    qvel = velocities(env)
    monkeypatch.setattr(env.simulations.batch, "step", lambda **_: qvel[2].fill(np.inf))
    with pytest.raises(DivergenceError, match=r"environment 2 .*not finite"):
        env.step(np.zeros((3, 3), np.float32))


@pytest.mark.parametrize(
    "actions", [np.zeros((2, 3)), np.zeros((2, 4), np.float32), np.zeros((3, 3), np.float32)]
)
def test_actions_of_another_type_or_shape_are_refused(actions: Array) -> None:
    env = make_env("Hopper-v5", 2)
    env.reset([0, 1])
    with pytest.raises(InputError, match=r"Hopper-v5: actions must be float32 of shape \(2, 3\)"):
        env.step(actions)


def test_the_layout_of_the_actions_does_not_change_the_reward() -> None:
    env, twin = make_env("Ant-v5", 64), make_env("Ant-v5", 64)
    env.reset(range(64))
    twin.reset(range(64))
    actions = np.random.default_rng(3).uniform(-1, 1, (64, 8)).astype(np.float32)
    transposed = np.asfortranarray(actions)
    np.testing.assert_array_equal(env.step(actions).reward, twin.step(transposed).reward)


@pytest.mark.parametrize("seeds", [[1], [1, 2, 3], [1, -2]])
def test_seeds_that_do_not_fit_are_refused(seeds: list[int]) -> None:
    with pytest.raises(InputError, match="seeds must be 2 non-negative integers"):
        make_env("Hopper-v5", 2).reset(seeds)


def test_nothing_works_before_the_first_reset() -> None:
    env = make_env("Hopper-v5", 2)
    with pytest.raises(InputError, match=r"reset\(\) must come before step\(\)"):
        env.step(np.zeros((2, 3), np.float32))
    with pytest.raises(InputError, match=r"reset\(\) must come before state_dict\(\)"):
        env.state_dict()


def test_the_state_of_another_task_is_refused() -> None:
    env = make_env("Hopper-v5", 2)
    env.reset([0, 1])
    state = env.state_dict()
    with pytest.raises(InputError, match="must be of 2 x Walker2d-v5, got one of 2 x Hopper-v5"):
        make_env("Walker2d-v5", 2).load_state_dict(state)
    with pytest.raises(InputError, match="must be of 3 x Hopper-v5, got one of 2 x Hopper-v5"):
        make_env("Hopper-v5", 3).load_state_dict(state)
