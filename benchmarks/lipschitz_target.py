"""Training under a Lipschitz target: what each way to hold it costs in clean return.

    python benchmarks/lipschitz_target.py --steps 200000 --at-most 2 \
        --out docs/results/lipschitz_target.json

So short a training says what a way gives away of its target, not what it costs: returns at a
million steps are those of ``lipschitz`` and ``lipschitzabs`` of ``learning.py``.

Each run is the ``hopper`` preset without its own defence, dense or pruned as asked, under one way
to hold the target (or none). Reported are the mean return of the last deterministic policy over
the evaluation episodes, the least of the certifier's closed-form bounds on the largest deviation
of an actuator per unit of linf perturbation, the one that was trained on, and CPU seconds. A run
that the output file already holds is not made again.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

WAYS = {
    "none": None,
    "absolute, scaled": {"bound": "absolute_product", "projection": "scale"},
    "absolute, nearest": {"bound": "absolute_product", "projection": "nearest"},
    "spectral, scaled": {"bound": "combettes_pesquet", "projection": "scale"},
    "spectral, nearest": {"bound": "combettes_pesquet", "projection": "nearest"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="hopper")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--at-most", type=float, default=10.7, help="action units per unit of linf")
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.0])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--out", type=Path, default=Path("lipschitz_target.json"))
    args = parser.parse_args()
    rows = json.loads(args.out.read_text())["runs"] if args.out.exists() else []
    for seed in args.seeds:
        for sparsity in args.sparsity:
            for way in args.ways:
                run = {
                    "preset": args.preset,
                    "way": way,
                    "sparsity": sparsity,
                    "seed": seed,
                    "steps": args.steps,
                    "at_most": args.at_most,
                }
                if any(run.items() <= row.items() for row in rows):
                    continue
                rows.append(run | measure(run))
                print(line(rows[-1]), flush=True)
                command = "python benchmarks/lipschitz_target.py " + " ".join(sys.argv[1:])
                args.out.write_text(json.dumps({"command": command, "runs": rows}, indent=2) + "\n")


def measure(run: dict[str, object]) -> dict[str, object]:
    """Train one policy and bound it as `pipeline certify` would."""
    from surefoot.ball import Norm
    from surefoot.certify.bounds.chain import action_chain
    from surefoot.certify.bounds.global_bounds import closed_form_bounds
    from surefoot.config import build, load_preset
    from surefoot.train import TrainConfig, train_policy

    table = load_preset(str(run["preset"]))["train"]
    table |= {
        "seed": run["seed"],
        "total_steps": run["steps"],
        "num_threads": 1,
        "num_evaluations": 1,
        "evaluation_episodes": 20,
        "visited_states": 0,
    }
    table["defence"] = {"kind": "none"}
    if (way := WAYS[str(run["way"])]) is not None:
        table["defence"] = {"kind": "lipschitz", "at_most": run["at_most"], **way}
    table["pruning"] = {"kind": "none"}
    if run["sparsity"]:
        table["pruning"] = {"kind": "magnitude", "sparsity": run["sparsity"], "end": 0.6}
    started = time.process_time()
    result = train_policy(build(TrainConfig, table, "train"))
    seconds = time.process_time() - started
    bounds = closed_form_bounds(action_chain(result.policy)).deviations(1.0, Norm.LINF)
    largest = {name: float(np.max(rows)) for name, rows in bounds.items()}
    return {
        "clean_return": result.curves["clean_return"][-1],
        "largest_deviation": largest,
        "certified": min(largest.values()),
        "trained": None if way is None else largest[way["bound"]],
        "cpu_seconds": round(seconds, 1),
    }


def line(row: dict[str, object]) -> str:
    trained = "" if row["trained"] is None else f", trained {row['trained']:.4f}"
    return (
        f"{row['way']:18} sparsity {row['sparsity']:.2f} seed {row['seed']}:"
        f" return {row['clean_return']:7.0f}, certified {row['certified']:8.3f}{trained}"
        f" of {row['at_most']}, {row['cpu_seconds']} CPU s"
    )


if __name__ == "__main__":
    main()
