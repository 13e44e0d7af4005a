"""Compiles generated C into a shared library, once, and keeps it in a cache of the user's own.

The key is the digest of the text, the flags, the compiler's version and the processor; a library is
moved into place whole, so that processes which compile the same at once do not meet.
"""

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from surefoot.artifact import read_file, sha256_hex, to_json
from surefoot.errors import CheckError, InputError, MissingLibraryError

# Contraction would change the last bits and void the self-test; -fno-trapping-math changes no
# value, it lets gcc vectorise comparisons.
FLAGS = ("-std=c99", "-O3", "-march=native", "-ffp-contract=off", "-fno-trapping-math")
_SHARED = ("-shared", "-fPIC")


def find_compiler() -> str:
    """Return the path of the C compiler: ``$CC``, else cc, gcc or clang.

    Raises:
        MissingLibraryError: If there is none.
    """
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and (path := shutil.which(name)):
            return path
    raise MissingLibraryError("backend c needs a C compiler: install gcc or clang, or set CC")


def compile_library(files: Mapping[str, bytes], main: str) -> Path:
    """Return the shared library of C files, from the cache or compiled now.

    Args:
        files: Name to content.
        main: The one that is compiled; it includes the others.

    Raises:
        MissingLibraryError: If there is no compiler.
        CheckError: If the compiler refuses the files.
        InputError: If the cache cannot be written, or is not the user's own.
    """
    compiler = find_compiler()
    texts = {name: sha256_hex(data) for name, data in files.items()}
    key = sha256_hex(to_json([texts, main, FLAGS, _version(compiler), _processor()]))
    folder = cache_folder()
    library = folder / f"{key}.so"
    if not library.is_file():
        try:
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                for name, data in files.items():
                    (Path(scratch) / name).write_bytes(data)
                run_compiler([compiler, *FLAGS, *_SHARED, main, "-o", "out.so"], Path(scratch))
                (Path(scratch) / "out.so").replace(library)
        except OSError as error:
            raise InputError(f"cannot write the cache {folder}: {error.strerror}") from error
    return library


def run_compiler(command: list[str], folder: Path) -> None:
    """Run a compiler in a folder.

    Raises:
        CheckError: If it fails; the message has its first line.
    """
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or "no message").splitlines()[0]
        raise CheckError(f"{command[0]} cannot compile the generated C: {reason}")


def cache_folder() -> Path:
    """Return the cache folder of compiled code, which only its owner may write.

    Raises:
        InputError: If it cannot be made, or belongs to somebody else.
    """
    folder = _cache_place()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()  # of a link that somebody left in its place it is another one's
    except OSError as error:
        raise InputError(
            f"cannot make the cache {folder} (set XDG_CACHE_HOME): {error.strerror}"
        ) from error
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise InputError(f"cache {folder} must be writable by its owner alone, and owned by you")
    return folder


def _cache_place() -> Path:
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return (Path(base) / "surefoot").resolve()
    except RuntimeError:  # a user id that no entry of passwd names, as containers have
        return Path(tempfile.gettempdir()).resolve() / f"surefoot-{os.getuid()}"


def _version(compiler: str) -> str:
    done = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    return f"{compiler} {done.stdout.splitlines()[:1]}"


def _processor() -> str:
    """Describe the processor, on which -march=native depends; machines may share a cache."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        return platform.machine() + platform.processor()
    lines = {
        line
        for line in read_file(cpuinfo.resolve()).decode(errors="replace").splitlines()
        if line.partition(":")[0].strip() in ("model name", "flags", "Features", "CPU part")
    }
    return platform.machine() + "".join(sorted(lines))
