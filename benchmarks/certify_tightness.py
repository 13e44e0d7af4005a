"""How tight the bounds are and how long they take, as ratios on the same networks.

* global: every bound as a multiple of the spectral product, with the largest sampled slope below;
* hopper: the bounds of a trained 64-64 actor against the paper's surrogate, and the picture of
  deviation against epsilon;
* local: CROWN with fixed and with optimised lines, IBP and the mean-value form as multiples of the
  worst deviation that a search finds (median over states), and milliseconds per state;
* decisions: random specifications on small ReLU controllers, with limits a little above and below
  the worst that a search finds, decided by splitting within a second each.

    python benchmarks/certify_tightness.py --out certify_tightness.json

Every row carries its target, where there is one. Times count only on a quiet machine; beside wall
time stands the CPU time of all threads. Products run on one thread each (CROWN works on several
chunks of states at once), which is set before NumPy loads.
"""

# ruff: noqa: E402 - the number of threads is set before NumPy loads

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np

from surefoot.activation import Activation
from surefoot.ball import Ball, Norm
from surefoot.certify import Analysis, CertifyConfig, Evidence, deviation_curves, draw_deviation
from surefoot.certify.bounds.alpha_crown import optimised_bounds
from surefoot.certify.bounds.branch_and_bound import split_deviation
from surefoot.certify.bounds.chain import action_chain, network_chain
from surefoot.certify.bounds.crown import crown_bounds, interval_bounds, layer_bounds
from surefoot.certify.bounds.global_bounds import closed_form_bounds
from surefoot.certify.bounds.lipsdp import semidefinite_bounds
from surefoot.certify.bounds.lipsdp_proof import proves_lipschitz
from surefoot.certify.bounds.local_bounds import (
    change,
    local_region,
    mean_value_deviation,
    values_at,
)
from surefoot.certify.bounds.local_lipsdp import lipsdp_on
from surefoot.certify.bounds.region import network_of
from surefoot.certify.counterexamples import Replay, jacobian_norms, worst_at
from surefoot.policy import GaussianHead, Layer, Normaliser, Policy, Squash
from surefoot.runtime.controller_file import load_controller_file
from surefoot.visited import Visited

HOPPER = Path(__file__).parents[1] / "tests/envs/data/Hopper-v5.onnx"
RELU, TANH, SILU = Activation.RELU, Activation.TANH, Activation.SILU
ALPHA_STEPS = 5

TARGETS = {
    ("gauss 17-256-256-6", "lipsdp / spectral"): 0.37,
    ("orth 17-256-256-6", "lipsdp / spectral"): 0.75,
    ("gauss 17-256-256-6", "lipsdp_s"): 2.0,
    ("orth 17-256-256-6", "lipsdp_s"): 2.0,
    ("gauss 17-256-256-6", "proof_s"): 0.1,
    ("orth 17-256-256-6", "proof_s"): 0.1,
    ("orth ReLU 8-256-256-8", 0.01, "alpha / sampled"): 1.05,
    ("gauss tanh 17-256-256-6", 0.01, "alpha / sampled"): 1.15,
    ("gauss tanh 17-256-256-6", 0.05, "alpha / sampled"): 1.6,
    ("orth tanh 17-256-256-6", 0.01, "alpha / sampled"): 1.15,
    ("orth tanh 17-256-256-6", 0.05, "alpha / sampled"): 1.6,
    ("gauss tanh 17-256-256-6", 0.01, "crown_ms_per_state"): 0.3,
    ("orth tanh 17-256-256-6", 0.01, "crown_ms_per_state"): 0.3,
    ("orth ReLU 17-256-256-6", 0.01, "crown_ms_per_state"): 0.3,
    ("orth ReLU 8-256-256-8", 0.01, "crown_ms_per_state"): 0.3,
}


def draw_policy(kind: str, sizes: list[int], activation: Activation, pruned: float = 0.0) -> Policy:
    """Gaussian or orthogonal layers drawn in order from seed 0, zero biases."""
    rng = np.random.default_rng(0)
    weights = []
    for number, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        if kind == "gauss":
            weight = rng.standard_normal((fan_out, fan_in)) / np.sqrt(fan_in)
        else:
            tall = rng.standard_normal((max(fan_in, fan_out), min(fan_in, fan_out)))
            q, r = np.linalg.qr(tall)
            q = q * np.sign(np.diag(r))
            gain = 0.01 if number == len(sizes) - 2 else np.sqrt(2)
            weight = (q.T if fan_out < fan_in else q) * gain
        if pruned:
            weight = np.where(np.abs(weight) >= np.quantile(np.abs(weight), pruned), weight, 0)
        weights.append(weight)
    return build_policy(weights, [np.zeros(len(weight)) for weight in weights], activation)


def draw_small(rng: np.random.Generator) -> Policy:
    """A small ReLU controller with 2 to 6 sensors, two hidden layers and two actuators."""
    sizes = [int(rng.integers(2, 7)), *[int(rng.choice([8, 16, 32]))] * 2, 2]
    weights = [1.5 * rng.standard_normal((m, n)) / np.sqrt(n) for n, m in pairwise(sizes)]
    return build_policy(weights, [0.3 * rng.standard_normal(m) for m in sizes[1:]], RELU)


def build_policy(weights: list, biases: list, activation: Activation) -> Policy:
    layers = tuple(
        Layer(
            weight=weight.astype(np.float32),
            bias=bias.astype(np.float32),
            activation=activation if number < len(weights) - 1 else Activation.IDENTITY,
        )
        for number, (weight, bias) in enumerate(zip(weights, biases, strict=True))
    )
    obs_dim, outputs = weights[0].shape[1], len(weights[-1])
    ones, zeros = np.ones(outputs, dtype=np.float32), np.zeros(obs_dim, dtype=np.float32)
    return Policy(
        normaliser=Normaliser(mean=zeros, scale=zeros + 1, clip=10.0),
        layers=layers,
        head=GaussianHead(std=0.1 * ones, squash=Squash.IDENTITY, centre=0 * ones, half_range=ones),
    )


def global_row(name: str, policy: Policy) -> dict:
    chain = network_chain(policy)
    began = perf_counter()
    bounds = dict(closed_form_bounds(chain).whole)
    closed_s = perf_counter() - began
    began, began_cpu = perf_counter(), process_time()
    found = semidefinite_bounds(chain, iterations=40, row_iterations=0)
    lipsdp_s, lipsdp_cpu_s = perf_counter() - began, process_time() - began_cpu
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
    row |= {"sampled / spectral": sampled / spectral, "closed_form_s": closed_s}
    return row | {"lipsdp_s": lipsdp_s, "lipsdp_cpu_s": lipsdp_cpu_s, "proof_s": proof_s}


def hopper_rows(path: Path) -> list[dict]:
    """LipSDP below the paper's surrogate on a trained actor, l2 to l2 and per actuator in linf."""
    policy = load_controller_file(path).policy
    chain = action_chain(policy)
    found = semidefinite_bounds(chain, iterations=40, row_iterations=15)
    closed = closed_form_bounds(chain)
    rows = []
    if found.whole is not None:
        surrogate, lipsdp = closed.whole["paper_surrogate"], found.whole.bound
        rows.append({"norm": "l2 to l2, all actuators", "surrogate": surrogate, "lipsdp": lipsdp})
    surrogates = closed.deviations(1.0, Norm.LINF)["paper_surrogate"]
    root = float(np.sqrt(policy.obs_dim))
    for row, surrogate in zip(found.rows, surrogates, strict=True):
        if row is not None:
            name = f"linf to actuator {row.output}"
            rows.append({"norm": name, "surrogate": float(surrogate), "lipsdp": row.bound * root})
    target = {"target": 15.0}
    return [row | {"surrogate / lipsdp": row["surrogate"] / row["lipsdp"]} | target for row in rows]


def hopper_region_row(path: Path, radius: float) -> dict:
    """LipSDP between states near the middle of the normaliser, against LipSDP everywhere."""
    policy = load_controller_file(path).policy
    network, chain = network_of(policy), network_chain(policy)
    region = local_region(np.zeros((1, policy.obs_dim)), radius, Norm.LINF)
    here = lipsdp_on(chain, network, layer_bounds(network, region)[:-1])
    everywhere = semidefinite_bounds(chain, iterations=40, row_iterations=0).whole
    assert here is not None
    assert everywhere is not None
    row = {"region": f"linf ball of {radius:g}", "lipsdp there": here.bound}
    return row | {"lipsdp everywhere": everywhere.bound}


def draw_picture(path: Path, visited: Path | None, out: Path) -> None:
    observations = None
    if visited is not None:
        observations = Visited.from_bytes(visited.read_bytes()).independent[:64]
    config = CertifyConfig(search_states=64, search_steps=10)
    analysis = Analysis(load_controller_file(path), Evidence(observations=observations), config)
    out.write_bytes(draw_deviation(deviation_curves(analysis, np.geomspace(0.001, 0.2, 9))))


def local_row(name: str, policy: Policy, epsilon: float, num_states: int) -> dict:
    network = network_of(policy)
    states = np.random.default_rng(2).standard_normal((256, policy.obs_dim)).astype(np.float32)
    batch = local_region(states, epsilon, Norm.LINF)
    times = [_timed(lambda: crown_bounds(network, batch), len(states)) for _ in range(5)]
    few = states[:num_states]
    region = local_region(few, epsilon, Norm.LINF)
    alpha_ms = _timed(lambda: optimised_bounds(network, region, ALPHA_STEPS), num_states)
    here, before = values_at(network, region), layer_bounds(network, region)
    bounds = {
        "crown": change(before[-1], here),
        "alpha": change(optimised_bounds(network, region, ALPHA_STEPS)[-1], here),
        "interval": change(interval_bounds(network, region), here),
        "mean_value": mean_value_deviation(network, region, before[:-1]),
    }
    sampled = worst_sampled(policy, few, epsilon)
    row: dict = {"network": name, "epsilon": epsilon, "states": num_states}
    for key, rows in bounds.items():
        assert (rows.max(axis=1) >= sampled * (1 - 1e-12)).all()
        row[f"{key} / sampled"] = float(np.median(rows.max(axis=1) / sampled))
    wall, cpu = (median(column) for column in zip(*times, strict=True))
    row |= {"crown_ms_per_state": wall, "crown_cpu_ms_per_state": cpu}
    return row | {"alpha_ms_per_state": alpha_ms[0], "alpha_cpu_ms_per_state": alpha_ms[1]}


def _timed(work: Callable[[], object], num_states: int) -> tuple[float, float]:
    """Return wall and CPU milliseconds per state."""
    wall, cpu = perf_counter(), process_time()
    work()
    return 1e3 * (perf_counter() - wall) / num_states, 1e3 * (process_time() - cpu) / num_states


def worst_sampled(policy: Policy, states: np.ndarray, epsilon: float) -> np.ndarray:
    """The largest change of the network's outputs that gradients and restarts find, (n,)."""
    replay = Replay("float64", lambda state: policy.network(state.astype(np.float64)))
    ball = Ball(epsilon=epsilon, norm=Norm.LINF)
    found = worst_at(policy, replay, states, ball, steps=30, restarts=4, seed=0)
    return found.values["deviation"]


def decisions(trials: int, seconds: float) -> dict:
    """Limits at 10^-6 to 10^-1 above or below the worst that a search finds."""
    rng = np.random.default_rng(0)
    proved = refuted = wrong = 0
    times = []
    for _ in range(trials):
        policy = draw_small(rng)
        state = rng.standard_normal(policy.obs_dim).astype(np.float32)
        epsilon = float(rng.choice([0.02, 0.05, 0.1, 0.2, 0.5]))
        margin = float(10 ** rng.uniform(-6, -1) * rng.choice([-1, 1]))
        limit = float(worst_sampled(policy, state[None], epsilon)[0]) * (1 + margin)
        centre = state.astype(np.float64)
        began = perf_counter()
        found = split_deviation(policy, centre, epsilon, limit, num_boxes=10**7, seconds=seconds)
        times.append(perf_counter() - began)
        proved += found.bound <= limit
        refuted += found.worst > limit
        steps = rng.uniform(-1, 1, (4000, policy.obs_dim))
        steps[2000:] = np.sign(steps[2000:])
        moved = np.abs(
            policy.outputs_at(centre + epsilon * steps) - policy.outputs_at(centre[None])
        )
        wrong += bool(moved.max() > found.bound)
    return {
        "trials": trials,
        "decided_share": (proved + refuted) / trials,
        "target": 0.99,
        "proved": proved,
        "refuted": refuted,
        "proved_and_refuted": wrong,
        "median_s": median(times),
        "max_s": max(times),
    }


def show(rows: list[dict], *keys: str) -> None:
    """Print rows, and beside a number its target where there is one."""
    for row in rows:
        cells = []
        for key, value in row.items():
            target = TARGETS.get((*(row[name] for name in keys), key))
            row_text = f"{value:.4g}" if isinstance(value, float) else str(value)
            cells.append(f"{key} {row_text}" + ("" if target is None else f" (target {target:g})"))
        print("  ".join(cells), flush=True)
    for row in rows:
        named = {key: TARGETS.get((*(row[name] for name in keys), key)) for key in list(row)}
        if aims := {key: target for key, target in named.items() if target is not None}:
            row["targets"] = aims


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, help="JSON; the picture lies beside it")
    parser.add_argument("--policy", type=Path, default=HOPPER, help="a trained actor")
    parser.add_argument("--visited", type=Path, help="its visited.npz")
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--states", type=int, default=64)
    sections = ["global", "hopper", "local", "decisions"]
    parser.add_argument("--sections", nargs="+", default=sections, choices=sections)
    arguments = parser.parse_args()
    result: dict = {
        "command": ["python", *sys.argv],
        "machine": {
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "blas_threads": os.environ["OMP_NUM_THREADS"],
            "load": os.getloadavg(),
            "numpy": np.__version__,
        },
    }
    if "global" in arguments.sections:
        table = [
            ("gauss 11-64-64-3", draw_policy("gauss", [11, 64, 64, 3], TANH)),
            ("gauss 17-256-256-6", draw_policy("gauss", [17, 256, 256, 6], TANH)),
            ("gauss 17-256-256-6, 90 % pruned", draw_policy("gauss", [17, 256, 256, 6], TANH, 0.9)),
            ("gauss 12-64-64-64-64-4", draw_policy("gauss", [12, 64, 64, 64, 64, 4], TANH)),
            ("orth 11-64-64-3", draw_policy("orth", [11, 64, 64, 3], TANH)),
            ("orth 17-256-256-6", draw_policy("orth", [17, 256, 256, 6], TANH)),
            ("orth 17-256-256-6, 90 % pruned", draw_policy("orth", [17, 256, 256, 6], TANH, 0.9)),
            ("orth 105-256-256-8", draw_policy("orth", [105, 256, 256, 8], TANH)),
            ("orth SiLU 17-256-256-6", draw_policy("orth", [17, 256, 256, 6], SILU)),
        ]
        result["global"] = [global_row(name, policy) for name, policy in table]
        show(result["global"], "network")
    if "hopper" in arguments.sections:
        result["hopper"] = hopper_rows(arguments.policy)
        result["hopper"].append(hopper_region_row(arguments.policy, 0.1))
        show(result["hopper"])
        if arguments.out is not None:
            draw_picture(arguments.policy, arguments.visited, arguments.out.with_suffix(".png"))
    if "local" in arguments.sections:
        nets = [
            ("orth tanh 11-64-64-3", draw_policy("orth", [11, 64, 64, 3], TANH)),
            ("orth tanh 17-256-256-6", draw_policy("orth", [17, 256, 256, 6], TANH)),
            ("orth ReLU 17-256-256-6", draw_policy("orth", [17, 256, 256, 6], RELU)),
            ("orth ReLU 8-256-256-8", draw_policy("orth", [8, 256, 256, 8], RELU)),
            ("gauss tanh 17-256-256-6", draw_policy("gauss", [17, 256, 256, 6], TANH)),
            ("orth SiLU 17-256-256-6", draw_policy("orth", [17, 256, 256, 6], SILU)),
        ]
        result["local"] = [
            local_row(name, policy, epsilon, arguments.states)
            for name, policy in nets
            for epsilon in (0.01, 0.05, 0.15)
        ]
        show(result["local"], "network", "epsilon")
    if "decisions" in arguments.sections:
        result["decisions"] = decisions(arguments.trials, seconds=1.0)
        show([result["decisions"]])
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
