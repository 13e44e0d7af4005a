"""What a latency was measured on."""

import os
import platform
from pathlib import Path

from surefoot.artifact import Json
from surefoot.kernels import processor
from surefoot.provenance import installed_versions

_LIBRARIES = ("numpy", "onnxruntime", "onnxruntime-gpu")
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def machine_facts() -> dict[str, Json]:
    """Describe the machine on which a latency depends; None for what the system does not tell."""
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {
        "cpu": processor(),
        "num_cpus": os.cpu_count(),
        "affinity": affinity,
        "governor": _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "kernel": f"{platform.system()} {platform.release()}",
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "libraries": installed_versions(*_LIBRARIES),
        "threads": {"onnxruntime": 1, **{name: os.environ.get(name) for name in _THREAD_VARIABLES}},
    }


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
