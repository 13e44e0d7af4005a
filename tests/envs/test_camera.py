"""What a camera shows is the robot where it is, and looking changes nothing."""

import gymnasium
import mujoco
import numpy as np
import pytest

from support.drawing import needs_gl
from surefoot.envs import camera as module
from surefoot.envs.camera import MujocoCamera, RenderingCamera, camera_of
from surefoot.errors import InputError, MissingLibraryError

BALL = """<mujoco><worldbody><light pos="0 0 3"/>
<body name="ball" pos="0 0 1"><freejoint/><geom size="0.3" rgba="1 0 0 1"/></body>
</worldbody></mujoco>"""


class BallEnv(gymnasium.Env[object, object]):
    def __init__(self) -> None:
        self.model = mujoco.MjModel.from_xml_string(BALL)
        self.data = mujoco.MjData(self.model)


@needs_gl
def test_a_camera_follows_the_robot_and_looking_changes_nothing() -> None:
    env = BallEnv()
    camera = MujocoCamera(env, 64, 48)
    here = camera.picture()
    env.data.qpos[0] = 5.0
    before = env.data.qpos.copy(), env.data.xpos.copy()
    there = camera.picture()
    camera.close()
    assert here.shape == (48, 64, 3)
    for picture in (here, there):  # a camera that stood still would have lost it
        red = picture[..., 0].astype(int) - picture[..., 1] > 40
        rows, columns = np.nonzero(red)
        assert red.any()
        assert abs(columns.mean() - 31.5) < 4
        assert abs(rows.mean() - 23.5) < 8
    assert np.array_equal(before[0], env.data.qpos)
    assert np.array_equal(before[1], env.data.xpos)


@needs_gl
def test_a_picture_may_be_larger_than_the_buffer_that_a_model_asks_for() -> None:
    env = BallEnv()
    wide = env.model.vis.global_.offwidth + 64
    camera = MujocoCamera(env, wide, 32)
    assert camera.picture().shape == (32, wide, 3)
    assert env.model.vis.global_.offwidth == wide - 64
    camera.close()


def test_an_environment_without_a_model_has_no_camera() -> None:
    assert camera_of(gymnasium.make("CartPole-v1"), 64, 48) is None


def test_what_an_environment_draws_must_be_a_picture() -> None:
    class Ansi(gymnasium.Env[object, object]):
        def render(self) -> str:  # type: ignore[override]
            return "o-<"

    with pytest.raises(InputError, match=r"render\(\) must return a picture"):
        RenderingCamera(Ansi()).picture()


def test_without_a_library_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(module, "find_library", lambda name: None)
    with pytest.raises(MissingLibraryError, match=r"apt install .*libosmesa6"):
        MujocoCamera(BallEnv(), 64, 48)


def test_a_window_system_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    with pytest.raises(InputError, match=r"MUJOCO_GL must be one of egl, osmesa .* got 'glfw'"):
        MujocoCamera(BallEnv(), 64, 48)
