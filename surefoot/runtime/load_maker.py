"""Work that keeps every core busy while something else is timed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_BUSY = "import os\nwhile os.getppid() == {parent}: sum(range(100000))"


@contextmanager
def busy_machine() -> Iterator[None]:
    """Run one busy process for each core while the block runs; they end with this process."""
    command = [sys.executable, "-I", "-c", _BUSY.format(parent=os.getpid())]
    running = [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()
