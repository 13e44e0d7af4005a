"""A Go1 as a `MujocoTask` against a bare loop over ``mj_step`` and an ordinary environment.

Four ways to make the same control periods are timed in turn, several times over; ratios are medians
over these rounds. CPU seconds stand beside them, for a machine that others use at the same time:

* task: `VectorEnv.step` with random actions: observations, rewards, resets and all;
* loop: `mujoco.mj_step` alone, one `MjData` for each robot, on the states and controls of task;
* ordinary: `Go1Env` below, as one writes it by hand, in surefoot's vector environment;
* ordinary alone: `Go1Env` stepped by a plain loop.

Memory is what a process grows by from one robot to many.

    make go1
    python benchmarks/go1_speed.py --out docs/results/go1_speed.json
"""

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter, process_time

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces

from surefoot.envs import VectorEnv, make_env
from surefoot.envs.mujoco_batch import MujocoBatchEnv
from surefoot.runtime.machine import machine_facts

EXAMPLES = Path(__file__).parents[1] / "examples"
sys.path.append(str(EXAMPLES))
import go1  # noqa: E402

WAYS = ("task", "loop", "ordinary", "ordinary_alone")


class Go1Env(gymnasium.Env):
    """The same robot, written as an ordinary environment with a model of its own."""

    dt = 0.02

    def __init__(self) -> None:
        self.model = go1.robot().compile()
        self.data = mujoco.MjData(self.model)
        self.observation_space = spaces.Box(-np.inf, np.inf, (45,), np.float64)
        self.action_space = spaces.Box(-1.0, 1.0, (12,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict | None = None
    ) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        mujoco.mj_resetDataKeyframe(self.model, self.data, 0)
        self.data.qpos[7:] += self.np_random.uniform(-0.1, 0.1, 12)
        self.data.qvel[:] = self.np_random.uniform(-0.1, 0.1, 18)
        mujoco.mj_forward(self.model, self.data)
        self.action = np.zeros(12, np.float32)
        return self.observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        data, previous, self.action = self.data, self.action, action
        data.ctrl[:] = go1.HOME + go1.REACH * action
        mujoco.mj_step(self.model, data, 4)
        velocity, turning = data.sensor("imu_lin_vel").data, data.sensor("imu_ang_vel").data
        swaying = np.square(velocity[1:]).sum() + 0.1 * np.square(turning).sum()
        jerks, strain = np.square(action - previous).sum(), np.square(data.actuator_force).sum()
        walking = np.exp(-np.square(velocity[0] - go1.SPEED) / 0.1)
        reward = 0.2 + walking - 0.3 * swaying - 0.01 * jerks - 2e-4 * strain
        fallen = data.qpos[2] < 0.15 or data.sensor("imu_upvector").data[2] < 0.6
        return self.observe(), float(reward), bool(fallen), False, {}

    def observe(self) -> np.ndarray:
        data = self.data
        velocity, turning = data.sensor("imu_lin_vel").data, data.sensor("imu_ang_vel").data
        gravity, angles = -data.sensor("imu_upvector").data, data.qpos[7:] - go1.HOME
        return np.concatenate((velocity, turning, gravity, angles, data.qvel[6:], self.action))


gymnasium.register("Go1Ordinary-v0", Go1Env, max_episode_steps=1000)


def clocks() -> np.ndarray:
    """Return wall and CPU seconds."""
    return np.array([perf_counter(), process_time()])


def time_steps(env: VectorEnv, actions_TNA: np.ndarray) -> np.ndarray:
    began = clocks()
    for actions in actions_TNA:
        env.step(actions)
    return clocks() - began


def time_alone(envs: list[gymnasium.Env], actions_TNA: np.ndarray) -> np.ndarray:
    began = clocks()
    for actions in actions_TNA:
        for env, action in zip(envs, actions, strict=True):
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
    return clocks() - began


def loop_timer(num_envs: int, num_threads: int) -> Callable:
    model, substeps = go1.GO1.model, go1.GO1.num_substeps
    robots = [mujoco.MjData(model) for _ in range(num_envs)]
    shares = [robots[k::num_threads] for k in range(num_threads)]
    pool = ThreadPoolExecutor(num_threads)

    def step_share(share: list[mujoco.MjData]) -> None:
        for data in share:
            mujoco.mj_step(model, data, nstep=substeps)

    def run(states: list[np.ndarray], actions_TNA: np.ndarray) -> np.ndarray:
        seconds = np.zeros(2)
        for state, actions in zip(states, actions_TNA, strict=True):
            for data, row, action in zip(robots, state, actions, strict=True):
                mujoco.mj_setState(model, data, row, mujoco.mjtState.mjSTATE_INTEGRATION)
                data.ctrl[:] = go1.HOME + go1.REACH * action
            began = clocks()
            list(pool.map(step_share, shares)) if num_threads > 1 else step_share(robots)
            seconds += clocks() - began
        return seconds

    return run


def record_states(env: MujocoBatchEnv, actions_TNA: np.ndarray) -> list[np.ndarray]:
    states = []
    for actions in actions_TNA:
        states.append(env.simulations.batch.state.copy())
        env.step(actions)
    return states


def measure(num_envs: int, num_threads: int, num_rounds: int, num_steps: int) -> dict:
    task = make_env("Go1-v0", num_envs, num_threads=num_threads)
    ordinary = make_env("Go1Ordinary-v0", num_envs)
    alone = [gymnasium.make("Go1Ordinary-v0").unwrapped for _ in range(num_envs)]
    assert isinstance(task, MujocoBatchEnv)
    obs = [env.reset(range(num_envs)) for env in (task, ordinary)]
    obs.append(np.array([env.reset(seed=seed)[0] for seed, env in enumerate(alone)]))
    middle = np.zeros((num_envs, 12), np.float32)
    obs += [env.step(middle).terminal_obs for env in (task, ordinary)]
    assert np.array_equal(obs[0], obs[1])
    assert np.array_equal(obs[0], obs[2])
    assert np.array_equal(obs[3], obs[4])
    time_loop = loop_timer(num_envs, num_threads)
    rng = np.random.default_rng(0)
    rounds = []
    for _ in range(num_rounds):
        actions = rng.uniform(-1, 1, (num_steps, num_envs, 12)).astype(np.float32)
        start = task.state_dict()
        states = record_states(task, actions)
        task.load_state_dict(start)
        rounds.append(
            [
                time_steps(task, actions),
                time_loop(states, actions),
                time_steps(ordinary, actions),
                time_alone(alone, actions),
            ]
        )
    seconds = np.array(rounds)  # (rounds, way, wall | CPU)
    rates = np.median(num_steps * num_envs / seconds, axis=0).round()
    ratios = np.median(seconds / seconds[:, :1], axis=0).round(3)
    return {
        "num_envs": num_envs,
        "num_threads": num_threads,
        "steps_per_s": dict(zip(WAYS, rates[:, 0].tolist(), strict=True)),
        "steps_per_cpu_s": dict(zip(WAYS, rates[:, 1].tolist(), strict=True)),
        "task_to": dict(zip(WAYS[1:], ratios[1:, 0].tolist(), strict=True)),
        "task_to_by_cpu": dict(zip(WAYS[1:], ratios[1:, 1].tolist(), strict=True)),
    }


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def grown_mib(env_id: str, num_envs: int) -> float:
    """Return what one more environment costs in MiB, after a step of each."""
    first = make_env(env_id, 1)
    first.reset([0])
    first.step(np.zeros((1, 12), np.float32))
    before = resident_mib()
    env = make_env(env_id, num_envs)
    env.reset(range(num_envs))
    env.step(np.zeros((num_envs, 12), np.float32))
    return round((resident_mib() - before) / num_envs, 3)


def memory(num_envs: int) -> dict:
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1, maxtasksperchild=1) as pool:
        grown = pool.starmap(
            grown_mib, [("Go1-v0", num_envs), ("Go1Ordinary-v0", num_envs)], chunksize=1
        )
    return {"num_envs": num_envs, **dict(zip(("task", "ordinary"), grown, strict=True))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-envs", type=int, default=32)
    parser.add_argument("--num-threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--out", type=Path, help="write the JSON here instead of printing it")
    given = parser.parse_args()
    rows = [measure(given.num_envs, n, given.rounds, given.steps) for n in given.num_threads]
    result = {
        "machine": machine_facts(),
        "num_rounds": given.rounds,
        "rows": rows,
        "mib_per_environment": memory(given.num_envs),
    }
    text = json.dumps(result, indent=2)
    if given.out:
        given.out.write_text(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
