"""One environment that is filmed while it is played.

A = number of actuators, H, W = height and width in pixels.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from surefoot.envs.camera import AnyEnv, Camera, Pixels, RenderingCamera, camera_of
from surefoot.envs.contract import Obs
from surefoot.envs.gymnasium_vector import GymnasiumVectorEnv
from surefoot.envs.make import describe_env, make_one
from surefoot.envs.vector import VectorEnv
from surefoot.errors import InputError
from surefoot.ranges import require_at_least

_RENDER_MODE = "rgb_array"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shot:
    """How an episode is filmed.

    Attributes:
        every: Steps from one picture to the next.
        width: Pixels.
        height: Pixels.
        most_pictures: Pictures after which no more are taken.
    """

    every: int = 1
    width: int = 480
    height: int = 360
    most_pictures: int = 1001  # all of a thousand steps, and their beginning

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If one does not hold.
        """
        require_at_least(self, 1, "every", "most_pictures")
        require_at_least(self, 16, "width", "height")


@dataclass(frozen=True, slots=True)
class Reel:
    """What was filmed of the episode that was begun last.

    Attributes:
        pictures: One at the beginning, and one after every ``Shot.every`` steps, (H, W, 3) each.
        actions: The action of each step, as the environment got it, (A,) each.
    """

    pictures: list[Pixels] = field(default_factory=list)
    actions: list[NDArray[Any]] = field(default_factory=list)


@contextmanager
def filmed_env(
    env_id: str, shot: Shot, env_module: str | None = None
) -> Iterator[tuple[VectorEnv, Reel]]:
    """Give one environment of a task, and the reel that fills while it is played.

    Args:
        env_id: Gymnasium id with its version.
        shot: How it is filmed.
        env_module: Module that registers the id: a name, or a path that ends in .py.

    Raises:
        InputError: If the task can be drawn in no way: it is no MuJoCo model, and renders no
            pictures itself.
        MissingLibraryError: If nothing that draws without a display is installed.
    """
    spec, reel = describe_env(env_id, env_module), Reel()
    one, camera = _with_camera(env_id, shot)
    env = GymnasiumVectorEnv(lambda: _Filmed(one, camera, reel, shot), spec, num_envs=1)
    try:
        yield env, reel
    finally:
        camera.close()
        env.close()


def _with_camera(env_id: str, shot: Shot) -> tuple[AnyEnv, Camera]:
    """Return an environment and what draws it.

    Raises:
        InputError: If nothing can.
    """
    env = make_one(env_id)
    camera = camera_of(env, shot.width, shot.height)
    if camera is not None:
        return env, camera
    modes = env.metadata.get("render_modes") or ()
    env.close()
    if _RENDER_MODE not in modes:
        raise InputError(
            f"{env_id} must be a MuJoCo model or render {_RENDER_MODE!r} to be filmed, it renders "
            f"{', '.join(map(str, modes)) or 'nothing'}"
        )
    env = make_one(env_id, render_mode=_RENDER_MODE)
    return env, RenderingCamera(env)


class _Filmed(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Takes a picture at the beginning and after every so many steps."""

    def __init__(self, env: AnyEnv, camera: Camera, reel: Reel, shot: Shot) -> None:
        super().__init__(env)
        self._camera, self._reel, self._shot = camera, reel, shot
        self._is_over = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, dict[str, Any]]:
        begun = self.env.reset(seed=seed, options=options)
        # The vector environment begins the next episode by itself; that one is not filmed.
        if seed is not None:
            self._reel.pictures.clear()
            self._reel.actions.clear()
            self._is_over = False
            self._take()
        return begun

    def step(self, action: Any) -> Any:  # noqa: ANN401 - what the environment takes and returns
        taken = self.env.step(action)
        if not self._is_over:
            self._reel.actions.append(np.array(action))
            _, _, terminated, truncated, _ = taken
            self._is_over = bool(terminated or truncated)
            if self._is_over or len(self._reel.actions) % self._shot.every == 0:
                self._take()
        return taken

    def _take(self) -> None:
        if len(self._reel.pictures) < self._shot.most_pictures:
            self._reel.pictures.append(self._camera.picture())
