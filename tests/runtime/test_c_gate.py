"""The generated gate decides what Python decides: codes, actions, events, to the bit.

Also of ``runtime/c_gated.py`` and ``runtime/c_gate_templates.py``.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from support.gates import random_calls, small_gate
from support.policies import linear_policy, random_policy
from surefoot.errors import InputError
from surefoot.gate import (
    NUM_EVENTS,
    ActionLimits,
    Cause,
    Code,
    FalseAlarms,
    Gate,
    GateFile,
    GateRule,
    Reaction,
    SensorLimits,
    TimeLimits,
    Watch,
)
from surefoot.onnx_file import policy_from_onnx, policy_to_onnx
from surefoot.policy import Array, Policy, Squash
from surefoot.runtime.c_gate import c_gate_source
from surefoot.runtime.c_gated import CGate
from surefoot.runtime.c_source import CConfig, c_source, twin_outputs

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow")
CORTEX_M4 = Path(__file__).parents[2] / "examples" / "cortex_m4"
POLICY = random_policy(np.random.default_rng(4), (3, 6, 2), squash=Squash.IDENTITY)
LARGEST = float(np.finfo(np.float32).max)
TIME = TimeLimits(max_age_us=15_000, max_gap_us=30_000)
FALLBACK = np.array([0.25, -0.75], np.float32)
UNLIMITED = Gate(
    sensors=(SensorLimits(low=-LARGEST, high=LARGEST),) * 3,
    actions=(ActionLimits(low=-LARGEST, high=LARGEST),) * 2,
)


def file_of(gate: Gate) -> GateFile:
    return GateFile(gate=gate, rule=GateRule(), alarms=FalseAlarms(recorded=0, rejected=0))


def open_actions(gate: Gate) -> Gate:
    """A gate whose actions are often fast and seldom out of range."""
    actions = (
        ActionLimits(low=-3.0, high=3.0, rate=0.03125, jerk=0.03125),
        ActionLimits(low=-9.0, high=9.0),
    )
    return replace(gate, actions=actions, stop_after=25)


def propose(obs: Array) -> Array:
    return twin_outputs(POLICY, obs[None])[0]


def same(one: NDArray[np.float32] | None, other: NDArray[np.float32] | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.tobytes() == other.tobytes()


@pytest.mark.parametrize(
    "gate",
    [
        open_actions(small_gate()),
        open_actions(small_gate(Reaction.FALLBACK)),
        small_gate(Reaction.STOP),
        replace(open_actions(small_gate()), time=None, pairs=(), stop_after=None),
        UNLIMITED,
    ],
    ids=["hold", "fallback", "stop", "untimed", "unlimited"],
)
def test_c_and_python_decide_alike_call_by_call(gate: Gate) -> None:
    in_c = CGate(policy_from_onnx(policy_to_onnx(POLICY)), file_of(gate), CConfig())
    near_the_end = 2**32 - 20
    seen: set[Cause] = set()
    codes: set[Code] = set()
    for seed, fallback in ((0, FALLBACK), (1, None), (2, FALLBACK)):
        watch = Watch(gate, None if fallback is None else lambda obs: FALLBACK)
        watch.num_calls = watch.num_events = near_the_end
        in_c.start(fallback, near_the_end)
        for call in random_calls(np.random.default_rng(seed), small_gate(), 500):
            code, action = watch.step(call.obs, propose, call.now_us, call.taken_us)
            in_c_code, in_c_action = in_c.step(call.obs, call.now_us, call.taken_us)
            assert in_c_code is code
            assert same(in_c_action, action)
            assert in_c.num_events == watch.num_events
            codes.add(code)
            if watch.events:
                seen.add(watch.events[-1].cause)
        assert in_c.events == watch.events
    if gate.time is not None and gate.reaction is Reaction.HOLD:
        assert seen == set(Cause) - {Cause.ACTION_NOT_FINITE, Cause.ACTION_RANGE}
        assert {Code.PASSED, Code.HELD, Code.STOPPED} <= codes


def test_an_action_that_overflows_is_an_event_of_both() -> None:
    policy = random_policy(np.random.default_rng(4), (3, 2), squash=Squash.IDENTITY, clip=np.inf)
    in_c = CGate(policy_from_onnx(policy_to_onnx(policy)), file_of(UNLIMITED), CConfig())
    in_c.start()
    watch = Watch(UNLIMITED)
    for size in (1.0, 3e38, -3e38, 0.0):
        obs = np.full(3, size, np.float32)
        code, action = watch.step(obs, lambda read: twin_outputs(policy, read[None])[0])
        in_c_code, in_c_action = in_c.step(obs, 0, 0)
        assert in_c_code is code
        assert same(in_c_action, action)
    assert {event.cause for event in watch.events} == {Cause.ACTION_NOT_FINITE}
    assert in_c.events == watch.events


ONE = Gate(
    sensors=(SensorLimits(low=-10.0, high=10.0, rate=1.0),),
    actions=(ActionLimits(low=-10.0, high=10.0),),
    time=TimeLimits(max_age_us=5, max_gap_us=200_000),
    recover_after=2,
)
"""A gate of a controller whose action is its sensor."""


@pytest.fixture(scope="module")
def both() -> tuple[CGate, Watch]:
    """The same gate in C and in Python."""
    controller = policy_from_onnx(policy_to_onnx(linear_policy([[1.0]])))
    return CGate(controller, file_of(ONE), CConfig()), Watch(ONE)


Decided = tuple[Code, float | None]


def decided(
    both: tuple[CGate, Watch], calls: Sequence[tuple[float, int, int]]
) -> tuple[list[Decided], list[Cause]]:
    """Codes, actions and causes of calls (reading, time of the call, of the reading), alike."""
    in_c, watch = both
    in_c.start()
    watch.reset()
    found: list[Decided] = []
    for reading, now, taken in calls:
        obs, times = np.array([reading], np.float32), (now % 2**32, taken % 2**32)
        (code, action), (in_c_code, in_c_action) = (
            watch.step(obs, lambda read: read.copy(), *times),
            in_c.step(obs, *times),
        )
        assert in_c_code is code
        assert same(in_c_action, action)
        found.append((code, None if action is None else float(action[0])))
    assert in_c.events == watch.events
    return found, [event.cause for event in watch.events]


PASSED, HELD, NO_ACTION = Code.PASSED, Code.HELD, Code.NO_ACTION


@pytest.mark.parametrize(
    ("calls", "answers", "causes"),
    [
        # The first call: neither rate nor gap; a rejected one has nothing to hold.
        ([(9.0, 7, 7)], [(PASSED, 9.0)], []),
        ([(11.0, 7, 7)], [(NO_ACTION, None)], [Cause.RANGE]),
        # The clock goes back by 1 us, and by the most that a clock of 32 bits can tell; the next
        # call counts from there, and the second good one acts.
        (
            [(1.0, 50, 50), (9.0, 49, 49), (9.5, 60, 60), (9.0, 70, 70)],
            [(PASSED, 1.0), (HELD, 1.0), (HELD, 1.0), (PASSED, 9.0)],
            [Cause.CLOCK],
        ),
        ([(1.0, 0, 0), (1.0, 2**31, 2**31)], [(PASSED, 1.0), (HELD, 1.0)], [Cause.CLOCK]),
        # It wraps, which is no event.
        ([(1.0, 2**32 - 1, 2**32 - 1), (1.5, 3, 2)], [(PASSED, 1.0), (PASSED, 1.5)], []),
        # Dropped samples: rejected once, and no rate is checked across them.
        (
            [
                (1.0, 0, 0),
                (8.0, 200_001, 200_001),
                (8.5, 200_002, 200_002),
                (8.0, 200_003, 200_003),
            ],
            [(PASSED, 1.0), (HELD, 1.0), (HELD, 1.0), (PASSED, 8.0)],
            [Cause.GAP],
        ),
        ([(1.0, 0, 0), (1.5, 200_000, 200_000)], [(PASSED, 1.0), (PASSED, 1.5)], []),
        # A reading that is too old, and one of the future.
        ([(1.0, 6, 0)], [(NO_ACTION, None)], [Cause.AGE]),
        ([(1.0, 6, 7)], [(NO_ACTION, None)], [Cause.AGE]),
    ],
)
def test_what_goes_wrong_with_time_is_decided_as_documented_in_both(
    both: tuple[CGate, Watch],
    calls: Sequence[tuple[float, int, int]],
    answers: list[Decided],
    causes: list[Cause],
) -> None:
    assert decided(both, calls) == (answers, causes)


def test_nan_for_an_hour_is_held_in_both_and_the_second_good_call_acts(
    both: tuple[CGate, Watch],
) -> None:
    hour = [(float("nan"), 200_000 * call, 200_000 * call) for call in range(1, 18_001)]
    end = hour[-1][1]
    after = [(9.0, end + 1, end + 1), (9.5, end + 2, end + 2)]
    answers, causes = decided(both, [(4.0, 0, 0), *hour, *after])
    assert set(answers[1:-1]) == {(HELD, 4.0)}
    assert answers[-1] == (PASSED, 9.5)
    assert causes == [Cause.NOT_FINITE] * NUM_EVENTS
    assert both[0].num_events == both[1].num_events == len(hour)


def write(folder: Path, policy: Policy, gate: Gate) -> None:
    files = c_source(policy, CConfig()).files | c_gate_source(policy, file_of(gate))
    for name, data in files.items():
        (folder / name).write_bytes(data)


def run(*command: Path | str, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
    return done.stdout


MAIN = """\
#include "policy_gate.h"
#include <stdio.h>
static policy_state state;
static policy_gate gate;
int main(void)
{
    (void)printf("%d %d", policy_gate_self_test(&state, &gate), (int)sizeof gate);
    return 0;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
@pytest.mark.parametrize("gate", [small_gate(), UNLIMITED], ids=["all", "none"])
def test_it_compiles_strictly_by_itself_and_touches_no_foreign_memory(
    tmp_path: Path, gate: Gate
) -> None:
    write(tmp_path, POLICY, gate)
    (tmp_path / "main.c").write_text(MAIN)
    sanitized = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    sources = ("policy.c", "policy_gate.c", "main.c", "-DPOLICY_SELF_TEST", "-ffp-contract=off")
    run("gcc", *STRICT, *sanitized, *sources, "-o", "program", cwd=tmp_path)
    wrong, size = run(tmp_path / "program", cwd=tmp_path).split()
    assert wrong == "0"
    # Two pointers take 16 bytes here, where the header counts 8; and the whole is aligned to them.
    header = (tmp_path / "policy_gate.h").read_text()
    said = re.search(r"RAM (\d+) bytes", header)
    assert said is not None
    assert -(-(int(said[1]) + 8) // 8) * 8 == int(size)


def test_the_self_test_finds_another_limit(tmp_path: Path) -> None:
    write(tmp_path, POLICY, small_gate())
    (tmp_path / "main.c").write_text(MAIN)
    source = (tmp_path / "policy_gate.c").read_text()
    changed = source.replace("gate_high[3] = {\n    2.0f", "gate_high[3] = {\n    2.5f")
    assert changed != source
    (tmp_path / "policy_gate.c").write_text(changed)
    sources = ("policy.c", "policy_gate.c", "main.c", "-DPOLICY_SELF_TEST", "-ffp-contract=off")
    run("gcc", "-std=c99", *sources, "-o", "program", cwd=tmp_path)
    assert run(tmp_path / "program", cwd=tmp_path).split()[0] != "0"


def test_a_name_cannot_end_a_comment() -> None:
    names = ("*/ int x; /*", "a\nb", "knee_left.x[0]")
    header = c_gate_source(POLICY, file_of(replace(small_gate(), names=names)))["policy_gate.h"]
    text = header.decode()
    assert "knee_left.x[0]" in text
    assert "int x;" not in text
    assert text.count("/*") == text.count("*/")


def test_the_gate_of_another_controller_has_no_c_form() -> None:
    with pytest.raises(InputError, match="the gate must have 3 sensors"):
        c_gate_source(POLICY, file_of(replace(UNLIMITED, sensors=UNLIMITED.sensors[:2])))


def test_a_ring_holds_the_last_events() -> None:
    in_c = CGate(policy_from_onnx(policy_to_onnx(POLICY)), file_of(UNLIMITED), CConfig())
    in_c.start()
    nan = np.full(3, np.nan, np.float32)
    for _ in range(NUM_EVENTS + 3):
        assert in_c.step(nan, 0, 0)[0] is Code.NO_ACTION
    assert [event.call for event in in_c.events] == list(range(4, NUM_EVENTS + 4))


HAS_M4 = all(map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm")))


@pytest.mark.skipif(not HAS_M4, reason="no compiler or emulator of a Cortex-M4")
def test_a_cortex_m4_decides_to_the_same_bits_at_little_cost(tmp_path: Path) -> None:
    """The gate limits all that it can, so wide that the stimuli of the program pass."""
    policy = random_policy(np.random.default_rng(9), (17, 64, 64, 6), zeros=0.0)
    sensor = SensorLimits(low=-4.0, high=4.0, rate=8.0)
    action = ActionLimits(low=-9.0, high=9.0, rate=18.0, jerk=36.0)
    gate = replace(UNLIMITED, sensors=(sensor,) * 17, actions=(action,) * 6, time=TIME)
    write(tmp_path, policy, gate)
    bare = emulated(tmp_path, "policy.c")
    gated = emulated(tmp_path, "policy.c", "policy_gate.c", "-DPOLICY_GATE")
    assert gated[:2] == ["self-test 0", "gate self-test 0"]
    calls = [[line.split() for line in lines if line.startswith("call")] for lines in (bare, gated)]
    assert [call[3] for call in calls[1]] == ["0"] * len(calls[1])
    assert [call[7:] for call in calls[0]] == [call[7:] for call in calls[1]]
    counts = [max(int(call[5]) for call in of_program) for of_program in calls]
    assert counts[0] < counts[1] <= 1.03 * counts[0]


def emulated(folder: Path, *sources: str) -> list[str]:
    """Compile the program for a Cortex-M4 and return what it prints under QEMU, by line."""
    run(
        *("arm-none-eabi-gcc", *STRICT, "-O2", "-ffp-contract=off", "-mcpu=cortex-m4", "-mthumb"),
        *("-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", "--specs=rdimon.specs", "-nostartfiles"),
        *("-T", CORTEX_M4 / "link.ld", "-DPOLICY_SELF_TEST", "-I", folder, *sources),
        *(CORTEX_M4 / "main.c", "-o", "policy.elf"),
        cwd=folder,
    )
    return run(
        *("qemu-system-arm", "-M", "mps2-an386", "-cpu", "cortex-m4", "-nographic"),
        *("-semihosting-config", "enable=on,target=native", "-icount", "shift=6"),
        *("-kernel", "policy.elf"),
        cwd=folder,
    ).splitlines()
