"""Layers that normalise over their neurons: every runtime computes them, within the bounds.

The bounds are those on rounding of ``runtime/arithmetic.py``.
"""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from support.onnx_graphs import RandomController
from support.policies import draw_policy, file_of
from surefoot.activation import Activation, Mixed, RmsNorm
from surefoot.errors import InputError
from surefoot.onnx_file import ForeignFile, policy_to_onnx, read_onnx
from surefoot.onnx_file.graph import parse_onnx
from surefoot.onnx_file.read import read_canonical
from surefoot.policy import Policy
from surefoot.runtime.arithmetic import runtime_error, runtime_error_at
from surefoot.runtime.c_activations import twin
from surefoot.runtime.c_source import twin_outputs
from surefoot.runtime.load import Backend, controller_of
from surefoot.train.networks import mlp_from_layers

NORM = RmsNorm(float(np.float32(1e-5)))


def policies() -> Iterator[tuple[np.random.Generator, Policy]]:
    """Policies with normalisations: of whole layers, and beside other functions."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        yield rng, draw_policy(rng, [4, 16, 8, 2], NORM)
        mixed = Mixed.of([(NORM, 3), (Activation.TANH, 2), (NORM, 5)])
        yield rng, draw_policy(rng, [4, 10, 2], mixed)


@pytest.mark.parametrize("backend", [Backend.NUMPY, Backend.ONNX, Backend.C])
def test_every_backend_stays_within_both_bounds(backend: Backend) -> None:
    for rng, policy in policies():
        controller = controller_of(file_of(policy), backend)
        obs = rng.normal(0, 3, (200, 4)).astype(np.float32)
        error = np.abs(controller(obs).astype(np.float64) - policy.outputs(obs))
        assert (error <= runtime_error_at(policy, policy.state(obs))).all()
        assert (error <= runtime_error(policy, state_limit=10.0)).all()


def test_the_generated_c_has_the_bits_of_its_twin() -> None:
    for rng, policy in policies():
        obs = rng.normal(0, 3, (200, 4)).astype(np.float32)
        found = controller_of(file_of(policy), Backend.C)(obs)
        assert (found == twin_outputs(policy, obs)).all()


def test_the_root_of_the_generated_c_is_exact_to_a_few_units() -> None:
    squares = 2.0 ** np.linspace(-60, 100, 20_001)
    x = np.sqrt(squares).astype(np.float32)[:, None]
    computed = twin(RmsNorm(2.0**-60), x).astype(np.float64)
    wide = x.astype(np.float64)
    exact = wide / np.sqrt(wide**2 + 2.0**-60)
    assert np.abs(computed / exact - 1).max() <= 5 * 2.0**-24


def test_the_canonical_file_holds_the_policy() -> None:
    for _, policy in policies():
        file = file_of(policy)
        assert [layer.activation for layer in file.policy.layers] == [
            layer.activation for layer in policy.layers
        ]


@pytest.mark.parametrize(
    ("op", "change"),
    [
        ("ReduceMean", {"axes": [0]}),
        ("ReduceMean", {"keepdims": 0}),
        ("Sqrt", {"op_type": "Relu"}),
        ("Div", {"op_type": "Mul"}),
        ("Div", {"input": 1}),
    ],
)
def test_other_nodes_behind_a_square_are_refused(op: str, change: dict[str, object]) -> None:
    policy = draw_policy(np.random.default_rng(0), [4, 6, 2], NORM)
    model = parse_onnx(policy_to_onnx(policy), "policy.onnx")
    node = [entry for entry in model.graph.node if entry.op_type == op][-1]
    for key, value in change.items():
        if key == "op_type":
            node.op_type = str(value)
        elif key == "input":
            node.input[1] = node.input[0]
        else:
            attribute = next(entry for entry in node.attribute if entry.name == key)
            if isinstance(value, list):
                attribute.ints[:] = value
            else:
                attribute.i = int(str(value))
    with pytest.raises(InputError, match="normalisation over the neurons"):
        read_canonical(model, "policy.onnx")


def test_the_twin_in_pytorch_computes_values_and_gradients() -> None:
    for rng, policy in policies():
        network = mlp_from_layers(policy.layers, dtype=torch.float64)
        states = rng.normal(size=(50, 4))
        x = torch.from_numpy(states).requires_grad_()
        output = network(x)
        np.testing.assert_allclose(output.detach().numpy(), policy.network(states), rtol=1e-12)
        (expected,) = torch.autograd.grad(output.square().sum(), x)
        with torch.no_grad():
            found = network.input_gradient(x, lambda output: 2 * output)
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-9, atol=1e-12)


def test_bounds_at_states_are_below_that_of_their_box() -> None:
    for rng, policy in policies():
        states = rng.uniform(-2, 2, (50, 4))
        assert (runtime_error_at(policy, states) <= runtime_error(policy, state_limit=2.0)).all()


def test_a_file_of_others_that_normalises_is_compared_at_each_observation() -> None:
    data = RandomController(np.random.default_rng(3), norms=1.0).branched(4)[0]
    file = read_onnx(data, "controller.onnx")
    assert isinstance(file, ForeignFile)
    box = runtime_error(file.policy, state_limit=1.0)
    points = runtime_error_at(file.policy, np.random.default_rng(0).normal(size=(50, 4)))
    assert np.isfinite(points).all(axis=1).mean() > 0.9
    assert not np.isfinite(box).all() or (points <= box).mean() > 0.5
