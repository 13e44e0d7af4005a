"""Latency of one action: ONNX Runtime with and without I/O binding, NumPy beside it.

    python benchmarks/runtime_latency.py --out runtime_latency.json

Two networks, batch 1. The ways take turns in short blocks, so that all of them meet the same load
of the machine; ratios are between medians of one run. "whole" is what a robot calls, with its
checks of observation and action; the others are the inference alone.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from surefoot.artifact import Json
from surefoot.onnx_file import INPUT, ControllerFile, policy_from_onnx, policy_to_onnx
from surefoot.policy import Activation, Array, GaussianHead, Layer, Normaliser, Policy, Squash
from surefoot.runtime.benchmark import Latencies, back_to_back
from surefoot.runtime.load import Backend, controller_of
from surefoot.runtime.machine import machine_facts

SIZES = ((11, 64, 64, 3), (17, 256, 256, 6))
BLOCK = 500


def tanh_policy(sizes: Sequence[int]) -> Policy:
    rng = np.random.default_rng(0)
    obs_dim, act_dim = sizes[0], sizes[-1]
    layers = [
        Layer(
            weight=rng.normal(0, 1 / np.sqrt(fan_in), (fan_out, fan_in)).astype(np.float32),
            bias=np.zeros(fan_out, np.float32),
            activation=Activation.TANH,
        )
        for fan_in, fan_out in itertools.pairwise(sizes)
    ]
    last = layers[-1]
    layers[-1] = Layer(weight=last.weight, bias=last.bias, activation=Activation.IDENTITY)
    return Policy(
        normaliser=Normaliser(
            mean=np.zeros(obs_dim, np.float32), scale=np.ones(obs_dim, np.float32), clip=10.0
        ),
        layers=tuple(layers),
        head=GaussianHead(
            std=np.ones(act_dim),
            squash=Squash.CLIP,
            centre=np.zeros(act_dim, np.float32),
            half_range=np.ones(act_dim, np.float32),
        ),
    )


def ways_of(file: ControllerFile) -> dict[str, Callable[[Array], object]]:
    """Return what is timed by name: each takes a batch of one observation."""
    numpy, onnx = controller_of(file, Backend.NUMPY), controller_of(file, Backend.ONNX)
    session = onnx.engine.session
    return {
        "onnx": lambda obs: session.run(None, {INPUT: obs}),
        "onnx, bound": onnx.engine.infer,
        "onnx, whole": onnx,
        "numpy": numpy.engine.infer,
        "numpy, whole": numpy,
        "nothing": lambda obs: obs,
    }


def measure(file: ControllerFile, num_calls: int) -> dict[str, Json]:
    """Time every way in turns; return the table of each by name."""
    ways = ways_of(file)
    batches = list(
        np.random.default_rng(1).normal(size=(256, 1, file.policy.obs_dim)).astype(np.float32)
    )
    samples = {name: [] for name in ways}
    for block in range(-1, num_calls // BLOCK):
        for name, call in ways.items():
            timed = back_to_back(call, batches, BLOCK)
            if block >= 0:  # the first round only warms up
                samples[name].append(timed.samples_us)
    return {
        name: Latencies(samples_us=np.sort(np.concatenate(parts))).record().to_table()
        for name, parts in samples.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-calls", type=int, default=20_000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.num_calls < BLOCK:
        parser.error(f"--num-calls must be at least {BLOCK}")
    result = {"networks": {}, "machine": machine_facts()}
    for sizes in SIZES:
        file = policy_from_onnx(policy_to_onnx(tanh_policy(sizes)))
        table = measure(file, arguments.num_calls)
        bound = table["onnx, bound"]["p50_us"]
        name = "-".join(map(str, sizes))
        result["networks"][name] = {
            "ways": table,
            "ratio_to_bound": {way: entry["p50_us"] / bound for way, entry in table.items()},
            "size_bytes": len(file.data),
        }
        for way, entry in table.items():
            p50, p99, ratio = entry["p50_us"], entry["p99_us"], entry["p50_us"] / bound
            print(
                f"{name:16} {way:13} p50 {p50:7.2f} p99 {p99:7.2f} us, {ratio:5.2f} x bound",
                file=sys.stderr,
            )
    text = json.dumps(result, indent=2) + "\n"
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
