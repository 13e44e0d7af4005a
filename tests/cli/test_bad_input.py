"""Bad input ends with exit 2, one line that names what is wrong, and nothing half-written.

Also of ``cli/bench.py``, ``cli/certify.py``, ``cli/failures.py``, ``cli/idle_flags.py`` and
``cli/train.py``.
"""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from support.command_line import run_pipeline
from surefoot.installation import how_to_install

ACTION = """
[[require]]
quantity = "action_deviation"
epsilon = {epsilon}
norm = "{norm}"
scope = "everywhere"
at_most = 0.5
"""


def refused(tmp_path: Path, *args: Path | str, code: int = 2) -> str:
    """Run a command that must be refused, and return its one line."""
    before = sorted(tmp_path.rglob("*"))
    done = run_pipeline(*args)
    assert done.code == code, done
    assert done.out == ""
    lines = [line for line in done.err.splitlines() if not line.startswith("WARNING")]
    assert len(lines) == 1, done.err
    assert sorted(tmp_path.rglob("*")) == before, "something was left behind"
    return lines[0]


TRAINING_ERRORS = [
    ("train.env_id=Hoper-v5", "did you mean 'Hopper-v"),
    ("train.learing_rate=1e-3", "unknown key 'train.learing_rate'; did you mean 'train.learning_"),
    ("train.pruning.sparsity=1.0", "sparsity must be in [0, 1), got 1.0"),
    ("train.pruning.sparsity=-0.1", "sparsity must be in [0, 1), got -0.1"),
    ("train.defence.kappa=-1", "kappa must be at least 0, got -1.0"),
    ("train.defence.epsilon=-0.1", "epsilon must be at least 0, got -0.1"),
    ("train.defence.kind=saa", "did you mean 'sa'"),
    (
        "train.pruning.sparsity=0.9999",
        "pruning of the actor: sparsity must be at most 0.9937 in these layers, of which each keeps"
        " at least one weight, got 0.9999",
    ),
    ('train.pruning={kind = "two_four", sparsity = 0.5}', "unknown key 'train.pruning.sparsity'"),
    ("train.hidden=[0]", "hidden"),
    ("train.activation=rellu", "did you mean 'relu'"),
    ("train.minibatch_size=100", "minibatch_size must divide"),
    ("train.device=tpu", "device"),
    ("train.clip_range=1e300", "clip_range must be at most 3.40282347e+38, got 1e+300"),
    ("train.value_clip=-1e300", "value_clip must be positive and finite, got -1e+300"),
    ("train.defence.epsilon=1e300", "epsilon must be at most 3.40282347e+38, got 1e+300"),
    ("train.hidden=[1e300]", "hidden must hold widths of at most 65536"),
    ("train.num_envs=1e300", "num_envs must be at most 1000000, got 1000000000"),
    ("train.total_steps=1e300", "total_steps must be at most 1e+12, got 1000000000"),
    ("train.num_envs=1e9", "num_envs must be at most 1000000, got 1000000000"),
    ("trian.seed=1", "unknown table 'trian'; did you mean 'train'"),
    ("nonsense", "--set must have the form"),
]


@pytest.mark.parametrize(("override", "message"), TRAINING_ERRORS)
def test_training_configuration(
    tiny_config: Path, tmp_path: Path, override: str, message: str
) -> None:
    line = refused(
        tmp_path, "train", "--config", tiny_config, "--out", tmp_path / "run", "--set", override
    )
    assert message in line


def test_a_defence_that_does_not_fit_the_head(tiny_config: Path, tmp_path: Path) -> None:
    line = refused(
        tmp_path,
        *("train", "--config", tiny_config, "--out", tmp_path / "run"),
        *("--set", "train.env_id=CartPole-v1"),
        *("--set", 'train.defence={kind = "lipschitz", at_most = 1.0}'),
    )
    assert "defence must not be lipschitz for discrete actions" in line
    assert "got CartPole-v1" in line


def test_a_task_without_its_extra(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "Box2D", None)
    settings = ("--config", tiny_config, "--set", "train.env_id=LunarLander-v3")
    line = refused(tmp_path, "train", *settings, "--out", tmp_path / "run")
    assert "LunarLander-v3 needs a package that is missing: Box2D is not installed" in line
    assert "gymnasium[box2d]" in line


def test_another_configuration_in_the_folder_of_a_finished_training(
    copied: Path, tiny_config: Path, tmp_path: Path
) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in copied.rglob("*"))
    settings = ("--set", "train.pruning.sparsity=0.6", "--set", "train.gamma=0.9")
    line = refused(tmp_path, "train", "--config", tiny_config, "--out", copied, *settings)
    assert "(gamma was 0.99, is 0.9, pruning.sparsity was 0.5, is 0.6)" in line
    assert sorted((path, path.stat().st_mtime_ns) for path in copied.rglob("*")) == before


def test_unknown_preset(tmp_path: Path) -> None:
    line = refused(tmp_path, "train", "--preset", "hoper", "--out", tmp_path / "run")
    assert "unknown preset 'hoper'; did you mean 'hopper'" in line


ENVIRONMENTS = """
import gymnasium, numpy as np
from gymnasium import spaces

class Odd(gymnasium.Env):
    action_space = spaces.Box(-1, 1, (1,))

class Image(Odd):
    observation_space = spaces.Box(0, 255, (8, 8, 3), np.uint8)

class Table(Odd):
    observation_space = spaces.Dict({"a": spaces.Box(-1, 1, (2,))})

for kind in (Image, Table):
    if f"Refused{kind.__name__}-v0" not in gymnasium.registry:
        gymnasium.register(f"Refused{kind.__name__}-v0", kind)
"""


@pytest.mark.parametrize("kind", ["Image", "Table"])
def test_observations_that_are_no_vector(tiny_config: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / f"odd_{kind.lower()}.py").write_text(ENVIRONMENTS)
    line = refused(
        tmp_path,
        "train",
        "--config",
        tiny_config,
        "--env-module",
        tmp_path / f"odd_{kind.lower()}.py",
        "--set",
        f"train.env_id=Refused{kind}-v0",
        "--out",
        tmp_path / "run",
    )
    assert f"Refused{kind}-v0" in line
    assert "observation" in line


BUDGET_ERRORS = [
    (ACTION.format(epsilon=-0.1, norm="linf"), "epsilon must be at least 0 and finite, got -0.1"),
    (ACTION.format(epsilon=0.1, norm="l3"), "norm must be one of l2, linf, got 'l3'"),
    (ACTION.format(epsilon=0.1, norm="linf").replace("at_most", "at_least"), "at_most"),
    (ACTION.format(epsilon=0.1, norm="linf").replace("epsilon = 0.1\n", ""), "'epsilon'"),
    ('[[require]]\nquantity = "acton_deviation"\n', "did you mean 'action_deviation'"),
    ("[[requires]]\n", "did you mean 'require'"),
    ("", "at least one [[require]]"),
    ("[[require]\n", "not valid TOML"),
]


@pytest.mark.parametrize(("text", "message"), BUDGET_ERRORS)
def test_budget(tiny_run: Path, tmp_path: Path, text: str, message: str) -> None:
    budget = tmp_path / "budget.toml"
    budget.write_text(text)
    out = tmp_path / "certificate.json"
    assert message in refused(tmp_path, "certify", tiny_run, "--budget", budget, "--out", out)


@pytest.fixture
def copied(tiny_run: Path, tmp_path: Path) -> Path:
    """Return a copy of the tiny run that a test may damage."""
    shutil.copytree(tiny_run, tmp_path / "run")
    return tmp_path / "run"


def _delete(path: Path) -> None:
    path.unlink()


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _tamper(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [_delete, _truncate, _tamper])
@pytest.mark.parametrize("name", ["policy.onnx", "manifest.json", "visited.npz"])
def test_damaged_policy_folder(
    copied: Path, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(copied / "policy" / name)
    line = refused(
        tmp_path,
        "certify",
        copied / "policy",
        "--budget",
        copied / "bundle" / "budget.toml",
        "--out",
        tmp_path / "certificate.json",
    )
    assert name in line or "manifest" in line


@pytest.mark.parametrize("damage", [_delete, _truncate, _tamper])
@pytest.mark.parametrize("name", ["policy.onnx", "manifest.json", "certificate.json"])
def test_damaged_bundle_does_not_verify(
    tmp_path: Path, copied: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(copied / "bundle" / name)
    assert "does not verify" in refused(tmp_path, "verify", copied / "bundle", code=5)


def _with_nan(model: onnx.ModelProto) -> None:
    tensor = next(entry for entry in model.graph.initializer if entry.name == "weight_1")
    array = numpy_helper.to_array(tensor).copy()
    array[0, 0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _with_infinity(model: onnx.ModelProto) -> None:
    tensor = next(entry for entry in model.graph.initializer if entry.name == "bias_1")
    array = numpy_helper.to_array(tensor).copy()
    array[0] = np.inf
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _with_softmax(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "Tanh").op_type = "Softmax"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_with_nan, "'weight_1' must be finite"),
        (_with_infinity, "'bias_1' must be finite"),
        (_with_softmax, "'Softmax': not in the controller operator set"),
    ],
)
def test_onnx_that_is_no_controller(
    copied: Path, tmp_path: Path, change: Callable[[onnx.ModelProto], object], message: str
) -> None:
    model = onnx.load(copied / "policy" / "policy.onnx")
    change(model)
    path = tmp_path / "controller.onnx"
    onnx.save(model, path)
    budget = copied / "bundle" / "budget.toml"
    line = refused(
        tmp_path, "certify", path, "--budget", budget, "--out", tmp_path / "certificate.json"
    )
    assert message in line


def test_controller_of_another_environment(copied: Path, tmp_path: Path) -> None:
    line = refused(
        tmp_path,
        "attack",
        copied / "bundle",
        "--out",
        tmp_path / "attack.json",
        "--set",
        "attack.env_id=Walker2d-v5",
    )
    assert "17" in line
    assert "11" in line


@pytest.mark.parametrize("verb", ["train", "run"])
def test_output_folder_that_is_not_ours(tiny_config: Path, tmp_path: Path, verb: str) -> None:
    theirs = tmp_path / "thesis"
    theirs.mkdir()
    (theirs / "chapter1.tex").write_text("do not touch")
    line = refused(tmp_path, verb, "--config", tiny_config, "--out", theirs)
    assert f"{theirs} exists and is not a surefoot run folder" in line


def test_bundle_folder_that_is_not_ours(copied: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "thesis"
    theirs.mkdir()
    (theirs / "chapter1.tex").write_text("do not touch")
    line = refused(
        tmp_path, "export", copied, "--certificate", copied / "certificate.json", "--out", theirs
    )
    assert "is not a surefoot bundle folder" in line


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_disk_full_or_read_only(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    line = refused(
        tmp_path,
        "export",
        copied,
        "--certificate",
        copied / "certificate.json",
        "--out",
        tmp_path / "new-bundle",
    )
    assert os.strerror(number) in line


@pytest.mark.parametrize("verb", ["certify", "attack", "bench"])
@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("nowhere/result.json", "No such file or directory"),
        ("folder", "it is a folder"),
        ("result.png", "must not end in .png"),
        ("folder.json", "folder.png: it is a folder"),
    ],
)
def test_a_result_that_cannot_be_written_is_refused_before_the_work(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, out: str, said: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.png").mkdir()
    work = {
        "certify": "surefoot.workflow.certifying.certify_analysis",
        "attack": "surefoot.workflow.attacking.run_suite",
        "bench": "surefoot.workflow.benchmarking.run_benchmark",
    }[verb]
    monkeypatch.setattr(work, lambda *given, **named: pytest.fail("it was worked"))
    controller = tiny_run if verb == "certify" else tiny_run / "bundle"
    assert said in refused(tmp_path, verb, controller, "--out", tmp_path / out)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder", "folder.png"]


def test_folder_that_does_not_exist(tmp_path: Path) -> None:
    for verb in ("verify", "attack", "bench"):
        assert "no such" in refused(tmp_path, verb, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("library", "extra", "verb"),
    [("torch", "train", "train"), ("mujoco", "train", "train"), ("onnxruntime", "cpu", "bench")],
)
def test_library_that_is_not_installed(
    tiny_run: Path, tiny_config: Path, tmp_path: Path, library: str, extra: str, verb: str
) -> None:
    arguments = {
        "train": ["train", "--config", str(tiny_config), "--out", str(tmp_path / "run")],
        "bench": ["bench", str(tiny_run / "bundle"), "--out", str(tmp_path / "bench.json")],
    }[verb]
    # None in sys.modules is how Python itself marks a module that cannot be imported.
    code = (
        f"import sys; sys.modules[{library!r}] = None; sys.argv = {['pipeline', *arguments]!r}\n"
        "from surefoot.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert library in done.stderr
    assert how_to_install(extra) in done.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"attacks": {"mad": {}}}', '{"attacks": 3}', "not json"]
)
def test_measurements_that_are_none(tiny_run: Path, tmp_path: Path, text: str) -> None:
    path = tmp_path / "attack.json"
    path.write_text(text)
    for flag in ("--attack", "--bench"):
        line = refused(
            tmp_path, "certify", tiny_run, flag, path, "--out", tmp_path / "certificate.json"
        )
        assert str(path) in line


def test_path_that_is_too_long(tmp_path: Path) -> None:
    assert "too long" in refused(tmp_path, "verify", tmp_path / ("x" * 300))
