"""How much memory a backend takes, its libraries included: measured in a process of its own."""

import subprocess
import sys
import tempfile
from pathlib import Path

from surefoot.onnx_file import ControllerFile

_CHILD = """
import os, sys
from pathlib import Path
from surefoot.onnx_file import policy_from_onnx
from surefoot.runtime.load import Backend, controller_of

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

file = policy_from_onnx(Path(sys.argv[1]).read_bytes())
before = resident()
controller = controller_of(file, Backend(sys.argv[2]))
print(resident() - before)
"""
_TIMEOUT_S = 120


def memory_bytes(file: ControllerFile, backend: str) -> int | None:
    """Return the growth of a process that loads a controller, None where it is unknown."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.onnx"
        path.write_bytes(file.data)
        command = [sys.executable, "-c", _CHILD, str(path), backend]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            return None
    return int(done.stdout) if done.returncode == 0 else None
