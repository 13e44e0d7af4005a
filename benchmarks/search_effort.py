"""The search behind "sampled" against one that takes ten times as long.

    python benchmarks/search_effort.py --out docs/results/search_effort.json
    python benchmarks/search_effort.py --seed 100
    python benchmarks/search_effort.py forms/13a_wide_elu.onnx go1_policy.onnx

Networks with random weights of several sizes and activations, or the files that are named. The
longer search has ten times the steps, or ten times the starts: the better of the two counts.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from surefoot.activation import Activation
from surefoot.artifact import Json
from surefoot.ball import Ball, Norm
from surefoot.certify import Analysis, CertifyConfig, Evidence
from surefoot.onnx_file import ControllerFile, policy_from_onnx, policy_to_onnx
from surefoot.policy import GaussianHead, Layer, Normaliser, Policy, Squash
from surefoot.runtime.controller_file import load_controller_file

TIMES = 10
SIZES = ((4, 12, 12, 2), (6, 16, 1), (8, 24, 24, 2), (11, 32, 32, 1), (6, 16, 16, 16, 1))
ACTIVATIONS = (Activation.TANH, Activation.RELU, Activation.ELU, Activation.SILU)


def random_file(sizes: tuple[int, ...], activation: Activation, seed: int) -> ControllerFile:
    """Return a controller with random weights."""
    rng = np.random.default_rng(seed)
    layers = tuple(
        Layer(
            weight=(rng.normal(size=(rows, columns)) * 1.5 / np.sqrt(columns)).astype(np.float32),
            bias=(0.1 * rng.normal(size=rows)).astype(np.float32),
            activation=activation if number < len(sizes) - 2 else Activation.IDENTITY,
        )
        for number, (columns, rows) in enumerate(pairwise(sizes))
    )
    width, num = sizes[0], sizes[-1]
    one, zero = np.ones(width, np.float32), np.zeros(width, np.float32)
    head = GaussianHead(
        std=None,
        squash=Squash.IDENTITY,
        centre=np.zeros(num, np.float32),
        half_range=np.ones(num, np.float32),
    )
    normaliser = Normaliser(mean=zero, scale=one, clip=10.0)
    return policy_from_onnx(policy_to_onnx(Policy(normaliser=normaliser, layers=layers, head=head)))


def found(file: ControllerFile, ball: Ball, config: CertifyConfig) -> tuple[float, float]:
    """Return the largest deviation that a search finds, and its seconds of processor time."""
    searches = Analysis(file, Evidence(), config).searches
    started = time.process_time()
    worst = float(searches.worst_anywhere(ball).values["deviation"].max())
    return worst, time.process_time() - started


def compared(file: ControllerFile, epsilon: float, norm: Norm) -> dict[str, Json]:
    """Compare the search with the longer ones."""
    ball = Ball(norm=norm, epsilon=epsilon)
    plain = {"lipsdp_iterations": 0, "lipsdp_per_actuator": 0}
    short, seconds = found(file, ball, CertifyConfig(**plain))
    config = CertifyConfig()
    longer = [
        found(file, ball, CertifyConfig(**plain, search_steps=TIMES * config.search_steps))[0],
        found(file, ball, CertifyConfig(**plain, search_states=TIMES * config.search_states))[0],
    ]
    return {"found": short, "seconds": seconds, "longer / found": max(longer) / short}


def instances(files: list[Path], first_seed: int) -> Iterator[tuple[str, ControllerFile]]:
    """Yield the controllers that are compared, with their names."""
    for path in files:
        yield path.name, load_controller_file(path, None)
    if not files:
        for seed, sizes in enumerate(SIZES, first_seed):
            for activation in ACTIVATIONS:
                name = f"{'-'.join(map(str, sizes))} {activation.value}"
                yield name, random_file(sizes, activation, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="*", help="controllers; default: random ones")
    parser.add_argument("--seed", type=int, default=0, help="of the first random controllers")
    parser.add_argument("--epsilon", type=float, default=0.05)
    parser.add_argument("--norm", type=Norm, choices=list(Norm), nargs="+", default=list(Norm))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows: dict[str, Json] = {}
    for name, file in instances(arguments.files, arguments.seed):
        for norm in arguments.norm:
            row = compared(file, arguments.epsilon, norm)
            rows[f"{name}, {norm}"] = row
            words = f"found {row['found']:.4g}, longer {row['longer / found']:.4f} of it"
            print(
                f"{name:40} {norm:5} {words}, {row['seconds']:.2f} s", file=sys.stderr, flush=True
            )
    ratios = [row["longer / found"] for row in rows.values()]
    result = {"epsilon": arguments.epsilon, "times": TIMES, "seed": arguments.seed, "rows": rows}
    result |= {"median": float(np.median(ratios)), "worst": max(ratios)}
    text = json.dumps(result, indent=2) + "\n"
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
