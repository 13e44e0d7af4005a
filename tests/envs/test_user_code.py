"""Code of the user may fail anywhere: it never decides how surefoot ends, and fails in one line.

Also of ``envs/contract.py``.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import gymnasium
import numpy as np
import pytest

from surefoot.envs import describe_env, make_env
from surefoot.errors import InputError, SurefootError, UserCodeError

Result = tuple[Any, ...]
FAILURES = (SystemExit(0), SystemExit(), GeneratorExit(), RuntimeError("no torque"), MemoryError())


class Robot(gymnasium.Env[Any, Any]):
    """A sound environment; a test replaces one of its parts."""

    observation_space: Any = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space: Any = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Result:
        super().reset(seed=seed)
        self.num_steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: object) -> Result:
        self.num_steps += 1
        return np.zeros(2, np.float32), 1.0, False, False, {}


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    registered = dict(gymnasium.registry)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(registered)


def register(env_id: str = "Robot-v0", **parts: object) -> str:
    """Register a robot with other parts: attributes and methods by name."""
    gymnasium.register(env_id, type("Changed", (Robot,), parts), max_episode_steps=5)
    return env_id


def raising(error: BaseException) -> Callable[..., NoReturn]:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    return fail


def play(env_id: str, num_steps: int) -> None:
    env = make_env(env_id, 2)
    env.reset([0, 0])
    for _ in range(num_steps):
        env.step(np.zeros((2, 1), np.float32))
    env.close()


def failure(env_id: str, num_steps: int = 12) -> SurefootError:
    """Return how an environment fails that is made, played and closed."""
    with pytest.raises((UserCodeError, InputError)) as caught:
        play(env_id, num_steps)
    return caught.value


@pytest.mark.parametrize("error", FAILURES, ids=repr)
@pytest.mark.parametrize(
    ("part", "where"),
    [
        ("__init__", "cannot be made"),
        ("reset", r"failed in reset\(\)"),
        ("step", "failed at step 1"),
        ("close", r"failed in close\(\)"),
        ("observation_space", "cannot be described"),
        ("dt", "cannot be described"),
    ],
)
def test_whatever_code_of_the_user_raises_is_one_error_with_its_place(
    part: str, where: str, error: BaseException
) -> None:
    fails = raising(error)
    is_property = part in ("observation_space", "dt")
    caught = failure(register(**{part: property(fails) if is_property else fails}))
    assert isinstance(caught, UserCodeError)
    assert caught.exit_code == 3
    assert re.search(f"Robot-v0.* {where}.*: {type(error).__name__}", str(caught))
    assert "\n" not in str(caught)
    assert caught.__cause__ is error  # where it happened, for who asks


def test_an_exit_in_the_middle_of_an_episode_names_environment_and_step() -> None:
    def step(self: Robot, action: object) -> Result:
        if self.np_random.random() < 2 and self.num_steps == 3:
            raise SystemExit
        return Robot.step(self, action)

    message = "Robot-v0: environment 0 failed at step 4 of its episode: SystemExit"
    assert str(failure(register(step=step))) == message


def test_an_exit_past_every_handler_is_an_error_with_its_place() -> None:
    def step(self: Robot, action: object) -> Result:
        return os._exit(0) if self.num_steps == 3 else Robot.step(self, action)

    known = os._exit
    message = str(failure(register(step=step)))
    assert message == (
        "Robot-v0: environment 0 failed at step 4 of its episode: "
        "RuntimeError: os._exit(0) must not end surefoot"
    )
    assert os._exit is known


def test_an_interrupt_is_left_alone() -> None:
    env_id = register(step=raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        make_env(env_id, 1)


def test_an_error_whose_message_fails_is_named_by_its_type() -> None:
    class MuteError(Exception):
        __str__ = raising(SystemExit(0))

    error = failure(register(reset=raising(MuteError())))
    assert str(error).endswith("failed in reset(): MuteError")


@pytest.mark.parametrize("error", [SystemExit(0), SystemExit(), GeneratorExit()], ids=repr)
def test_a_module_that_leaves_at_its_import_is_an_error(
    tmp_path: Path, error: BaseException
) -> None:
    (tmp_path / "robot_leaves.py").write_text(f"raise {error!r}")
    with pytest.raises(UserCodeError, match=r"'robot_leaves\.py' cannot be imported: "):
        describe_env("Robot-v0", "robot_leaves.py")


@pytest.mark.parametrize(
    ("entry_point", "says"),
    [("nowhere.robots:Robot", "No module named 'nowhere'"), ("json:Robot", "'Robot'")],
)
def test_an_entry_point_that_is_not_there_is_one_line(entry_point: str, says: str) -> None:
    gymnasium.register("Lost-v0", entry_point)
    assert re.search(f"^Lost-v0 cannot be made: .*{says}", str(failure("Lost-v0")))


@pytest.mark.filterwarnings("ignore:.*out of date")
def test_a_version_that_gymnasium_has_given_away_is_one_line() -> None:
    assert re.search("^Hopper-v2 cannot be made: .*gymnasium-robotics", str(failure("Hopper-v2")))


MASKED = "no number may be masked: nothing is known to be there"
WRONG_RESETS = {
    MASKED: (np.ma.masked_array(np.zeros(2), mask=[False, True]), {}),
    "reset() must return (obs, info), got an array of shape (2,)": np.zeros(2),
    "info must be a dict, got None": (np.zeros(2), None),
    "an observation must have the shape of its space (2,), got (3,)": (np.zeros(3), {}),
    "an observation must hold numbers of its space's type float32, got object": ([None] * 2, {}),
    "its observation is not finite": (np.array([0.0, np.nan]), {}),
}


@pytest.mark.parametrize("says", WRONG_RESETS)
def test_what_a_reset_must_not_return_is_refused_at_once(says: str) -> None:
    def reset(self: Robot, **_: object) -> object:
        return WRONG_RESETS[says]

    assert str(failure(register(reset=reset), 0)) == f"Robot-v0 failed in reset(): {says}"


OBS = np.zeros(2)
WRONG_STEPS = {
    "step() must return (obs, reward, terminated, truncated, info), got a tuple of 4": (
        (OBS, 1.0, False, {})
    ),
    "a reward must be one real number, got None": (OBS, None, False, False, {}),
    "a reward must be one real number, got an array of shape (1,)": (
        (OBS, np.ones(1), False, False, {})
    ),
    "a reward must be one real number, got complex": (OBS, 1j, False, False, {}),
    "a reward must be one real number, got '1'": (OBS, "1", False, False, {}),
    "an observation must have the shape of its space (2,), got (1, 2)": (
        (OBS[None], 1.0, False, False, {})
    ),
    MASKED: (OBS, np.ma.masked, False, False, {}),
    "its reward is not finite": (OBS, -np.inf, False, False, {}),
    "terminated must be True or False, got None": (OBS, 1.0, None, False, {}),
    "truncated must be True or False, got 'no'": (OBS, 1.0, False, "no", {}),
    "info must be a dict, got 'fine'": (OBS, 1.0, False, False, "fine"),
}


@pytest.mark.parametrize("says", WRONG_STEPS)
def test_what_a_step_must_not_return_is_refused_before_the_work(says: str) -> None:
    def step(self: Robot, action: object) -> object:
        return WRONG_STEPS[says]

    assert str(failure(register(step=step), 0)) == f"Robot-v0 failed at step 1: {says}"


@pytest.mark.parametrize("says", [says for says in WRONG_STEPS if "finite" not in says])
def test_what_a_later_step_must_not_return_is_one_line_too(says: str) -> None:
    def step(self: Robot, action: object) -> object:
        good = Robot.step(self, action)
        return good if self.num_steps < 4 else WRONG_STEPS[says]

    message = str(failure(register(step=step)))
    assert message.startswith("Robot-v0: environment 0 failed at step 4 of its episode: ")
    if not says.startswith("step() must"):  # of which Gymnasium's time limit complains first
        assert message.endswith(says)


@pytest.mark.parametrize(
    "reward", [1, np.float32(1), np.int64(1), np.array(1.0), True, np.bool_(True)], ids=repr
)
def test_every_real_number_is_a_reward(reward: object) -> None:
    def step(self: Robot, action: object) -> Result:
        return np.zeros(2), reward, False, np.bool_(False), {}

    env = make_env(register(step=step), 1)
    env.reset([0])
    assert env.step(np.zeros((1, 1), np.float32)).reward == 1


def test_a_sensor_outside_of_its_space_is_named_before_anything_is_trained() -> None:
    def step(*_: object) -> Result:
        return np.array([0.5, 3.0], np.float32), 1.0, False, False, {}

    with pytest.warns(UserWarning, match="outside of its space") as caught:
        describe_env(register(step=step))
    assert [str(warning.message) for warning in caught] == [
        f"Robot-v0, at step {number}: sensor 1 is 3, outside of its space [-1, 1]"
        for number in (1, 2)
    ]


def test_observations_that_an_integer_space_would_cut_are_refused() -> None:
    space = gymnasium.spaces.Box(0, 9, (2,), np.int64)
    message = str(failure(register(observation_space=space), 0))
    assert message.endswith("must hold numbers of its space's type int64, got float32")


def test_environments_that_differ_in_their_spaces_are_one_line() -> None:
    made = []

    def init(self: Robot) -> None:
        made.append(self)
        self.observation_space = gymnasium.spaces.Box(-float(len(made)), 9.0, (2,), np.float32)

    assert "Robot-v0: 2 environments cannot be made: " in str(failure(register(__init__=init)))


def test_an_error_that_looks_like_the_systems_own_names_the_environment() -> None:
    error = failure(register(step=raising(ConnectionRefusedError(111, "Connection refused"))))
    assert str(error).startswith("Robot-v0 failed at step 1: ConnectionRefusedError: ")
