"""Flash and stack that generated C takes, as compilers tell: of this machine and of a Cortex-M4.

Constants, RAM and multiply-adds are the generator's own and stand in ``policy.c.json``. Code and
stack depend on the compiler, so that they are no part of what ``verify`` derives again.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from surefoot.artifact import Json
from surefoot.errors import CheckError
from surefoot.runtime.c_compiler import find_compiler, run_compiler
from surefoot.runtime.c_source import SOURCE_FILE

_FLAGS = ("-std=c99", "-O2", "-ffp-contract=off")
_CORTEX_M4 = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")
_ALTERNATIVES = "layer_"
_RED_ZONE = 128
"""Bytes that the x86-64 ABI lets a leaf function use below its frame, unreported."""


def footprint(files: Mapping[str, bytes]) -> dict[str, Json]:
    """Compile generated C and return what it takes, by machine; None where it cannot be told.

    ``flash_bytes`` is code and constants. ``stack_bytes`` bounds the stack of any call: nothing
    recurses, so that no more than every frame at once can be there, of the layers the largest.

    Args:
        files: ``policy.c`` and ``policy.h``.

    Raises:
        MissingLibraryError: If there is no compiler for this machine.
    """
    here = _measured(files, find_compiler(), "size", ())
    if here is not None:
        here["stack_bytes"] += _RED_ZONE
    machines: dict[str, Json] = {"this machine": here}
    arm = shutil.which("arm-none-eabi-gcc")
    machines["cortex-m4"] = (
        None if arm is None else _measured(files, arm, "arm-none-eabi-size", _CORTEX_M4)
    )
    return machines


def _measured(
    files: Mapping[str, bytes], compiler: str, size: str, flags: tuple[str, ...]
) -> dict[str, Json] | None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        command = [compiler, *_FLAGS, *flags, "-fstack-usage", "-c", SOURCE_FILE, "-o", "policy.o"]
        try:
            run_compiler(command, folder)
        except CheckError:  # a compiler without -fstack-usage
            return None
        frames = _frames((folder / "policy.su").read_text(encoding="utf-8"))
        return {
            "compiler": _first_line(compiler, "--version"),
            "flags": [*_FLAGS, *flags],
            "flash_bytes": _text_size(shutil.which(size), folder / "policy.o"),
            "stack_bytes": _deepest(frames),
            "frames": dict(sorted(frames.items())),
        }


def _frames(text: str) -> dict[str, int]:
    """Return bytes of stack by function, from what -fstack-usage wrote."""
    rows = [line.split("\t") for line in text.splitlines()]
    return {place.rpartition(":")[2]: int(num_bytes) for place, num_bytes, _ in rows}


def _deepest(frames: Mapping[str, int]) -> int:
    layers = [size for name, size in frames.items() if name.startswith(_ALTERNATIVES)]
    others = [size for name, size in frames.items() if not name.startswith(_ALTERNATIVES)]
    return sum(others) + max(layers, default=0)


def _text_size(size: str | None, compiled: Path) -> int | None:
    if size is None:
        return None
    rows = subprocess.run([size, str(compiled)], capture_output=True, text=True, check=True).stdout
    text, data, *_ = rows.splitlines()[1].split()
    return int(text) + int(data)


def _first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]
