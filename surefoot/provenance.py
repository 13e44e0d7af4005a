"""What a result was made by: code, processor and kernels, so that results are never mixed."""

import platform
from pathlib import Path

from surefoot.artifact import Json, read_file, sha256_hex
from surefoot.kernels import running_kernels


def code_digest() -> str:
    """Return the SHA-256 of the whole package, every module by its place and its bytes.

    A version does not change with every commit, and results of two codes do not compare. Records
    older than version 0.2 hold a digest of some of the stages alone.
    """
    root = Path(__file__).parent
    files = sorted(root.rglob("*.py"))
    lines = [f"{file.relative_to(root).as_posix()} {sha256_hex(read_file(file))}" for file in files]
    return sha256_hex("\n".join(lines).encode())


def made_on() -> dict[str, Json]:
    """Describe what computes here: processor, kernels, C library.

    Returns:
        ``unpinned`` says why the kernels are not those of every processor with AVX2; it is None if
        they are, and then the bits of a result do not depend on the rest.
    """
    kernels = running_kernels()
    return {
        "processor": kernels.processor,
        "kernels": dict(kernels.names),
        "unpinned": kernels.unpinned,
        "libc": " ".join(platform.libc_ver()),
    }
