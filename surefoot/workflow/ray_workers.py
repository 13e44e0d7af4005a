"""Who makes the cells of a study on a Ray cluster: one task of Ray Core for each.

The cluster shares the folder of the study. Ray starts a task again on another node where one dies;
the cell goes on from its checkpoint.
"""

import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from surefoot.errors import InputError, InterruptedRun
from surefoot.study.cell_record import Failure
from surefoot.study.cells import Cell
from surefoot.study.store import CellStore
from surefoot.train.signals import StopRequest
from surefoot.workflow.cell_process import ELSEWHERE
from surefoot.workflow.cell_workers import ATTEMPTS, CellProcess, Outcome, ask_for

_POLL_S = 0.5
_ANSWER_S = 5.0
_NODE_LOSSES = 8
"""How many nodes a cell may lose before it counts as failed."""


class RayWorkers:
    """Tasks on a Ray cluster, each on one core of some node."""

    def __init__(self, store: CellStore, address: str, stop: StopRequest) -> None:
        """Use a cluster, which is joined while cells are made.

        Args:
            store: Where the cells go, a folder that every node has under the same path.
            address: Address of the cluster, host:port, or `auto`.
            stop: Whether a signal asked to stop.
        """
        self._store, self._address, self._stop = store, address, stop

    def make(self, cells: Iterable[Cell]) -> Iterator[Outcome]:
        """Make cells, see `CellWorkers`.

        Raises:
            InputError: If no cluster answers.
            InterruptedRun: If a signal asked to stop; what is finished of each cell is kept.
        """
        import ray

        _join(self._address)
        pending = {}
        try:
            task = ray.remote(num_cpus=1, max_retries=_NODE_LOSSES)(make_on_node)
            for cell in cells:
                ask_for(self._store, cell)
                pending[task.remote(str(self._store.path.resolve()), cell.digest)] = cell
            while pending:
                self._check()
                for ended in ray.wait(list(pending), timeout=_POLL_S)[0]:
                    yield self._outcome(pending.pop(ended), ended)
        finally:
            for left in pending:
                ray.cancel(left)
            ray.shutdown()

    def _check(self) -> None:
        """Check that the work is still wanted and has a place.

        Raises:
            InterruptedRun: If a signal asked to stop.
        """
        if self._stop.requested:
            raise InterruptedRun("what is finished of each cell is kept; the same command goes on")
        self._store.check_there()

    def _outcome(self, cell: Cell, ended: object) -> Outcome:
        """Return how a task ended; where its nodes died, the cell failed."""
        import ray

        try:
            attempts, error = ray.get(ended)
        except ray.exceptions.RayError as lost:
            attempts, error = _NODE_LOSSES + 1, " ".join(str(lost).split())
        if self._store.holds(cell.digest):
            return Outcome(cell, None)
        return Outcome(cell, Failure(error=error, attempts=attempts))


def _join(address: str) -> None:
    """Join a cluster.

    Raises:
        InputError: If nobody answers at the address.
    """
    import ray

    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (OSError, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise InputError(
            f"ray must be the address of a cluster that answers, got {address!r}: {said}"
        ) from error


def _knock(address: str) -> None:
    """Check that somebody listens at host:port, which Ray itself tries for minutes.

    Raises:
        OSError: If nobody does.
        ValueError: If it has no port.
    """
    if address != "auto":
        host, _, port = address.removeprefix("ray://").rpartition(":")
        socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()


def make_on_node(folder: str, digest: str) -> tuple[int, str]:
    """Make a cell on the node that this runs on.

    Args:
        folder: The study.
        digest: The cell.

    Returns:
        Number of attempts, and what the last one said.
    """
    attempt = 1
    while True:
        code, error = _attempted(Path(folder), digest)
        if code == ELSEWHERE:  # what a lost node left is still ending
            time.sleep(_POLL_S)
        elif code in (0, InputError.exit_code) or attempt == ATTEMPTS:
            return attempt, error
        else:
            attempt += 1


def _attempted(folder: Path, digest: str) -> tuple[int, str]:
    """Return the exit code of one attempt, and what it said last."""
    process = CellProcess(folder, digest)
    try:
        while not process.has_ended:
            time.sleep(_POLL_S)
        return process.code, process.error
    finally:
        process.stop()
        process.wait()
