"""How long one action takes: back to back, and paced at the rates at which robots are controlled.

Percentiles are order statistics (nearest rank, never interpolated) of batch 1, and are None where
fewer than ten samples lie beyond them. A paced latency is counted from the scheduled release, so
that a late wake-up is charged for its delay; a deadline is missed when it exceeds the period.
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from surefoot.artifact import Json
from surefoot.errors import InputError
from surefoot.onnx_format import ControllerFile
from surefoot.policy import Array
from surefoot.runtime.controller import CheckedController
from surefoot.runtime.load import Backend, controller_of
from surefoot.runtime.machine import machine_facts

_PER_MILLE = {"p50_us": 500, "p90_us": 900, "p99_us": 990, "p999_us": 999}
_MIN_BEYOND = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchConfig:
    """How much is measured.

    Attributes:
        backends: What is measured, one after the other.
        num_calls: Calls back to back, after the warm-up; 10,000 are needed for p99.9.
        warm_up: Calls before them that are not measured.
        rates_hz: Control rates of the paced loops.
        paced_s: Time that the loop at each rate takes.
        seed: Of the observations, which are standard normal in raw units.
    """

    backends: tuple[Backend, ...] = (Backend.NUMPY, Backend.ONNX)
    num_calls: int = 20_000
    warm_up: int = 1_000
    rates_hz: tuple[int, ...] = (50, 100, 200, 500, 1000)
    paced_s: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: If a value is out of range.
        """
        if not self.backends:
            raise InputError("backends must hold at least one")
        if self.num_calls < 1:
            raise InputError(f"num_calls must be at least 1, got {self.num_calls}")
        if self.warm_up < 0:
            raise InputError(f"warm_up must not be negative, got {self.warm_up}")
        if any(rate < 1 for rate in self.rates_hz):
            raise InputError(f"rates_hz must be at least 1 each, got {self.rates_hz}")
        if not self.paced_s > 0:
            raise InputError(f"paced_s must be positive, got {self.paced_s}")


QUICK_BENCH = BenchConfig(num_calls=10_000, warm_up=200, paced_s=0.4)
"""Three seconds per backend; the default takes a quarter of a minute."""


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
        """Return how many samples exceed a deadline."""
        return int((self.samples_us > deadline_us).sum())

    def to_table(self) -> dict[str, Json]:
        """Return n, percentiles and maximum by their JSON keys."""
        percentiles = {key: self.percentile_us(value) for key, value in _PER_MILLE.items()}
        return {"n": self.n, **percentiles, "max_us": float(self.samples_us[-1])}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BackendLatency:
    """What was measured of one backend.

    Attributes:
        whole: From observation to action back to back, checks and copies included.
        inference: The engine's call alone, back to back.
        paced: From the scheduled release to the action, by rate in Hz.
        size_bytes: Size of the file that runs.
        warm_up: Number of calls that came first and were not measured.
    """

    whole: Latencies
    inference: Latencies
    paced: Mapping[int, Latencies]
    size_bytes: int
    warm_up: int

    def to_table(self) -> dict[str, Json]:
        """Return the entry of this backend in ``bench.json``."""
        misses = {str(rate): paced.misses(1e6 / rate) for rate, paced in self.paced.items()}
        return {
            **self.whole.to_table(),
            "inference": self.inference.to_table(),
            "misses": misses,
            "paced": {str(rate): paced.to_table() for rate, paced in self.paced.items()},
            "size_bytes": self.size_bytes,
            "warm_up": self.warm_up,
            "batch": 1,
        }


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Benchmark:
    """What was measured on one machine.

    Attributes:
        backends: By name.
        timer_floor_us: What the same loop says about a call that does nothing; not subtracted.
        machine: What it ran on.
    """

    backends: Mapping[str, BackendLatency]
    timer_floor_us: float
    machine: Mapping[str, Json]

    def to_table(self) -> dict[str, Json]:
        """Return ``bench.json``."""
        return {
            "backends": {name: latency.to_table() for name, latency in self.backends.items()},
            "timer_floor_us": self.timer_floor_us,
            "machine": dict(self.machine),
        }


def run_benchmark(file: ControllerFile, config: BenchConfig) -> Benchmark:
    """Measure a controller file on each backend of the configuration, one after the other.

    Raises:
        MissingLibraryError: If a backend's library or device is not there.
    """
    controllers = [controller_of(file, backend) for backend in config.backends]
    parts = [bench_controller(controller, config) for controller in controllers]
    return Benchmark(
        backends={name: entry for part in parts for name, entry in part.backends.items()},
        timer_floor_us=max(part.timer_floor_us for part in parts),
        machine=parts[-1].machine,
    )


def bench_controller(controller: CheckedController, config: BenchConfig) -> Benchmark:
    """Measure the latency of one controller at batch 1, on the machine as it is loaded now."""
    draws = np.random.default_rng(config.seed).standard_normal((256, 1, controller.obs_dim))
    batches = list(draws.astype(np.float32))
    with _no_garbage_collection():
        for number in range(config.warm_up):
            controller(batches[number % len(batches)])
        latency = BackendLatency(
            whole=back_to_back(controller, batches, config.num_calls),
            inference=back_to_back(controller.engine.infer, batches, config.num_calls),
            paced={
                rate: _paced(controller, batches, rate, max(1, round(rate * config.paced_s)))
                for rate in config.rates_hz
            },
            size_bytes=controller.engine.size_bytes,
            warm_up=config.warm_up,
        )
        floor = back_to_back(lambda obs: obs, batches, config.num_calls)
    return Benchmark(
        backends={controller.name: latency},
        timer_floor_us=float(np.median(floor.samples_us)),
        machine=machine_facts(),
    )


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
