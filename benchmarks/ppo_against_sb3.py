"""PPO end to end against Stable-Baselines3 on Hopper-v5: steps/s and return, same machine.

Three contenders, each one process on one core with one thread:

* ``sb3``: Stable-Baselines3 with VecNormalize, 64x64 tanh, 8 environments, minibatch 64;
* ``same``: surefoot with the same hyper-parameters, no defence, no pruning;
* ``preset``: surefoot's ``hopper`` preset (state-adversarial, pruned).

    python benchmarks/ppo_against_sb3.py --seeds 1 2 3 --steps 1000000 --jobs 2 \
        --out docs/results/ppo_against_sb3.json

Time is that of the whole training call, rollouts, updates and evaluations inside it, in CPU seconds
(wall time stands beside it; on a shared machine only CPU time compares). The return is
the mean of 50 episodes of the final deterministic policy on seeds that no training saw, in the
same environments for all. Needs the `bench` extra. A contender and seed that the output file
already holds is not run again.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ENV_ID, EPISODES, FIRST_EVALUATION_SEED = "Hopper-v5", 50, 9_000_000
CONTENDERS = ("sb3", "same", "preset")
Act = Callable[[NDArray[np.float64]], NDArray[np.float32]]
"""From observations, (1, obs_dim), to actions, (1, number of actuators)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side, one core each")
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=CONTENDERS)
    parser.add_argument("--out", type=Path, default=Path("ppo_against_sb3.json"))
    parser.add_argument("--one", nargs=2, metavar=("CONTENDER", "SEED"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        contender, seed = args.one[0], int(args.one[1])
        print(json.dumps(run_one(contender, seed, args.steps)))
        return
    rows = run_all(args)
    for line in summary(rows):
        print(line)


def run_all(args: argparse.Namespace) -> list[dict[str, object]]:
    """Run what is missing, seed by seed, so that contenders share the machine's moods.

    Raises:
        SystemExit: If a contender failed.
    """
    rows = json.loads(args.out.read_text())["runs"] if args.out.exists() else []
    done = {(row["contender"], row["seed"], row["steps"]) for row in rows}
    waiting = [
        (c, s) for s in args.seeds for c in args.contenders if (c, s, args.steps) not in done
    ]
    running: dict[int, tuple[str, int, subprocess.Popen[str]]] = {}
    while waiting or running:
        for core in range(args.jobs):
            if core not in running and waiting:
                contender, seed = waiting.pop(0)
                running[core] = (contender, seed, start(core, contender, seed, args.steps))
        time.sleep(0.5)
        for core, (contender, seed, process) in list(running.items()):
            if process.poll() is not None:
                if process.returncode != 0:
                    raise SystemExit(f"{contender} seed {seed} failed")
                rows.append(json.loads(process.communicate()[0].splitlines()[-1]))
                print(rows[-1], flush=True)
                command = "python benchmarks/ppo_against_sb3.py " + " ".join(sys.argv[1:])
                args.out.write_text(json.dumps({"command": command, "runs": rows}, indent=2) + "\n")
                del running[core]
    return rows


def start(core: int, contender: str, seed: int, steps: int) -> "subprocess.Popen[str]":
    command = [sys.executable, __file__, "--one", contender, str(seed), "--steps", str(steps)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: os.sched_setaffinity(0, {core % (os.cpu_count() or 1)}),
    )


def run_one(contender: str, seed: int, steps: int) -> dict[str, object]:
    train = train_sb3 if contender == "sb3" else train_surefoot
    started, cpu_started = time.perf_counter(), time.process_time()
    act = train(contender, seed, steps)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    returns = evaluate(act)
    return {
        "contender": contender,
        "seed": seed,
        "steps": steps,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "steps_per_s": round(steps / seconds),
        "mean_return": round(float(np.mean(returns)), 1),
        "std_return": round(float(np.std(returns)), 1),
    }


def train_sb3(contender: str, seed: int, steps: int) -> Act:
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    torch.set_num_threads(1)
    envs = VecNormalize(make_vec_env(ENV_ID, n_envs=8, seed=seed), gamma=0.99)
    model = PPO("MlpPolicy", envs, n_steps=256, batch_size=64, seed=seed, device="cpu")
    model.learn(total_timesteps=steps)
    envs.training = False

    def act(obs: NDArray[np.float64]) -> NDArray[np.float32]:
        action, _ = model.predict(envs.normalize_obs(obs), deterministic=True)
        return action

    return act


def train_surefoot(contender: str, seed: int, steps: int) -> Act:
    from surefoot.config import build, load_preset
    from surefoot.train import TrainConfig, train_policy

    same = {
        "env_id": ENV_ID,
        "num_envs": 8,
        "rollout_steps": 256,
        "minibatch_size": 64,
        "hidden": [64, 64],
        "critic_hidden": [64, 64],
        "noise": {"kind": "learned", "initial": 1.0},
        "learning_rate": 3e-4,
        "anneal_to": 1.0,
        "epochs": 10,
        "entropy_coefficient": 0.0,
        "num_evaluations": 1,
        "visited_states": 0,
    }
    table = same if contender == "same" else load_preset("hopper")["train"]
    table |= {"seed": seed, "total_steps": steps, "num_threads": 1, "torch_threads": 1}
    policy = train_policy(build(TrainConfig, table, "train")).policy
    return lambda obs: policy.outputs(obs, np.float32)


def evaluate(act: Act) -> list[float]:
    """Return the undiscounted returns of single Gymnasium episodes."""
    import gymnasium

    env = gymnasium.make(ENV_ID)
    returns = []
    for episode in range(EPISODES):
        obs, _ = env.reset(seed=FIRST_EVALUATION_SEED + episode)
        total, over = 0.0, False
        while not over:
            obs, reward, terminated, truncated, _ = env.step(act(obs[None])[0])
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    return returns


def summary(rows: list[dict[str, object]]) -> list[str]:
    lines = [f"{'contender':10} {'steps/CPU s':>11} {'x sb3':>6} {'return (mean over seeds)':>26}"]
    speed = {
        contender: float(
            np.median(
                [row["steps"] / row["cpu_seconds"] for row in rows if row["contender"] == contender]
                or [np.nan]
            )
        )
        for contender in CONTENDERS
    }
    for contender in CONTENDERS:
        own = sorted((r for r in rows if r["contender"] == contender), key=lambda r: r["seed"])
        if own:
            returns = [float(row["mean_return"]) for row in own]
            listed = ", ".join(f"{value:.0f}" for value in returns)
            ratio = speed[contender] / speed["sb3"]
            line = f"{contender:10} {speed[contender]:11.0f} {ratio:6.2f} {np.mean(returns):10.0f}"
            lines.append(f"{line}  ({listed})")
    return lines


if __name__ == "__main__":
    main()
