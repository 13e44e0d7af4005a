"""Every way of pruning and every defence, trained on Hopper-v5: is the exact target reached?

    python benchmarks/methods_200k.py --runs runs/methods --out docs/results/methods_200k.json

Each row is the ``hopper`` preset for 200,000 steps with one table replaced. Zeros and widths are
counted on the trained actor and critic and held against what follows from the shapes, the sparsity
and the allocation alone. A row is exact when all layers together have exactly that many, each
within what rounding to that total may move; a Lipschitz target when the certifier's bound of that
name is at most it and within a thousandth of it: a looser one was never held. Returns are those of
so short a training, at which Hopper has learned to stand and lean: they say that nothing broke.
Training goes on where it was stopped; rows that the output file already holds are not made again.
Exits with 3 if a row is not exact.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any

import numpy as np

from surefoot.ball import Norm
from surefoot.certify.bounds.chain import action_chain
from surefoot.certify.bounds.global_bounds import closed_form_bounds
from surefoot.compress import erdos_renyi_kernel, num_kept
from surefoot.config import build, config_sha256, load_preset
from surefoot.policy import Layer, weights_sha256
from surefoot.train import TrainConfig, TrainResult, train_policy
from surefoot.train.defence_config import LipschitzTarget
from surefoot.train.pruning_config import Pruning

PRUNING: Mapping[str, Mapping[str, Any]] = {
    "none": {"kind": "none"},
    "random": {"kind": "random", "sparsity": 0.7},
    "magnitude": {"kind": "magnitude", "sparsity": 0.7},
    "magnitude, uniform": {"kind": "magnitude", "sparsity": 0.7, "allocation": "uniform"},
    "magnitude, global": {"kind": "magnitude", "sparsity": 0.7, "allocation": "global"},
    "magnitude, every update": {"kind": "magnitude", "sparsity": 0.7, "interval": 1},
    "magnitude, every 20 updates": {"kind": "magnitude", "sparsity": 0.7, "interval": 20},
    "magnitude, one large step": {"kind": "magnitude", "sparsity": 0.7, "interval": 10**9},
    "magnitude, dense critic": {"kind": "magnitude", "sparsity": 0.7, "target": "actor"},
    "magnitude_ste": {"kind": "magnitude_ste", "sparsity": 0.7},
    "saliency": {"kind": "saliency", "sparsity": 0.7},
    "neurons": {"kind": "neurons", "sparsity": 0.5},
    "neurons, global": {"kind": "neurons", "sparsity": 0.5, "allocation": "global"},
    "two_four": {"kind": "two_four"},
}
"""By name: the [train.pruning] of a row, under the defence of the preset."""

BALL = {"epsilon": 0.075, "fraction": 0.25, "ramp_end": 0.5}
DEFENCES: Mapping[str, Mapping[str, Any]] = {
    "no defence": {"kind": "none"},
    "sa_convex": {"kind": "sa_convex", "kappa": 0.3, **BALL},
    "arpo": {"kind": "arpo", **BALL},
    "barpo": {"kind": "barpo", **BALL},
    "atla": {"kind": "atla", "epsilon": 0.075, "ramp_end": 0.5},
    "lipschitz": {"kind": "lipschitz", "at_most": 2.0},
}
"""By name: the [train.defence] of a row, under "magnitude"; a new defence is one more line."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/methods"))
    parser.add_argument("--out", type=Path, default=Path("methods_200k.json"))
    parser.add_argument("--only", nargs="+", choices=[*PRUNING, *DEFENCES], help="some rows")
    args = parser.parse_args()
    rows = json.loads(args.out.read_text())["rows"] if args.out.exists() else []
    for name in args.only or [*PRUNING, *DEFENCES]:
        config = config_of(name, args.steps, args.seed)
        key = config_sha256(config)
        if any(row["config_sha256"] == key for row in rows):
            continue
        began = time.process_time()
        result = train_policy(config, out=args.runs / f"{name.replace(', ', '-')}-{key[:8]}")
        cpu_s = time.process_time() - began
        rows.append({"name": name, **row_of(result), "config_sha256": key, "cpu_s": round(cpu_s)})
        print(json.dumps(rows[-1]), flush=True)
        command = "python benchmarks/methods_200k.py " + " ".join(sys.argv[1:])
        args.out.write_text(json.dumps({"command": command, "rows": rows}, indent=2) + "\n")
    print(table(rows))
    sys.exit(0 if all(row["exact"] for row in rows) else 3)


def config_of(name: str, steps: int, seed: int) -> TrainConfig:
    pruning = PRUNING.get(name, PRUNING["magnitude"])
    changes: dict[str, Any] = {"pruning": pruning, "total_steps": steps, "seed": seed}
    if name in DEFENCES:
        changes["defence"] = DEFENCES[name]
    base = {"device": "cpu", "num_threads": 1, "visited_states": 2}
    return build(TrainConfig, load_preset("hopper")["train"] | base | changes, "train")


def row_of(result: TrainResult) -> dict[str, Any]:
    """Count what is pruned, and hold it against what should be."""
    config, spec = result.config, result.spec
    networks = {
        "actor": ([spec.obs_dim, *config.hidden, spec.actions.dim], result.policy.layers),
        "critic": ([spec.obs_dim, *config.critic_hidden, 1], result.critic),
    }
    row: dict[str, Any] = {"steps": result.facts["steps"], "exact": True}
    for name, (sizes, layers) in networks.items():
        found = [[*layer.weight.shape, int((layer.weight == 0).sum())] for layer in layers]
        pruned = getattr(config.pruning, "target", "none") in (name, "both")
        row["exact"] &= is_exact(config.pruning if pruned else None, sizes, found, layers)
        whole = sum(before * after for before, after in itertools.pairwise(sizes))
        left = sum(rows * columns - zeros for rows, columns, zeros in found)
        row[name] = {"layers": found, "removed_weights": round(1 - left / whole, 5)}
    if isinstance(config.defence, LipschitzTarget):
        bounds = closed_form_bounds(action_chain(result.policy)).deviations(1.0, Norm.LINF)
        row["lipschitz"] = float(np.max(bounds[config.defence.bound]))
        row["exact"] &= 0.999 <= row["lipschitz"] / config.defence.at_most <= 1
    row["clean_return"] = round(result.facts["evaluation"]["last"], 1)
    row["weights_sha256"] = weights_sha256(result.policy)
    return row


def is_exact(
    pruning: Pruning | None,
    sizes: Sequence[int],
    found: Sequence[Sequence[int]],
    layers: Sequence[Layer],
) -> bool:
    """Return whether rows, columns and zeros of every layer are those that were asked for."""
    shapes = [(after, before) for before, after in itertools.pairwise(sizes)]
    counts = [rows * columns for rows, columns in shapes]
    if pruning is None:
        return found == [[*shape, 0] for shape in shapes]
    allocation = getattr(pruning, "allocation", None)
    if pruning.kind == "neurons":
        widths = [rows for rows, _, _ in found[:-1]]
        if allocation == "global":
            right = sum(widths) == num_kept(sum(sizes[1:-1]), pruning.sparsity)
        else:
            right = widths == [num_kept(width, pruning.sparsity) for width in sizes[1:-1]]
        ends = [sizes[0], *widths, sizes[-1]]
        return right and found == [[b, a, 0] for a, b in itertools.pairwise(ends)]
    if [tuple(entry[:2]) for entry in found] != shapes:
        return False
    kept = [count - entry[2] for count, entry in zip(counts, found, strict=True)]
    if pruning.kind == "two_four":
        return all(has_two_of_four(layer.weight) for layer in layers)
    asked = Fraction(str(pruning.sparsity))
    shares = [Fraction(count) for count in counts]
    if allocation == "erk":
        shares = [
            count * Fraction(1 - share) / (1 - asked)
            for count, share in zip(
                counts, erdos_renyi_kernel(shapes, pruning.sparsity), strict=True
            )
        ]
    # Of all layers together exactly; of each, up to what rounding to that total may move.
    near = all(
        abs(left - share * (1 - asked)) <= 1 + len(shares) / 2
        for left, share in zip(kept, shares, strict=True)
    )
    return sum(kept) == floor(sum(counts) * (1 - asked)) and (near or allocation == "global")


def has_two_of_four(weight: np.ndarray[Any, Any]) -> bool:
    """Return whether every group of four keeps exactly two, and a shorter one at most two."""
    return all(
        np.count_nonzero(row[start : start + 4]) == min(2, len(row) - start)
        for row in weight
        for start in range(0, len(row), 4)
    )


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "| method | actor removed | critic removed | exact | return |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['name']} | {row['actor']['removed_weights']:.2%}"
        f" | {row['critic']['removed_weights']:.2%} | {'yes' if row['exact'] else 'NO'}"
        f" | {row['clean_return']:.0f} |"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
