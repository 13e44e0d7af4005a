"""Layers that multiply two computed values: every runtime computes them, within the bounds."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from support.policies import draw_policy, file_of
from surefoot.activation import Activation, Mixed, Product
from surefoot.errors import InputError
from surefoot.onnx_file import policy_to_onnx
from surefoot.onnx_file.graph import parse_onnx
from surefoot.onnx_file.read import read_canonical
from surefoot.policy import Policy
from surefoot.runtime.arithmetic import runtime_error, runtime_error_at
from surefoot.runtime.c_source import twin_outputs
from surefoot.runtime.load import Backend, controller_of
from surefoot.train.networks import mlp_from_layers

FACTORS = Mixed.of([(Activation.SIGMOID, 3), (Product(), 4), (Activation.SILU, 1), (Product(), 2)])


def policies() -> Iterator[tuple[np.random.Generator, Policy]]:
    """Policies with products of whole layers, and beside other functions."""
    rng = np.random.default_rng(0)
    yield rng, draw_policy(rng, [4, 8, 8, 2], Product())
    yield rng, draw_policy(rng, [4, FACTORS.width, FACTORS.width, 2], FACTORS)


@pytest.mark.parametrize("backend", [Backend.NUMPY, Backend.ONNX, Backend.C])
def test_every_backend_stays_within_both_bounds(backend: Backend) -> None:
    for rng, policy in policies():
        controller = controller_of(file_of(policy), backend)
        obs = rng.normal(0, 2, (200, 4)).astype(np.float32)
        found = controller(obs)
        error = np.abs(found.astype(np.float64) - policy.outputs(obs))
        assert (error <= runtime_error_at(policy, policy.state(obs))).all()
        assert (error <= runtime_error(policy, state_limit=10.0)).all()
        if backend is Backend.C:
            assert (found == twin_outputs(policy, obs)).all()


def test_the_canonical_file_holds_the_policy() -> None:
    for _, policy in policies():
        assert [layer.activation for layer in file_of(policy).policy.layers] == [
            layer.activation for layer in policy.layers
        ]


def test_a_product_of_other_values_is_refused() -> None:
    policy = draw_policy(np.random.default_rng(0), [4, 8, 2], Product())
    for change in ("other", "same", "op", "sizes"):
        model = parse_onnx(policy_to_onnx(policy), "policy.onnx")
        node = next(entry for entry in model.graph.node if len(entry.output) == 2)
        product = next(entry for entry in model.graph.node if entry.input[0] == node.output[0])
        if change == "other":
            product.input[1] = node.input[0]
        elif change == "same":
            product.input[1] = product.input[0]
        elif change == "op":
            product.op_type = "Add"
        else:
            sizes = next(t for t in model.graph.initializer if t.name == node.input[1])
            sizes.raw_data = np.array([3, 5], np.int64).tobytes()
        with pytest.raises(InputError, match=r"policy\.onnx: node"):
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
