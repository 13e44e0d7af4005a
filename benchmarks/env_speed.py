"""Environment steps per second against the raw speed of MuJoCo, on the same states and controls.

Three ways to make the same simulation steps are timed in turn, several times over; the ratios are
medians over these rounds, so that a machine whose speed drifts does not matter. Ratios of CPU
seconds stand beside them, for a machine that others use at the same time:

* env: `VectorEnv.step` with random actions: observations, rewards, resets and all;
* batch: `mujoco.batch.Batch.step` alone, on the states that env had at each step;
* loop: `mujoco.mj_step` with `nstep`, one `MjData` per simulation, on the same states again.

    python benchmarks/env_speed.py --out env_speed.json
"""

import argparse
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter, process_time

import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from mujoco.batch import Batch

from surefoot.envs import VectorEnv, describe_env, make_env
from surefoot.runtime.machine import machine_facts

TASKS = ("Hopper-v5", "Walker2d-v5", "HalfCheetah-v5", "Ant-v5")
STEPS_PER_ROUND = 1600


def clocks() -> np.ndarray:
    """Return wall and CPU seconds."""
    return np.array([perf_counter(), process_time()])


def time_env(env: VectorEnv, start: dict, actions_TNA: np.ndarray) -> np.ndarray:
    env.load_state_dict(start)
    began = clocks()
    for actions in actions_TNA:
        env.step(actions)
    return clocks() - began


def record_states(env: VectorEnv, start: dict, actions_TNA: np.ndarray) -> list[np.ndarray]:
    """Return the integration states (N, nstate) before each step."""
    env.load_state_dict(start)
    states = []
    for actions in actions_TNA:
        states.append(env.state_dict()["integration"])
        env.step(actions)
    return states


def batch_timer(model_env: MujocoEnv, num_envs: int, num_threads: int) -> Callable:
    batch = Batch(model_env.model, num_envs, num_threads)
    ctrl = batch.bind("ctrl")

    def run(states: list[np.ndarray], actions_TNA: np.ndarray) -> np.ndarray:
        seconds = np.zeros(2)
        for state, actions in zip(states, actions_TNA, strict=True):
            batch.state[:] = state
            ctrl[:] = actions
            began = clocks()
            batch.step(nstep=model_env.frame_skip)
            seconds += clocks() - began
        return seconds

    return run


def loop_timer(model_env: MujocoEnv, num_envs: int, num_threads: int) -> Callable:
    model = model_env.model
    simulations = [mujoco.MjData(model) for _ in range(num_envs)]
    shares = [simulations[k::num_threads] for k in range(num_threads)]
    pool = ThreadPoolExecutor(num_threads)

    def step_share(share: list[mujoco.MjData]) -> None:
        for data in share:
            mujoco.mj_step(model, data, nstep=model_env.frame_skip)

    def run(states: list[np.ndarray], actions_TNA: np.ndarray) -> np.ndarray:
        seconds = np.zeros(2)
        for state, actions in zip(states, actions_TNA, strict=True):
            for data, row, action in zip(simulations, state, actions, strict=True):
                mujoco.mj_setState(model, data, row, mujoco.mjtState.mjSTATE_INTEGRATION)
                data.ctrl[:] = action
            began = clocks()
            if num_threads == 1:
                step_share(simulations)
            else:
                list(pool.map(step_share, shares))
            seconds += clocks() - began
        return seconds

    return run


def measure(env_id: str, num_envs: int, num_threads: int, num_rounds: int) -> dict:
    env = make_env(env_id, num_envs, num_threads=num_threads)
    model_env = model_of(env_id)
    time_batch = batch_timer(model_env, num_envs, num_threads)
    time_loop = loop_timer(model_env, num_envs, num_threads)
    rng = np.random.default_rng(0)
    env.reset(range(num_envs))
    rounds = []
    for _ in range(num_rounds):
        shape = (STEPS_PER_ROUND // num_envs, num_envs, env.spec.actions.dim)
        actions = rng.uniform(-1, 1, shape).astype(np.float32)
        start = env.state_dict()
        states = record_states(env, start, actions)
        rounds.append(
            [
                time_env(env, start, actions),
                time_batch(states, actions),
                time_loop(states, actions),
            ]
        )
    seconds = np.array(rounds)  # (rounds, env | batch | loop, wall | CPU)
    rates = np.median(shape[0] * num_envs / seconds[:, :, 0], axis=0)
    ratios = np.median(seconds / seconds[:, :1], axis=0).round(3)
    return {
        "env_id": env_id,
        "num_envs": num_envs,
        "num_threads": num_threads,
        "steps_per_s": dict(zip(("env", "batch", "loop"), rates.round().tolist(), strict=True)),
        "env_to_batch": ratios[1, 0],
        "env_to_loop": ratios[2, 0],
        "env_to_batch_cpu": ratios[1, 1],
        "env_to_loop_cpu": ratios[2, 1],
    }


def model_of(env_id: str) -> MujocoEnv:
    return gymnasium.make(env_id).unwrapped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--envs", nargs="+", default=TASKS)
    parser.add_argument("--num-envs", nargs="+", type=int, default=[16, 64])
    parser.add_argument("--num-threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="write the JSON here instead of printing it")
    given = parser.parse_args()
    rows = [
        measure(env_id, num_envs, num_threads, given.rounds)
        for env_id in given.envs
        for num_envs in given.num_envs
        for num_threads in given.num_threads
    ]
    result = {
        "machine": machine_facts(),
        "packages": describe_env(given.envs[0]).packages,
        "num_rounds": given.rounds,
        "rows": rows,
    }
    text = json.dumps(result, indent=2)
    if given.out:
        given.out.write_text(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
