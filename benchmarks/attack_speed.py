"""Steps per second of each attack's closed loop, against the clean loop.

Every environment plays on without a fall: an episode that ends is followed by the next one in the
same count, so that all environments are busy for all steps and the loops do the same work but for
the attack. The loops are timed in turn, several times over; ratios are medians over these rounds,
of CPU seconds, so that neither a machine whose speed drifts nor one that is shared matters.

Two promises are measured whole, in wall seconds: MAD with its 10 steps over 50 episodes that are
made to last 1,000 steps in the way said above, and ``--suite quick`` as a user runs it. The latter
attacks a task whose own episodes last 1,000 steps whatever the controller does (HalfCheetah).

    python benchmarks/attack_speed.py --out docs/results/attack_speed.json
    python benchmarks/attack_speed.py --policy runs/hopper/policy --steps 1000 --rounds 1
"""

import argparse
import json
import os
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import numpy as np

from surefoot.attack import Ball, DeployedController, EvaluateConfig, evaluate
from surefoot.attack.attack_config import FULL, AttackConfig
from surefoot.attack.mad import PUBLISHED, mad_adversary
from surefoot.attack.sarsa import SarsaSettings
from surefoot.attack.seeds import evaluation_seeds
from surefoot.attack.store import Store
from surefoot.attack.target import AttackTarget
from surefoot.ball import Norm
from surefoot.envs import EnvSpec, StepResult, VectorEnv, describe_env, make_env
from surefoot.onnx_file import (
    ControllerFile,
    policy_from_onnx,
    policy_to_onnx,
)
from surefoot.policy import Activation, GaussianHead, Layer, Normaliser, Policy, Squash
from surefoot.runtime.controller_file import load_controller_file
from surefoot.runtime.load import Backend, controller_of
from surefoot.runtime.machine import machine_facts


class Endless:
    """A task whose episodes all last as long as the clock says, falls or not."""

    resumable = False

    def __init__(self, env: VectorEnv, num_steps: int) -> None:
        self._env = env
        self.num_envs = env.num_envs
        self.spec = replace(env.spec, max_episode_steps=num_steps)

    def reset(self, seeds: list[int]) -> np.ndarray:
        return self._env.reset(seeds)

    def step(self, actions: np.ndarray) -> StepResult:
        result = self._env.step(actions)
        never = np.zeros(self.num_envs, bool)
        return replace(result, terminated=never, truncated=never)

    def close(self) -> None:
        self._env.close()


def random_file(spec: EnvSpec, hidden: list[int]) -> ControllerFile:
    """Return an untrained tanh controller of the task's sizes."""
    rng = np.random.default_rng(0)
    sizes = [spec.obs_dim, *hidden, spec.actions.dim]
    layers = [
        Layer(
            weight=rng.normal(0, fan_in**-0.5, (fan_out, fan_in)).astype(np.float32),
            bias=np.zeros(fan_out, np.float32),
            activation=Activation.TANH if number < len(hidden) else Activation.IDENTITY,
        )
        for number, (fan_in, fan_out) in enumerate(pairwise(sizes))
    ]
    low, high = spec.actions.low, spec.actions.high
    policy = Policy(
        normaliser=Normaliser(
            mean=np.zeros(spec.obs_dim, np.float32),
            scale=np.ones(spec.obs_dim, np.float32),
            clip=10.0,
        ),
        layers=tuple(layers),
        head=GaussianHead(
            std=np.full(spec.actions.dim, 0.1),
            squash=Squash.CLIP,
            centre=(high + low) / 2,
            half_range=(high - low) / 2,
        ),
    )
    return policy_from_onnx(policy_to_onnx(policy))


def attacked_file(given: argparse.Namespace) -> ControllerFile:
    """Return the controller that was asked for."""
    if given.policy:
        return load_controller_file(given.policy)
    return random_file(describe_env(given.env), given.hidden)


def deployed_of(file: ControllerFile, given: argparse.Namespace) -> DeployedController:
    """Return the controller on the backend that was asked for."""
    controller = controller_of(file, Backend(given.backend))
    return DeployedController(controller=controller, policy=file.policy)


def endless(given: argparse.Namespace, num_steps: int) -> Endless:
    """Return one environment per episode, each of exactly so many steps."""
    env = make_env(given.env, given.episodes, num_threads=given.threads)
    return Endless(env, num_steps)


def measure_loops(given: argparse.Namespace) -> list[dict]:
    """Return a row per attack: its closed loop against the clean one."""
    file = attacked_file(given)
    deployed = deployed_of(file, given)
    config = EvaluateConfig(seeds=evaluation_seeds(given.episodes))
    ball = Ball(norm=Norm.LINF, epsilon=given.epsilon)
    target = AttackTarget(
        policy=file.policy,
        ball=ball,
        make_env=lambda num: make_env(given.env, num, num_threads=given.threads),
        store=Store(),
        key="speed",
        tell=lambda share, remark: None,
        query=deployed.query,
    )
    # How long an attack takes does not depend on how well its critics and adversaries learned.
    learned = AttackConfig(
        critic_steps=1024, sarsa=SarsaSettings(records=960, epochs=1), adversary_steps=8192
    )
    adversaries = {
        f"{attack}, {name}": adversary
        for attack, variants in FULL.items()
        for number, (name, adversary) in enumerate(variants(target, learned).adversaries.items())
        if number == 0 or attack in ("random", "mad")  # the others take as long as the first
    }
    seconds = {name: [] for name in adversaries}
    cpu_seconds = {name: [] for name in adversaries}
    with closing(endless(given, given.steps)) as env:
        for _ in range(given.rounds):
            for name, adversary in adversaries.items():
                began, cpu_began = perf_counter(), process_time()
                evaluate(deployed, env, adversary, config)
                seconds[name].append(perf_counter() - began)
                cpu_seconds[name].append(process_time() - cpu_began)
    clean = next(iter(cpu_seconds.values()))
    num_steps = given.episodes * given.steps
    to_full = 50_000 / num_steps
    return [
        {
            "attack": name,
            "steps_per_s": round(num_steps / median(seconds[name])),
            "clean_to_attack_cpu": round(
                median(c / a for c, a in zip(clean, cpu_seconds[name], strict=True)), 3
            ),
            "seconds_for_50_times_1000_steps": round(to_full * median(seconds[name]), 1),
            "cpu_seconds_for_50_times_1000_steps": round(to_full * median(cpu_seconds[name]), 1),
        }
        for name in adversaries
    ]


def measure_mad(given: argparse.Namespace) -> dict:
    """Return what the published MAD takes for episodes of 1,000 steps, none extrapolated."""
    file = attacked_file(given)
    mad = mad_adversary(file.policy, Ball(norm=Norm.LINF, epsilon=given.epsilon), PUBLISHED)
    config = EvaluateConfig(seeds=evaluation_seeds(given.episodes))
    deployed = deployed_of(file, given)
    with closing(endless(given, given.mad_steps)) as env:
        began, cpu_began = perf_counter(), process_time()
        evaluation = evaluate(deployed, env, mad, config)
    return {
        "gradient_steps": PUBLISHED.steps,
        "episodes": len(evaluation.lengths),
        "env_steps": int(evaluation.lengths.sum()),
        "wall_s": round(perf_counter() - began, 1),
        "cpu_s": round(process_time() - cpu_began, 1),
    }


def measure_quick(given: argparse.Namespace) -> dict:
    """Return what the quick suite takes as a user runs it: start, selection, report, picture."""
    file = random_file(describe_env(given.quick_env), given.hidden)
    settings = {
        "env_id": given.quick_env,
        "epsilon": given.epsilon,
        "episodes": given.episodes,
        "num_threads": given.threads,
        "backend": given.backend,
    }
    with TemporaryDirectory() as folder:
        policy, out = Path(folder) / "policy.onnx", Path(folder) / "attack.json"
        policy.write_bytes(file.data)
        command = [sys.executable, "-m", "surefoot", "attack"]
        command += [str(policy), "--suite", "quick", "--out", str(out), "--allow-uncertified"]
        for name, value in settings.items():
            command += ["--set", f"attack.{name}={value}"]
        before, began = os.times(), perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        wall, after = perf_counter() - began, os.times()
        attacks = json.loads(out.read_text())["attacks"]
    cpu = sum(getattr(after, n) - getattr(before, n) for n in ("children_user", "children_system"))
    return {
        "env": given.quick_env,
        "episodes": given.episodes,
        "longest_episode": max(max(entry["lengths"]) for entry in attacks.values()),
        "env_steps": sum(entry["effort"]["env_steps"] for entry in attacks.values()),
        "gradients": sum(entry["effort"]["gradients"] for entry in attacks.values()),
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="Hopper-v5")
    parser.add_argument("--policy", type=Path, help="attack this one instead of an untrained one")
    parser.add_argument("--hidden", nargs="+", type=int, default=[64, 64])
    parser.add_argument("--backend", default="onnx")
    parser.add_argument("--epsilon", type=float, default=0.075)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--mad-steps", type=int, default=1000, help="of each episode under MAD")
    parser.add_argument("--quick-env", default="HalfCheetah-v5", help="task of the quick suite")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write the JSON here instead of printing it")
    given = parser.parse_args()
    result = {
        "machine": machine_facts(),
        "settings": {name: str(value) for name, value in vars(given).items() if name != "out"},
        "packages": describe_env(given.env).packages,
        "mad_10_steps": measure_mad(given),
        "quick_suite": measure_quick(given),
        "rows": measure_loops(given),
    }
    text = json.dumps(result, indent=2)
    if given.out:
        given.out.write_text(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
