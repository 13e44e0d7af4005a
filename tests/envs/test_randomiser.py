"""Simulations that differ: held against loops over ``mj_step`` on models changed by hand.

Also of ``envs/randomisation.py``.
"""

import copy
from collections.abc import Iterator
from dataclasses import replace

import gymnasium
import mujoco
import numpy as np
import pytest

from surefoot.envs import MujocoTask, Push, Randomisation, VectorEnv, make_env
from surefoot.envs.mujoco_batch import MujocoBatchEnv
from surefoot.envs.vector import Floats
from surefoot.errors import InputError

MJCF = """
<mujoco>
  <option timestep="0.005"/>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 0.1"/>
    <body name="cart" pos="0 0 0.09">
      <joint name="x" type="slide" axis="1 0 0" damping="0.2"/>
      <joint name="z" type="slide" axis="0 0 1"/>
      <geom name="box" type="box" size="0.1 0.1 0.1" mass="1"/>
      <body name="pole" pos="0 0 0.15">
        <joint name="hinge" type="hinge" axis="0 1 0" damping="0.1"/>
        <geom name="rod" type="capsule" fromto="0 0 0 0 0 0.4" size="0.02" mass="0.3"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor name="drive" joint="x" gear="20" ctrlrange="-1 1"/>
    <position name="servo" joint="hinge" kp="3" kv="0.1" ctrlrange="-1 1"/>
  </actuator>
  <sensor><jointpos name="angle" joint="hinge"/></sensor>
</mujoco>
"""
NUM_ENVS = 3
PHYSICS = Randomisation(
    mass={"*": (0.5, 1.0), "pole": (1.0, 2.0)},
    friction={"floor": (0.2, 0.8), "box": (0.2, 0.8)},
    damping={"hinge": (0.5, 2.0)},
    gain={"*": (0.8, 1.2)},
    actuator_delay_s={"servo": (0.0, 0.02)},
)
TASK = MujocoTask(
    env_id="Cart-v0",
    mjcf=MJCF,
    period_s=0.01,
    observe=lambda now: np.concatenate((now.qpos, now.qvel), axis=1),
    reward=lambda now: now.qpos[:, 0],
    max_episode_steps=40,
)


@pytest.fixture(autouse=True)
def _own_registry() -> Iterator[None]:
    registered = dict(gymnasium.registry)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(registered)


def make(num_envs: int = NUM_ENVS, num_threads: int = 1, **changes: object) -> MujocoBatchEnv:
    gymnasium.registry.pop("Cart-v0", None)
    replace(TASK, **changes).register()  # type: ignore[arg-type]
    env = make_env("Cart-v0", num_envs, num_threads=num_threads)
    assert isinstance(env, MujocoBatchEnv)
    return env


def some_actions(num_steps: int) -> Floats:
    actions = np.random.default_rng(1).uniform(-1, 1, (num_steps, NUM_ENVS, 2))
    return actions.astype(np.float32)


def changed_by_hand(drawn: mujoco.MjModel) -> mujoco.MjModel:
    """Return the model with the drawn factors, by MuJoCo's own constants of a changed model."""
    spec = mujoco.MjSpec.from_string(MJCF)
    for actuator in spec.actuators:
        actuator.nsample = 5
    nominal = spec.compile()
    model = copy.copy(nominal)
    factor = np.append(1.0, drawn.body_mass[1:] / nominal.body_mass[1:])
    model.body_mass[:] = drawn.body_mass
    model.body_inertia[1:] = factor[1:, None] * nominal.body_inertia[1:]
    for name in ("geom_friction", "dof_damping", "actuator_gainprm", "actuator_biasprm"):
        getattr(model, name)[:] = getattr(drawn, name)
    model.actuator_delay[:] = drawn.actuator_delay
    mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def test_drawn_physics_are_those_of_a_model_changed_by_hand() -> None:
    env = make(num_threads=2, randomisation=PHYSICS)
    env.reset(range(NUM_ENVS))
    masses = []
    for episode in range(2):
        models = [changed_by_hand(env.simulations.batch.get_model(i)) for i in range(NUM_ENVS)]
        masses += [model.body_mass for model in models]
        loops = [mujoco.MjData(model) for model in models]
        for actions in some_actions(40):
            result = env.step(actions)
            for i, (model, data) in enumerate(zip(models, loops, strict=True)):
                data.ctrl[:] = actions[i]
                mujoco.mj_step(model, data, 2)
                expected = np.concatenate((data.qpos, data.qvel))
                np.testing.assert_allclose(result.terminal_obs[i], expected, rtol=1e-9, atol=1e-12)
        assert result.truncated.all(), episode
    assert len(np.unique(masses, axis=0)) == 2 * NUM_ENVS


def test_factors_lie_in_their_ranges_and_go_to_what_they_are_about() -> None:
    env = make(40, randomisation=PHYSICS)
    env.reset(range(40))
    nominal = TASK.model
    for i in range(40):
        model = env.simulations.batch.get_model(i)
        cart, pole = model.body_mass[1:] / nominal.body_mass[1:]
        assert 0.5 <= cart <= 1.0 <= pole <= 2.0
        ratio = model.geom_friction / nominal.geom_friction
        assert ((ratio[:2, 0] >= 0.2) & (ratio[:2, 0] <= 0.8)).all()
        np.testing.assert_array_equal(ratio[:, 1:], 1.0)
        assert ratio[2, 0] == 1.0
        np.testing.assert_array_equal(model.dof_damping[:2], nominal.dof_damping[:2])
        gain = model.actuator_gainprm[1, 0] / 3
        assert 0.8 <= gain <= 1.2
        np.testing.assert_allclose(model.actuator_biasprm[1, 1:3], [-3 * gain, -0.1 * gain])
        assert model.actuator_delay[0] == 0.0 <= model.actuator_delay[1] <= 0.02


def test_a_delayed_sensor_shows_what_it_was() -> None:
    def angle(randomisation: Randomisation) -> list[Floats]:
        env = make(1, observe=lambda now: now.sensor("angle"), randomisation=randomisation)
        env.reset([0])
        return [env.step(actions[:1]).terminal_obs[0] for actions in some_actions(30)]

    late = angle(Randomisation(sensor_delay_s={"angle": (0.02, 0.02)}))
    np.testing.assert_array_equal(late[4:], angle(Randomisation())[2:-2])


def run(env: VectorEnv, actions_TNA: Floats) -> list[Floats]:
    results = [env.step(actions) for actions in actions_TNA]
    return [array for r in results for array in (r.obs, r.reward, r.terminal_obs)]


EVERYTHING = replace(
    PHYSICS,
    sensor_delay_s={"angle": (0.0, 0.02)},
    obs_bias=0.1,
    obs_noise=np.full(6, 0.01),
    push=Push(body="cart", force_N=(1.0, 5.0), every_s=(0.03, 0.1), lasts_s=0.03),
)


def test_a_loaded_state_has_the_same_future() -> None:
    env, other = make(num_threads=2, randomisation=EVERYTHING), make(randomisation=EVERYTHING)
    env.reset(range(NUM_ENVS))
    run(env, some_actions(57))
    state = env.state_dict()
    future = run(env, some_actions(80))
    other.reset([9, 9, 9])
    run(other, some_actions(3))
    for resumed in (other, env):
        resumed.load_state_dict(state)
        for ours, theirs in zip(run(resumed, some_actions(80)), future, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_one_robot_of_gymnasium_is_disturbed_as_one_of_many() -> None:
    env = make(randomisation=EVERYTHING)
    one = gymnasium.make("Cart-v0")
    np.testing.assert_array_equal(env.reset([1, 2, 3])[2], one.reset(seed=3)[0])
    for actions in some_actions(60):
        result, alone = env.step(actions), one.step(actions[2])
        np.testing.assert_array_equal(result.terminal_obs[2], alone[0])
        if alone[3]:
            np.testing.assert_array_equal(result.obs[2], one.reset()[0])


def test_a_bias_lasts_for_an_episode_and_noise_for_a_step() -> None:
    bias, noise = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5]), np.array([0.0, 0, 0, 0, 0.01, 0.02])
    plain = make()
    env = make(randomisation=Randomisation(obs_bias=bias, obs_noise=noise))
    for one in (plain, env):
        one.reset(range(NUM_ENVS))
    errors = np.array(
        [env.step(a).terminal_obs - plain.step(a).terminal_obs for a in some_actions(80)]
    )
    for episode in (errors[:40], errors[40:]):
        assert (np.abs(episode.mean(axis=0)) <= bias + 4 * noise / np.sqrt(40)).all()
        np.testing.assert_allclose(np.ptp(episode[:, :, :4], axis=0), 0.0, atol=1e-12)
        np.testing.assert_allclose(episode.std(axis=(0))[:, 4:], [noise[4:]] * 3, rtol=0.5)
    assert np.ptp(errors.mean(axis=0)[:, 5]) > 0.01
    assert (errors[0] != errors[-1])[:, 1:].all()


def test_pushes_have_their_force_duration_and_pause() -> None:
    push = Push(body="cart", force_N=(1.0, 5.0), every_s=(0.02, 0.08), lasts_s=0.03)
    env = make(1, randomisation=Randomisation(push=push), max_episode_steps=1000)
    env.reset([0])
    force = env.simulations.batch.bind("xfrc_applied")
    pushed = np.array(
        [env.step(np.zeros((1, 2), np.float32)) and force[0].copy() for _ in range(500)]
    )
    body = 1
    assert not np.delete(pushed, body, axis=1).any()
    assert not pushed[:, body, 2:].any()
    size = np.hypot(pushed[:, body, 0], pushed[:, body, 1])
    assert ((size == 0) | ((size >= 1 - 1e-9) & (size <= 5 + 1e-9))).all()
    edges = np.flatnonzero(np.diff(size > 0)) + 1
    lengths = np.diff(edges)
    on, off = (lengths[::2], lengths[1::2]) if size[0] == 0 else (lengths[1::2], lengths[::2])
    assert len(on) > 20
    assert (on == 3).all()
    assert (off >= 2).all()
    assert (off <= 9).all()
    assert len(np.unique(size)) > 20


def test_without_a_draw_the_numbers_are_those_of_the_model() -> None:
    still = Randomisation(mass={"pole": (1.0, 1.0)}, gain={"*": (1.0, 1.0)})
    plain, env = make(), make(randomisation=still)
    for one in (plain, env):
        one.reset(range(NUM_ENVS))
    for ours, theirs in zip(run(env, some_actions(30)), run(plain, some_actions(30)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("randomisation", "message"),
    [
        (lambda: Randomisation(mass={"pol": (1, 1)}), r"mass: body must .* 'pol'; did you .*pole"),
        (lambda: Randomisation(damping={"*_hip": (1, 1)}), "damping: joint must be one .*hip"),
        (lambda: Randomisation(gain={"drive": (2, 1)}), r"gain\['drive'\] must be finite with 0"),
        (lambda: Randomisation(mass={"pole": (-1, 1)}), r"mass\['pole'\] .* got \(-1, 1\)"),
        (lambda: Randomisation(friction={"box": (0, np.inf)}), r"friction\['box'\] must be fin"),
        (lambda: Randomisation(obs_noise=np.ones(5)), "obs_noise must be .* each of 6 entries"),
        (lambda: Randomisation(obs_bias=-0.1), "obs_bias must be one number >= 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(randomisation: object, message: str) -> None:
    assert callable(randomisation)
    with pytest.raises(InputError, match=f"randomisation.{message}"):
        make(randomisation=randomisation()).reset(range(NUM_ENVS))


def test_a_push_on_no_body_is_refused() -> None:
    push = Push(body="card", force_N=(0, 1), every_s=(1, 1), lasts_s=1)
    with pytest.raises(InputError, match="body must be one of the model, got 'card'; did you mean"):
        make(randomisation=Randomisation(push=push))
    with pytest.raises(InputError, match=r"push.lasts_s must be finite .* got"):
        replace(push, lasts_s=np.nan)
