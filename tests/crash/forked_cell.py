"""The process of one cell of a study, forked in place of a new Python that imports everything."""

import os
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from surefoot.workflow.cell_process import main as work_at_cell

_POLL_S = 0.01


class ForkedCell:
    """What `surefoot.workflow.cell_workers.CellProcess` is, without the start of a Python."""

    def __init__(self, store: Path, digest: str) -> None:
        """Start it."""
        stdin, self._held = os.pipe()
        self._told = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._status: int | None = None
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._held)
            _be_cell(store, digest, stdin, self._told.fileno())
        os.close(stdin)

    @property
    def has_ended(self) -> bool:
        """Whether it has ended."""
        if self._status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self._status = status if pid else None
        return self._status is not None

    @property
    def code(self) -> int:
        """Exit code; the negative number of a signal that killed it."""
        assert self._status is not None
        return os.waitstatus_to_exitcode(self._status)

    @property
    def error(self) -> str:
        """What it said."""
        self._told.seek(0)
        return self._told.read().decode()

    def stop(self) -> None:
        """Ask it to stop."""
        os.kill(self._pid, signal.SIGTERM)

    def wait(self) -> None:
        """Wait until it has ended."""
        while not self.has_ended:
            time.sleep(_POLL_S)
        self.close()

    def close(self) -> None:
        """Close the pipe and the file."""
        with suppress(OSError):
            os.close(self._held)
        self._told.close()


def _be_cell(store: Path, digest: str, stdin: int, told: int) -> NoReturn:
    """Work at a cell and end this process."""
    os.setsid()
    os.dup2(stdin, 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(told, 2)
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - ends with it
    code = 1
    try:
        code = work_at_cell(store, digest)
    finally:
        sys.stderr.flush()
        os._exit(code)
