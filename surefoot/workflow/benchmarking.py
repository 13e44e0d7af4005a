"""Benchmarking: how fast a deployed controller runs here, and how often it misses its deadline."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from surefoot.artifact import write_file
from surefoot.errors import InputError
from surefoot.onnx_file import ControllerFile
from surefoot.output_path import BENCH, check_result_and_picture
from surefoot.records import BenchRecord
from surefoot.runtime import (
    Backend,
    BenchConfig,
    TimedGate,
    controller_of,
    draw_benchmark,
    passing_reading,
    run_benchmark,
)
from surefoot.workflow.drawing import write_picture
from surefoot.workflow.listener import SILENCE, Listener
from surefoot.workflow.opening import Deployed, open_deployed


def benchmark_controller(
    bundle: Path,
    out: Path,
    *,
    config: BenchConfig | None = None,
    every_backend: bool = False,
    allow_uncertified: bool = False,
    output: str | None = None,
    listener: Listener = SILENCE,
) -> BenchRecord:
    """Time a bundle's controller; write ``bench.json``, and its picture beside it.

    Args:
        bundle: A bundle; with ``allow_uncertified`` a run, a policy folder or an ``.onnx`` file.
        out: The record, a JSON file.
        config: Configuration of the benchmark.
        every_backend: Time every backend that runs here instead of those of ``config``.
        allow_uncertified: Time what is not certified, too.
        output: Output of a foreign file that holds the actions, if it has several outputs.
        listener: Is told which backends do not run here, and whether a gate is left out.

    Raises:
        InputError: If the path holds no controller, or ``out`` cannot be written.
        MissingLibraryError: If the library or the device of a backend is not there.
        VerificationError: If the bundle does not verify.
    """
    target = open_deployed(bundle, listener, allow_uncertified=allow_uncertified, output=output)
    return benchmark_deployed(
        target, out, config or BenchConfig(), every_backend=every_backend, listener=listener
    )


def benchmark_deployed(
    target: Deployed,
    out: Path,
    config: BenchConfig,
    *,
    every_backend: bool,
    listener: Listener,
) -> BenchRecord:
    """Time a controller that was opened, see :func:`benchmark_controller`.

    Raises:
        InputError: If ``out`` cannot be written.
        MissingLibraryError: If the library or the device of a backend is not there.
    """
    check_result_and_picture(out, BENCH)
    file, gate = target.file, _timed_gate(target) if config.gate else None
    if target.gate is not None and gate is None:
        why = ", since no known reading passes it" if config.gate else ""
        listener.remark(f"the gate is left out{why}; what follows is of the controller")
    if every_backend:
        config = replace(config, backends=_at_hand(file, listener))
    record = run_benchmark(file, config, gate).record(file.sha256)
    write_file(out, record.to_json())
    write_picture(out, lambda: draw_benchmark(record), listener)
    return record


def _timed_gate(target: Deployed) -> TimedGate | None:
    """Return the gate of a controller with a reading that passes it, None where none is known."""
    if target.gate is None:
        return None
    policy, ends = target.file.policy, target.gate.box
    tried = [np.clip(policy.normaliser.mean, *ends)[None]]
    tried += [] if target.recorded is None else [target.recorded]
    reading = passing_reading(policy, target.gate, np.concatenate(tried))
    return None if reading is None else TimedGate(target.gate, reading)


def _at_hand(file: ControllerFile, listener: Listener) -> tuple[Backend, ...]:
    """Return every backend that runs here; say of the others what they lack."""
    found = []
    for backend in Backend:
        try:
            controller_of(file, backend)
            found.append(backend)
        except InputError as error:
            listener.remark(f"no {backend}: {error}")
    return tuple(found)
