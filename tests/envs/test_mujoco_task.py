"""Tasks of one's own against a plain loop over ``mj_step``: the same bits, one by one and together.

Also of ``envs/names.py``, ``envs/simulations.py``, ``envs/derived.py``,
``envs/mujoco_simulations.py`` and ``envs/single_robot.py``.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from surefoot.envs import MujocoTask, Simulations, Start, VectorEnv, check_replay, make_env
from surefoot.envs.mujoco_batch import MujocoBatchEnv
from surefoot.envs.single_robot import SingleRobot
from surefoot.envs.vector import Flags, Floats
from surefoot.errors import DivergenceError, InputError, UserCodeError

MJCF = """
<mujoco>
  <option timestep="0.005"/>
  <size nuserdata="1"/>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 0.1"/>
    <body name="foot" pos="0 0 0.3">
      <joint name="height" type="slide" axis="0 0 1" damping="0.5"/>
      <geom name="sole" type="sphere" size="0.1" mass="1"/>
      <body name="leg" pos="0 0 0.05">
        <joint name="hip" type="hinge" axis="0 1 0" damping="0.05"/>
        <geom name="rod" type="capsule" fromto="0 0 0 0 0 0.5" size="0.02" mass="0.2"/>
        <site name="tip" pos="0 0 0.5"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor name="lift" joint="height" ctrlrange="-20 20"/>
    <position name="turn" joint="hip" kp="2" ctrlrange="-1 1"/>
  </actuator>
  <sensor><gyro name="gyro" site="tip"/><touch name="unread" site="tip"/></sensor>
  <keyframe><key name="crouch" qpos="-0.1 0.2"/></keyframe>
</mujoco>
"""
SUBSTEPS = 4
SEEDS = [3, 1, 4]
MODEL = mujoco.MjModel.from_xml_string(MJCF)


def observe(now: Simulations) -> Floats:
    tip = now.site("tip")
    return np.concatenate(
        (
            now.joint("hip").qpos,
            now.qvel,
            now.sensor("gyro"),
            tip.xpos,
            tip.xmat[:, :, 0],
            now.body("leg").xpos,
            now.contact("landing").force,
            now.previous_action,
            now.userdata,
        ),
        axis=1,
    )


def reward(now: Simulations) -> Floats:
    rise = (now.qpos[:, 0] - now.before[:, 0]) / now.dt_s
    return rise + 0.1 * now.contact("landing").touching - np.square(now.action[:, 1])


def terminated(now: Simulations) -> Flags:
    return np.abs(now.joint("hip").qpos[:, 0]) > 0.9


def reset(start: Start) -> None:
    start.joint("hip").qpos[:] += start.uniform(-0.3, 0.3, 1)
    start.qvel[:] = 0.1 * start.normal(2)
    start.userdata[:] = start.uniform(0.0, 1.0, 1)


HOP = MujocoTask(
    env_id="Hop-v0",
    mjcf=MJCF,
    period_s=0.02,
    observe=observe,
    reward=reward,
    terminated=terminated,
    reset=reset,
    keyframe="crouch",
    remember=lambda now: now.joint("height").qpos,
    control=lambda now: now.action * np.array([20.0, 1.0]),
    contacts={"landing": ("sole", "floor")},
    max_episode_steps=60,
)


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    registered, modules = dict(gymnasium.registry), set(sys.modules)
    HOP.register()
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(registered)
    for name in set(sys.modules) - modules:
        if "two_links" in name:  # so that who loads it next registers it again
            del sys.modules[name]


class Loop:
    """The same robot by hand: one ``MjData``, ``mj_step``, and contacts from MuJoCo's own list."""

    def __init__(self, seed: int) -> None:
        self.data = mujoco.MjData(MODEL)
        self.draw = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))

    def reset(self) -> Floats:
        data = self.data
        mujoco.mj_resetDataKeyframe(MODEL, data, 0)
        data.qpos[1] += self.draw.uniform(-0.3, 0.3)
        data.qvel[:] = 0.1 * self.draw.standard_normal(2)
        data.userdata[:] = self.draw.uniform(0.0, 1.0)
        mujoco.mj_forward(MODEL, data)
        self.last, self.num_steps = np.zeros(2, np.float32), 0
        return self.observe(np.zeros(2, np.float32))

    def step(self, action: Floats) -> tuple[Floats, float, bool, bool]:
        data, height = self.data, self.data.qpos[0]
        previous, self.last = self.last, action
        data.ctrl[:] = action * np.array([20.0, 1.0])
        mujoco.mj_step(MODEL, data, SUBSTEPS)
        self.num_steps += 1
        rise = (data.qpos[0] - height) / (SUBSTEPS * MODEL.opt.timestep)
        gain = rise + 0.1 * bool(len(data.contact)) - np.square(action[1])
        done = abs(data.qpos[1]) > 0.9
        return self.observe(previous), gain, done, self.num_steps >= 60

    def observe(self, previous: Floats) -> Floats:
        data, tip = self.data, self.data.site("tip")
        rotation = tip.xmat.reshape(3, 3)[:, 0]
        gyro, leg = data.sensor("gyro").data, data.body("leg").xpos
        parts = (data.qpos[1:], data.qvel, gyro, tip.xpos, rotation, leg, self.force(), previous)
        return np.concatenate((*parts, data.userdata))

    def force(self) -> Floats:
        """Return what the floor does to the sole, N: MuJoCo has it from the lower geom on."""
        total = np.zeros(3)
        for number, contact in enumerate(self.data.contact):
            assert {MODEL.geom(g).name for g in contact.geom} == {"sole", "floor"}
            wrench = np.zeros(6)
            mujoco.mj_contactForce(MODEL, self.data, number, wrench)
            total += contact.frame.reshape(3, 3).T @ wrench[:3]
        return total


def some_actions(num_steps: int, num_envs: int = len(SEEDS)) -> Floats:
    actions = np.random.default_rng(0).uniform(-1.2, 1.2, (num_steps, num_envs, 2))
    return actions.astype(np.float32)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_task_equals_a_loop_over_mj_step_through_resets(num_threads: int) -> None:
    env, loops = make_env("Hop-v0", 3, num_threads=num_threads), [Loop(seed) for seed in SEEDS]
    assert isinstance(env, MujocoBatchEnv)
    np.testing.assert_array_equal(env.reset(SEEDS), [loop.reset() for loop in loops])
    ends = np.zeros(2, int)
    for actions in some_actions(150):
        result = env.step(actions)
        steps = [loop.step(action) for loop, action in zip(loops, actions, strict=True)]
        for ours, theirs in zip(
            (result.terminal_obs, result.reward, result.terminated, result.truncated),
            zip(*steps, strict=True),
            strict=True,
        ):
            np.testing.assert_array_equal(ours, theirs)
        for i in np.flatnonzero(result.terminated | result.truncated):
            np.testing.assert_array_equal(result.obs[i], loops[i].reset())
        ends += result.terminated.any(), result.truncated.any()
    assert (ends > 0).all()


def test_one_robot_of_gymnasium_equals_one_of_many() -> None:
    env, one = make_env("Hop-v0", 3), gymnasium.make("Hop-v0")
    assert one.unwrapped.observation_space.shape == (env.spec.obs_dim,)
    np.testing.assert_array_equal(env.reset(SEEDS)[1], one.reset(seed=SEEDS[1])[0])
    for actions in some_actions(70):
        result, alone = env.step(actions), one.step(actions[1])
        np.testing.assert_array_equal(result.terminal_obs[1], alone[0])
        assert (result.reward[1], result.terminated[1], result.truncated[1]) == alone[1:4]
        if alone[2] or alone[3]:
            np.testing.assert_array_equal(result.obs[1], one.reset()[0])


@pytest.mark.filterwarnings("ignore:.*A Box observation space m.*:UserWarning")
def test_one_robot_passes_the_checker_of_gymnasium() -> None:
    check_env(gymnasium.make("Hop-v0").unwrapped, skip_render_check=True)


def future(env: VectorEnv) -> list[Floats]:
    results = [env.step(actions) for actions in some_actions(80)]
    return [array for r in results for array in (r.obs, r.reward, r.terminal_obs)]


def test_a_loaded_state_has_the_same_future() -> None:
    env, other = make_env("Hop-v0", 3, num_threads=2), make_env("Hop-v0", 3)
    env.reset(SEEDS)
    for actions in some_actions(57):
        obs = env.step(actions).obs
    state = env.state_dict()
    expected = future(env)
    other.reset([9, 9, 9])
    future(other)
    for resumed in (other, env):
        np.testing.assert_array_equal(resumed.load_state_dict(state), obs)
        for ours, theirs in zip(future(resumed), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_what_reads_old_sensors_before_a_step_is_resumed_too() -> None:
    """A control of sensors needs what MuJoCo derived before the state was stored."""
    replace(
        HOP,
        env_id="HopBySense-v0",
        control=lambda now: np.concatenate((now.action[:, :1], now.sensor("gyro")[:, 1:2]), axis=1),
    ).register()
    check_replay(lambda num: make_env("HopBySense-v0", num))


def test_a_wrapped_robot_is_another_task() -> None:
    def wrapped() -> gymnasium.Env[Floats, Floats]:
        one = gymnasium.make("Hop-v0")
        return gymnasium.wrappers.TransformReward(one, lambda gain: 2 * gain)

    gymnasium.register("HopTwice-v0", wrapped)
    env, twice = make_env("Hop-v0", 1), make_env("HopTwice-v0", 1)
    env.reset([0])
    twice.reset([0])
    actions = some_actions(1, 1)[0]
    assert twice.step(actions).reward == 2 * env.step(actions).reward


def test_the_model_may_be_a_file_its_text_or_a_spec(tmp_path: Path) -> None:
    (tmp_path / "hop.xml").write_text(MJCF)
    spec = mujoco.MjSpec.from_string(MJCF)
    observed = []
    for mjcf in (MJCF, tmp_path / "hop.xml", str(tmp_path / "hop.xml"), spec):
        for contacts in ({}, HOP.contacts):
            task = replace(HOP, mjcf=mjcf, observe=lambda now: now.qvel, contacts=contacts)
            assert task.model.nsensor == 2 + len(contacts)
            observed.append(task.model.body_mass)
    np.testing.assert_array_equal(observed, np.tile(observed[0], (8, 1)))
    assert len(spec.sensors) == 2, "the spec stays the user's"


def test_without_a_control_the_actions_are_the_controls_within_their_ranges() -> None:
    replace(HOP, env_id="HopPlain-v0", control=None).register()
    actions = make_env("HopPlain-v0", 1).spec.actions
    np.testing.assert_array_equal((actions.low, actions.high), [[-20, -1], [20, 1]])


def test_what_the_functions_see_is_read_only() -> None:
    def meddle(now: Simulations) -> Floats:
        now.qpos[:] = 0.0
        return now.qvel

    replace(HOP, env_id="HopMeddles-v0", observe=meddle).register()
    with pytest.raises(UserCodeError, match=r"HopMeddles-v0 failed in observe: .*read-only"):
        make_env("HopMeddles-v0", 1).reset([0])


def task_with(**changes: object) -> VectorEnv:
    gymnasium.registry.pop("HopFails-v0", None)
    replace(HOP, env_id="HopFails-v0", **changes).register()  # type: ignore[arg-type]
    env = make_env("HopFails-v0", 2)
    env.reset([0, 1])
    env.step(np.zeros((2, 2), np.float32))
    return env


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mjcf": "<mujoco><worldbody>"}, "mjcf must be a MuJoCo model: XML parse error"),
        ({"mjcf": "nowhere/hop.xml"}, "mjcf must be a MuJoCo model: .*nowhere/hop.xml"),
        ({"contacts": {"a": ("soul", "floor")}}, "mjcf must be a MuJoCo model: .*'soul'.*'a'"),
        (
            {"mjcf": MJCF.replace("<size", '<option><flag sleep="enable"/></option><size')},
            "mjcf must suit mujoco.batch: sleep and IPC require",
        ),
        ({"period_s": 0.012}, "period_s must be a multiple of .* timestep 0.005 s, got 0.012"),
        ({"period_s": np.nan}, "period_s must be a multiple of .*, got nan"),
        ({"period_s": 0.001}, "period_s must be a multiple of .*, got 0.001"),
        ({"keyframe": "crouchy"}, "keyframe must be one of the model, got 'crouchy'; did you mean"),
        (
            {"mjcf": MJCF.replace(' ctrlrange="-20 20"', ""), "control": None},
            "every actuator must have a ctrlrange, or the task a control; 'lift' has none",
        ),
        ({"num_actions": 0}, "num_actions must be positive and go with a control, got 0"),
        ({"num_actions": 2, "control": None}, "num_actions must .*, got 2 without one"),
    ],
)
def test_a_model_at_fault_is_refused_in_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=f"^HopFails-v0: {message}[^\n]*$|^{message}[^\n]*$"):
        task_with(**changes)


@pytest.mark.parametrize("kind", ["joint", "sensor", "body", "site", "contact"])
def test_an_unknown_name_is_refused_with_the_nearest_one(kind: str) -> None:
    def look(now: Simulations) -> Floats:
        getattr(now, kind)("hop")
        return now.qpos

    wanted = "sensor" if kind == "contact" else kind
    with pytest.raises(InputError, match=f"^{wanted} must be one of the model, got 'hop'"):
        task_with(observe=look)


def rows(num_axes: int, num: int) -> Callable[[Simulations], Floats]:
    return lambda now: np.zeros((num, 2)[:num_axes])


def wider_together(now: Simulations) -> Floats:
    """As many numbers as there are simulations."""
    return np.zeros((len(now.qpos), len(now.qpos)))


def wider_later(now: Simulations) -> Floats:
    """A number more after the start."""
    return np.zeros((len(now.qpos), 1 + bool(now.time_s.any())))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observe": rows(1, 2)}, r"failed in observe: .*shape \(1, any number\), got \(2,\)"),
        ({"observe": rows(2, 7)}, r"failed in observe: .*, got \(7, 2\)"),
        ({"observe": lambda now: "far"}, "failed in observe: ValueError"),
        ({"observe": wider_together}, "failed in observe: .* rows of 1 numbers as before, got 2"),
        ({"remember": wider_later}, "failed in remember: .* rows of 1 numbers as before, got 2"),
        ({"reward": rows(2, 1)}, r"failed in reward: .* numbers of shape \(1,\), got \(1, 2\)"),
        ({"reward": lambda now: 1 / 0}, "failed in reward: ZeroDivisionError"),
        ({"reward": lambda now: np.ma.masked_all(1)}, "failed in reward: no number may be masked"),
        ({"remember": lambda now: now.time_s}, r"failed in remember: .*got \(1,\)"),
        ({"terminated": lambda now: now.time_s}, "failed in terminated: .* flags .* got float64"),
        ({"control": lambda now: now.action[:, :1]}, "control: .* each of 2 actuators, got 1"),
        ({"reset": lambda start: start.normal("x")}, "failed in reset: TypeError"),
    ],
)
def test_a_function_at_fault_is_named_in_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserCodeError, match=f"^HopFails-v0 [^\n]*{message}[^\n]*$"):
        task_with(**changes)


def second_is_nan(shape: tuple[int, ...]) -> Floats:
    values = np.zeros(shape)
    values[1:] = np.nan
    return values


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward": lambda now: second_is_nan(now.time_s.shape)}, "step 1 .*: its reward is not"),
        ({"observe": lambda now: second_is_nan(now.qpos.shape)}, "step 0 .*: its observe is not"),
        ({"control": lambda now: second_is_nan(now.ctrl.shape)}, "step 0 .*: its control is not"),
    ],
)
def test_what_is_not_finite_is_a_divergence(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DivergenceError, match=f"HopFails-v0: environment 1 diverged at {message}"):
        task_with(**changes)


def test_a_start_that_is_not_finite_is_a_divergence() -> None:
    def reset(start: Start) -> None:
        start.qvel[:] = np.inf

    with pytest.raises(DivergenceError, match="HopFails-v0: environment 0 diverged at step 0"):
        task_with(reset=reset)


def test_the_state_of_another_model_is_refused() -> None:
    longer = MJCF.replace('nuserdata="1"', 'nuserdata="2"')
    state = task_with().state_dict()
    with pytest.raises(InputError, match="state must be of the model of HopFails-v0, got rows of"):
        task_with(mjcf=longer).load_state_dict(state)


def test_one_robot_shows_its_state_to_a_viewer() -> None:
    one = gymnasium.make("Hop-v0")
    first = one.reset(seed=1)[0]
    robot = one.unwrapped
    assert isinstance(robot, SingleRobot)
    assert robot.model is HOP.model
    np.testing.assert_array_equal(robot.data.qpos[1:], first[:1])


def test_the_example_of_two_links_repeats_itself_and_falls_without_control() -> None:
    module = str(Path(__file__).parents[2] / "examples/two_links.py")
    check_replay(lambda num: make_env("TwoLinks-v0", num, env_module=module))
    env = make_env("TwoLinks-v0", 2)
    env.reset([0, 1])
    still = np.zeros((2, 2), np.float32)
    assert any(env.step(still).terminated.any() for _ in range(100))
