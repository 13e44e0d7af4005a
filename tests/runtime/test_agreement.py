"""A rebuilt policy agrees with ONNX Runtime on the very file, or nothing is said about it."""

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from support.onnx_graphs import Graph
from support.policies import random_policy
from surefoot.activation import Activation, AnyActivation, Clamp, LeakyRelu
from surefoot.errors import CheckError, InputError
from surefoot.onnx_file import ForeignFile, policy_to_onnx
from surefoot.onnx_file.foreign import read_foreign
from surefoot.policy import Layer, Policy, Squash
from surefoot.runtime.agreement import agreement_observations, check_agreement


def foreign(policy: Policy) -> ForeignFile:
    """Return the policy's file as a stranger would send it."""
    model = onnx.load_model_from_string(policy_to_onnx(policy))
    model.producer_name = "somebody"
    del model.metadata_props[:]
    return read_foreign(model.SerializeToString(), "controller.onnx")


def with_layer(policy: Policy, number: int, **changes: object) -> Policy:
    layers = list(policy.layers)
    old = layers[number]
    fields = {"weight": old.weight, "bias": old.bias, "activation": old.activation}
    layers[number] = Layer(**fields | changes)
    return Policy(normaliser=policy.normaliser, layers=tuple(layers), head=policy.head)


@pytest.mark.parametrize("clip", [5.0, np.inf])
@pytest.mark.parametrize("activation", [Activation.SILU, LeakyRelu(0.125), Clamp(-1.0, 1.0)])
def test_ten_thousand_inputs_agree_and_are_counted(activation: AnyActivation, clip: float) -> None:
    policy = random_policy(np.random.default_rng(0), (6, 16, 12, 3), activation, Squash.TANH, clip)
    found = check_agreement(foreign(policy))
    assert found.num_inputs >= 10_000
    assert 0 < found.largest < 1e-4
    assert 0 < found.share <= 1
    assert "ONNX Runtime" in found.runtime
    assert found == check_agreement(foreign(policy))


def test_any_other_policy_is_an_error() -> None:
    policy = random_policy(np.random.default_rng(1), (4, 8, 8, 2), Activation.RELU, Squash.TANH)
    file = foreign(policy)
    weight = policy.layers[1].weight.copy()
    weight[0, np.flatnonzero(weight[0])[0]] *= np.float32(1.01)
    others = [
        with_layer(policy, 1, weight=weight),
        with_layer(policy, 0, activation=LeakyRelu(float(np.float32(0.001)))),
        with_layer(policy, 2, bias=policy.layers[2].bias + np.float32(0.01)),
    ]
    for other in others:
        with pytest.raises(CheckError, match="is not the policy that was rebuilt") as caught:
            check_agreement(dataclasses.replace(file, policy=other), num_inputs=2000)
        assert "\n" not in str(caught.value)


def test_a_file_that_mixes_the_observations_of_a_batch_is_an_error() -> None:
    # At batch 1 the two transpositions cancel, at any other they do not.
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
        helper.make_node("Reshape", ["t", "s"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [
            numpy_helper.from_array(np.array([-1, 4], np.int64), "s"),
            numpy_helper.from_array(np.arange(8, dtype=np.float32).reshape(4, 2), "w"),
        ],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    file = read_foreign(model.SerializeToString(), "controller.onnx")
    with pytest.raises(CheckError, match="is not the policy that was rebuilt"):
        check_agreement(file, num_inputs=2000)


@pytest.mark.parametrize(
    ("op", "constant", "words"),
    [
        ("Reshape", [1, -1], "ONNX Runtime cannot run the file"),
        (
            "Gather",
            [0],
            r"a row for each observation, has shape \[1, 2\] for \d+ of them",
        ),
    ],
)
def test_a_file_that_merges_or_drops_the_rows_of_a_batch_is_refused_in_one_line(
    op: str, constant: list[int], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    graph = Graph()
    row = graph.node(op, "obs", graph.whole(*constant))
    out = graph.dense(row, np.ones((2, 4), np.float32))
    file = read_foreign(graph.file({out: ("N", 2)}, {"obs": ("N", 4)}), "controller.onnx")
    with pytest.raises(InputError, match=words) as caught:
        check_agreement(file, num_inputs=2000)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_the_observations_have_kinks_ends_zeros_and_the_end_of_float32() -> None:
    policy = random_policy(np.random.default_rng(2), (4, 8, 8, 2), Clamp(-0.5, 0.25))
    obs = agreement_observations(policy, 3000, np.random.default_rng(0))
    assert obs.shape == (3096, 4)
    assert obs.dtype == np.float32
    assert np.isfinite(obs).all()
    assert np.abs(obs).max() > 3.3e38
    assert (obs == 0).all(axis=1).any()
    assert ((obs != 0) & (np.abs(obs) < 1e-38)).any()
    states = policy.state(obs)
    assert (np.abs(states) == policy.normaliser.clip).any()
    first, second = policy.layers[:2]
    hidden = states @ first.weight.T.astype(float) + first.bias
    deeper = first.activation(hidden) @ second.weight.T.astype(float) + second.bias
    for sums in (hidden, deeper):
        for kink in (-0.5, 0.25):
            assert (np.abs(sums - kink) < 1e-5).any(axis=1).sum() > 10


def test_what_cannot_be_compared_is_refused() -> None:
    policy = random_policy(np.random.default_rng(3), (4, 8, 2))
    large = with_layer(policy, 0, weight=policy.layers[0].weight * np.float32(2.0**126))
    large = with_layer(large, 1, weight=policy.layers[1].weight * np.float32(2.0**126))
    large = with_layer(large, 0, activation=Activation.RELU)
    with pytest.raises(InputError, match="float32 may overflow wherever it is run"):
        check_agreement(foreign(large), num_inputs=500)
