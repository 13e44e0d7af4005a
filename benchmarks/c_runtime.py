"""Generated C against ONNX Runtime, sparse against dense: time, flash, instructions, file size.

    python benchmarks/c_runtime.py --out docs/results/c-runtime.json --fill

One network, 17-256-256-6, 90 % sparse, with ReLU and with tanh, pruned by single weights and in
blocks of eight rows. What is compared takes turns, so that all of it meets the same load of the
machine, and ratios are between medians of one run. Times from C are CPU times of the harness that
is exported with the C. The scalar build (-O2, no vectorisation, no AVX) is the nearest to a
microcontroller on a PC; instructions are counted on a Cortex-M4 under QEMU (gcc-arm-none-eabi and
qemu-system-arm, else left out). ``--emx`` names the program of emx-onnx-cgen, in an environment of
its own, whose dense C of the same file is compiled with the same flags and run by the same harness.
Last, what `pipeline bench` measures of every backend; ``--fill`` writes all of it into the pages of
docs/.
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
from itertools import pairwise
from pathlib import Path

import numpy as np
from c_runtime_docs import fill
from runtime_latency import tanh_policy

from surefoot.artifact import Json, sha256_hex
from surefoot.compress import Method, OneShotConfig, compress_policy, num_kept
from surefoot.errors import InputError
from surefoot.export.footprint import footprint
from surefoot.onnx_file import policy_from_onnx, policy_to_onnx, sparse_onnx
from surefoot.policy import Activation, Policy
from surefoot.runtime.arithmetic import Grade
from surefoot.runtime.benchmark import BenchConfig, Latencies, back_to_back, run_benchmark
from surefoot.runtime.c_compiler import FLAGS, find_compiler
from surefoot.runtime.c_controller import CEngine
from surefoot.runtime.c_layers import Layout, Machine
from surefoot.runtime.c_source import CConfig, CSource, c_source
from surefoot.runtime.controller import CheckedController
from surefoot.runtime.load import Backend, controller_of
from surefoot.runtime.machine import machine_facts

SIZES = (17, 256, 256, 6)
BLOCK = 500
SCALAR = ("-std=c99", "-O2", "-fno-tree-vectorize", "-mno-avx", "-ffp-contract=off")
CORTEX_M4 = Path(__file__).parents[1] / "examples" / "cortex_m4"
DENSE = (Layout.DENSE_ROWS, Layout.DENSE_COLUMNS)
CHOSEN, CONSTANT_TIME = "chosen", "chosen, constant time"
SHIM = """\
#include "policy.h"
#include "emx.c"
int policy_actions(policy_state *s, const float *obs, float *actions)
{
    (void)s;
    model((const float (*)[POLICY_NUM_OBS])obs, (float (*)[POLICY_NUM_ACTIONS])actions);
    return POLICY_OK;
}
int policy_actions_or_hold(policy_state *s, const float *obs, float *actions)
{
    return policy_actions(s, obs, actions);
}
int policy_self_test(policy_state *s, float *largest)
{
    (void)s;
    *largest = 0.0f;
    return POLICY_OK;
}
"""
"""Lets the harness and the program for the Cortex-M4 call what emx-onnx-cgen generates."""


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


def in_blocks(activation: Activation, density: float) -> Policy:
    """Return the full network pruned in blocks to this density; its outputs stay whole."""
    config = OneShotConfig(method=Method.MAGNITUDE, block_rows=8)
    size = sum(after * before for before, after in pairwise(SIZES))
    return compress_policy(network(activation, 1.0), None, num_kept(size, 1 - density), config)


def write(folder: Path, policy: Policy, config: CConfig) -> CSource:
    source = c_source(policy, config)
    folder.mkdir()
    for name, data in source.files.items():
        (folder / name).write_bytes(data)
    return source


def write_emx(folder: Path, policy: Policy, program: Path) -> None:
    """Write what emx-onnx-cgen makes of a policy, everything in flash and on the stack."""
    write(folder, policy, CConfig())
    (folder / "policy.onnx").write_bytes(policy_to_onnx(policy))
    options = ("--input-dim", "N=1", "--large-weight-threshold", "0", "--large-temp-threshold", "0")
    command = [program, "compile", "policy.onnx", "emx.c", "--model-name", "model", *options]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (folder / "policy.c").write_text(SHIM)


def harness(folder: Path, flags: Sequence[str]) -> Callable[[], float]:
    """Compile the exported harness and return a function that gives microseconds of a call."""
    command = [find_compiler(), *flags, "-DPOLICY_SELF_TEST", "policy.c", "policy_main.c"]
    subprocess.run([*command, "-o", "policy", "-lm"], cwd=folder, check=True)

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
            *("policy.c", CORTEX_M4 / "main.c", "-o", "policy.elf", "-lm"),
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


def from_python_and_c(
    policy: Policy, grade: Grade, folder: Path, num_rounds: int, emx: Path | None
) -> dict[str, Json]:
    """Time both backends from Python and the C from C, in turns; p50 in microseconds."""
    file = policy_from_onnx(policy_to_onnx(policy))
    config = CConfig(machine=Machine.PC, activations=grade)
    onnx, c = controller_of(file, Backend.ONNX), CheckedController(CEngine(file, config))
    batches = list(np.random.default_rng(2).normal(size=(256, 1, 17)).astype(np.float32))
    onnx.engine.infer(batches[0])
    session, binding = onnx.engine.session, onnx.engine._bound._binding
    write(folder / "pc", policy, config)
    from_c = {"ours": harness(folder / "pc", FLAGS)}
    if emx is not None:
        write_emx(folder / "emx", policy, emx)
        from_c["emx"] = harness(folder / "emx", FLAGS)
    ways = {
        "onnx, call of the bound session alone": lambda obs: session.run_with_iobinding(binding),
        "onnx, bound": onnx.engine.infer,
        "onnx, whole": onnx,
        "c, bound": c.engine.infer,
        "c, whole": c,
    }
    samples, times = {name: [] for name in ways}, {name: [] for name in from_c}
    for round_number in range(-1, num_rounds):
        for name, call in ways.items():
            timed = back_to_back(call, batches, BLOCK).samples_us
            if round_number >= 0:  # the first round only warms up
                samples[name].append(timed)
        for name, measure in from_c.items():
            times[name].append(measure())
    table = {
        name: Latencies(samples_us=np.sort(np.concatenate(parts))).record().to_table()
        for name, parts in samples.items()
    }
    p50 = {name: entry["p50_us"] for name, entry in table.items()}
    bare = p50["onnx, call of the bound session alone"]
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    return {
        "p50_us": p50,
        "p99_us": {name: entry["p99_us"] for name, entry in table.items()},
        "from_c_us": medians["ours"],
        "emx_from_c_us": medians.get("emx"),
        "emx_cortex_m4_instructions": None if emx is None else instructions(folder / "emx"),
        "ratio_emx_from_c": medians["emx"] / medians["ours"] if emx else None,
        "ratio_python_bound": p50["onnx, bound"] / p50["c, bound"],
        "ratio_python_whole": p50["onnx, whole"] / p50["c, whole"],
        "ratio_called_from_c": bare / medians["ours"],
    }


def layouts(policy: Policy, grade: Grade, folder: Path, num_rounds: int) -> dict[str, Json]:
    """Compare the layouts as on a microcontroller: scalar time, flash, instructions."""
    measured, table = {}, {}
    configs = {layout.value: CConfig(layout=layout, activations=grade) for layout in Layout}
    configs[CHOSEN] = CConfig(activations=grade)
    configs[CONSTANT_TIME] = CConfig(activations=grade, constant_time=True)
    for name, config in configs.items():
        source = write(folder / name, policy, config)
        on_m4 = footprint(source.files)["cortex-m4"]
        table[name] = {
            "flash_bytes": source.report.flash_bytes,
            "multiply_adds": source.report.multiply_adds,
            "cortex_m4_instructions": instructions(folder / name),
            "cortex_m4_stack_bytes": None if on_m4 is None else on_m4["stack_bytes"],
        }
        measured[name] = harness(folder / name, SCALAR)
    times = {name: [] for name in configs}
    for _ in range(num_rounds):
        for name, measure in measured.items():
            times[name].append(measure())
    for name in configs:
        table[name]["scalar_us"] = statistics.median(times[name])
    return {"layouts": table, "ratios": layout_ratios(table)}


def layout_ratios(table: dict[str, dict[str, Json]]) -> dict[str, float]:
    """Return by how much the best sparse layout is ahead of the best dense one."""
    ratios = {}
    for key in ("scalar_us", "flash_bytes", "cortex_m4_instructions"):
        if table[CHOSEN][key] is not None:
            dense = min(table[name][key] for name in DENSE)
            ratios[key] = dense / min(
                entry[key] for name, entry in table.items() if name not in DENSE
            )
    counts = {name: entry["cortex_m4_instructions"] for name, entry in table.items()}
    if counts[CHOSEN] is not None:
        least = min(counts[Layout.CSR], counts[CONSTANT_TIME])
        ratios["cortex_m4_constant_time"] = counts[Layout.DENSE_ROWS] / least
    return ratios


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


KINDS = {
    "relu, single weights": (network, Activation.RELU, Grade.FULL),
    "relu, blocks": (in_blocks, Activation.RELU, Grade.FULL),
    "tanh, single weights": (network, Activation.TANH, Grade.FULL),
    "tanh, blocks": (in_blocks, Activation.TANH, Grade.FULL),
    "coarse tanh, blocks": (in_blocks, Activation.TANH, Grade.COARSE),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--paced-s", type=float, default=2.0)
    parser.add_argument("--pin-cpu", type=int, default=None)
    parser.add_argument("--emx", type=Path, help="program emx-onnx-cgen")
    parser.add_argument("--fill", action="store_true", help="write the tables into docs/results")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    result = {"network": "-".join(map(str, SIZES)), "density": 0.1, "sparse_onnx": sparse_sizes()}
    for name, (prune, activation, grade) in KINDS.items():
        policy = prune(activation, 0.1)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            called = from_python_and_c(policy, grade, folder, arguments.rounds, arguments.emx)
            result[name] = called | layouts(policy, grade, folder, arguments.rounds)
        ratios = {key: value for key, value in called.items() if key.startswith("ratio")}
        print(name, ratios, result[name]["ratios"], file=sys.stderr)
    file = policy_from_onnx(policy_to_onnx(in_blocks(Activation.RELU, 0.1)))
    backends = (Backend.NUMPY, Backend.ONNX, Backend.ONNX_SPARSE, Backend.C)
    config = BenchConfig(backends=backends, paced_s=arguments.paced_s, pin_cpu=arguments.pin_cpu)
    result["bench"] = run_benchmark(file, config).record(sha256_hex(file.data)).to_table()
    result["machine"] = machine_facts()
    text = json.dumps(result, indent=2) + "\n"
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    if arguments.fill:
        fill(result)


if __name__ == "__main__":
    main()
