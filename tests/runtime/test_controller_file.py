"""There is no way to a controller of others around the comparison with ONNX Runtime."""

import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from support.onnx_graphs import Graph
from surefoot.budget import Budget
from surefoot.certify import CertifyConfig, Evidence, certify_policy
from surefoot.errors import CheckError, InputError
from surefoot.onnx_file import ControllerFile, policy_from_onnx, policy_to_onnx, read_path
from surefoot.onnx_file.foreign import ForeignFile
from surefoot.runtime.controller_file import controller_from_onnx, load_controller_file
from surefoot.runtime.load import Backend, controller_of

WEIGHT = np.arange(8, dtype=np.float32).reshape(2, 4)


def liar(path: Path) -> Path:
    """A file that mixes the observations of a batch, which no policy does."""
    graph = Graph()
    turned = graph.node("Transpose", "obs", perm=[1, 0])
    out = graph.dense(graph.node("Reshape", turned, graph.whole(-1, 4)), WEIGHT)
    path.write_bytes(graph.file({out: ("N", 2)}, {"obs": ("N", 4)}))
    return path


def honest(path: Path) -> Path:
    graph = Graph()
    out = graph.dense("obs", WEIGHT)
    path.write_bytes(graph.file({out: ("N", 2)}, {"obs": ("N", 4)}))
    return path


def test_every_controller_of_others_says_how_it_agreed(tmp_path: Path) -> None:
    path = honest(tmp_path / "actor.onnx")
    file = load_controller_file(path)
    assert file.origin is not None
    assert file.origin.agreement.num_inputs >= 10_000
    assert file.sha256 == file.origin.original.sha256


def test_a_file_that_computes_something_else_is_no_controller(tmp_path: Path) -> None:
    path = liar(tmp_path / "actor.onnx")
    assert isinstance(read_path(path), ForeignFile)
    for load in (
        lambda: load_controller_file(path),
        lambda: controller_from_onnx(path.read_bytes(), "actor.onnx"),
    ):
        with pytest.raises(CheckError, match="is not the policy that was rebuilt"):
            load()


ARCHIVES = {
    "a checkpoint of Stable-Baselines3": (("data", "policy.pth"), "surefoot.convert.sb3"),
    "a file of PyTorch": (("actor/data.pkl", "actor/version"), "surefoot.convert.rsl_rl"),
    "a TorchScript module": (
        ("policy/data.pkl", "policy/code/__torch__.py"),
        "surefoot.convert.torchscript",
    ),
    "a zip archive": (("readme.txt",), "export the actor that it holds"),
}
"""Names of their members, and what to do."""


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archives_that_hold_no_onnx_say_what_they_are_and_what_to_do(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "model.zip"
    names, to_do = ARCHIVES[kind]
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    with pytest.raises(InputError, match=f"is {kind}, not an ONNX file: .*{to_do}"):
        load_controller_file(path)


def test_a_pickle_is_named_and_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "actor.pkl"
    path.write_bytes(pickle.dumps({"weights": [1.0]}))
    with pytest.raises(InputError, match="is a Python pickle, not an ONNX file"):
        load_controller_file(path)


def test_a_certificate_needs_a_controller_whose_file_was_read(tmp_path: Path) -> None:
    budget = Budget.parse('[[require]]\nquantity = "sparsity"\nat_least = 0.0\n')
    file = load_controller_file(honest(tmp_path / "actor.onnx"))
    certify_policy(file, budget, Evidence(), CertifyConfig())
    by_hand = ControllerFile(policy=file.policy, data=file.data)
    with pytest.raises(InputError):
        certify_policy(by_hand, budget, Evidence(), CertifyConfig())
    own = policy_from_onnx(policy_to_onnx(file.policy))
    layers = tuple(replace(layer, bias=layer.bias + 1) for layer in own.policy.layers)
    another = replace(own, policy=replace(own.policy, layers=layers))
    with pytest.raises(InputError, match="must be the one that its file holds"):
        certify_policy(another, budget, Evidence(), CertifyConfig())


@pytest.mark.parametrize(
    ("shapes", "runs"),
    [({"obs": ("N", 4)}, True), ({"obs": (1, 4)}, False), ({"a": ("N", 3), "b": ("N", 1)}, False)],
)
def test_onnx_runtime_plays_a_file_of_others_or_refuses_it_by_name(
    shapes: dict[str, tuple[int | str, ...]], runs: bool
) -> None:
    graph = Graph()
    x = graph.node("Concat", *shapes, axis=1)
    data = graph.file({graph.dense(x, WEIGHT): ("N", 2)}, shapes)
    file = controller_from_onnx(data, "actor.onnx")
    obs = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    expected = controller_of(file, Backend.NUMPY)(obs)
    if runs:
        np.testing.assert_allclose(controller_of(file, Backend.ONNX)(obs), expected, rtol=1e-5)
        return
    with pytest.raises(InputError, match=r"one float32 input \[N, 4\].*--backend numpy"):
        controller_of(file, Backend.ONNX)
