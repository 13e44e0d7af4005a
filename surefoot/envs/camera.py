"""Pictures of a simulated robot, drawn without a display.

H, W = height and width in pixels.
"""

import importlib
import os
from collections.abc import Callable
from ctypes.util import find_library
from typing import Any, Protocol

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

from surefoot.errors import InputError, MissingLibraryError

Pixels = NDArray[np.uint8]
"""A picture, (H, W, 3)."""

AnyEnv = gymnasium.Env[Any, Any]

_LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}
"""What draws without a display, by the value of MUJOCO_GL that asks for it."""

_DISTANCE = 1.5
"""Distance of the camera, in extents of the model."""

_MOST_GEOMS = 10_000
_COSTLY = (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION)
"""Effects that take two thirds of the time where no GPU draws."""


class Camera(Protocol):
    """Whatever draws an environment."""

    def picture(self) -> Pixels:
        """Return a picture of the present state, (H, W, 3)."""

    def close(self) -> None:
        """Release what draws."""


def camera_of(env: AnyEnv, width: int, height: int) -> Camera | None:
    """Return a camera on a MuJoCo environment; None if the environment is no MuJoCo model.

    Args:
        env: Environment whose innermost one may have ``model`` and ``data``.
        width: Pixels.
        height: Pixels.

    Raises:
        MissingLibraryError: If no library that draws without a display is installed.
    """
    inner = env.unwrapped
    if not isinstance(getattr(inner, "model", None), mujoco.MjModel):
        return None
    return MujocoCamera(inner, width, height)


class MujocoCamera:
    """Draws a MuJoCo model from a camera that follows the robot."""

    def __init__(self, env: Any, width: int, height: int) -> None:  # noqa: ANN401 - any MuJoCo env
        """Open a context of OpenGL.

        Raises:
            MissingLibraryError: If no library that draws without a display is installed.
        """
        self._env, self._size = env, (height, width)
        model = env.model
        self._gl = _make_context()(width, height)
        self._gl.make_current()
        view = model.vis.global_
        kept = view.offwidth, view.offheight
        view.offwidth, view.offheight = width, height
        try:
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        finally:
            view.offwidth, view.offheight = kept
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=_MOST_GEOMS)
        for costly in _COSTLY:
            self._scene.flags[costly.value] = 0
        self._option = mujoco.MjvOption()
        self._camera = _following(model)

    def picture(self) -> Pixels:
        """Return a picture of the present state, (H, W, 3)."""
        model, data = self._env.model, self._env.data
        self._gl.make_current()
        drawn = _copy(model, data)
        mujoco.mj_forward(model, drawn)
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(
            model, drawn, self._option, None, self._camera, everything, self._scene
        )
        height, width = self._size
        area = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(area, self._scene, self._context)
        upside_down = np.empty((height, width, 3), np.uint8)
        mujoco.mjr_readPixels(upside_down, None, area, self._context)
        return np.ascontiguousarray(upside_down[::-1])

    def close(self) -> None:
        """Release the context."""
        self._context.free()
        self._gl.free()


class RenderingCamera:
    """Asks an environment for its own picture."""

    def __init__(self, env: AnyEnv) -> None:
        """Take an environment that was made with ``render_mode="rgb_array"``."""
        self._env = env

    def picture(self) -> Pixels:
        """Return what the environment draws.

        Raises:
            InputError: If that is no picture.
        """
        drawn = np.asarray(self._env.render())
        if drawn.ndim != 3 or drawn.shape[2] != 3 or drawn.dtype != np.uint8:
            raise InputError(
                f"render() must return a picture, uint8 of shape (height, width, 3), got "
                f"{drawn.dtype} of shape {drawn.shape}"
            )
        return drawn

    def close(self) -> None:
        """Do nothing: the environment closes what it opened."""


def _copy(model: mujoco.MjModel, data: mujoco.MjData) -> mujoco.MjData:
    """Return a copy, so that drawing changes nothing of the simulation."""
    copied = mujoco.MjData(model)
    copied.time = data.time
    copied.qpos[:], copied.qvel[:], copied.mocap_pos[:] = data.qpos, data.qvel, data.mocap_pos
    copied.mocap_quat[:] = data.mocap_quat
    return copied


def _following(model: mujoco.MjModel) -> mujoco.MjvCamera:
    """Return the model's own camera that follows something, or one that follows the first body."""
    camera = mujoco.MjvCamera()
    follows = mujoco.mjtCamLight.mjCAMLIGHT_FIXED.value
    own = np.flatnonzero(model.cam_mode != follows)
    if own.size:
        camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED.value, int(own[0])
        return camera
    camera.type = mujoco.mjtCamera.mjCAMERA_TRACKING.value
    camera.trackbodyid = min(1, model.nbody - 1)
    camera.distance = _DISTANCE * model.stat.extent
    camera.lookat[:] = model.stat.center
    camera.azimuth, camera.elevation = 120.0, -15.0
    return camera


def _make_context() -> Callable[[int, int], Any]:
    """Return what opens a context of OpenGL of a width and a height.

    Raises:
        InputError: If MUJOCO_GL asks for what needs a display.
        MissingLibraryError: If no library that draws without a display is installed.
    """
    asked = os.environ.get("MUJOCO_GL", "").lower()
    if asked and asked not in _LIBRARIES:
        raise InputError(
            f"MUJOCO_GL must be one of {', '.join(_LIBRARIES)} to draw without a display, "
            f"got {asked!r}"
        )
    # PyOpenGL can be loaded for one of them only: the first that is there is the one.
    found = [name for name in ([asked] if asked else _LIBRARIES) if find_library(_LIBRARIES[name])]
    if not found:
        raise MissingLibraryError(
            "drawing without a display needs libEGL or libOSMesa, and neither is installed: "
            "apt install libegl1 (with a GPU) or libosmesa6"
        )
    module = importlib.import_module(f"mujoco.{found[0]}")
    context: Callable[[int, int], Any] = module.GLContext
    return context
