"""Which kernels compute: the same ones on every x86-64 processor that has AVX2 and FMA.

NumPy, OpenBLAS, PyTorch, MKL and oneDNN choose their kernels by the processor, and kernels round
differently: equal seeds train other policies on other processors. Each library documents an
environment variable that pins its choice, and reads it once, when it is loaded. The command line
calls :func:`pin_kernels` before it loads any of them; a program of one's own begins with

    import surefoot

    surefoot.pin_kernels()

and :func:`running_kernels` says whether that was in time. ``SUREFOOT_KERNELS=native`` leaves every
library its own choice. What the C library computes (sine, exponential) needs no pin: glibc has one
kind for all processors with FMA, unless its own ``GLIBC_TUNABLES`` hide them, which is said.

Where there is no switch, nothing that is to repeat is computed. ONNX Runtime has none: attacks are
played on NumPy. The square root of MKL's vectors refines an approximate instruction, which each
maker of processors defines for himself: AdamW is PyTorch's fused one, which takes exact roots.
"""

import ctypes
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from surefoot.cpuid import cpuid
from surefoot.errors import InputError

CHOICE_VARIABLE = "SUREFOOT_KERNELS"
"""``native`` in it leaves the kernels to the libraries; ``pinned``, or nothing, pins them."""

_CHOICES = ("pinned", "native")

SWITCHES = {
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENBLAS_NUM_THREADS": "1",
    "ATEN_CPU_CAPABILITY": "avx2",
    # MKL keeps its other branches to the processors of its own maker, and silently takes AUTO
    # elsewhere: oneMKL developer guide, "Getting Started with Conditional Numerical
    # Reproducibility". Where this one is slow, `surefoot.train.networks` uses NumPy.
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}
"""What the libraries are told, apart from NumPy, which is told `numpy_features`."""

_NUM_THREADS = "OPENBLAS_NUM_THREADS"
_NUMPY_SWITCH, _NUMPY_RIVAL = "NPY_ENABLE_CPU_FEATURES", "NPY_DISABLE_CPU_FEATURES"
_PINNED = {
    "openblas": ("Haswell",),
    "numpy": ("X86_V3", "FMA3 AVX2", "AVX2 FMA3"),
    "torch": ("AVX2",),
}
"""The kernels that run where the switches were read, as each library names them."""

_CORE_NAMES = tuple(
    f"{prefix}openblas_get_corename{suffix}" for prefix in ("scipy_", "") for suffix in ("64_", "")
)
"""What OpenBLAS calls the question for its core, by how it was built."""

_too_late: set[str] = set()
"""Libraries that had been loaded when they were to be pinned."""


@dataclass(frozen=True, slots=True)
class Kernels:
    """What computes in this process.

    Attributes:
        processor: Name of the processor.
        names: Kernels of each library that is loaded, as it names them; None where it does not
            tell. MKL, which is inside of PyTorch, tells nothing: its entry is what it was told.
        unpinned: Why they are not those of every processor with AVX2; None if they are.
    """

    processor: str
    names: Mapping[str, str | None]
    unpinned: str | None


def pin_kernels() -> None:
    """Let the libraries that are loaded from now on choose the kernels of AVX2.

    What the environment says otherwise is overruled: a result is not to depend on it. On a
    processor without AVX2 and FMA, outside of Linux, and where ``SUREFOOT_KERNELS`` is ``native``,
    the kernels are left alone, and BLAS is given one thread unless the environment says otherwise.

    Raises:
        InputError: If ``SUREFOOT_KERNELS`` is neither ``pinned`` nor ``native``.
    """
    native = _are_native()
    # The products here are small, and on a busy machine two threads of BLAS wait for each other up
    # to 60 times longer than one would work.
    os.environ.setdefault(_NUM_THREADS, "1")
    if native or not can_pin():
        return
    switches = SWITCHES | {_NUMPY_SWITCH: numpy_features()}
    if any(os.environ.get(name) != value for name, value in switches.items()):
        _too_late.update({"numpy", "torch"} & sys.modules.keys())
    os.environ.update(switches)
    os.environ.pop(_NUMPY_RIVAL, None)  # NumPy refuses to be given both


def running_kernels() -> Kernels:
    """Return the kernels of the libraries that are loaded.

    Raises:
        InputError: If ``SUREFOOT_KERNELS`` is neither ``pinned`` nor ``native``.
    """
    names: dict[str, str | None] = {}
    if "numpy" in sys.modules:
        names |= {"numpy": _numpy_target(), "openblas": _openblas_cores()}
    if (torch := sys.modules.get("torch")) is not None:
        told = None if "torch" in _too_late else os.environ.get("MKL_CBWR", "AUTO")
        names |= {"torch": torch.backends.cpu.get_cpu_capability(), "mkl": told}
    return Kernels(processor=processor(), names=names, unpinned=_unpinned(names))


def can_pin() -> bool:
    """Return True if kernels can be pinned on this processor: x86-64 with AVX2 and FMA.

    The kernel must have enabled them, and CPUID must show them to this program.
    """
    flags = {flag for key, value in _cpuinfo() if key == "flags" for flag in value.split()}
    if platform.machine() != "x86_64" or not {"avx2", "fma"} <= flags:
        return False
    answer = cpuid()
    return answer is None or answer.has_avx2_and_fma


def numpy_features() -> str:
    """Return the dispatched features of AVX2, as the installed NumPy calls them."""
    try:
        installed = metadata.version("numpy")
    except metadata.PackageNotFoundError:  # whoever imports it is told so
        return "X86_V3"
    version = tuple(int(part) for part in installed.split(".")[:2])
    return "X86_V3" if version >= (2, 4) else "SSSE3 SSE41 POPCNT SSE42 AVX F16C FMA3 AVX2"


def processor() -> str:
    """Return the name of the processor, or of its architecture where the system does not say.

    Where CPUID shows programs another processor, as under an emulator, both are named.
    """
    told = dict(_cpuinfo())
    if "model name" not in told:
        return platform.processor() or platform.machine()
    # Virtual machines often shorten the name.
    kind = f"family {told.get('cpu family')} model {told.get('model')}"
    name, answer = f"{told['model name']}, {kind}", cpuid()
    if answer is None or (shown := f"family {answer.family} model {answer.model}") == kind:
        return name
    return f"{name}; by CPUID {shown}"


def _are_native() -> bool:
    """Return True if the environment leaves the kernels to the libraries.

    Raises:
        InputError: If it says neither that nor the opposite.
    """
    choice = os.environ.get(CHOICE_VARIABLE) or "pinned"
    if choice not in _CHOICES:
        raise InputError(f"{CHOICE_VARIABLE} is one of {', '.join(_CHOICES)}, not {choice!r}")
    return choice == "native"


def _unpinned(names: Mapping[str, str | None]) -> str | None:
    if not can_pin():
        return f"this is {platform.machine()} on {platform.system()}, or without AVX2 and FMA"
    if _are_native():
        return f"{CHOICE_VARIABLE} is native"
    if "hwcaps" in os.environ.get("GLIBC_TUNABLES", ""):
        return "GLIBC_TUNABLES chooses other functions of the C library"
    wanted = _PINNED | {"mkl": (SWITCHES["MKL_CBWR"],)}
    others = [
        f"{name} {kernel}"
        for name, kernel in names.items()
        if kernel is not None and kernel not in wanted[name]
    ]
    if not others and not _too_late:
        return None
    late = f", loaded before they were pinned: {', '.join(sorted(_too_late))}" if _too_late else ""
    return f"kernels of this processor: {', '.join(others) or 'none that tells'}{late}"


def _cpuinfo() -> list[tuple[str, str]]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    first = text.partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return [(key.strip(), value.strip()) for key, _, value in pairs]


def _numpy_target() -> str | None:
    """Return the target of NumPy's tanh of float32, which has one for each step of the ISA."""
    introspect = getattr(sys.modules["numpy"].lib, "introspect", None)
    if introspect is None:
        return None
    return str(introspect.opt_func_info(func_name="^tanh$")["tanh"]["ff"]["current"])


def _openblas_cores() -> str | None:
    """Return the cores whose kernels are used by the OpenBLAS of NumPy and by that of SciPy."""
    loaded = {"numpy": "numpy", "scipy": "scipy.linalg"}
    cores = {_openblas_core(name) for name, user in loaded.items() if user in sys.modules}
    return ", ".join(sorted(core for core in cores if core is not None)) or None


def _openblas_core(package: str) -> str | None:
    """Ask the OpenBLAS that came with a package for the core whose kernels it uses."""
    folder = Path(sys.modules[package].__file__ or "").parents[1] / f"{package}.libs"
    for path in folder.glob("*openblas*"):
        library = ctypes.CDLL(str(path))
        for name in _CORE_NAMES:
            if (ask := getattr(library, name, None)) is not None:
                ask.restype = ctypes.c_char_p
                return str(ask().decode())
    return None
