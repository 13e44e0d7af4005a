"""A real local store of MLflow shows every cell once, however often it was stopped."""

from pathlib import Path

import numpy as np
import pytest

from support.studies import MAKER, cell_of, grid_from
from surefoot.errors import InputError
from surefoot.study.cell_record import CellRecord
from surefoot.study.cells import Cell, cells_of
from surefoot.workflow.mlflow_mirror import MlflowMirror

pytest.importorskip("sqlalchemy")
mlflow = pytest.importorskip("mlflow")

pytestmark = pytest.mark.filterwarnings("ignore")  # of MLflow and of what it loads


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/mlflow.db"


def cells(count: int) -> list[tuple[Cell, CellRecord]]:
    grid = grid_from()
    asked = cells_of(grid, grid.arms, "select", MAKER)[:count]
    return [(cell, cell_of([100.0 + number, 200.0])) for number, cell in enumerate(asked)]


def test_cells_are_shown_once_under_their_digests(uri: str) -> None:
    assert MlflowMirror(uri, "grid").show(cells(2)) == 2
    assert MlflowMirror(uri, "grid").show(cells(3)) == 1
    client = mlflow.MlflowClient(tracking_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name("grid").experiment_id])
    shown = {run.data.tags["surefoot.cell"]: run for run in runs}
    assert len(runs) == len(shown) == 3
    for cell, record in cells(3):
        run = shown[cell.digest]
        assert (run.info.run_name, run.data.params["arm"]) == (cell.name, cell.arm)
        assert run.data.params["train.seed"] == str(cell.seed)
        assert record.attack is not None
        assert run.data.metrics["clean"] == np.mean(record.attack.attacks["clean"].returns)
        assert run.info.status == "FINISHED"


def test_what_a_kill_left_of_a_cell_is_made_again(uri: str) -> None:
    ((cell, record),) = cells(1)
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("grid")
    client.create_run(experiment, tags={"surefoot.cell": cell.digest})
    assert MlflowMirror(uri, "grid").show([(cell, record)]) == 1
    (run,) = client.search_runs([experiment])
    assert run.info.status == "FINISHED"


def test_a_store_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mlflow must be a tracking store .* got 'nothing://x'"):
        MlflowMirror("nothing://x", "grid")
