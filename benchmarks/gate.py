"""What a gate costs: time of a call on this machine, instructions on an emulated Cortex-M4.

    python benchmarks/gate.py --out docs/results/gate.json

A 17-64-64-6 tanh controller with a gate that limits all that a gate can, against the same without.
Both take turns, so that they meet the same load of the machine; a time is the least of all rounds.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from c_runtime import CORTEX_M4
from runtime_latency import tanh_policy

from surefoot.artifact import Json
from surefoot.gate import (
    ActionLimits,
    FalseAlarms,
    Gate,
    GateFile,
    GateRule,
    HalfSpace,
    SensorLimits,
    TimeLimits,
)
from surefoot.runtime.c_compiler import find_compiler
from surefoot.runtime.c_gate import c_gate_source
from surefoot.runtime.c_source import CConfig, c_source
from surefoot.runtime.machine import machine_facts

SIZES = (17, 64, 64, 6)
ROUNDS = 15
M4 = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")

TIMER = """\
#include "policy_gate.h"
#include <stdio.h>
#include <time.h>
#define NUM_CALLS 200000
static policy_state state;
static policy_gate gate;
static float obs[64][POLICY_NUM_OBS];
int main(void)
{
    float actions[POLICY_NUM_ACTIONS];
    unsigned long seed = 1u;
    clock_t start;
    unsigned call;
    int i;
    int j;
    for (i = 0; i < 64; ++i) {
        for (j = 0; j < POLICY_NUM_OBS; ++j) {
            seed = (seed * 1103515245u + 12345u) & 0x7fffffffu;
            obs[i][j] = (float)(seed >> 8) / 8388608.0f * 4.0f - 2.0f;
        }
    }
    start = clock();
    for (call = 0u; call < NUM_CALLS; ++call) {
        (void)policy_actions(&state, obs[call % 64u], actions);
    }
    (void)printf("%.5f ", (double)(clock() - start) * 1e6 / CLOCKS_PER_SEC / NUM_CALLS);
    start = clock();
    for (call = 0u; call < NUM_CALLS; ++call) {
        (void)policy_gated_actions(&state, &gate, obs[call % 64u], call, call, actions);
    }
    (void)printf("%.5f %lu\\n", (double)(clock() - start) * 1e6 / CLOCKS_PER_SEC / NUM_CALLS,
                 (unsigned long)gate.num_events);
    return 0;
}
"""


def gate_file() -> GateFile:
    """Return a gate that limits all, so wide that every stimulus passes."""
    gate = Gate(
        sensors=(SensorLimits(low=-4.0, high=4.0, rate=8.0),) * SIZES[0],
        actions=(ActionLimits(low=-99.0, high=99.0, rate=99.0, jerk=99.0),) * SIZES[-1],
        pairs=(
            HalfSpace(sensors=(0, 1), factors=(1.0, 1.0), at_most=99.0),
            HalfSpace(sensors=(2, 3), factors=(1.0, -1.0), at_most=99.0),
        ),
        time=TimeLimits(max_age_us=20_000, max_gap_us=30_000),
    )
    return GateFile(gate=gate, rule=GateRule(), alarms=FalseAlarms(recorded=0, rejected=0))


def on_this_machine(folder: Path) -> dict[str, Json]:
    """Return microseconds of a call, the least of all rounds."""
    (folder / "timer.c").write_text(TIMER)
    command = [find_compiler(), "-std=c99", "-O2", "-ffp-contract=off", "policy.c"]
    subprocess.run([*command, "policy_gate.c", "timer.c", "-o", "timer"], cwd=folder, check=True)
    times = []
    for _ in range(ROUNDS):
        out = subprocess.run([folder / "timer"], capture_output=True, text=True, check=True).stdout
        bare, gated, events = map(float, out.split())
        assert events == 0
        times.append((bare, gated))
    bare, gated = (min(column) for column in zip(*times, strict=True))
    return {"without_us": bare, "with_us": gated, "gate_us": gated - bare}


def on_a_cortex_m4(folder: Path) -> dict[str, Json]:
    """Return the most instructions of eight calls."""
    counts = {}
    for name, more in (("without", ()), ("with", ("policy_gate.c", "-DPOLICY_GATE"))):
        subprocess.run(
            [
                *("arm-none-eabi-gcc", "-std=c99", "-O2", "-ffp-contract=off", *M4),
                *("--specs=rdimon.specs", "-nostartfiles", "-T", CORTEX_M4 / "link.ld"),
                *("-DPOLICY_SELF_TEST", "-I", folder, "policy.c", *more),
                *(CORTEX_M4 / "main.c", "-o", "policy.elf"),
            ],
            cwd=folder,
            check=True,
        )
        out = subprocess.run(
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
        ).stdout
        counts[name] = max(int(count) for count in re.findall(r"instructions (\d+)", out))
    share = counts["with"] / counts["without"] - 1
    return {"without": counts["without"], "with": counts["with"], "gate_share": share}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    policy = tanh_policy(SIZES)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = c_source(policy, CConfig()).files | c_gate_source(policy, gate_file())
        for name, data in files.items():
            (folder / name).write_bytes(data)
        result = {
            "controller": "-".join(map(str, SIZES)),
            "call": on_this_machine(folder),
            "cortex_m4_instructions": on_a_cortex_m4(folder),
            "machine": machine_facts(),
        }
    text = json.dumps(result, indent=2) + "\n"
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    print(text, end="", file=sys.stdout)


if __name__ == "__main__":
    main()
