"""From somebody's file to a signed bundle, by the commands that trained policies have.

Also of ``cli/robot_tables.py`` and ``cli/inspect.py``.
"""

import json
import os
import pickle
import re
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from support.adopted import MJLAB, written_actor
from support.command_line import Done, run_pipeline
from support.onnx_graphs import on_runtime
from surefoot.bundle import open_bundle
from surefoot.runtime import Backend, load_controller

GO1 = Path(os.environ.get("SUREFOOT_TEST_CONTROLLERS", "controllers")) / "go1_policy.onnx"

BUDGET = """
[[require]]
quantity = "lipschitz"
norm = "l2"
at_most = 1e7
"""
FAST = [
    f"--set=certify.{key}"
    for key in (
        "search_states=4",
        "search_steps=2",
        "lipsdp_iterations=2",
        "lipsdp_per_actuator=0",
    )
]


def done_well(*arguments: object) -> Done:
    done = run_pipeline(*arguments)
    assert done.code == 0, done.err
    return done


def certified_signed_and_verified(run: Path, tmp_path: Path) -> Path:
    """The verbs from a run to a bundle that its key opens."""
    budget, certificate = tmp_path / "budget.toml", tmp_path / "certificate.json"
    key, bundle = tmp_path / "key.pem", tmp_path / "bundle"
    budget.write_text(BUDGET)
    done_well("keygen", "--out", key)
    done_well("certify", run, "--budget", budget, "--out", certificate, *FAST)
    targets = ("--certificate", certificate, "--target", "onnx,c", "--sign", key)
    done_well("export", run, *targets, "--out", bundle)
    done_well("verify", bundle, "--key", f"{key}.pub")
    return bundle


def self_tested(bundle: Path, program: Path) -> str:
    """Return what the C of a bundle says about itself, compiled as the documentation says."""
    files = ("policy.c", "policy_main.c")
    options = ("cc", "-std=c99", "-O2", "-ffp-contract=off", "-DPOLICY_SELF_TEST")
    subprocess.run([*options, *files, "-o", program], cwd=bundle, check=True)
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout


def test_an_adopted_controller_goes_through_every_verb(tmp_path: Path) -> None:
    path = written_actor(tmp_path / "actor.onnx", MJLAB, num_sensors=11, num_actions=3)
    run, small = tmp_path / "run", tmp_path / "small"
    environment = ("--env", "Hopper-v5", "--visited-states", 4)
    done = done_well("adopt", path, "--out", run, *environment, "--json")
    said = json.loads(done.out)
    assert said["canonical"]["num_equal"] == said["canonical"]["num_inputs"] == 10_096
    assert said["robot"]["metadata"] == MJLAB
    assert said["visited_states"] == 4
    done = run_pipeline("report", run)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "has no certificate.json: certify and attack" in done.err
    bundle = certified_signed_and_verified(run, tmp_path)
    assert onnx.load(bundle / "policy.onnx").metadata_props
    timed = ("--set", "bench.num_calls=20", "--set", "bench.paced_s=0.01", "--backend", "numpy,c")
    done_well("bench", bundle, "--out", tmp_path / "bench.json", *timed)
    few = [f"--set=attack.{key}" for key in ("episodes=2", "selection_episodes=1", "epsilon=0.01")]
    done_well("attack", bundle, "--out", run / "attack.json", *few)
    (run / "certificate.json").write_bytes((tmp_path / "certificate.json").read_bytes())
    done_well("report", run)
    assert "Hopper-v5" in (run / "report.html").read_text()
    done_well("quantise", run, "--out", tmp_path / "quantised")
    done_well("compress", run, "--sparsity", 0.5, "--out", small, "--visited-states", 0)
    (tmp_path / "of the small one").mkdir()
    certified_signed_and_verified(small, tmp_path / "of the small one")


@pytest.mark.skipif(not GO1.is_file(), reason="needs $SUREFOOT_TEST_CONTROLLERS/go1_policy.onnx")
def test_a_quadruped_of_others_becomes_signed_c_with_its_actions(tmp_path: Path) -> None:
    done_well("adopt", GO1, "--out", tmp_path / "go1")
    bundle = certified_signed_and_verified(tmp_path / "go1", tmp_path)
    observations = np.random.default_rng(0).normal(size=(64, 48)).astype(np.float32)
    deployed = load_controller(open_bundle(bundle), Backend.C)(observations)
    data = GO1.read_bytes()  # which takes one observation at a time
    original = [on_runtime(data, {"obs": row[None]}, "continuous_actions") for row in observations]
    assert np.abs(deployed - np.concatenate(original)).max() < 1e-4
    assert "self-test: same bits" in self_tested(bundle, tmp_path / "policy")
    assert (bundle / "policy.onnx").read_bytes() == (
        tmp_path / "go1" / "policy" / "policy.onnx"
    ).read_bytes()


def test_what_the_file_says_about_its_robot_is_shown(tmp_path: Path) -> None:
    said = MJLAB | {"update_rate": "fast"}
    path = written_actor(tmp_path / "actor.onnx", said, scale=[0.25, 0.75])
    done = done_well("adopt", path, "--out", tmp_path / "run")
    assert "WARNING: metadata 'update_rate' are no numbers" in done.err
    for text in ("hip", "21.5", "observation_names", "base_ang_vel,joint_pos", "10,096"):
        assert text in done.out
    assert "WARNING: the metadata's action_scale of output 1 is 0.5, but the graph" in done.err


def sb3(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("policy.pth", b"")


def nan_weight(path: Path) -> None:
    model = onnx.load(written_actor(path))
    weight = model.graph.initializer[0]
    weight.CopyFrom(onnx.numpy_helper.from_array(np.full(4, np.nan, np.float32), weight.name))
    path.write_bytes(model.SerializeToString())


def missing_data(path: Path) -> None:
    model = onnx.load(written_actor(path))
    onnx.save(model, path, save_as_external_data=True, location="gone.data", size_threshold=0)
    (path.parent / "gone.data").unlink()


def oversized_data(path: Path) -> None:
    model = onnx.load(written_actor(path))
    onnx.save(model, path, save_as_external_data=True, location="big.data", size_threshold=0)
    with (path.parent / "big.data").open("r+b") as file:
        file.truncate((1 << 30) + 1)  # a hole: it takes no room


def outside(path: Path) -> None:
    model = onnx.load(written_actor(path))
    onnx.save(model, path, save_as_external_data=True, location="here.data", size_threshold=0)
    path.write_bytes(path.read_bytes().replace(b"here.data", b"../a.data"))


def cyclic(path: Path) -> None:
    model = onnx.load(written_actor(path))
    model.graph.node[0].input[0] = model.graph.node[-1].output[0]
    path.write_bytes(model.SerializeToString())


def million_nodes(path: Path) -> None:
    model = onnx.load(written_actor(path))
    model.graph.node.extend([onnx.helper.make_node("Identity", ["obs"], ["x"])] * 1_000_000)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            sb3,
            "a checkpoint of Stable-Baselines3, not an ONNX file: .*convert.sb3 .*actor.onnx --out",
        ),
        (
            lambda path: path.write_bytes(pickle.dumps({})),
            "is a Python pickle, not an ONNX file: .*python -m surefoot.convert.rsl_rl",
        ),
        (lambda path: path.write_bytes(b"onnx?"), "is not a valid ONNX file"),
        (lambda path: None, "is not a run, policy folder, bundle or .onnx file"),
        (nan_weight, "has NaN"),
        (missing_data, "lies in 'gone.data', which is not beside the file"),
        (oversized_data, "more than the 1073741824 allowed"),
        (outside, "must lie in the folder of the file, names '../a.data'"),
        (cyclic, "is not a valid ONNX file"),
        (million_nodes, "more than"),
    ],
)
def test_what_cannot_be_adopted_is_one_line_and_leaves_nothing(
    tmp_path: Path, write: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / "actor.onnx"
    write(path)
    done = run_pipeline("adopt", path, "--out", tmp_path / "run")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert re.search(message, done.err), done.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--output", "value"), "has no output 'value'"),
        (("--visited-states", 4), "names no environment"),
        (("--visited-states", -1), "visited-states must be at least 0, got -1"),
        (("--env-module", "robots.py"), "--env-module has no effect without --env"),
    ],
)
def test_settings_that_cannot_be_are_one_line_and_leave_nothing(
    tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    path = written_actor(tmp_path / "actor.onnx")
    done = run_pipeline("adopt", path, "--out", tmp_path / "run", *arguments)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert message in done.err
    assert not (tmp_path / "run").exists()


def test_nothing_that_lies_at_the_place_is_overwritten(tmp_path: Path) -> None:
    path, mine = written_actor(tmp_path / "actor.onnx"), tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    done = run_pipeline("adopt", path, "--out", mine)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert [entry.name for entry in mine.iterdir()] == ["notes.txt"]


def test_what_a_controller_is_is_said_of_files_runs_and_signed_bundles(tmp_path: Path) -> None:
    path = written_actor(tmp_path / "actor.onnx", MJLAB)
    done_well("adopt", path, "--out", tmp_path / "run")
    bundle = certified_signed_and_verified(tmp_path / "run", tmp_path)
    kinds = {}
    for place in (path, tmp_path / "run", tmp_path / "run" / "policy", bundle):
        said = json.loads(done_well("inspect", place, "--json").out)
        kinds[said["kind"]] = said["onnx_sha256"]
        assert [output["name"] for output in said["outputs"]] == ["hip", "knee"]
        shown = done_well("inspect", place).out
        assert "base_ang_vel, joint_pos" in shown
        assert "epsilon 0.05 is" in shown
        assert MJLAB["run_path"] in shown
    assert list(kinds) == ["a file of others", "a run", "a policy folder", "a bundle"]
    assert len(set(kinds.values())) == 2


@pytest.mark.parametrize("verb", ["attack", "bench"])
def test_a_file_that_is_no_bundle_says_how_to_take_it(tmp_path: Path, verb: str) -> None:
    path = written_actor(tmp_path / "actor.onnx")
    done = run_pipeline(verb, path)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert f"{path} is a file, no bundle: --allow-uncertified takes it" in done.err


def test_nothing_to_inspect_is_one_line(tmp_path: Path) -> None:
    done = run_pipeline("inspect", tmp_path / "nothing.onnx")
    assert (done.code, done.err.count("\n")) == (2, 1)
