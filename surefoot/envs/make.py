"""From a Gymnasium id to a `VectorEnv`."""

import importlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces
from gymnasium.error import DependencyNotInstalled
from gymnasium.wrappers import OrderEnforcing, TimeLimit

from surefoot.artifact import read_file, sha256_hex
from surefoot.envs.contract import Obs, require_finite, take_reset, take_step
from surefoot.envs.gymnasium_vector import GymnasiumVectorEnv
from surefoot.envs.mujoco_batch import MujocoBatchEnv
from surefoot.envs.mujoco_task import MujocoTask
from surefoot.envs.process_settings import settings_of_user
from surefoot.envs.single_robot import SingleRobot
from surefoot.envs.tasks import stock_task
from surefoot.envs.user_code import user_code
from surefoot.envs.vector import BoxActions, DiscreteActions, EnvSpec, VectorEnv, rounded_down
from surefoot.errors import InputError, MissingLibraryError, did_you_mean

AnyEnv = gymnasium.Env[Any, Any]


def make_env(
    env_id: str, num_envs: int, *, num_threads: int = 1, env_module: str | None = None
) -> VectorEnv:
    """Return `num_envs` environments of a task, not yet reset.

    A `MujocoTask`, and Hopper-v5, Walker2d-v5, HalfCheetah-v5 and Ant-v5 as Gymnasium registers
    them, run on `mujoco.batch`; every other id, and these under changed arguments or other
    wrappers than a time limit, on `SyncVectorEnv`.

    Args:
        env_id: Gymnasium id with its version.
        num_envs: Number of environments, positive.
        num_threads: Threads that step the simulations of `mujoco.batch`; `SyncVectorEnv` uses
            one. The results do not depend on it.
        env_module: Module that registers the id: a name, or a path that ends in .py.

    Raises:
        InputError: If a number is not positive, the id is unknown, the module cannot be
            imported, or the spaces are not those of a controller.
        MissingLibraryError: If the task needs a package that is not installed.
        UserCodeError: If code of the task fails, or returns in a reset and two steps what
            `gymnasium.Env` does not allow.
    """
    for name, value in (("num_envs", num_envs), ("num_threads", num_threads)):
        if value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
    if env_module is not None:
        _import_module(env_module)
    with _mujoco_log_kept_out():
        one, spec = _make_checked(env_id)
        task = stock_task(gymnasium.spec(env_id)) or _task_of_ones_own(one)
        if task is not None:
            return MujocoBatchEnv(task, spec, num_envs=num_envs, num_threads=num_threads)
        return GymnasiumVectorEnv(lambda: make_one(env_id), spec, num_envs=num_envs)


def describe_env(env_id: str, env_module: str | None = None) -> EnvSpec:
    """Describe a task after a reset and two steps of one environment.

    Raises:
        InputError: As `make_env`.
        MissingLibraryError: As `make_env`.
        UserCodeError: As `make_env`.
    """
    if env_module is not None:
        _import_module(env_module)
    with _mujoco_log_kept_out():
        return _make_checked(env_id)[1]


def _make_checked(env_id: str) -> tuple[AnyEnv, EnvSpec]:
    """Return one environment, played and closed again, and what is known about it."""
    one = make_one(env_id)
    with user_code(lambda: f"{env_id} cannot be described"):
        spec = _describe(env_id, one)
    if stock_task(gymnasium.spec(env_id)) is None:  # what Gymnasium's own return is known
        _play_two_steps(env_id, one)
    with user_code(lambda: f"{env_id} failed in close()"), settings_of_user():
        one.close()
    return one, spec


def _play_two_steps(env_id: str, env: AnyEnv) -> None:
    """Hold an environment to the contract of `gymnasium.Env`.

    Raises:
        UserCodeError: If it fails, or returns what it must not.
    """
    env = _without_time_limit(env)  # whose wrappers unpack what a step returns
    obs_space: spaces.Box = env.observation_space  # type: ignore[assignment]
    is_over, doing = True, "in reset()"
    seen: dict[str, Obs] = {}
    with user_code(lambda: f"{env_id} failed {doing}"), settings_of_user():
        for number, action in enumerate(_two_actions(env.action_space), start=1):
            if is_over:
                doing = "in reset()"
                start = take_reset(env.reset(seed=0), obs_space)
                require_finite(start)
                seen[doing] = start
            doing = f"at step {number}"
            taken = take_step(env.step(action), obs_space)
            require_finite(taken.obs, taken.reward)
            seen[doing] = taken.obs
            is_over = taken.terminated or taken.truncated
    for moment, obs in seen.items():
        _warn_beyond(obs_space, obs, f"{env_id}, {moment}")


def _warn_beyond(space: spaces.Box, obs: Obs, where: str) -> None:
    """Say which sensor leaves its space, which nothing of surefoot rests on."""
    outside = np.flatnonzero((obs < space.low) | (obs > space.high))
    if len(outside):
        sensor = int(outside[0])
        low, high = space.low[sensor], space.high[sensor]
        warnings.warn(
            f"{where}: sensor {sensor} is {obs[sensor]:g}, outside of its space"
            f" [{low:g}, {high:g}]",
            stacklevel=2,
        )


def _task_of_ones_own(env: AnyEnv) -> MujocoTask | None:
    """Return the task of a `SingleRobot` that nothing but a time limit changes."""
    robot = _without_time_limit(env)
    return robot.task if isinstance(robot, SingleRobot) else None


def _without_time_limit(env: AnyEnv) -> AnyEnv:
    while isinstance(env, (OrderEnforcing, TimeLimit)):
        env = env.env
    return env


def _two_actions(space: spaces.Space[Any]) -> list[Any]:
    if isinstance(space, spaces.Discrete):
        return [space.start, space.start + space.n - 1]
    assert isinstance(space, spaces.Box)
    middle = (space.low / 2 + space.high / 2).astype(space.dtype)
    return [middle, middle.copy()]


def make_one(env_id: str, **keywords: Any) -> AnyEnv:  # noqa: ANN401 - of any environment
    """Return one environment of a registered id, not yet reset.

    Args:
        env_id: Gymnasium id with its version.
        keywords: What `gymnasium.make` hands on to the environment.

    Raises:
        InputError: If the id is unknown, or it cannot be made.
        MissingLibraryError: If the task needs a package that is not installed.
        UserCodeError: If code of the task fails.
    """
    if env_id not in gymnasium.registry:
        known = did_you_mean(env_id, gymnasium.registry)
        raise InputError(f"env_id must be registered with Gymnasium, got {env_id!r}{known}")
    with user_code(lambda: f"{env_id} cannot be made"), settings_of_user():
        try:
            # What Gymnasium's passive checker warns of is checked here, in `_play_two_steps`.
            return gymnasium.make(env_id, disable_env_checker=True, **keywords)
        except DependencyNotInstalled as error:
            raise MissingLibraryError(
                f"{env_id} needs a package that is missing: {error}"
            ) from error
        except (gymnasium.error.Error, ModuleNotFoundError) as error:
            raise InputError(f"{env_id} cannot be made: {error}") from error


def _describe(env_id: str, env: AnyEnv) -> EnvSpec:
    obs = env.observation_space
    if not isinstance(obs, spaces.Box) or len(obs.shape) != 1 or not obs.shape[0]:
        raise InputError(f"{env_id}: the observation space must be a Box of shape (n,), got {obs}")
    return EnvSpec(
        env_id=env_id,
        obs_dim=obs.shape[0],
        actions=_describe_actions(env_id, env.action_space),
        dt_s=_period(getattr(env.unwrapped, "dt", None)),
        max_episode_steps=gymnasium.spec(env_id).max_episode_steps,
        packages={name: version(name) for name in ("gymnasium", "mujoco")},
    )


def _period(dt: object) -> float | None:
    """Return the time between two actions in seconds if ``dt`` is one, of whatever real type."""
    array = np.asarray(dt)
    is_number = not array.ndim and array.dtype.kind in "fiu"
    return float(array) if is_number and 0 < array < np.inf else None


def _describe_actions(env_id: str, space: spaces.Space[Any]) -> BoxActions | DiscreteActions:
    if isinstance(space, spaces.Discrete):
        if space.n < 2:
            raise InputError(f"{env_id}: the action space must have 2 actions or more, got {space}")
        return DiscreteActions(int(space.n), int(space.start))
    if not isinstance(space, spaces.Box) or space.dtype.kind != "f":
        raise InputError(f"{env_id}: the action space must be a real Box or Discrete, got {space}")
    if len(space.shape) != 1 or not space.shape[0]:
        raise InputError(f"{env_id}: the action space must have shape (n,), got {space}")
    if not space.is_bounded():
        raise InputError(f"{env_id}: the action space must have finite bounds, got {space}")
    # Inward, for the nearest float32 of a bound may lie beyond it.
    actions = BoxActions(-rounded_down(-space.low), rounded_down(space.high))
    if not (actions.low < actions.high).all() or not (actions.half_range > 0).all():
        raise InputError(
            f"{env_id}: the action space must have low < high in float32, got {space.low} to"
            f" {space.high}"
        )
    return actions


def _import_module(env_module: str) -> ModuleType:
    """Import a module by name or by path, so that it registers its environments.

    The folder stays on the search path: an entry point is imported only when it is made.

    Raises:
        InputError: If it cannot be imported, or another module already has its name.
    """
    path = Path(os.path.realpath(env_module)) if env_module.endswith(".py") else None
    folder, name = (str(path.parent), path.stem) if path else (str(Path.cwd()), env_module)
    if folder not in sys.path:
        sys.path.append(folder)
    importlib.invalidate_caches()
    with user_code(lambda: f"env_module {env_module!r} cannot be imported"), settings_of_user():
        try:
            module = importlib.import_module(name)
        except Exception as error:
            raise InputError(
                f"env_module {env_module!r} cannot be imported: {type(error).__name__}: {error}"
            ) from error
    if path is not None and Path(os.path.realpath(module.__file__ or "")) != path:
        raise InputError(
            f"env_module {env_module!r} must have a name of its own;"
            f" {name!r} is already {module.__file__ or 'a built-in module'}"
        )
    return module


def function_of(env_module: str, name: str) -> Callable[..., Any]:
    """Return a function of the module that registers a task.

    Args:
        env_module: Name of the module, or a path that ends in .py.
        name: Name of the function.

    Raises:
        InputError: If the module cannot be imported, or has no such function.
        UserCodeError: If the module ends the program, or raises what is no exception.
    """
    function = getattr(_import_module(env_module), name, None)
    if not callable(function):
        raise InputError(f"env_module {env_module!r} must have a function {name!r}, it has none")
    found: Callable[..., Any] = function
    return found


def module_digest(env_module: str | None) -> str | None:
    """Return the digest of the module that registers a task, where it is a file; or None."""
    if env_module is None or not Path(env_module).is_file():
        return None
    return sha256_hex(read_file(Path(env_module)))


@contextmanager
def _mujoco_log_kept_out() -> Iterator[None]:
    """Load models without deprecation warnings, and never write MUJOCO_LOG.TXT from then on.

    What MuJoCo warns of later still goes to the console; divergence is an error of ours.
    """
    config = mujoco.MjLogConfig.get()
    to_console = config.logto_console
    config.logto_file = config.logto_console = False
    config.set()
    try:
        yield
    finally:
        config.logto_console = to_console
        config.set()
