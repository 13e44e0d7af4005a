"""The canonical file of a controller of others computes what that file computes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from support.adopted import written_actor
from support.onnx_graphs import Graph, RandomController, on_runtime
from support.policies import build_policy
from surefoot.errors import CheckError
from surefoot.onnx_file import ControllerFile, policy_from_onnx, policy_to_onnx
from surefoot.policy import Layer, Policy
from surefoot.runtime.arithmetic import runtime_error
from surefoot.runtime.canonical import check_canonical
from surefoot.runtime.controller_file import controller_from_onnx, load_controller_file


def canonical(policy: Policy) -> ControllerFile:
    return policy_from_onnx(policy_to_onnx(policy))


def test_nothing_differs_where_no_weight_is_folded(tmp_path: Path) -> None:
    file = load_controller_file(written_actor(tmp_path / "actor.onnx"))
    difference = check_canonical(file, canonical(file.policy))
    assert difference.is_none
    assert (difference.num_inputs, difference.largest) == (10_096, 0.0)


def test_differences_are_those_of_onnx_runtime_and_within_the_rounding_of_both() -> None:
    """Of a file whose BatchNormalization becomes a part of the normaliser."""
    rng, graph = np.random.default_rng(1), Graph()
    arrays = (rng.uniform(0.5, 2, 3), *rng.normal(size=(2, 3)), rng.uniform(0.5, 2, 3))
    state = graph.node("BatchNormalization", "obs", *map(graph.constant, arrays))
    out = graph.dense(graph.node("Tanh", graph.dense(state, rng.normal(size=(5, 3)))), np.eye(5))
    data = graph.file({out: ("N", 5)}, {"obs": ("N", 3)})
    file = controller_from_onnx(data, "actor.onnx")
    ours = canonical(file.policy)
    difference = check_canonical(file, ours)
    assert 0 < difference.share <= 1
    assert difference.num_equal < difference.num_inputs
    observations = rng.normal(size=(500, 3)).astype(np.float32)
    apart = on_runtime(data, {"obs": observations}) - on_runtime(ours.data, {"obs": observations})
    assert 0 < np.abs(apart).max() <= difference.largest


@pytest.mark.parametrize("seed", range(20))
def test_files_of_any_form_stay_within_their_rounding(seed: int) -> None:
    graph = RandomController(np.random.default_rng(seed))
    data, _ = graph.branched(4) if seed % 2 else graph.chain(4)
    file = controller_from_onnx(data, "actor.onnx")
    assert check_canonical(file, canonical(file.policy), num_inputs=1_000).share <= 1


def test_another_controller_is_found(tmp_path: Path) -> None:
    file = load_controller_file(written_actor(tmp_path / "actor.onnx"))
    first, *others = file.policy.layers
    wrong = Layer(weight=first.weight, bias=first.bias + 1, activation=first.activation)
    other = canonical(replace(file.policy, layers=(wrong, *others)))
    with pytest.raises(CheckError, match="the canonical file is not the original: they differ by"):
        check_canonical(file, other)


@pytest.mark.parametrize(("times", "is_found"), [(0.5, False), (2.0, True)])
def test_a_difference_is_found_as_soon_as_the_rounding_of_both_is_exceeded(
    times: float, is_found: bool
) -> None:
    """The bias is far larger than the states, so that the bound is much the same everywhere."""
    policy = build_policy([[[1.0]]], biases=[[1000.0]])
    explained = 2 * float(runtime_error(policy, state_limit=16.0)[0])
    moved = build_policy([[[1.0]]], biases=[[1000.0 + times * explained]])
    if is_found:
        with pytest.raises(CheckError, match="rounding explains"):
            check_canonical(canonical(policy), canonical(moved), num_inputs=200)
    else:
        assert check_canonical(canonical(policy), canonical(moved), num_inputs=200).share <= 1


def test_a_file_of_surefoot_is_its_own_canonical_file(tmp_path: Path) -> None:
    file = canonical(load_controller_file(written_actor(tmp_path / "actor.onnx")).policy)
    assert check_canonical(file, file).is_none
