"""Steps per second of training with each defence, dense and pruned, against physics alone.

    python benchmarks/training_speed.py --out docs/results/training_speed.json
    python benchmarks/training_speed.py --device cuda --hidden 256 256 \
        --num-envs 2048 --rollout-steps 10 --minibatch-size 640 --epochs 4 \
        --out docs/results/training_speed_gpu.json

Every contender is a training in its steady state: defence and sparsity at full strength from the
first update on, and the masks as they are or (*masks moving*) changing all the time. They take
turns, a few iterations each, round after round, so that all of them share the machine's moods; what
is compared are ratios within a round, by wall and by CPU time, of which the median is reported.
``physics`` steps the same environments with random actions, and is the limit that no training can
pass. The second command has the batches of Table 4 of "Pruning Cannot Hurt Robustness"; without a
GPU it says so and stops.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from surefoot.errors import MissingLibraryError
from surefoot.runtime.machine import machine_facts

BALL = {"epsilon": 0.075, "ramp_end": 1e-9}
PLAIN = {"kind": "none"}
DEFENCES = {
    "plain": PLAIN,
    "sa": {"kind": "sa", "kappa": 0.3, **BALL},
    "sa, a quarter of the samples": {"kind": "sa", "kappa": 0.3, "fraction": 0.25, **BALL},
    # at the start of a ramp both CROWN and IBP are computed, at its end IBP alone
    "sa_convex, CROWN and IBP": {"kind": "sa_convex", "kappa": 0.1, **BALL, "ramp_end": 1.0},
    "sa_convex, IBP": {"kind": "sa_convex", "kappa": 0.1, **BALL},
    "barpo": {"kind": "barpo", **BALL},
    "arpo": {"kind": "arpo", **BALL},
    # steps are the policy's; the adversary plays and learns from as many again
    "atla": {"kind": "atla", **BALL},
    "atla, sa_rl": {"kind": "atla", "adversary": "sa_rl", **BALL},
    "lipschitz": {"kind": "lipschitz", "at_most": 10.7, "ramp_end": 1e-9},
}
"""SA, BARPO and ARPO search for 10 steps on all samples if nothing else is said."""

PRUNINGS = {
    "dense": {"kind": "none"},
    "pruned": {"kind": "magnitude", "sparsity": 0.7, "start": 0.0, "end": 1e-9},
    # actor and critic get new masks every ten updates, as in the midst of a training
    "masks moving": {"kind": "magnitude", "sparsity": 0.7, "start": 0.0, "end": 1.0},
}
MOVING = ("plain", "sa")
"""Defences that are measured with moving masks, too: what those cost is added, whatever else."""

ENDLESS = 10**12
"""Steps: no learning rate, ramp or evaluation moves while it is measured."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="Hopper-v5")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 64])
    parser.add_argument("--num-envs", type=int, default=32)
    parser.add_argument("--rollout-steps", type=int, default=64)
    parser.add_argument("--minibatch-size", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1, help="of physics and of PyTorch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=2, help="of each contender per round")
    parser.add_argument("--defences", nargs="+", default=list(DEFENCES), choices=list(DEFENCES))
    parser.add_argument("--out", type=Path, default=Path("training_speed.json"))
    args = parser.parse_args()
    try:
        results = race(args)
    except MissingLibraryError as error:
        raise SystemExit(f"error: {error}") from error
    command = "python benchmarks/training_speed.py " + " ".join(sys.argv[1:])
    args.out.write_text(json.dumps({"command": command, **results}, indent=2) + "\n")
    for line in table(results["contenders"]):
        print(line)


def race(args: argparse.Namespace) -> dict[str, object]:
    """Let all contenders take turns.

    Raises:
        MissingLibraryError: If a GPU was asked for and there is none.
    """
    import torch

    from surefoot.train.trainer import pick_device

    device = pick_device(args.device)
    torch.set_num_threads(args.threads)
    steps = args.num_envs * args.rollout_steps * args.iterations
    contenders = {("physics", "-"): physics(args)}
    for defence in args.defences:
        for pruning in PRUNINGS:
            if pruning != "masks moving" or defence in MOVING:
                contenders[defence, pruning] = training(args, defence, pruning, device)
    for play in contenders.values():
        play()  # once, to warm up
    seconds: dict[tuple[str, str], list[tuple[float, float]]] = {name: [] for name in contenders}
    for number in range(args.rounds):
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)
        for name, play in contenders.items():
            wall, cpu = time.perf_counter(), time.process_time()
            play()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        "machine": machine(device, torch),
        "steps_per_turn": steps,
        "contenders": [summary(name, steps, seconds) for name in contenders],
    }


def physics(args: argparse.Namespace) -> Callable[[], None]:
    """Return a turn of stepping the environments with random actions."""
    from surefoot.envs.make import make_env

    env = make_env(args.env, args.num_envs, num_threads=args.threads)
    env.reset(range(args.num_envs))
    low, high = env.spec.actions.low, env.spec.actions.high
    generator = np.random.default_rng(0)
    size = (args.rollout_steps * args.iterations, args.num_envs, len(low))
    actions = generator.uniform(low, high, size).astype(np.float32)

    def play() -> None:
        for action in actions:
            env.step(action)

    return play


def training(
    args: argparse.Namespace, defence: str, pruning: str, device: object
) -> Callable[[], None]:
    """Return a turn of a training: a few whole iterations."""
    from surefoot.config import build
    from surefoot.envs.make import make_env
    from surefoot.train import TrainConfig
    from surefoot.train.training_run import Run

    table = {
        "env_id": args.env,
        "total_steps": ENDLESS,
        "num_envs": args.num_envs,
        "rollout_steps": args.rollout_steps,
        "num_threads": args.threads,
        "hidden": args.hidden,
        "critic_hidden": args.hidden,
        "minibatch_size": args.minibatch_size,
        "epochs": args.epochs,
        "noise": {"kind": "fixed", "sigma": 0.3},
        "defence": DEFENCES[defence],
        "pruning": PRUNINGS[pruning],
        "num_evaluations": 1,
        "evaluation_episodes": 1,
    }
    config = build(TrainConfig, table, "train")
    env = make_env(args.env, args.num_envs, num_threads=args.threads)
    rival_env = None
    if config.defence.kind == "atla":
        rival_env = make_env(args.env, args.num_envs, num_threads=args.threads)
    with closing(make_env(args.env, 1, num_threads=1)) as unused:
        run = Run(config, env, unused, device, rival_env)

    def play() -> None:
        for _ in range(args.iterations):
            run.iterate()

    return play


def summary(
    name: tuple[str, str], steps: int, seconds: dict[tuple[str, str], list[tuple[float, float]]]
) -> dict[str, object]:
    """Return the medians over the rounds of a contender's speed and of its ratios."""
    own = np.array(seconds[name])
    row: dict[str, object] = {
        "defence": name[0],
        "weights": name[1],
        "steps_per_s": round(float(np.median(steps / own[:, 0]))),
        "steps_per_cpu_s": round(float(np.median(steps / own[:, 1]))),
    }
    for other in (("physics", "-"), ("plain", "dense")):
        if other in seconds:
            ratios = np.median(np.array(seconds[other]) / own, axis=0)
            row[f"of_{other[0]}"] = round(float(ratios[0]), 3)
            row[f"of_{other[0]}_cpu"] = round(float(ratios[1]), 3)
    return row


def machine(device: object, torch: object) -> dict[str, object]:
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        **machine_facts(),
        "gpu": gpu,
        "torch": torch.__version__,
    }


def table(rows: list[dict[str, object]]) -> list[str]:
    lines = [
        f"{'defence':30} {'weights':12} {'steps/s':>8} {'/CPU s':>8} {'of plain':>8} {'(CPU)':>6}"
        f" {'of physics':>10} {'(CPU)':>6}"
    ]
    for row in rows:
        plain, plain_cpu = row.get("of_plain", ""), row.get("of_plain_cpu", "")
        lines.append(
            f"{row['defence']:30} {row['weights']:12} {row['steps_per_s']:8}"
            f" {row['steps_per_cpu_s']:8} {plain:>8} {plain_cpu:>6}"
            f" {row['of_physics']:>10} {row['of_physics_cpu']:>6}"
        )
    return lines


if __name__ == "__main__":
    main()
