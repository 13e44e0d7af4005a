"""The cells of a study as runs of MLflow: a mirror for whoever looks there, and never the truth.

A run goes by the digest of its cell. Nothing is read back but which cells are there.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from surefoot.artifact import Json
from surefoot.errors import InputError
from surefoot.study.cell_record import CellRecord
from surefoot.study.cells import Cell, settings_table
from surefoot.study.metrics import METRICS

_CELL = "surefoot.cell"
_MOST_METRICS, _MOST_PARAMS, _LONGEST = 1000, 100, 500
"""What MLflow takes in one request, and the longest parameter of every store."""


class MlflowMirror:
    """An experiment of an MLflow tracking store."""

    def __init__(self, uri: str, experiment: str) -> None:
        """Open a store, and the experiment in it; it is made if it is not there.

        Args:
            uri: Tracking store, such as ``sqlite:///mlflow.db`` or the address of a server.
            experiment: Name of the experiment.

        Raises:
            InputError: If the store does not answer.
        """
        # What MLflow tells its makers of its use is not ours to tell.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        self._uri = uri
        with self._asked():
            self._client = MlflowClient(tracking_uri=uri)
            found = self._client.get_experiment_by_name(experiment)
            self._experiment: str = (
                self._client.create_experiment(experiment) if found is None else found.experiment_id
            )

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Turn what MLflow says of a store into one line.

        Raises:
            InputError: If the store does not answer.
        """
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            said = " ".join(str(error).split())
            raise InputError(
                f"mlflow must be a tracking store that answers, got {self._uri!r}: {said}"
            ) from error

    def show(self, cells: Sequence[tuple[Cell, CellRecord]]) -> int:
        """Show cells, each once however often it is asked, and return how many are new.

        Raises:
            InputError: If the store does not answer any more.
        """
        with self._asked():
            new = [(cell, record) for cell, record in cells if not self._has(cell.digest)]
            for cell, record in new:
                self._add(cell, record)
        return len(new)

    def _has(self, digest: str) -> bool:
        """Return whether a cell is there; what a kill left of it is cleared."""
        asked = f"tags.`{_CELL}` = '{digest}'"
        runs = self._client.search_runs([self._experiment], asked)
        for run in runs:
            if run.info.status != "FINISHED":
                self._client.delete_run(run.info.run_id)
        return any(run.info.status == "FINISHED" for run in runs)

    def _add(self, cell: Cell, record: CellRecord) -> None:
        from mlflow.entities import Metric, Param

        tags = {_CELL: cell.digest, "mlflow.runName": cell.name}
        run = self._client.create_run(self._experiment, tags=tags).info.run_id
        params = [Param(key, value[:_LONGEST]) for key, value in _params(cell)]
        metrics = [Metric(key, value, 0, step) for key, value, step in _metrics(record)]
        for first in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(run, params=params[first : first + _MOST_PARAMS])
        for first in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(run, metrics=metrics[first : first + _MOST_METRICS])
        self._client.set_terminated(run)


def _params(cell: Cell) -> Iterator[tuple[str, str]]:
    """Yield what the cell is, by dotted key."""
    yield from (("arm", cell.arm), ("purpose", cell.purpose))
    yield from _leaves(settings_table(cell.settings), "")


def _leaves(table: Mapping[str, Json], before: str) -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", str(value)


def _metrics(record: CellRecord) -> Iterator[tuple[str, float, int]]:
    """Yield the metrics that claims have, and the curves by environment step."""
    for name, metric in METRICS.items():
        parts = metric.of(record)
        if parts is not None and len(parts) == 1:
            yield _named(name), float(parts[0].mean()), 0
    steps: Sequence[Any] = record.curve["step"]
    for name, column in record.curve.items():
        for step, value in zip(steps, column, strict=True):
            if name != "step" and value is not None:
                yield f"curve.{_named(name)}", value, int(step)


def _named(name: str) -> str:
    """Return a name that MLflow takes."""
    return name.replace("+", "-")
