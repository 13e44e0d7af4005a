"""How long one action takes: back to back, and paced at the rates at which robots are controlled.

Percentiles are order statistics (nearest rank, never interpolated) of batch 1, and are None where
fewer than ten samples lie beyond them. A paced latency is counted from the scheduled release, so
that a late wake-up is charged for its delay; a deadline is missed when it exceeds the period.
"""

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np

from surefoot.artifact import Json
from surefoot.errors import CheckError, InputError
from surefoot.gate import Gate, Reaction
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Array
from surefoot.ranges import MOST_AT_ONCE, require_at_least
from surefoot.records import BackendRecord, BenchRecord, LatencyRecord
from surefoot.runtime.controller import CheckedController
from surefoot.runtime.gated import GatedController
from surefoot.runtime.load import Backend, controller_of
from surefoot.runtime.load_maker import busy_machine
from surefoot.runtime.machine import machine_facts
from surefoot.runtime.memory import memory_bytes

_MIN_BEYOND = 10


_MOST_CALLS = 10**8
_LONGEST_S = 86_400.0
"""A day at one control rate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchConfig:
    """How much is measured.

    Attributes:
        backends: Backends to measure, one after the other.
        num_calls: Calls back to back, after the warm-up; 10,000 are needed for p99.9.
        warm_up: Calls before them that are not measured.
        rates_hz: Control rates of the paced loops.
        paced_s: Time that the loop at each rate takes.
        batches: Batch sizes that are timed beside batch 1, back to back.
        under_load: Run the paced loops again with a busy process for each core.
        gate: Time the calls of a controller behind the gate of its bundle, if it has one, at a
            reading that passes. The engine's own calls and those of more rows pass none.
        pin_cpu: The core on which to stay while measuring; None for wherever the system puts it.
        seed: Seed of the observations, which are standard normal in raw units.
    """

    backends: tuple[Backend, ...] = (Backend.NUMPY, Backend.ONNX)
    num_calls: int = 20_000
    warm_up: int = 1_000
    rates_hz: tuple[int, ...] = (50, 100, 200, 500, 1000)
    paced_s: float = 2.0
    batches: tuple[int, ...] = (16, 256)
    under_load: bool = True
    gate: bool = True
    pin_cpu: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: If a value is out of range.
        """
        if not self.backends:
            raise InputError("backends must hold at least one")
        require_at_least(self, 1, "num_calls", most=_MOST_CALLS)
        require_at_least(self, 0, "warm_up", most=_MOST_CALLS)
        require_at_least(self, 0, "seed")
        if not all(1 <= rate <= MOST_AT_ONCE for rate in self.rates_hz):
            raise InputError(
                f"rates_hz must be at least 1 and at most {MOST_AT_ONCE} each, got {self.rates_hz}"
            )
        if not 0 < self.paced_s <= _LONGEST_S:
            raise InputError(
                f"paced_s must be positive and at most {_LONGEST_S:.0f}, got {self.paced_s}"
            )
        if not all(1 <= rows <= MOST_AT_ONCE for rows in self.batches):
            raise InputError(
                f"batches must be at least 1 and at most {MOST_AT_ONCE} each, got {self.batches}"
            )
        cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
        if self.pin_cpu is not None and self.pin_cpu not in cores:
            raise InputError(f"pin_cpu must be one of {sorted(cores)}, got {self.pin_cpu}")


QUICK_BENCH = BenchConfig(num_calls=10_000, warm_up=200, paced_s=0.4, under_load=False)
"""Four seconds per backend; the default takes half a minute."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Latencies:
    """Latencies of single calls, sorted, shape (n,), microseconds."""

    samples_us: Array

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.samples_us)

    def percentile_us(self, per_mille: int) -> float | None:
        """Return the smallest sample that at least ``per_mille`` / 1000 of all do not exceed.

        None if fewer than ten samples lie beyond it: then it says nothing about the tail.
        """
        rank = -(-self.n * per_mille // 1000)
        return float(self.samples_us[rank - 1]) if self.n - rank >= _MIN_BEYOND else None

    def misses(self, deadline_us: float) -> int:
        """Count the samples that exceed a deadline."""
        return int((self.samples_us > deadline_us).sum())

    def record(self) -> LatencyRecord:
        """Return number, percentiles and maximum."""
        return LatencyRecord(
            n=self.n,
            p50_us=self.percentile_us(500),
            p90_us=self.percentile_us(900),
            p99_us=self.percentile_us(990),
            p999_us=self.percentile_us(999),
            max_us=float(self.samples_us[-1]),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BackendLatency:
    """What was measured of one backend.

    Attributes:
        whole: Times from observation to action back to back, checks and copies included.
        inference: The engine's call alone, back to back.
        paced: Times from the scheduled release to the action, by rate in Hz.
        paced_under_load: The same while every core is busy; empty if not measured.
        batches: Whole calls of more rows, back to back, by number of rows.
        size_bytes: Size of the file that runs.
        memory_bytes: Growth of a process that loads it; None where unknown.
        warm_up: Number of calls that came first and were not measured.
    """

    whole: Latencies
    inference: Latencies
    paced: Mapping[int, Latencies]
    paced_under_load: Mapping[int, Latencies]
    batches: Mapping[int, Latencies]
    size_bytes: int
    memory_bytes: int | None
    warm_up: int

    def record(self) -> BackendRecord:
        """Return the entry of this backend in ``bench.json``."""
        whole = self.whole.record()
        return BackendRecord(
            n=whole.n,
            p50_us=whole.p50_us,
            p90_us=whole.p90_us,
            p99_us=whole.p99_us,
            p999_us=whole.p999_us,
            max_us=whole.max_us,
            inference=self.inference.record(),
            misses=_misses(self.paced),
            misses_under_load=_misses(self.paced_under_load),
            paced=_records(self.paced),
            paced_under_load=_records(self.paced_under_load),
            batches=_records(self.batches),
            size_bytes=self.size_bytes,
            memory_bytes=self.memory_bytes,
            warm_up=self.warm_up,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Benchmark:
    """What was measured on one machine.

    Attributes:
        backends: Results by backend.
        timer_floor_us: Latency of a call that does nothing in the same loop; not subtracted.
        machine: Machine of the measurement.
        gate: Reaction of the gate that the calls passed; None without one.
    """

    backends: Mapping[str, BackendLatency]
    timer_floor_us: float
    machine: Mapping[str, Json]
    gate: str | None = None

    def record(self, onnx_sha256: str) -> BenchRecord:
        """Return ``bench.json`` about the file of this digest."""
        return BenchRecord(
            backends={name: latency.record() for name, latency in self.backends.items()},
            timer_floor_us=self.timer_floor_us,
            machine=self.machine,
            onnx_sha256=onnx_sha256,
            gate=self.gate,
        )


@dataclass(frozen=True, slots=True, eq=False)
class TimedGate:
    """A gate behind which a controller is timed.

    Attributes:
        gate: The gate.
        reading: What every call reads, and the gate lets through, raw units, (1, obs_dim).
    """

    gate: Gate
    reading: Array

    def before(self, controller: CheckedController) -> GatedController:
        """Return a controller behind the gate; a gate that falls back is never asked to."""
        falls_back = self.gate.reaction is Reaction.FALLBACK
        rest = np.zeros(controller.num_outputs)
        return GatedController(
            controller.engine, self.gate, (lambda _: rest) if falls_back else None
        )


def run_benchmark(
    file: ControllerFile, config: BenchConfig, gate: TimedGate | None = None
) -> Benchmark:
    """Measure a controller file on each backend of the configuration, one after the other.

    Args:
        file: The controller file.
        config: How much is measured.
        gate: Gate behind which the calls are timed; None for none.

    Raises:
        MissingLibraryError: If a backend's library or device is not there.
    """
    for backend in config.backends:
        controller_of(file, backend)  # what is missing is told before anything is measured
    parts = []
    with _pinned(config.pin_cpu):
        for backend in config.backends:
            controller = controller_of(file, backend)
            memory = memory_bytes(file, backend)
            part = bench_controller(controller, config, memory_bytes=memory, gate=gate)
            parts.append(part)
    return Benchmark(
        backends={name: entry for part in parts for name, entry in part.backends.items()},
        timer_floor_us=max(part.timer_floor_us for part in parts),
        machine=parts[-1].machine,
        gate=None if gate is None else gate.gate.reaction.value,
    )


def bench_controller(
    controller: CheckedController,
    config: BenchConfig,
    *,
    memory_bytes: int | None = None,
    gate: TimedGate | None = None,
) -> Benchmark:
    """Measure the latency of one controller, on the machine as it is loaded now.

    Args:
        controller: Controller to time.
        config: How much.
        memory_bytes: Growth of a process that loads it, if the caller knows.
        gate: Gate behind which its calls are timed; None for none.

    Raises:
        CheckError: If the gate rejected a call.
    """
    draws = np.random.default_rng(config.seed).standard_normal((256, 1, controller.obs_dim))
    batches = list(draws.astype(np.float32))
    call: Callable[[Array], Array] = controller
    guarded = None if gate is None else gate.before(controller)
    if gate is not None and guarded is not None:
        batches, call = [gate.reading], partial(guarded, now_us=0)
    with _no_garbage_collection():
        for number in range(config.warm_up):
            call(batches[number % len(batches)])
        latency = BackendLatency(
            whole=back_to_back(call, batches, config.num_calls),
            inference=back_to_back(controller.engine.infer, batches, config.num_calls),
            paced=_at_all_rates(call, batches, config),
            paced_under_load=_under_load(call, batches, config),
            batches={rows: _in_batches(controller, rows, config) for rows in config.batches},
            size_bytes=controller.engine.size_bytes,
            memory_bytes=memory_bytes,
            warm_up=config.warm_up,
        )
        floor = back_to_back(lambda obs: obs, batches, config.num_calls)
    if guarded is not None and guarded.num_events:
        raise CheckError(f"the gate rejected what it was to let through: {guarded.events[-1]}")
    return Benchmark(
        backends={controller.name: latency},
        timer_floor_us=float(np.median(floor.samples_us)),
        machine=machine_facts(),
    )


def _misses(paced: Mapping[int, Latencies]) -> dict[str, int]:
    return {str(rate): latencies.misses(1e6 / rate) for rate, latencies in paced.items()}


def _records(latencies: Mapping[int, Latencies]) -> dict[str, LatencyRecord]:
    return {str(key): entry.record() for key, entry in latencies.items()}


def _at_all_rates(
    call: Callable[[Array], Array], batches: Sequence[Array], config: BenchConfig
) -> dict[int, Latencies]:
    return {
        rate: _paced(call, batches, rate, max(1, round(rate * config.paced_s)))
        for rate in config.rates_hz
    }


def _under_load(
    call: Callable[[Array], Array], batches: Sequence[Array], config: BenchConfig
) -> dict[int, Latencies]:
    if not config.under_load:
        return {}
    with busy_machine():
        return _at_all_rates(call, batches, config)


def _in_batches(controller: CheckedController, rows: int, config: BenchConfig) -> Latencies:
    """Time calls of ``rows`` observations, about as many observations in all as single ones."""
    rng = np.random.default_rng(config.seed)
    batches = list(rng.standard_normal((8, rows, controller.obs_dim)).astype(np.float32))
    controller(batches[0])
    return back_to_back(controller, batches, max(20, config.num_calls // rows))


def back_to_back(call: Callable[[Array], Array], batches: Sequence[Array], n: int) -> Latencies:
    """Time ``n`` calls in a row, each on the next batch."""
    clock = time.perf_counter_ns
    samples = np.empty(n)
    for number in range(n):
        batch = batches[number % len(batches)]
        start = clock()
        call(batch)
        samples[number] = clock() - start
    return Latencies(samples_us=np.sort(samples) / 1e3)


def _paced(
    call: Callable[[Array], Array], batches: Sequence[Array], rate_hz: int, n: int
) -> Latencies:
    """Time ``n`` calls released at a fixed rate, each from its scheduled release."""
    clock = time.perf_counter_ns
    samples = np.empty(n)
    period_ns = 1e9 / rate_hz
    start = clock() + period_ns
    for number in range(n):
        release = start + number * period_ns
        if (wait_ns := release - clock()) > 0:
            time.sleep(wait_ns / 1e9)
        call(batches[number % len(batches)])
        samples[number] = clock() - release
    return Latencies(samples_us=np.sort(samples) / 1e3)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keep Python's own pauses out of the measurement, as a control loop would."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def _pinned(cpu: int | None) -> Iterator[None]:
    """Stay on one core while the block runs."""
    if cpu is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
