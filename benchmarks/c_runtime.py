"""Generated C against ONNX Runtime, sparse against dense: time, flash, instructions, file size.

    python benchmarks/c_runtime.py --out docs/results/c-runtime.json --fill

One network, 17-256-256-6, 90 % sparse, with ReLU and with tanh. What is compared takes turns, so
that all of it meets the same load of the machine, and ratios are between medians of one run. Times
from C are CPU times of the harness that is exported with the C. The scalar build (-O2, no
vectorisation, no AVX) is the nearest to a microcontroller on a PC; instructions are counted on a
Cortex-M4 under QEMU (gcc-arm-none-eabi and qemu-system-arm, else left out). Last, what `pipeline
bench` measures of every backend; ``--fill`` writes all of it into the pages of docs/.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from c_runtime_docs import fill
from runtime_latency import tanh_policy

from surefoot.artifact import Json, sha256_hex
from surefoot.errors import InputError
from surefoot.export.footprint import footprint
from surefoot.onnx_file import policy_from_onnx, policy_to_onnx, sparse_onnx
from surefoot.policy import Activation, Policy
from surefoot.runtime.benchmark import BenchConfig, Latencies, back_to_back, run_benchmark
from surefoot.runtime.c_compiler import FLAGS, find_compiler
from surefoot.runtime.c_layers import Layout, Machine
from surefoot.runtime.c_source import CConfig, CSource, c_source
from surefoot.runtime.load import Backend, controller_of
from surefoot.runtime.machine import machine_facts

SIZES = (17, 256, 256, 6)
BLOCK = 500
SCALAR = ("-std=c99", "-O2", "-fno-tree-vectorize", "-mno-avx", "-ffp-contract=off")
CORTEX_M4 = Path(__file__).parents[1] / "examples" / "cortex_m4"
DENSE = (Layout.DENSE_ROWS, Layout.DENSE_COLUMNS)
SPARSE = (Layout.CSR, Layout.CSC)


def network(activation: Activation, density: float) -> Policy:
    """Return a random policy of this density; about half of its ReLUs are off."""
    policy, rng = tanh_policy(SIZES), np.random.default_rng(1)
    layers = []
    for layer in policy.layers:
        kept = rng.random(layer.weight.shape) < density
        weight = np.where(kept, layer.weight / np.sqrt(density), 0).astype(np.float32)
        last = layer.activation is Activation.IDENTITY
        layers.append(
            replace(layer, weight=weight, activation=layer.activation if last else activation)
        )
    return replace(policy, layers=tuple(layers))


def write(folder: Path, policy: Policy, config: CConfig) -> CSource:
    source = c_source(policy, config)
    folder.mkdir()
    for name, data in source.files.items():
        (folder / name).write_bytes(data)
    return source


def harness(folder: Path, flags: Sequence[str]) -> Callable[[], float]:
    """Compile the exported harness and return a function that gives microseconds of a call."""
    command = [find_compiler(), *flags, "-DPOLICY_SELF_TEST", "policy.c", "policy_main.c"]
    subprocess.run([*command, "-o", "policy"], cwd=folder, check=True)

    def measure() -> float:
        done = subprocess.run([folder / "policy"], capture_output=True, text=True, check=True)
        return float(re.search(r"call: (\S+) us", done.stdout)[1])

    return measure


def instructions(folder: Path) -> int | None:
    """Return the most instructions of eight calls on an emulated Cortex-M4; None without tools."""
    if not all(map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm"))):
        return None
    subprocess.run(
        [
            *("arm-none-eabi-gcc", "-std=c99", "-O2", "-ffp-contract=off", "-mcpu=cortex-m4"),
            *("-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", "--specs=rdimon.specs"),
            *("-nostartfiles", "-T", CORTEX_M4 / "link.ld", "-DPOLICY_SELF_TEST", "-I", folder),
            *("policy.c", CORTEX_M4 / "main.c", "-o", "policy.elf"),
        ],
        cwd=folder,
        check=True,
    )
    done = subprocess.run(
        [
            *("qemu-system-arm", "-M", "mps2-an386", "-cpu", "cortex-m4", "-nographic"),
            *("-semihosting-config", "enable=on,target=native", "-icount", "shift=6"),
            *("-kernel", "policy.elf"),
        ],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    return max(int(count) for count in re.findall(r"instructions (\d+)", done.stdout))


def from_python_and_c(policy: Policy, folder: Path, num_rounds: int) -> dict[str, Json]:
    """Time both backends from Python and the C from C, in turns; p50 in microseconds."""
    file = policy_from_onnx(policy_to_onnx(policy))
    onnx, c = controller_of(file, Backend.ONNX), controller_of(file, Backend.C)
    batches = list(np.random.default_rng(2).normal(size=(256, 1, 17)).astype(np.float32))
    onnx.engine.infer(batches[0])
    session, binding = onnx.engine.session, onnx.engine._bound._binding
    write(folder, policy, CConfig(machine=Machine.PC))
    from_c = harness(folder, FLAGS)
    ways = {
        "onnx, call of the bound session alone": lambda obs: session.run_with_iobinding(binding),
        "onnx, bound": onnx.engine.infer,
        "onnx, whole": onnx,
        "c, bound": c.engine.infer,
        "c, whole": c,
    }
    samples, times = {name: [] for name in ways}, []
    for round_number in range(-1, num_rounds):
        for name, call in ways.items():
            timed = back_to_back(call, batches, BLOCK).samples_us
            if round_number >= 0:  # the first round only warms up
                samples[name].append(timed)
        times.append(from_c())
    table = {
        name: Latencies(samples_us=np.sort(np.concatenate(parts))).record().to_table()
        for name, parts in samples.items()
    }
    p50 = {name: entry["p50_us"] for name, entry in table.items()}
    bare = p50["onnx, call of the bound session alone"]
    median = statistics.median(times)
    return {
        "p50_us": p50,
        "p99_us": {name: entry["p99_us"] for name, entry in table.items()},
        "from_c_us": median,
        "ratio_python_bound": p50["onnx, bound"] / p50["c, bound"],
        "ratio_python_whole": p50["onnx, whole"] / p50["c, whole"],
        "ratio_called_from_c": bare / median,
    }


def layouts(policy: Policy, folder: Path, num_rounds: int) -> dict[str, Json]:
    """Compare the layouts as on a microcontroller: scalar time, flash, instructions."""
    measured, table = {}, {}
    for layout in Layout:
        source = write(folder / layout, policy, CConfig(layout=layout))
        on_m4 = footprint(source.files)["cortex-m4"]
        table[layout] = {
            "flash_bytes": source.report.flash_bytes,
            "multiply_adds": source.report.multiply_adds,
            "cortex_m4_instructions": instructions(folder / layout),
            "cortex_m4_stack_bytes": None if on_m4 is None else on_m4["stack_bytes"],
        }
        measured[layout] = harness(folder / layout, SCALAR)
    times = {layout: [] for layout in Layout}
    for _ in range(num_rounds):
        for layout, measure in measured.items():
            times[layout].append(measure())
    for layout in Layout:
        table[layout]["scalar_us"] = statistics.median(times[layout])
    ratios = {}
    for key in ("scalar_us", "flash_bytes", "cortex_m4_instructions"):
        if table[Layout.CSR][key] is not None:
            best = {kind: min(table[layout][key] for layout in kind) for kind in (DENSE, SPARSE)}
            ratios[key] = best[DENSE] / best[SPARSE]
    counts = {layout: table[layout]["cortex_m4_instructions"] for layout in Layout}
    if counts[Layout.CSR] is not None:
        ratios["cortex_m4_constant_time"] = counts[Layout.DENSE_ROWS] / counts[Layout.CSR]
    return {"layouts": table, "ratios": ratios}


def sparse_sizes() -> dict[str, Json]:
    """Return sizes of the sparse file by density; None where it is refused."""
    table = {}
    for density in (0.5, 0.3, 0.2, 0.1, 0.05):
        data = policy_to_onnx(network(Activation.RELU, density))
        try:
            size = len(sparse_onnx(data))
        except InputError:
            size = None
        table[str(density)] = {
            "dense_bytes": len(data),
            "sparse_bytes": size,
            "ratio": None if size is None else size / len(data),
        }
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--paced-s", type=float, default=2.0)
    parser.add_argument("--pin-cpu", type=int, default=None)
    parser.add_argument("--fill", action="store_true", help="write the tables into docs/results")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    result = {"network": "-".join(map(str, SIZES)), "density": 0.1, "sparse_onnx": sparse_sizes()}
    for activation in (Activation.RELU, Activation.TANH):
        policy = network(activation, 0.1)
        with tempfile.TemporaryDirectory() as scratch:
            called = from_python_and_c(policy, Path(scratch) / "pc", arguments.rounds)
            result[activation.value] = called | layouts(policy, Path(scratch), arguments.rounds)
        ratios = {key: value for key, value in called.items() if key.startswith("ratio")}
        print(activation, ratios, result[activation.value]["ratios"], file=sys.stderr)
    file = policy_from_onnx(policy_to_onnx(network(Activation.RELU, 0.1)))
    backends = (Backend.NUMPY, Backend.ONNX, Backend.ONNX_SPARSE, Backend.C)
    config = BenchConfig(backends=backends, paced_s=arguments.paced_s, pin_cpu=arguments.pin_cpu)
    result["bench"] = run_benchmark(file, config).record(sha256_hex(file.data)).to_table()
    result["machine"] = machine_facts()
    if arguments.fill:
        fill(result)
    text = json.dumps(result, indent=2) + "\n"
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
