"""How tight the bounds are and how long they take, as ratios on the same networks.

* global: every bound as a multiple of the spectral product, with the largest sampled slope below;
* local: CROWN, IBP and the mean-value form as multiples of the worst deviation that a search finds
  (median over states), and milliseconds per state in batches of 256;
* decisions: share of random specifications that splitting and search decide within a second.

    python benchmarks/certify_tightness.py --out certify_tightness.json
"""

import argparse
import json
import os
import platform
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from surefoot.budget import Norm
from surefoot.certify.chain import network_chain
from surefoot.certify.crown import crown_bounds, interval_bounds, layer_bounds
from surefoot.certify.global_bounds import closed_form_bounds
from surefoot.certify.lipsdp import semidefinite_bounds
from surefoot.certify.local_bounds import change, mean_value_deviation, values_at
from surefoot.certify.region import Region, network_of
from surefoot.certify.search import Ball, Replay, jacobian_norms, worst_at
from surefoot.certify.semidefinite import proves_lipschitz
from surefoot.certify.splitting import split_deviation
from surefoot.onnx_format import load_controller_file
from surefoot.policy import Activation, GaussianHead, Layer, Normaliser, Policy, Squash


def draw_policy(kind: str, sizes: list[int], activation: Activation, pruned: float = 0.0) -> Policy:
    """Gaussian or orthogonal layers drawn in order from seed 0, zero biases."""
    rng = np.random.default_rng(0)
    layers = []
    for number, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        last = number == len(sizes) - 2
        if kind == "gauss":
            weight = rng.standard_normal((fan_out, fan_in)) / np.sqrt(fan_in)
        else:
            tall = rng.standard_normal((max(fan_in, fan_out), min(fan_in, fan_out)))
            q, r = np.linalg.qr(tall)
            q = q * np.sign(np.diag(r))
            weight = (q.T if fan_out < fan_in else q) * (0.01 if last else np.sqrt(2))
        if pruned:
            weight = np.where(np.abs(weight) >= np.quantile(np.abs(weight), pruned), weight, 0)
        layers.append(
            Layer(
                weight=weight.astype(np.float32),
                bias=np.zeros(fan_out, dtype=np.float32),
                activation=Activation.IDENTITY if last else activation,
            )
        )
    ones = np.ones(sizes[-1], dtype=np.float32)
    zeros = np.zeros(sizes[0], dtype=np.float32)
    return Policy(
        normaliser=Normaliser(mean=zeros, scale=zeros + 1, clip=10.0),
        layers=tuple(layers),
        head=GaussianHead(std=0.1 * ones, squash=Squash.IDENTITY, centre=0 * ones, half_range=ones),
    )


def global_row(name: str, policy: Policy) -> dict:
    chain = network_chain(policy)
    began = perf_counter()
    bounds = dict(closed_form_bounds(chain).whole)
    closed_s = perf_counter() - began
    began = perf_counter()
    found = semidefinite_bounds(chain, iterations=40, row_iterations=0)
    lipsdp_s = perf_counter() - began
    proof_s = None
    if found.fast is not None and found.whole is not None:
        bounds |= {"eclipse_fast": found.fast.bound, "lipsdp": found.whole.bound}
        began = perf_counter()
        assert proves_lipschitz(chain, found.whole.squared, found.whole.values)
        proof_s = perf_counter() - began
    states = np.random.default_rng(1).standard_normal((256, policy.obs_dim))
    states *= np.linspace(0, 2, 256)[:, None]
    sampled = float(jacobian_norms(policy, states)[0].max())
    spectral = bounds["spectral"]
    row = {"network": name, "spectral": spectral}
    row |= {f"{key} / spectral": value / spectral for key, value in bounds.items()}
    row |= {"sampled / spectral": sampled / spectral, "paper_surrogate / best": None}
    row["paper_surrogate / best"] = bounds["paper_surrogate"] / min(bounds.values())
    return row | {"closed_form_s": closed_s, "lipsdp_s": lipsdp_s, "proof_s": proof_s}


def local_row(name: str, policy: Policy, epsilon: float, states: np.ndarray) -> dict:
    network = network_of(policy)

    def region(count: int) -> Region:
        radius = np.full(count, epsilon)
        return Region(centres=states[:count].astype(np.float64), radius=radius, norm=Norm.LINF)

    times = []
    for _ in range(5):
        began = perf_counter()
        crown_bounds(network, region(len(states)))
        times.append((perf_counter() - began) / len(states) * 1e3)
    few = region(24)
    here = values_at(network, few)
    before = layer_bounds(network, few)
    bounds = {
        "crown": change(before[-1], here),
        "interval": change(interval_bounds(network, few), here),
        "mean_value": mean_value_deviation(network, few, before[:-1]),
    }
    replay = Replay("float64", lambda state: policy.network(state.astype(np.float64)))
    raw = Policy(
        normaliser=policy.normaliser,
        layers=policy.layers,
        head=GaussianHead(
            std=policy.head.std,
            squash=Squash.IDENTITY,
            centre=0 * policy.head.centre,
            half_range=np.ones_like(policy.head.half_range),
        ),
    )
    ball = Ball(epsilon=epsilon, norm=Norm.LINF)
    worst = worst_at(raw, replay, states[:24], ball, steps=30, restarts=4, seed=0)
    sampled = worst.values["deviation"]
    row: dict = {"network": name, "epsilon": epsilon}
    for key, rows in bounds.items():
        assert (rows.max(axis=1) >= sampled * (1 - 1e-12)).all()
        row[f"{key} / sampled"] = float(np.median(rows.max(axis=1) / sampled))
    return row | {"crown_ms_per_state": median(times)}


def decisions(trials: int, seconds: float) -> dict:
    """Random limits between what a first look finds and a first bound proves, on small nets."""
    rng = np.random.default_rng(0)
    decided, times, wrong = 0, [], 0
    for _ in range(trials):
        sizes = [int(rng.integers(2, 7)), *[int(rng.choice([8, 16, 32]))] * 2, 2]
        policy = draw_biased(rng, sizes)
        state = rng.standard_normal(sizes[0]).astype(np.float32).astype(np.float64)
        epsilon = float(rng.choice([0.02, 0.05, 0.1]))
        first = split_deviation(policy, state, epsilon, 0.0, num_boxes=1)
        limit = first.worst + (first.bound - first.worst) * float(rng.uniform(0, 1.2))
        began = perf_counter()
        found = split_deviation(policy, state, epsilon, limit, num_boxes=10**7, seconds=seconds)
        times.append(perf_counter() - began)
        decided += found.bound <= limit or found.worst > limit
        points = state + rng.uniform(-epsilon, epsilon, (2000, sizes[0]))
        moved = np.abs(policy.outputs_at(points) - policy.outputs_at(state[None])).max()
        wrong += bool(moved > found.bound)
    return {
        "trials": trials,
        "decided_share": decided / trials,
        "proved_and_refuted": wrong,
        "median_s": median(times),
        "max_s": max(times),
    }


def draw_biased(rng: np.random.Generator, sizes: list[int]) -> Policy:
    policy = draw_policy("gauss", sizes, Activation.RELU)
    layers = tuple(
        Layer(
            weight=(
                1.5 * rng.standard_normal(layer.weight.shape) / np.sqrt(layer.weight.shape[1])
            ).astype(np.float32),
            bias=(0.3 * rng.standard_normal(layer.bias.shape)).astype(np.float32),
            activation=layer.activation,
        )
        for layer in policy.layers
    )
    return Policy(normaliser=policy.normaliser, layers=layers, head=policy.head)


def show(rows: list[dict]) -> None:
    for row in rows:
        cells = [
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in row.items()
        ]
        print("  ".join(cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--policy", type=Path, help="a trained policy folder or .onnx file")
    parser.add_argument("--trials", type=int, default=300)
    arguments = parser.parse_args()
    relu, tanh = Activation.RELU, Activation.TANH
    table = [
        ("gauss 11-64-64-3", draw_policy("gauss", [11, 64, 64, 3], tanh)),
        ("gauss 17-256-256-6", draw_policy("gauss", [17, 256, 256, 6], tanh)),
        ("gauss 17-256-256-6, 90 % pruned", draw_policy("gauss", [17, 256, 256, 6], tanh, 0.9)),
        ("gauss 12-64-64-64-64-4", draw_policy("gauss", [12, 64, 64, 64, 64, 4], tanh)),
        ("orth 11-64-64-3", draw_policy("orth", [11, 64, 64, 3], tanh)),
        ("orth 17-256-256-6", draw_policy("orth", [17, 256, 256, 6], tanh)),
        ("orth 17-256-256-6, 90 % pruned", draw_policy("orth", [17, 256, 256, 6], tanh, 0.9)),
        ("orth 105-256-256-8", draw_policy("orth", [105, 256, 256, 8], tanh)),
        ("orth SiLU 17-256-256-6", draw_policy("orth", [17, 256, 256, 6], Activation.SILU)),
    ]
    if arguments.policy is not None:
        table.append(("trained", load_controller_file(arguments.policy).policy))
    global_rows = [global_row(name, policy) for name, policy in table]
    show(global_rows)
    locals_ = [
        ("orth tanh 11-64-64-3", draw_policy("orth", [11, 64, 64, 3], tanh)),
        ("orth tanh 17-256-256-6", draw_policy("orth", [17, 256, 256, 6], tanh)),
        ("orth ReLU 17-256-256-6", draw_policy("orth", [17, 256, 256, 6], relu)),
        ("orth ReLU 8-256-256-8", draw_policy("orth", [8, 256, 256, 8], relu)),
        ("gauss tanh 17-256-256-6", draw_policy("gauss", [17, 256, 256, 6], tanh)),
        ("orth SiLU 17-256-256-6", draw_policy("orth", [17, 256, 256, 6], Activation.SILU)),
    ]
    if arguments.policy is not None:
        locals_.append(table[-1])
    local_rows = []
    for name, policy in locals_:
        states = np.random.default_rng(2).standard_normal((256, policy.obs_dim))
        for epsilon in (0.01, 0.05, 0.15):
            local_rows.append(local_row(name, policy, epsilon, states.astype(np.float32)))  # noqa: PERF401
    show(local_rows)
    decided = decisions(arguments.trials, seconds=1.0)
    show([decided])
    if arguments.out is not None:
        result = {
            "machine": {
                "platform": platform.platform(),
                "cores": os.cpu_count(),
                "threads": os.environ.get("OMP_NUM_THREADS"),
                "numpy": np.__version__,
            },
            "global": global_rows,
            "local": local_rows,
            "decisions": decided,
        }
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
