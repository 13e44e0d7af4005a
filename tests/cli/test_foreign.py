"""`pipeline certify` on files that surefoot did not write."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from support.command_line import Done, run_pipeline
from support.onnx_graphs import Graph
from surefoot.artifact import Json
from surefoot.onnx_file import load_policy

BUDGET = """
[[require]]
quantity = "action_deviation"
epsilon = 0.01
norm = "linf"
scope = "everywhere"
at_most = 0.5

[[require]]
quantity = "action_deviation"
epsilon = 0.01
norm = "linf"
scope = "visited"
fraction = 0.9
confidence = 0.9
at_most = 0.5

[[require]]
quantity = "kl"
epsilon = 0.01
norm = "linf"
scope = "everywhere"
at_most = 1.0

[[require]]
quantity = "lipschitz"
norm = "l2"
at_most = 40
"""


def written_controller(tmp_path: Path, last: str = "Tanh", clip: bool = True) -> Path:
    """An actor as Stable-Baselines3 and rsl_rl export them: two outputs, one of them the value."""
    rng = np.random.default_rng(0)
    arrays = {
        "w1": rng.normal(0, 0.4, (16, 5)),
        "b1": rng.normal(0, 0.1, 16),
        "w2": rng.normal(0, 0.4, (2, 16)),
        "b2": rng.normal(0, 0.1, 2),
        "v": rng.normal(0, 0.4, (1, 16)),
        "low": np.array(-10.0),
        "high": np.array(10.0),
    }
    constants = [
        numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()
    ]
    start = helper.make_node(
        "Clip" if clip else "Identity", ["obs", "low", "high"][: 3 if clip else 1], ["z"]
    )
    nodes = [
        start,
        helper.make_node("Gemm", ["z", "w1", "b1"], ["y"], transB=1),
        helper.make_node("Elu", ["y"], ["h"]),
        helper.make_node("Gemm", ["h", "w2", "b2"], ["mean"], transB=1),
        helper.make_node(last, ["mean"], ["actions"], name="the_end"),
        helper.make_node("Gemm", ["h", "v"], ["value"], transB=1),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "actor",
        [info("obs", TensorProto.FLOAT, ["N", 5])],
        [
            info("actions", TensorProto.FLOAT, ["N", 2]),
            info("value", TensorProto.FLOAT, ["N", 1]),
        ],
        constants,
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="pytorch")
    path = tmp_path / "actor.onnx"
    onnx.save(model, path)
    (tmp_path / "budget.toml").write_text(BUDGET)
    return path


def certified(path: Path, *arguments: str) -> tuple[Done, Json]:
    out = path.parent / "certificate.json"
    budget = path.parent / "budget.toml"
    done = run_pipeline("certify", path, "--budget", budget, "--out", out, *arguments)
    return done, json.loads(out.read_text()) if out.is_file() else None


def test_what_can_be_proved_is_and_what_needs_more_says_so(tmp_path: Path) -> None:
    done, certificate = certified(written_controller(tmp_path), "--output", "actions")
    assert done.code == 4, done.err
    verdicts = [(entry["verdict"], entry["reason"]) for entry in certificate["requirements"]]
    assert [verdict for verdict, _ in verdicts] == ["PROVED", "UNKNOWN", "UNKNOWN", "PROVED"]
    assert "no visited observations" in verdicts[1][1]
    assert "names no noise" in verdicts[2][1]
    rebuilt = certificate["proof"]["rebuilt_policy"]
    assert rebuilt["num_inputs"] >= 10_000
    assert 0 < rebuilt["largest_difference"] < 1e-5
    assert 0 < rebuilt["largest_share_of_bound"] <= 1
    # Tanh brings actions into [-1, 1]: raw units of the output.
    assert certificate["claims"]["per_actuator"]["bounds"]["action_range"] == [2.0, 2.0]


def test_without_a_clip_nothing_bounds_the_rounding(tmp_path: Path) -> None:
    done, certificate = certified(written_controller(tmp_path, clip=False), "--output", "actions")
    assert done.code == 4, done.err
    first = certificate["requirements"][0]
    assert (first["verdict"], first["certified"]) == ("UNKNOWN", None)
    assert "no clip after its normaliser" in first["reason"]


@pytest.mark.parametrize(
    "command",
    [
        ("certify", "--budget", "budget.toml", "--out", "out.json"),
        ("compress", "--sparsity", "0.5", "--method", "magnitude", "--out", "out"),
        ("quantise", "--out", "out"),
    ],
)
def test_no_verb_takes_what_onnx_runtime_does_not_compute(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    graph = Graph()
    turned = graph.node("Transpose", "obs", perm=[1, 0])  # mixes the observations of a batch
    mixed = graph.node("Reshape", turned, graph.whole(-1, 4))
    out = graph.dense(mixed, np.arange(8).reshape(2, 4))
    path = tmp_path / "actor.onnx"
    path.write_bytes(graph.file({out: ("N", 2)}, {"obs": ("N", 4)}))
    (tmp_path / "budget.toml").write_text(BUDGET)
    places = [tmp_path / word if word.startswith(("budget.", "out")) else word for word in command]
    done = run_pipeline(places[0], path, *places[1:])
    assert done.code == 3
    assert "is not the policy that was rebuilt from it" in done.err
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["actor.onnx", "budget.toml"]


@pytest.mark.parametrize(
    ("last", "arguments", "message"),
    [
        ("Softmax", ("--output", "actions"), "node 4 'Softmax' (the_end): not in the controller"),
        ("Tanh", (), "choose the actions among 'actions' [?, 2], 'value' [?, 1] with --output"),
        ("Tanh", ("--output", "mean"), "has no output 'mean'"),
    ],
)
def test_what_is_not_understood_ends_in_one_line(
    tmp_path: Path, last: str, arguments: tuple[str, ...], message: str
) -> None:
    done, certificate = certified(written_controller(tmp_path, last), *arguments)
    assert done.code == 2
    assert certificate is None
    assert message in done.err
    assert done.err.count("\n") == 1


def test_a_controller_with_branches_is_quantised_and_never_pruned(tmp_path: Path) -> None:
    rng, graph = np.random.default_rng(0), Graph()
    code = graph.node("Elu", graph.dense("obs", rng.normal(size=(6, 4)), rng.normal(size=6)))
    joined = graph.node("Concat", graph.cut("obs", 2, 4), code, axis=1)
    hidden = graph.node("Tanh", graph.dense(joined, rng.normal(size=(6, 8)), rng.normal(size=6)))
    outputs = {graph.dense(hidden, rng.normal(size=(2, 6))): ("N", 2), code: ("N", 6)}
    path, out = tmp_path / "actor.onnx", tmp_path / "out"
    path.write_bytes(graph.file(outputs, {"obs": ("N", 4)}))
    actions = next(iter(outputs))
    done = run_pipeline("quantise", path, "--out", out)
    assert done.code == 2
    assert "with --output" in done.err
    pruned = run_pipeline(
        "compress", path, "--output", actions, "--sparsity", "0.5", "--method", "magnitude",
        "--out", out,
    )  # fmt: skip
    assert pruned.code == 2
    assert "a controller with branches keeps all of its 84 weights" in pruned.err
    asked = run_pipeline("compress", path, "--output", actions, "--sparsity", "0.5", "--out", out)
    assert "names no environment to play; give --calibration, or --method magnitude" in asked.err
    done = run_pipeline("quantise", path, "--output", actions, "--out", out)
    assert done.code == 0, done.err
    assert load_policy(out)[0].policy.sparsity < 0.1


def test_a_controller_with_layernorm_is_quantised_though_no_control_error_is_certified(
    tmp_path: Path,
) -> None:
    rng, graph = np.random.default_rng(0), Graph()
    hidden = graph.node("LayerNormalization", "obs", graph.constant(np.ones(4)), axis=-1)
    actions = graph.dense(hidden, rng.normal(size=(2, 4)), rng.normal(size=2))
    path, out = tmp_path / "actor.onnx", tmp_path / "out"
    path.write_bytes(graph.file({actions: ("N", 2)}, {"obs": ("N", 4)}))
    np.save(tmp_path / "states.npy", rng.normal(size=(5, 4)).astype(np.float32))
    rounded = ("compress", path, "--weights", "int8", "--calibration", tmp_path / "states.npy")
    done = run_pipeline(*rounded, "--out", out, "--json")
    assert done.code == 0, done.err
    error = json.loads(done.out)["control_error"]["visited"]
    assert error["certified"] is None
    assert "layers in which neurons depend on each other are not compared" in error["reason"]
    asked = run_pipeline(*rounded, "--out", tmp_path / "limited", "--max-control-error", 1)
    assert (asked.code, asked.err.count("\n")) == (2, 1)
