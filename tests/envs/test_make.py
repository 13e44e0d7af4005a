"""From an id to an environment: which way it runs, what is known about it, what is refused.

Also of ``envs/tasks.py``.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from surefoot.envs import BoxActions, DiscreteActions, describe_env, make_env
from surefoot.envs.gymnasium_vector import GymnasiumVectorEnv
from surefoot.envs.mujoco_batch import MujocoBatchEnv
from surefoot.envs.mujoco_task import MujocoTask
from surefoot.envs.tasks import TASKS
from surefoot.envs.vector import Actions
from surefoot.errors import InputError, MissingLibraryError
from surefoot.policy import Array

ROBOT = """
import gymnasium
import numpy as np


class Robot(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    dt = 0.25

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2), {}

    def step(self, action):
        return np.ones(2), 0.5, False, False, {}


gymnasium.register("Robot-v3", entry_point=f"{__name__}:Robot", max_episode_steps=7)
"""


@pytest.fixture(autouse=True)
def _clean_registry_and_modules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    registered, modules = dict(gymnasium.registry), set(sys.modules)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(registered)
    for name in set(sys.modules) - modules:
        if "robot" in name:
            del sys.modules[name]


def register_spaces(
    observation_space: gymnasium.Space, action_space: gymnasium.Space, **parts: object
) -> None:
    class Spaces(gymnasium.Env):
        def __init__(self) -> None:
            vars(self).update(parts)
            self.observation_space = observation_space
            self.action_space = action_space

        def reset(
            self, *, seed: int | None = None, options: dict[str, object] | None = None
        ) -> tuple[Array, dict[str, object]]:
            return np.zeros(self.observation_space.shape), {}

        def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, object]]:
            assert self.action_space.contains(action)
            return np.zeros(self.observation_space.shape), 0.0, False, False, {}

    gymnasium.register("Spaces-v0", Spaces)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.env_id)
def test_gymnasiums_own_registration_runs_on_the_batch(task: MujocoTask) -> None:
    env = make_env(task.env_id, 2)
    assert isinstance(env, MujocoBatchEnv)
    assert env.resumable


@pytest.mark.parametrize(
    "changed",
    [
        {"kwargs": {"frame_skip": 2}},
        {"kwargs": {"terminate_when_unhealthy": False}},
        {"additional_wrappers": (gymnasium.wrappers.ClipReward.wrapper_spec(max_reward=1.0),)},
        {"entry_point": "gymnasium.envs.mujoco.walker2d_v5:Walker2dEnv"},
    ],
)
def test_a_changed_registration_of_a_task_does_not_run_on_the_batch(
    changed: dict[str, object],
) -> None:
    stock = {"entry_point": "gymnasium.envs.mujoco.hopper_v5:HopperEnv", "max_episode_steps": 1000}
    for env_id in ("MyHopper-v5", "Hopper-v5"):
        gymnasium.registry.pop(env_id, None)
        gymnasium.register(env_id, **{**stock, **changed})
        env = make_env(env_id, 1)
        assert isinstance(env, GymnasiumVectorEnv)
        assert not env.resumable


def test_a_changed_time_limit_is_kept() -> None:
    gymnasium.registry.pop("HalfCheetah-v5")
    gymnasium.register(
        "HalfCheetah-v5",
        entry_point="gymnasium.envs.mujoco.half_cheetah_v5:HalfCheetahEnv",
        max_episode_steps=3,
    )
    env = make_env("HalfCheetah-v5", 1)
    env.reset([0])
    actions = np.zeros((1, 6), np.float32)
    assert [bool(env.step(actions).truncated[0]) for _ in range(4)] == [False, False, True, False]


@pytest.mark.parametrize(
    ("env_id", "obs_dim", "actions", "dt_s", "max_episode_steps"),
    [
        ("Hopper-v5", 11, BoxActions(*np.float32([[-1] * 3, [1] * 3])), 0.008, 1000),
        ("Ant-v5", 105, BoxActions(*np.float32([[-1] * 8, [1] * 8])), 0.05, 1000),
        ("Pendulum-v1", 3, BoxActions(*np.float32([[-2], [2]])), 0.05, 200),
        ("CartPole-v1", 4, DiscreteActions(2), None, 500),
    ],
)
def test_the_description_says_what_the_documentation_says(
    env_id: str, obs_dim: int, actions: Actions, dt_s: float | None, max_episode_steps: int
) -> None:
    spec = describe_env(env_id)
    assert spec == make_env(env_id, 1).spec
    assert (spec.env_id, spec.obs_dim, spec.actions) == (env_id, obs_dim, actions)
    assert spec.dt_s == pytest.approx(dt_s)
    assert spec.max_episode_steps == max_episode_steps
    assert spec.packages["gymnasium"] == gymnasium.__version__


def test_bounds_are_equal_by_value() -> None:
    bounds = BoxActions(*np.float32([[-1], [1]]))
    assert bounds == BoxActions(*np.float32([[-1], [1]]))
    assert bounds != BoxActions(*np.float32([[-1], [2]]))
    assert bounds != DiscreteActions(2)


@pytest.mark.parametrize("how", ["name", "file name", "path"])
def test_a_users_module_registers_its_environment(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "elsewhere" if how == "path" else tmp_path
    folder.mkdir(exist_ok=True)
    name = f"robot_by_{how.replace(' ', '_')}"
    (folder / f"{name}.py").write_text(ROBOT)
    env_module = {"name": name, "file name": f"{name}.py", "path": f"{folder}/{name}.py"}[how]
    spec = describe_env("Robot-v3", env_module)
    assert (spec.obs_dim, spec.dt_s, spec.max_episode_steps) == (2, 0.25, 7)
    for _ in range(2):  # a second import must not register again, which Gymnasium warns of
        env = make_env("Robot-v3", 2, env_module=env_module)
    env.reset([0, 1])
    np.testing.assert_array_equal(env.step(np.zeros((2, 1), np.float32)).reward, [0.5, 0.5])


@pytest.mark.parametrize(
    ("env_module", "source", "reason"),
    [
        ("robot_missing", None, "ModuleNotFoundError: No module named 'robot_missing'"),
        ("robot_missing.py", None, "ModuleNotFoundError"),
        ("robot_broken", "1 / 0", "ZeroDivisionError: division by zero"),
        ("robot_syntax.py", "def", "SyntaxError"),
    ],
)
def test_a_module_that_cannot_be_imported_is_refused(
    tmp_path: Path, env_module: str, source: str | None, reason: str
) -> None:
    if source is not None:
        (tmp_path / f"{env_module.removesuffix('.py')}.py").write_text(source)
    with pytest.raises(InputError, match=f"env_module '{env_module}' cannot be imported: {reason}"):
        make_env("Robot-v3", 1, env_module=env_module)


def test_a_module_that_is_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "robot_loop.py").symlink_to("robot_loop.py")
    with pytest.raises(
        InputError, match=r"robot_loop\.py' cannot be imported: ModuleNotFoundError"
    ):
        make_env("Robot-v3", 1, env_module=str(tmp_path / "robot_loop.py"))


def test_a_file_that_has_the_name_of_another_module_is_refused(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text(ROBOT)
    with pytest.raises(InputError, match=r"must have a name of its own; 'json' is already .*json"):
        make_env("Robot-v3", 1, env_module=str(tmp_path / "json.py"))


@pytest.mark.parametrize(
    ("env_id", "hint"),
    [("Hoper-v5", "; did you mean 'Hopper-v5'"), ("hopper-v5", "'Hopper-v5'"), ("?", "got '[?]'$")],
)
def test_an_unknown_id_is_refused_with_the_nearest_one(env_id: str, hint: str) -> None:
    with pytest.raises(InputError, match=f"env_id must be registered with Gymnasium, .*{hint}"):
        make_env(env_id, 1)
    with pytest.raises(InputError, match=hint):
        describe_env(env_id)


BOX = gymnasium.spaces.Box(-1.0, 1.0, (2,))


@pytest.mark.parametrize(
    ("observation_space", "message"),
    [
        (gymnasium.spaces.Dict({"joint": BOX}), r"observation space .* got Dict\('joint': Box"),
        (gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8), r"observation space .* got Box\(0, 25"),
        (gymnasium.spaces.Discrete(4), r"observation space .* got Discrete\(4\)"),
        (
            gymnasium.spaces.Box(-1.0, 1.0, (0,)),
            r"observation space .* got Box\(\[\], \[\]",
        ),
    ],
)
def test_other_observations_than_flat_boxes_are_refused(
    observation_space: gymnasium.Space, message: str
) -> None:
    register_spaces(observation_space, BOX)
    with pytest.raises(InputError, match=f"Spaces-v0: the {message}"):
        make_env("Spaces-v0", 1)


@pytest.mark.parametrize(
    ("action_space", "message"),
    [
        (gymnasium.spaces.MultiDiscrete([2, 3]), "must be a real Box or Discrete, got MultiD"),
        (gymnasium.spaces.Discrete(1), r"must have 2 actions or more, got Discrete\(1\)"),
        (gymnasium.spaces.Box(0, 5, (2,), np.int64), "must be a real Box or Discrete, got Box"),
        (gymnasium.spaces.Box(-1.0, 1.0, (2, 2)), r"must have shape \(n,\), got Box"),
        (gymnasium.spaces.Box(-1.0, 1.0, (0,)), r"must have shape \(n,\), got Box"),
        (gymnasium.spaces.Box(-1.0, np.inf, (2,)), "must have finite bounds, got Box"),
    ],
)
def test_other_actions_than_bounded_vectors_and_choices_are_refused(
    action_space: gymnasium.Space, message: str
) -> None:
    register_spaces(BOX, action_space)
    with pytest.raises(InputError, match=f"Spaces-v0: the action space {message}"):
        describe_env("Spaces-v0")


@pytest.mark.parametrize("low", [0.1, -0.1, 1 / 3])
def test_bounds_are_rounded_inward(low: float) -> None:
    register_spaces(BOX, gymnasium.spaces.Box(low, low + 1e-3, (2,), np.float64))
    actions = describe_env("Spaces-v0").actions
    assert actions.low.dtype == actions.high.dtype == np.float32
    assert (actions.low.astype(np.float64) >= low).all()
    assert (actions.high.astype(np.float64) <= low + 1e-3).all()
    assert (actions.high - actions.low > 0.99e-3).all()


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (1.0, 1.0 + 1e-12), (1.0, 1.0 + 1e-7)])
def test_bounds_that_leave_no_range_in_float32_are_refused(low: float, high: float) -> None:
    register_spaces(BOX, gymnasium.spaces.Box(low, high, (2,), np.float64))
    with pytest.raises(InputError, match="the action space must have low < high in float32, got"):
        describe_env("Spaces-v0")


@pytest.mark.parametrize(
    ("dt", "dt_s"),
    [
        (0.25, 0.25),
        (np.float32(0.25), 0.25),
        (np.array(0.25), 0.25),
        (np.float16(0.25), 0.25),
        (2, 2.0),
        (np.int64(2), 2.0),
        (np.longdouble(0.25), 0.25),
        (0.0, None),
        (-1, None),
        (np.nan, None),
        (np.inf, None),
        (True, None),
        ("0.25", None),
        ([0.25], None),
        (None, None),
    ],
)
def test_a_period_of_any_real_type_is_taken_and_nothing_else(
    dt: object, dt_s: float | None
) -> None:
    register_spaces(BOX, BOX, dt=dt)
    assert describe_env("Spaces-v0").dt_s == dt_s
    assert type(describe_env("Spaces-v0").dt_s) in (float, type(None))


@pytest.mark.parametrize("number", [0, -1])
def test_numbers_below_one_are_refused(number: int) -> None:
    with pytest.raises(InputError, match=f"num_envs must be at least 1, got {number}"):
        make_env("Hopper-v5", number)
    with pytest.raises(InputError, match=f"num_threads must be at least 1, got {number}"):
        make_env("Hopper-v5", 1, num_threads=number)


def test_a_task_without_its_package_names_it() -> None:
    def needs_a_package(**_: object) -> None:
        raise gymnasium.error.DependencyNotInstalled("Box2D is not installed")

    gymnasium.register("Lander-v0", needs_a_package)
    with pytest.raises(MissingLibraryError, match=r"Lander-v0 needs .*Box2D is not installed"):
        make_env("Lander-v0", 1)


def test_mujoco_writes_nothing_into_the_working_folder(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make_env("HalfCheetah-v5", 2)  # its model has a deprecated attribute
    env = make_env("InvertedPendulum-v5", 1)
    env.reset([0])
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
