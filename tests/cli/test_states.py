"""States of one's own from the command line: certified, compressed with, or refused in one line.

Also of ``workflow/recorded_states.py``.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from support.command_line import Done, run_pipeline
from support.onnx_graphs import Graph
from support.small_bundle import small_bundle
from surefoot.artifact import Json, write_artifact
from surefoot.budget import Budget
from surefoot.certificate import Certificate
from surefoot.certify import check_certificate
from surefoot.recordings import Sensors, StatesFile
from surefoot.runtime.controller_file import load_controller_file
from surefoot.visited import VISITED_FILE

BUDGET = """
[[require]]
quantity = "action_deviation"
epsilon = 0.01
norm = "linf"
scope = "recorded"
at_most = 0.5

[[require]]
quantity = "action_deviation"
epsilon = 0.01
norm = "linf"
scope = "visited"
fraction = 0.9
confidence = 0.9
at_most = 0.5
"""
COLUMNS = ("height", "pitch", "roll", "hip", "knee")
EFFORT = ("--set", "certify.lipsdp_iterations=5", "--set", "certify.search_states=8")


@pytest.fixture(name="controller")
def _controller(tmp_path: Path) -> Path:
    """A controller of another maker, without a clip, a noise or states."""
    rng = np.random.default_rng(0)
    graph = Graph()
    hidden = graph.node("Tanh", graph.dense("obs", 0.4 * rng.normal(size=(16, 5))))
    actions = graph.node("Tanh", graph.dense(hidden, 0.4 * rng.normal(size=(2, 16))))
    model = graph.model({actions: ("N", 2)}, {"obs": ("N", 5)})
    onnx.save(model, tmp_path / "actor.onnx")
    (tmp_path / "budget.toml").write_text(BUDGET)
    return tmp_path / "actor.onnx"


@pytest.fixture(name="log")
def _log(tmp_path: Path) -> Path:
    rows = np.random.default_rng(1).normal(0, 1, (200, 5))
    lines = [",".join(["run", "time", *COLUMNS])]
    lines += [
        f"trial {k // 4},{0.02 * k:.2f},{','.join(map(repr, row))}"
        for k, row in enumerate(rows.tolist())
    ]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    return tmp_path / "log.csv"


def certified(controller: Path, *arguments: object) -> tuple[Done, Json]:
    out = controller.parent / "certificate.json"
    budget = controller.parent / "budget.toml"
    done = run_pipeline(
        "certify", controller, "--budget", budget, "--out", out, *EFFORT, *arguments
    )
    return done, json.loads(out.read_text()) if out.is_file() else None


def test_recorded_states_prove_what_needs_no_statistics(controller: Path, log: Path) -> None:
    done, certificate = certified(controller, "--states", log, "--columns", ",".join(COLUMNS))
    assert done.code == 4, done.err
    recorded, visited = certificate["requirements"]
    assert recorded["verdict"] == "PROVED"
    assert "at each of 200 recorded states" in recorded["reason"]
    assert not recorded["statistical"]
    assert visited["verdict"] == "UNKNOWN"


def test_an_episode_column_proves_what_is_said_of_visited_states(
    controller: Path, log: Path
) -> None:
    states = ("--states", log, "--columns", ",".join(COLUMNS), "--episode-column", "run")
    done, certificate = certified(controller, *states, "--explain")
    assert done.code == 0, done.err
    assert "in every recorded state" in done.out
    assert "draws one state per episode" in done.out
    recorded, visited = certificate["requirements"]
    assert recorded["verdict"] == visited["verdict"] == "PROVED"
    assert "50 of 50 states hold the limit" in visited["reason"]
    assert certificate["proof"]["evidence"]["num_observations"] == 50
    assert certificate["proof"]["evidence"]["num_recorded"] == 200


LATE = """
[[require]]
quantity = "action_deviation"
perturb = { all = { delay = 2 } }
scope = "recorded"
at_most = 2.5
"""
SHEET = """
[[sensor]]
name = "body"
count = 5
unit = "1"

[[actuator]]
name = "hips"
count = 2
unit = "N m"
"""


def test_late_readings_need_to_be_told_apart_by_their_episodes(
    controller: Path, log: Path, tmp_path: Path
) -> None:
    (tmp_path / "budget.toml").write_text(LATE)
    (tmp_path / "robot.toml").write_text(SHEET)
    known = ("--robot", tmp_path / "robot.toml", "--states", log, "--columns", ",".join(COLUMNS))
    done, certificate = certified(controller, *known)
    (late,) = certificate["requirements"]
    assert (done.code, late["verdict"]) == (4, "UNKNOWN")
    assert "--episode-column NAME" in late["reason"]
    done, certificate = certified(controller, *known, "--episode-column", "run")
    (late,) = certificate["requirements"]
    assert (done.code, late["verdict"]) == (0, "PROVED"), done.err
    assert late["requirement"]["on_robot"]["delays"] == [2] * 5


def test_the_checker_proves_claims_about_a_log_again_from_the_log(
    controller: Path, log: Path
) -> None:
    states = ("--states", log, "--columns", ",".join(COLUMNS), "--episode-column", "run")
    _, table = certified(controller, *states)
    certificate = Certificate.parse((controller.parent / "certificate.json").read_bytes())
    assert certificate.budget == Budget.parse(BUDGET)
    visited = StatesFile(path=log, columns=COLUMNS, episode_column="run").read(Sensors(count=5))
    report = check_certificate(
        certificate,
        load_controller_file(controller),
        observations=visited.independent,
        recorded=visited.recorded,
    )
    assert report.proved == (0, 1)
    assert table["verdict"] == "PROVED"


def test_a_person_is_told_which_column_was_taken_for_which_sensor(
    controller: Path, tmp_path: Path
) -> None:
    columns = np.random.default_rng(1).normal(0, 1, (8, 5))
    np.savetxt(tmp_path / "five.csv", columns, delimiter=",", header="a,b,c,d,e", comments="")
    done, _ = certified(controller, "--states", tmp_path / "five.csv")
    assert "sensor 0 = a, sensor 1 = b, sensor 2 = c, sensor 3 = d, sensor 4 = e" in done.err


def test_compress_takes_the_same_files(controller: Path, log: Path, tmp_path: Path) -> None:
    done = run_pipeline(
        *("compress", controller, "--sparsity", 0.3, "--out", tmp_path / "small", "--json"),
        *("--calibration", log, "--columns", ",".join(COLUMNS)),
    )
    assert done.code == 0, done.err
    assert json.loads(done.out)["calibration_states"] == 200


REFUSED = [
    (("--states", "LOG"), "must have 5 columns, one per sensor, has 7: run, time, height"),
    (("--states", "LOG", "--columns", "height,pitch,roll,hip,kne"), "did you mean 'knee'"),
    (("--states", "LOG", "--columns", "run,pitch,roll,hip,knee"), "row 1 of column 'run' must be"),
    (
        ("--states", "LOG", "--columns", "height,pitch"),
        "must have 5 columns, one per sensor, has 2",
    ),
    (("--states", "nowhere.csv"), "no such file: nowhere.csv"),
    (("--columns", "height"), "--columns has no effect without a file of states"),
    (("--episode-column", "run"), "--episode-column has no effect without a file of states"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_bad_states_are_one_line_and_leave_nothing(
    controller: Path, log: Path, arguments: tuple[str, ...], message: str
) -> None:
    given = [log if argument == "LOG" else argument for argument in arguments]
    done, certificate = certified(controller, *given)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert certificate is None


def test_a_certificate_never_replaces_the_log(controller: Path, log: Path) -> None:
    before = log.read_bytes()
    done = run_pipeline(
        *("certify", controller, "--budget", controller.parent / "budget.toml"),
        *("--states", log, "--columns", ",".join(COLUMNS), "--out", log),
    )
    assert done.code == 2
    assert log.read_bytes() == before


def test_adopted_states_go_into_the_bundle_and_are_proved_again_there(
    controller: Path, log: Path, tmp_path: Path
) -> None:
    run, certificate, bundle = (tmp_path / name for name in ("run", "run.json", "bundle"))
    states = ("--states", log, "--columns", ",".join(COLUMNS), "--episode-column", "run")
    adopted = run_pipeline("adopt", controller, "--out", run, *states, "--json")
    assert adopted.code == 0, adopted.err
    assert json.loads(adopted.out)["visited_states"] == 50
    budget = ("--budget", tmp_path / "budget.toml", "--out", certificate)
    certified_run = run_pipeline("certify", run, *budget, *EFFORT)
    assert certified_run.code == 0, certified_run.err
    exported = run_pipeline(
        *("export", run, "--certificate", certificate, "--target", "onnx", "--out", bundle)
    )
    assert exported.code == 0, exported.err
    verified = run_pipeline("verify", bundle)
    assert verified.code == 0, verified.err
    assert verified.out.count("PROVED, checked again") == 2


def test_a_bundle_that_lacks_its_states_is_not_proved_and_says_which_claim(
    tmp_path: Path,
) -> None:
    small = small_bundle(tmp_path)
    files = {name: data for name, data in small.artifact.files.items() if name != VISITED_FILE}
    stripped = tmp_path / "stripped"
    write_artifact(stripped, replace(small.artifact, files=files))
    done = run_pipeline("verify", stripped)
    assert done.code == 4
    assert "not checked: " in done.out
    assert "verifies" not in done.out
    (line,) = done.err.splitlines()
    assert "at 50% of visited states" in line
    assert "states are missing (visited.npz" in line
    done = run_pipeline("verify", stripped, "--json")
    assert done.code == 4
    table = json.loads(done.out)
    assert table["verdict"] == "UNKNOWN"
    said = [entry["verdict"].split(":")[0] for entry in table["claims"][:4]]
    assert said == [
        "PROVED, checked again",
        "not checked",
        "PROVED, checked again",
        "MET, checked again",
    ]


def test_states_that_do_not_fit_begin_no_run(controller: Path, log: Path, tmp_path: Path) -> None:
    done = run_pipeline("adopt", controller, "--out", tmp_path / "run", "--states", log)
    assert done.code == 2
    assert "must have 5 columns, one per sensor, has 7" in done.err
    assert not (tmp_path / "run").exists()


def silent_bag(path: Path) -> None:
    pytest.importorskip("rosbags")
    from rosbags.rosbag2 import Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    with Writer(path, version=9) as writer:
        writer.add_connection("/silent", "std_msgs/msg/Float64", typestore=store)


def not_a_number(path: Path) -> None:
    np.save(path, np.full((3, 5), np.nan))


def one_episode(path: Path) -> None:
    np.savez(path, obs=np.ones((3, 5)), run=np.zeros(3))


@pytest.mark.parametrize(
    ("name", "write", "arguments", "message"),
    [
        ("a.npy", not_a_number, (), "row 1 of column '[0]' must be finite"),
        (
            "a.npz",
            one_episode,
            ("--columns", "obs", "--episode-column", "run"),
            "'run' must tell at least 2 episodes apart, got 1",
        ),
        ("bag", silent_bag, ("--columns", "/joints.position"), "has no topic '/joints'"),
    ],
)
def test_a_log_that_tells_no_states_begins_no_run(
    controller: Path,
    tmp_path: Path,
    name: str,
    write: Callable[[Path], None],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    write(tmp_path / name)
    before = sorted(tmp_path.iterdir())
    given = ("--states", tmp_path / name, *arguments)
    done = run_pipeline("adopt", controller, "--out", tmp_path / "run", *given)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert message in done.err
    assert sorted(tmp_path.iterdir()) == before
