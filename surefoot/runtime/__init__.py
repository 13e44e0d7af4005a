"""What runs on the robot: a policy on NumPy, ONNX Runtime, TensorRT or generated C, without torch.

`load_controller` takes a verified bundle and a backend, and never another backend than that. What
the float32 arithmetic of every backend may change is bounded by `runtime_error`.
"""

from surefoot.runtime.arithmetic import ARITHMETIC, runtime_error
from surefoot.runtime.benchmark import (
    QUICK_BENCH,
    BenchConfig,
    Benchmark,
    TimedGate,
    bench_controller,
    run_benchmark,
)
from surefoot.runtime.benchmark_picture import draw_benchmark
from surefoot.runtime.c_source import CConfig
from surefoot.runtime.controller import CheckedController, Controller, OnBadObservation
from surefoot.runtime.controller_file import load_controller_file
from surefoot.runtime.gated import GatedController, passing_reading
from surefoot.runtime.load import Backend, controller_of, load_controller

__all__ = [
    "ARITHMETIC",
    "QUICK_BENCH",
    "Backend",
    "BenchConfig",
    "Benchmark",
    "CConfig",
    "CheckedController",
    "Controller",
    "GatedController",
    "OnBadObservation",
    "TimedGate",
    "bench_controller",
    "controller_of",
    "draw_benchmark",
    "load_controller",
    "load_controller_file",
    "passing_reading",
    "run_benchmark",
    "runtime_error",
]
