"""Every form that exporters write is the policy that ONNX Runtime computes, also when rewritten."""

import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from support.exporter_forms import FORMS
from support.onnx_graphs import Array, on_runtime
from surefoot.onnx_file import policy_from_onnx, policy_to_onnx
from surefoot.runtime.arithmetic import runtime_error_at
from surefoot.runtime.canonical import check_canonical
from surefoot.runtime.controller_file import controller_from_onnx, load_controller_file


def fed(model: onnx.ModelProto, row: Array) -> dict[str, Array]:
    """One observation, cut and shaped as the inputs of a file have it; zeros behind it."""
    constants = {entry.name for entry in model.graph.initializer}
    given = [entry for entry in model.graph.input if entry.name not in constants]
    shapes = [[dim.dim_value or 1 for dim in entry.type.tensor_type.shape.dim] for entry in given]
    sizes = [int(np.prod(shape)) for shape in shapes]
    whole = np.concatenate([row, np.zeros(sum(sizes) - len(row))]).astype(np.float32)
    parts = np.split(whole, np.cumsum(sizes)[:-1])
    return {
        entry.name: part.reshape(shape)
        for entry, part, shape in zip(given, parts, shapes, strict=True)
    }


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_read_and_rewritten_as_what_onnx_runtime_computes(form: str) -> None:
    model = FORMS[form]()
    file = controller_from_onnx(bytes(model.SerializeToString()), "actor.onnx", "actions")
    policy = file.policy
    obs = np.random.default_rng(1).normal(size=(5, policy.obs_dim)).astype(np.float32)
    bound = runtime_error_at(policy, policy.state(obs))
    # ONNX Runtime runs opset 7 and up.
    runnable = file.data if form == "11 opset 6" else bytes(model.SerializeToString())
    for row, limit, ours in zip(obs, bound, policy.outputs(obs), strict=True):
        theirs = on_runtime(runnable, fed(model, row), "actions")
        assert (np.abs(theirs.reshape(-1) - ours) <= 2 * limit).all()
    canonical = policy_from_onnx(policy_to_onnx(policy))
    assert check_canonical(file, canonical, num_inputs=200).share <= 1


def test_opset_6_means_what_its_words_say() -> None:
    model = FORMS["11 opset 6"]()
    _, weight, bias = (onnx.numpy_helper.to_array(entry) for entry in model.graph.initializer)
    policy = controller_from_onnx(bytes(model.SerializeToString()), "actor.onnx").policy
    obs = np.random.default_rng(1).normal(size=(5, 5)).astype(np.float32)
    np.testing.assert_allclose(policy.outputs(obs), obs @ weight.T + bias, atol=1e-6)


def test_what_pytorch_exports_by_default_has_its_weights_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "actor.onnx"
    torch.manual_seed(0)
    actor = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ELU(), torch.nn.Linear(8, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(actor, (torch.zeros(1, 4),), path, verbose=False)
    assert {entry.name for entry in tmp_path.iterdir()} == {"actor.onnx", "actor.onnx.data"}
    policy = load_controller_file(path).policy
    obs = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    with torch.no_grad():
        expected = actor(torch.from_numpy(obs)).numpy()
    np.testing.assert_allclose(policy.outputs(obs), expected, atol=1e-6)
