"""What a result was made by: code, processor and kernels, so that results are never mixed."""

import platform
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from surefoot.artifact import read_file, sha256_hex
from surefoot.kernels import running_kernels
from surefoot.version import __version__

_LIBRARIES = ("gymnasium", "mujoco", "numpy", "onnx", "onnxruntime", "scipy", "torch")
"""Libraries that compute something of a result."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeOn:
    """What computes in a process.

    Attributes:
        processor: Name of the processor, its family and model.
        kernels: Kernels of each library that is loaded; None where it does not tell.
        unpinned: Why they are not those of every processor with AVX2. None if they are: then the
            bits of a result do not depend on the processor.
        libc: The C library.
        versions: Versions of Python, surefoot and the installed libraries that compute; none in
            the first records that name a processor.
    """

    processor: str
    kernels: Mapping[str, str | None]
    unpinned: str | None
    libc: str
    versions: Mapping[str, str] = field(default_factory=dict)


def code_digest(*, without: Collection[str] = ()) -> str:
    """Return the SHA-256 of the whole package, every module by its place and its bytes.

    A version does not change with every commit, and results of two codes do not compare. Records
    older than version 0.2 hold a digest of some of the stages alone.

    Args:
        without: Subpackages that the result cannot depend on, because nothing that makes it may
            import them.
    """
    root = Path(__file__).parent
    files = sorted(
        file for file in root.rglob("*.py") if file.relative_to(root).parts[0] not in without
    )
    lines = [f"{file.relative_to(root).as_posix()} {sha256_hex(read_file(file))}" for file in files]
    return sha256_hex("\n".join(lines).encode())


def made_on() -> MadeOn:
    """Return what computes here; the kernels are those of the libraries that are loaded by now."""
    kernels = running_kernels()
    own = {"python": platform.python_version(), "surefoot": __version__}
    return MadeOn(
        processor=kernels.processor,
        kernels=dict(kernels.names),
        unpinned=kernels.unpinned,
        libc=" ".join(platform.libc_ver()),
        versions=own | installed_versions(*_LIBRARIES),
    )


def installed_versions(*distributions: str) -> dict[str, str]:
    """Return the versions of distributions, by name, without those that are not installed."""
    found = {}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
