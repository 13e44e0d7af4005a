"""Latencies are order statistics, deadlines are counted from the schedule.

Also of ``runtime/benchmark_picture.py``, ``runtime/load_maker.py``, ``runtime/machine.py`` and
``runtime/memory.py``.
"""

import gc
import math
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from support.policies import file_of, random_policy
from surefoot.artifact import from_json
from surefoot.config import build
from surefoot.errors import CheckError, InputError, MissingLibraryError
from surefoot.gate import ActionLimits, Gate, Reaction, SensorLimits, TimeLimits
from surefoot.onnx_file import ControllerFile
from surefoot.records import BenchRecord
from surefoot.runtime import benchmark
from surefoot.runtime.benchmark import (
    BenchConfig,
    Latencies,
    TimedGate,
    bench_controller,
    run_benchmark,
)
from surefoot.runtime.benchmark_picture import draw_benchmark
from surefoot.runtime.controller import CheckedController
from surefoot.runtime.gated import passing_reading
from surefoot.runtime.load import Backend, controller_of
from surefoot.runtime.load_maker import busy_machine

TINY = BenchConfig(
    num_calls=30, warm_up=2, rates_hz=(200, 1000), paced_s=0.02, batches=(5,), under_load=False
)


class Sleeper:
    """An engine that takes at least ``seconds``."""

    name, obs_dim, num_outputs, size_bytes = "sleeper", 3, 1, 123

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.calls = 0

    def infer(self, obs: NDArray[np.float32]) -> NDArray[np.float32]:
        self.calls += 1
        time.sleep(self.seconds)
        return np.zeros((len(obs), 1), np.float32)

    infer_from_state = infer


def latencies(values: NDArray[np.int64] | list[float]) -> Latencies:
    return Latencies(samples_us=np.sort(np.array(values, dtype=float)))


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=400),
    st.sampled_from([500, 900, 990, 999]),
)
def test_percentile_is_the_least_sample_that_so_many_do_not_exceed(
    values: list[float], per_mille: int
) -> None:
    found = latencies(values).percentile_us(per_mille)
    candidates = [
        value
        for value in values
        if sum(other <= value for other in values) * 1000 >= per_mille * len(values)
    ]
    beyond = len(values) - math.ceil(len(values) * per_mille / 1000)
    assert found == (min(candidates) if beyond >= 10 else None)


@pytest.mark.parametrize(
    ("n", "known"),
    [(19, 0), (20, 1), (99, 1), (100, 2), (999, 2), (1000, 3), (9999, 3), (10000, 4)],
)
def test_a_tail_is_told_only_with_ten_samples_beyond_it(n: int, known: int) -> None:
    record = latencies(np.arange(n)).record()
    tails = [record.p50_us, record.p90_us, record.p99_us, record.p999_us]
    assert [tail is not None for tail in tails] == [True] * known + [False] * (4 - known)
    assert (record.n, record.max_us) == (n, n - 1)


def test_a_deadline_is_missed_when_it_is_exceeded() -> None:
    assert latencies([1, 2, 2, 3, 4]).misses(2) == 2


def test_late_iterations_are_charged_for_the_delay_of_those_before() -> None:
    # 5 ms of work released every 1 ms: the k-th ends no earlier than 4 ms * k after its release.
    config = BenchConfig(
        num_calls=1, warm_up=0, rates_hz=(1000,), paced_s=0.008, batches=(), under_load=False
    )
    [entry] = bench_controller(CheckedController(Sleeper(0.005)), config).backends.values()
    samples = entry.paced[1000].samples_us
    assert len(samples) == 8
    assert (samples >= 5000 + 4000 * np.arange(8)).all()
    assert entry.paced[1000].misses(1000) == 8


def test_every_call_is_counted_and_sees_valid_observations() -> None:
    engine = Sleeper(0)
    [entry] = bench_controller(CheckedController(engine), TINY).backends.values()
    assert (entry.whole.n, entry.inference.n) == (30, 30)
    assert {rate: paced.n for rate, paced in entry.paced.items()} == {200: 4, 1000: 20}
    assert engine.calls == 2 + 30 + 30 + 4 + 20 + 1 + 20
    assert {rows: batch.n for rows, batch in entry.batches.items()} == {5: 20}
    assert entry.size_bytes == 123


def test_a_backend_that_is_missing_is_told_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured: list[object] = []
    monkeypatch.setattr(
        benchmark, "bench_controller", lambda *given, **more: measured.append(given)
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    file = file_of(random_policy(np.random.default_rng(0), (4, 8, 2)))
    with pytest.raises(MissingLibraryError, match="onnxruntime"):
        run_benchmark(file, TINY)
    assert measured == []


def test_garbage_collection_is_on_again_after_a_benchmark_that_failed() -> None:
    class Broken(Sleeper):
        def infer(self, obs: NDArray[np.float32]) -> None:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        bench_controller(CheckedController(Broken(0)), TINY)
    assert gc.isenabled()


def wide_gate(low: float, reaction: Reaction = Reaction.FALLBACK) -> Gate:
    """A gate of the sleeper, or of any other controller of three sensors and one action."""
    return Gate(
        sensors=(SensorLimits(low=low, high=9.0, rate=0.0),) * 3,
        actions=(ActionLimits(low=-9.0, high=9.0),),
        time=TimeLimits(max_age_us=0, max_gap_us=1),
        reaction=reaction,
    )


def test_behind_a_gate_every_call_of_one_row_passes_it() -> None:
    engine, reading = Sleeper(0), np.full((1, 3), 2.0, np.float32)
    gate = TimedGate(wide_gate(1.0), reading)
    measured = bench_controller(CheckedController(engine), TINY, gate=gate)
    entry = measured.backends["sleeper"]
    assert (entry.whole.n, entry.inference.n, entry.batches[5].n) == (30, 30, 20)
    # A rejected call computes nothing: all of these were computed.
    assert engine.calls == 2 + 30 + 30 + sum(part.n for part in entry.paced.values()) + 1 + 20
    with pytest.raises(CheckError, match="the gate rejected what it was to let through"):
        bench_controller(CheckedController(engine), TINY, gate=TimedGate(wide_gate(3.0), reading))


def test_a_passing_reading_passes_again_and_again() -> None:
    policy = random_policy(np.random.default_rng(0), (3, 8, 1))
    gate = wide_gate(1.0, Reaction.STOP)
    tried = np.array([[0.0, 2.0, 2.0], [np.nan, 2.0, 2.0], [2.0, 3.0, 4.0], [5.0, 5.0, 5.0]])
    reading = passing_reading(policy, gate, tried)
    assert reading is not None
    assert reading.tolist() == [[2.0, 3.0, 4.0]]
    controller = TimedGate(gate, reading).before(controller_of(file_of(policy), Backend.NUMPY))
    for _ in range(3):
        controller(reading, now_us=0)
    assert controller.num_events == 0
    assert passing_reading(policy, gate, tried[:2]) is None


@pytest.fixture(scope="module")
def file() -> ControllerFile:
    return file_of(random_policy(np.random.default_rng(0), (4, 8, 2)))


@pytest.fixture(scope="module")
def record(file: ControllerFile) -> BenchRecord:
    """What a benchmark of the default backends measured."""
    return run_benchmark(file, TINY).record("0" * 64)


def test_bench_json_has_its_stable_keys(file: ControllerFile, record: BenchRecord) -> None:
    table = from_json(record.to_json(), "bench.json")
    assert set(table) == {"backends", "timer_floor_us", "machine", "onnx_sha256"}
    assert set(table["backends"]) == {"numpy", "onnx"}
    keys = {"n", "p50_us", "p90_us", "p99_us", "p999_us", "max_us", "misses", "size_bytes"}
    for entry in table["backends"].values():
        assert keys <= set(entry)
        assert set(entry["misses"]) == {"200", "1000"}
        assert entry["size_bytes"] == len(file.data)
        assert entry["inference"]["n"] == 30
    assert {"cpu", "affinity", "governor", "kernel", "python", "threads"} <= set(table["machine"])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"num_calls": 0}, "num_calls must be at least 1, got 0"),
        ({"warm_up": -1}, "warm_up must be at least 0, got -1"),
        ({"rates_hz": [50, 0]}, "rates_hz must be at least 1"),
        ({"rates_hz": [50, 10**9]}, "rates_hz must be at least 1 and at most 1000000"),
        ({"num_calls": 10**300}, "num_calls must be at most 100000000, got 1000000"),
        ({"paced_s": 1e300}, r"paced_s must be positive and at most 86400, got 1e\+300"),
        ({"batches": [4, 10**300]}, "batches must be at least 1 and at most 1000000"),
        ({"paced_s": 0.0}, "paced_s must be positive"),
        ({"backends": []}, "backends must hold at least one"),
        ({"backends": ["onx"]}, "did you mean 'onnx'"),
        ({"batches": [4, 0]}, "batches must be at least 1"),
        ({"pin_cpu": 100000}, "pin_cpu must be one of"),
    ],
)
def test_a_bad_configuration_names_what_is_wrong(table: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(BenchConfig, table, "bench")


def test_paced_loops_run_again_while_every_core_is_busy_and_nothing_is_left_running() -> None:
    config = BenchConfig(num_calls=1, warm_up=0, rates_hz=(500,), paced_s=0.02, batches=())
    before = children()
    [entry] = bench_controller(CheckedController(Sleeper(0)), config).backends.values()
    assert entry.paced_under_load[500].n == 10
    assert children() == before
    with busy_machine():
        assert len(children()) == len(before) + os.cpu_count()
    assert children() == before


def children() -> set[str]:
    """Return the processes that this one started and that still exist."""
    listing = Path(f"/proc/self/task/{os.getpid()}/children")
    return set(listing.read_text().split()) if listing.exists() else set()


def test_the_benchmark_stays_on_its_core_and_gives_the_others_back() -> None:
    before = os.sched_getaffinity(0)
    policy = random_policy(np.random.default_rng(0), (4, 8, 2))
    config = replace(TINY, pin_cpu=min(before), backends=(Backend.NUMPY,))
    benchmark = run_benchmark(file_of(policy), config)
    assert benchmark.machine["affinity"] == [min(before)]
    memory = benchmark.backends["numpy"].memory_bytes
    assert memory is not None
    assert memory > 0
    assert os.sched_getaffinity(0) == before


def test_the_picture_is_a_png(record: BenchRecord) -> None:
    assert draw_benchmark(record).startswith(b"\x89PNG")
