"""What a result was made by: the code, so that results of two codes are never mixed."""

from pathlib import Path

from surefoot.artifact import read_file, sha256_hex


def code_digest() -> str:
    """Return the SHA-256 of the whole package, every module by its place and its bytes.

    A version does not change with every commit, and results of two codes do not compare. Records
    older than version 0.2 hold a digest of some of the stages alone.
    """
    root = Path(__file__).parent
    files = sorted(root.rglob("*.py"))
    lines = [f"{file.relative_to(root).as_posix()} {sha256_hex(read_file(file))}" for file in files]
    return sha256_hex("\n".join(lines).encode())
