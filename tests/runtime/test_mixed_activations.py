"""Layers of several functions: every runtime computes them, within the bound on rounding."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from support.onnx_graphs import RandomController, on_runtime
from support.policies import file_of
from surefoot.activation import Activation, Clamp, LeakyRelu, Mixed, ScaledElu
from surefoot.errors import InputError
from surefoot.onnx_file import ForeignFile, policy_from_onnx, policy_to_onnx, read_onnx
from surefoot.policy import Layer, Policy, weights_sha256
from surefoot.runtime.arithmetic import runtime_error
from surefoot.runtime.c_layers import Layout
from surefoot.runtime.c_source import CConfig, c_source, twin_outputs
from surefoot.runtime.load import Backend, controller_of
from surefoot.train.networks import mlp_from_layers


def mixed_policies(count: int) -> Iterator[tuple[np.random.Generator, Policy]]:
    seed = 0
    while count:
        rng = np.random.default_rng(seed)
        seed += 1
        file = read_onnx(RandomController(rng).branched(4)[0], "controller.onnx")
        assert isinstance(file, ForeignFile)
        if any(isinstance(layer.activation, Mixed) for layer in file.policy.layers):
            count -= 1
            yield rng, file.policy


def test_the_canonical_file_holds_the_policy_and_its_structure() -> None:
    for rng, policy in mixed_policies(15):
        data = policy_to_onnx(policy)
        file = policy_from_onnx(data)
        assert policy_to_onnx(file.policy, file.metadata) == data
        assert weights_sha256(file.policy) == weights_sha256(policy)
        assert file.policy.sparsity == policy.sparsity
        obs = (policy.normaliser.mean + 3 * rng.normal(size=(100, 4))).astype(np.float32)
        limit = float(np.abs(policy.state(obs)).max())
        error = np.abs(on_runtime(data, {"obs": obs}) - policy.outputs(obs))
        assert (error <= runtime_error(file.policy, state_limit=limit)).all()


@pytest.mark.parametrize("backend", [Backend.NUMPY, Backend.ONNX, Backend.C])
def test_every_backend_stays_within_the_bound(backend: Backend) -> None:
    for rng, policy in mixed_policies(3):
        controller = controller_of(file_of(policy), backend)
        states = rng.normal(size=(200, 4)) * 10.0 ** rng.uniform(-2, 1, (200, 1))
        obs = (policy.normaliser.mean + policy.normaliser.scale * states).astype(np.float32)
        limit = float(np.abs(policy.state(obs)).max())
        plain = policy_from_onnx(policy_to_onnx(policy)).policy
        error = np.abs(controller(obs).astype(np.float64) - policy.outputs(obs))
        assert (error <= runtime_error(plain, state_limit=limit)).all()


def every_function() -> Policy:
    """Two hidden layers of all functions, so that the C of each is used on a part of a layer."""
    rng = np.random.default_rng(0)
    functions = [*Activation, LeakyRelu(0.125), ScaledElu(1.5, 2.0), Clamp(-0.5, 1.0)]
    counts = [1 + number % 3 for number in range(len(functions))]
    mixed = Mixed(tuple(zip(functions, counts, strict=True)))
    backwards = Mixed(tuple(zip(functions[::-1], counts, strict=True)))
    sizes = [(mixed.width, 4), (backwards.width, mixed.width), (2, backwards.width)]
    activations = (mixed, backwards, Activation.IDENTITY)
    layers = tuple(
        Layer(
            weight=rng.normal(size=size).astype(np.float32) / 3,
            bias=rng.normal(size=size[0]).astype(np.float32),
            activation=activation,
        )
        for size, activation in zip(sizes, activations, strict=True)
    )
    _, other = next(mixed_policies(1))
    return Policy(normaliser=other.normaliser, layers=layers, head=other.head)


@pytest.mark.parametrize("layout", [None, *Layout])
def test_the_generated_c_has_the_bits_of_its_twin(layout: Layout | None) -> None:
    policy = every_function()
    report = c_source(policy, CConfig(layout=layout)).report
    assert len(report.layers) == 3
    controller = controller_of(file_of(policy), Backend.C)
    obs = np.random.default_rng(1).normal(0, 3, (300, 4)).astype(np.float32)
    np.testing.assert_array_equal(controller(obs), twin_outputs(policy, obs))


def test_the_twin_in_pytorch_computes_values_and_gradients() -> None:
    policy = every_function()
    net = mlp_from_layers(policy.layers, dtype=torch.float64)
    states = np.random.default_rng(2).normal(size=(50, 4))
    x = torch.from_numpy(states).requires_grad_()
    output = net(x)
    np.testing.assert_allclose(output.detach().numpy(), policy.network(states), rtol=1e-12)
    (expected,) = torch.autograd.grad(output.square().sum(), x)
    with torch.no_grad():
        found = net.input_gradient(x, lambda output: 2 * output)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (((Activation.RELU, 3),), "must be several that differ"),
        (((Activation.RELU, 1), (Activation.RELU, 2)), "must be several that differ"),
        (((Activation.RELU, 0), (Activation.TANH, 2)), "at least one neuron each"),
    ],
)
def test_what_is_no_mixture_is_refused(
    parts: tuple[tuple[Activation, int], ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Mixed(parts)


def test_a_mixture_of_another_width_is_refused() -> None:
    mixed = Mixed(((Activation.RELU, 1), (Activation.TANH, 2)))
    with pytest.raises(InputError, match=r"must have 4 neurons, got mixed\(relu: 1, tanh: 2\)"):
        Layer(weight=np.ones((4, 2)), bias=np.ones(4), activation=mixed)


def test_equal_neighbours_are_one_function() -> None:
    parts = [(Activation.RELU, 1), (Activation.RELU, 2)]
    assert Mixed.of(parts) is Activation.RELU
    assert Mixed.of([*parts, (Activation.TANH, 1)]) == Mixed(
        ((Activation.RELU, 3), (Activation.TANH, 1))
    )
