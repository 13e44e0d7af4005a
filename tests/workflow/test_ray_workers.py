"""A Ray cluster makes the cells that this machine makes, whichever of its nodes die.

The cluster is a real one: a head and a second node on this machine.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.studies import MAKER, TINY, grid_from
from surefoot.errors import InputError
from surefoot.study.cells import cells_of
from surefoot.study.store import CellStore
from surefoot.train.signals import StopRequest
from surefoot.workflow import ray_workers
from surefoot.workflow.cell_process import ELSEWHERE
from surefoot.workflow.ray_workers import RayWorkers, make_on_node
from surefoot.workflow.studying import open_study, run_study

cluster_utils = pytest.importorskip("ray.cluster_utils")

ONE_SEED = TINY.replace("[0, 1]", "[0]")


@pytest.fixture
def cluster() -> Iterator["cluster_utils.Cluster"]:
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield cluster
    cluster.shutdown()


# Ray leaves sockets and log files to the collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:.*:FutureWarning:ray")
def test_a_node_that_dies_in_the_middle_changes_no_cell(
    cluster: "cluster_utils.Cluster", tmp_path: Path
) -> None:
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    grid = tmp_path / "grid.toml"
    grid.write_text(ONE_SEED)
    study = open_study(grid, tmp_path / "ray")
    study.store.claim()
    workers = RayWorkers(study.store, cluster.address, StopRequest())
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(lambda: list(workers.make(study.cells())))
        while len(list(study.store.path.glob("work/*/surefoot.json"))) < 2:  # both are at work
            assert not made.done()
            time.sleep(0.05)
        cluster.remove_node(second, allow_graceful=False)
        outcomes = made.result()
    assert [outcome.failure for outcome in outcomes] == [None, None]

    local = tmp_path / "local"
    summary = run_study(grid, local)
    assert study.write() == summary
    for page in ("claims.md", "sweetspots.md"):
        assert (study.store.path / page).read_bytes() == (local / page).read_bytes()
    for policy in local.glob("cells/*/policy.onnx"):
        same = study.store.path / policy.relative_to(local)
        assert same.read_bytes() == policy.read_bytes()


def test_an_address_at_which_nobody_answers_is_one_line(tmp_path: Path) -> None:
    store = CellStore(tmp_path / "study")
    store.claim()
    grid = grid_from()
    cells = cells_of(grid, ["dense"], "select", MAKER)
    with pytest.raises(InputError, match="ray must be the address of a cluster that answers"):
        list(RayWorkers(store, "127.0.0.1:1", StopRequest()).make(cells))
    with pytest.raises(InputError, match="ray must be the address of a cluster that answers"):
        list(RayWorkers(store, "nonsense", StopRequest()).make(cells))


@pytest.mark.parametrize(
    ("codes", "attempts"), [([0], 1), ([2], 1), ([1, 1], 2), ([-9, 0], 2), ([ELSEWHERE, 0], 1)]
)
def test_a_node_tries_a_cell_as_often_as_this_machine_does(
    monkeypatch: pytest.MonkeyPatch, codes: list[int], attempts: int
) -> None:
    left = list(codes)
    monkeypatch.setattr(ray_workers, "_POLL_S", 0.0)
    monkeypatch.setattr(ray_workers, "_attempted", lambda *given: (left.pop(0), "said"))
    assert make_on_node("study", "a1") == (attempts, "said")
    assert left == []
