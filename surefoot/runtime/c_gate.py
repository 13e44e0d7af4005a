"""The gate of a controller as C99: ``policy_gate.h`` and ``policy_gate.c``, beside ``policy.c``.

It decides what `surefoot.gate.watch` decides, bit for bit, and its self-test replays calls that the
latter answered. No allocation, a few comparisons a sensor.
"""

import re
from collections.abc import Iterator, Sequence
from string import Template

import numpy as np
from numpy.typing import NDArray

from surefoot.artifact import sha256_hex
from surefoot.gate import NUM_EVENTS, Cause, Gate, GateFile, Reaction, Watch
from surefoot.gate.arrays import ActionArrays, Float32, SensorArrays
from surefoot.policy import Array, Policy
from surefoot.runtime import c_gate_templates as text
from surefoot.runtime.c_layer_text import array
from surefoot.runtime.c_source import twin_outputs
from surefoot.runtime.c_templates import GUARDS
from surefoot.version import __version__

GATE_SOURCE_FILE, GATE_HEADER_FILE = "policy_gate.c", "policy_gate.h"
NUM_TESTS, _TESTS_PER_RUN = 48, 12
_PERIOD_US = 10_000


def c_gate_source(policy: Policy, file: GateFile) -> dict[str, bytes]:
    """Return a gate as C99: name to content.

    Args:
        policy: Policy behind the gate; its arrays are float32 by value.
        file: The gate.

    Raises:
        InputError: If the gate is another controller's.
    """
    gate = file.gate
    gate.check_fits(policy.obs_dim, policy.num_outputs)
    header = Template(text.HEADER).substitute(
        version=__version__,
        digest=sha256_hex(file.to_bytes()),
        ram=4 * (14 + policy.obs_dim + 4 * policy.num_outputs + 3 * NUM_EVENTS),
        limits="\n".join(_limit_lines(gate)),
        num_events=f"{NUM_EVENTS}u",
        causes="\n".join(_cause_lines()),
    )
    source = Template(text.SOURCE).substitute(
        guards=GUARDS,
        constants=_constants(gate),
        recover_after=f"{gate.recover_after}u",
        num_tests=f"{NUM_TESTS}u",
        tests_per_run=f"{_TESTS_PER_RUN}u",
        vectors=_vectors(policy, gate),
        **_checks(gate),
    )
    return {GATE_HEADER_FILE: header.encode(), GATE_SOURCE_FILE: source.encode()}


def _limit_lines(gate: Gate) -> Iterator[str]:
    yield " *   sensor: range, largest change from call to call, raw units"
    for number, sensor in enumerate(gate.sensors):
        name = f" {_in_comment(gate.names[number])}" if gate.names else ""
        yield f" *   {number}{name}: [{sensor.low:.9g}, {sensor.high:.9g}], {_size(sensor.rate)}"
    yield " *   action: range, largest change, largest change of that"
    for number, action in enumerate(gate.actions):
        sizes = f"{_size(action.rate)}, {_size(action.jerk)}"
        yield f" *   {number}: [{action.low:.9g}, {action.high:.9g}], {sizes}"
    time = gate.time
    limits = "no limit"
    if time is not None:
        limits = f"a reading at most {time.max_age_us} us old, calls at most {time.max_gap_us} us"
        limits += " apart"
    yield f" *   pairs of sensors: {len(gate.pairs)}; time: {limits}"
    stop = "never" if gate.stop_after is None else f"after {gate.stop_after} rejected calls"
    yield f" *   reaction: {gate.reaction}; opens with good call {gate.recover_after}; stops {stop}"


def _size(size: float | None) -> str:
    return "any" if size is None else f"{size:.9g}"


def _in_comment(name: str) -> str:
    """Return a name without what could end a comment, or a line."""
    return re.sub(r"[^\w.\[\]-]", "_", name, flags=re.ASCII)


def _cause_lines() -> Iterator[str]:
    for cause in Cause:
        yield f"#define POLICY_GATE_{cause.name} {cause.value}u"


def _constants(gate: Gate) -> str:
    sensors, actions = SensorArrays.of(gate), ActionArrays.of(gate.actions)
    parts = {
        "gate_low": sensors.low,
        "gate_high": sensors.high,
        "gate_rate": sensors.rate,
        "gate_action_low": actions.low,
        "gate_action_high": actions.high,
        "gate_action_rate": actions.rate,
        "gate_action_jerk": actions.jerk,
    }
    lines = [_floats(name, values) for name, values in parts.items() if values is not None]
    if gate.pairs:
        places = np.stack([sensors.first, sensors.second], axis=1).reshape(-1)
        lines += [
            array("gate_pair_sensor", places.astype(np.uint32)),
            _floats("gate_pair_factor", sensors.factors.reshape(-1)),
            _floats("gate_pair_at_most", sensors.at_most),
        ]
    return "".join(lines)


def _floats(name: str, values: Float32) -> str:
    """Return an array of C in which no limit is infinity."""
    return array(name, values).replace("inf.0f", "INFINITY")


def _checks(gate: Gate) -> dict[str, str]:
    """Return the parts of the checks that a gate needs; what it does not limit costs nothing."""
    sensors, actions = SensorArrays.of(gate), ActionArrays.of(gate.actions)
    time = text.NO_TIME
    if gate.time is not None:
        time = Template(text.TIME).substitute(
            max_gap_us=f"{gate.time.max_gap_us}u", max_age_us=f"{gate.time.max_age_us}u"
        )
    has_rate, after = sensors.rate is not None, ""
    if gate.pairs:
        after = Template(text.PAIRS).substitute(num_pairs=f"{len(gate.pairs)}u")
    react = text.REACTIONS[gate.reaction]
    if gate.stop_after is not None and gate.reaction is not Reaction.STOP:
        react = Template(text.STOP_AFTER).substitute(stop_after=f"{gate.stop_after}u") + react
    sizes = [
        (what, compared, loop)
        for what, compared, loop, limits in (
            ("rate", "1u", text.ACTION_RATE, actions.rate),
            ("jerk", "2u", text.ACTION_JERK, actions.jerk),
        )
        if limits is not None
    ]
    return {
        "time": time,
        "before_sensors": text.FIRST_RATE if has_rate else "",
        "sensors": text.RATE if has_rate else "",
        "after_sensors": (text.RATE_BROKEN if has_rate else "") + after,
        "before_actions": "".join(
            Template(text.FIRST_ACTION_SIZE).substitute(what=what) for what, _, _ in sizes
        ),
        "actions": "".join(loop for _, _, loop in sizes),
        "after_actions": "".join(
            Template(text.ACTION_SIZE_BROKEN).substitute(
                what=what, name=what.upper(), compared=compared
            )
            for what, compared, _ in sizes
        ),
        "react": react,
    }


def _vectors(policy: Policy, gate: Gate) -> str:
    """Return the calls of the self-test and what they must lead to, bit for bit."""
    obs, times = _test_calls(gate)
    watch = Watch(gate, lambda reading: np.full(policy.num_outputs, 0.5))

    def propose(reading: Array) -> Float32:
        return np.asarray(twin_outputs(policy, reading[None])[0], np.float32)

    codes, actions, events = [], np.zeros((NUM_TESTS, policy.num_outputs), np.float32), []
    given = np.zeros(policy.num_outputs, np.float32)
    for number, (reading, (now, taken)) in enumerate(zip(obs, times, strict=True)):
        if number % _TESTS_PER_RUN == 0:
            watch.reset()
        code, action = watch.step(reading, propose, now, taken)
        given = given if action is None else action
        codes.append(code)
        actions[number] = given
        events.append(_last_event(watch))
    return "".join(
        [
            "/* Bits of observations, which may be NaN. */\n",
            array("gate_test_bits", obs.view(np.uint32)),
            array("gate_test_time", np.array(times, np.uint32)),
            array("gate_test_code", np.array(codes, np.uint8)),
            array("gate_test_actions", actions),
            array("gate_test_event", np.array(events, np.uint32)),
        ]
    )


def _last_event(watch: Watch) -> Sequence[int]:
    if not watch.events:
        return 0, 0, 0, 0
    last = watch.events[-1]
    return watch.num_events, last.call, int(last.cause), last.index


def _test_calls(gate: Gate) -> tuple[NDArray[np.float32], list[tuple[int, int]]]:
    """Return observations that mostly pass, and times of which one kind goes wrong in each run."""
    rng = np.random.default_rng(0)
    low, high = gate.box
    obs = (low + (high - low) * rng.uniform(0.45, 0.55, (NUM_TESTS, len(low)))).astype(np.float32)
    times = []
    for number in range(NUM_TESTS):
        run, call = divmod(number, _TESTS_PER_RUN)
        sensor = int(rng.integers(len(low)))
        if call == 3:
            obs[number, sensor] = (np.nan, np.inf, low[sensor], high[sensor])[run % 4]
        if call == 5:
            with np.errstate(over="ignore"):
                obs[number, sensor] = np.nextafter(np.float32(high[sensor]), np.float32(np.inf))
        now = taken = 2**32 - 5 * _PERIOD_US + call * _PERIOD_US
        late = gate.time is not None and call == 8
        if late and gate.time is not None:
            now += (0, gate.time.max_gap_us, 2**31, 0)[run % 4]
            taken = now - (0, 0, 0, gate.time.max_age_us + 1)[run % 4]
        times.append((now % 2**32, taken % 2**32))
    return obs, times
