"""Who makes the cells of a study: processes on this machine, each of one thread."""

import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from surefoot.artifact import write_file
from surefoot.atomic import make_folders
from surefoot.config import to_toml
from surefoot.errors import InputError, InterruptedRun
from surefoot.study.cell_record import Failure
from surefoot.study.cells import Cell, settings_table
from surefoot.study.store import CellStore
from surefoot.train.signals import StopRequest
from surefoot.workflow.cell_process import ELSEWHERE

ATTEMPTS = 2
"""How often a cell is tried: what a full memory brings down, a second attempt may finish."""

_POLL_S = 0.1
_ELSEWHERE_S = 2.0
"""How often a cell is looked at again that another process works at."""

_STOP_S = 60.0
"""How long a process may take to write its checkpoint before it is killed."""

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the work at a cell ended.

    Attributes:
        cell: The cell.
        failure: Why there is none; None if it is done.
    """

    cell: Cell
    failure: Failure | None


class CellWorkers(Protocol):
    """Whoever makes cells."""

    def make(self, cells: Iterable[Cell]) -> Iterator[Outcome]:
        """Make cells and tell of each as it ends, in any order.

        Raises:
            InterruptedRun: If a signal asked to stop; what is finished of each cell is kept.
        """


@dataclass(slots=True)
class _Try:
    """An attempt at a cell.

    Attributes:
        cell: The cell.
        number: Number of the attempt, from 1.
        not_before: Monotonic time at which it may begin.
    """

    cell: Cell
    number: int = 1
    not_before: float = 0.0


class LocalWorkers:
    """Processes on this machine, one for each cell and as many at once as there are jobs."""

    def __init__(self, store: CellStore, jobs: int, stop: StopRequest) -> None:
        """Use a store.

        Args:
            store: Where the cells go.
            jobs: Processes side by side.
            stop: Whether a signal asked to stop.
        """
        self._store = store
        self._jobs = jobs
        self._stop = stop
        self._waiting: deque[_Try] = deque()
        self._running: list[tuple[_Try, CellProcess]] = []

    def make(self, cells: Iterable[Cell]) -> Iterator[Outcome]:
        """Make cells, see `CellWorkers`."""
        self._waiting.extend(_Try(cell) for cell in cells)
        try:
            while self._waiting or self._running:
                self._check()
                yield from self._start()
                yield from self._finished()
                time.sleep(_POLL_S)
        finally:
            self._end()

    def _check(self) -> None:
        """Check that the work is still wanted and has a place.

        Raises:
            InterruptedRun: If a signal asked to stop.
        """
        if self._stop.requested:
            raise InterruptedRun("what is finished of each cell is kept; the same command goes on")
        self._store.check_there()

    def _start(self) -> Iterator[Outcome]:
        """Start what may begin; tell of what another process has finished by now."""
        for _ in range(len(self._waiting)):
            attempt = self._waiting.popleft()
            if self._store.holds(attempt.cell.digest):
                yield Outcome(attempt.cell, None)
            elif len(self._running) < self._jobs and time.monotonic() >= attempt.not_before:
                ask_for(self._store, attempt.cell)
                process = CellProcess(self._store.path, attempt.cell.digest)
                self._running.append((attempt, process))
            else:
                self._waiting.append(attempt)

    def _finished(self) -> Iterator[Outcome]:
        """Tell of the processes that ended; what may go better is tried again."""
        ended = [(attempt, process) for attempt, process in self._running if process.has_ended]
        for attempt, process in ended:
            self._running.remove((attempt, process))
            outcome = self._outcome(attempt, process)
            process.close()
            if outcome is not None:
                yield outcome

    def _outcome(self, attempt: _Try, process: "CellProcess") -> Outcome | None:
        """Return how an attempt ended; None if the cell is tried again."""
        cell, code = attempt.cell, process.code
        if self._store.holds(cell.digest):
            return Outcome(cell, None)
        if code == ELSEWHERE:
            self._waiting.append(_Try(cell, attempt.number, time.monotonic() + _ELSEWHERE_S))
            return None
        # What is wrong with the input is so every time.
        if code != InputError.exit_code and attempt.number < ATTEMPTS:
            self._waiting.append(_Try(cell, attempt.number + 1))
            return None
        return Outcome(cell, Failure(error=process.error, attempts=attempt.number))

    def _end(self) -> None:
        """Ask every process to stop, and wait until it has written what it must."""
        for _, process in self._running:
            process.stop()
        for _, process in self._running:
            process.wait()
        self._running.clear()
        self._waiting.clear()


def ask_for(store: CellStore, cell: Cell) -> None:
    """Write down the settings of a cell, for the process that is to make it."""
    request = store.request(cell.digest)
    make_folders(request.parent)
    write_file(request, to_toml(settings_table(cell.settings)).encode())


class CellProcess:
    """A process that works at one cell."""

    def __init__(self, store: Path, digest: str) -> None:
        """Start it.

        Args:
            store: Folder of the study.
            digest: The cell, which was asked for.
        """
        self._told: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._process = subprocess.Popen(
            [sys.executable, "-m", "surefoot.workflow.cell_process", str(store), digest],
            env=os.environ | _ONE_THREAD,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._told,
            start_new_session=True,  # Ctrl-C is for the study, which asks the process once
        )

    @property
    def has_ended(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    @property
    def code(self) -> int:
        """Exit code; the negative number of a signal that killed it."""
        return self._process.returncode

    @property
    def error(self) -> str:
        """What it said last, or what ended it."""
        if self.code < 0:
            return f"killed by signal {-self.code}"
        self._told.seek(0)
        lines = self._told.read().decode(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), f"exit code {self.code}")

    def stop(self) -> None:
        """Ask it to stop."""
        self._process.terminate()

    def wait(self) -> None:
        """Wait until it has ended; kill it if that takes too long."""
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.close()

    def close(self) -> None:
        """Close the pipe and the file."""
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        self._told.close()
