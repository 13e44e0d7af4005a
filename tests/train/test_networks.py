import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from support.policies import random_policy
from surefoot.activation import Activation, AnyActivation, Clamp, LeakyRelu, ScaledElu
from surefoot.train.agent import twin
from surefoot.train.networks import TorchNetwork, forward, mlp_from_layers, new_network

CPU = torch.device("cpu")
EVERY = [*Activation, LeakyRelu(0.125), ScaledElu(1.75, 1.0625), Clamp(-1.0, 0.5)]


def network(
    activation: AnyActivation, sizes: tuple[int, ...] = (5, 8, 7, 3), seed: int = 0
) -> TorchNetwork:
    generator = torch.Generator().manual_seed(seed)
    return new_network(sizes, activation, output_gain=1.0, generator=generator, device=CPU)


@settings(max_examples=30)
@given(st.sampled_from(EVERY), st.integers(0, 10**6))
def test_the_twin_computes_what_the_policy_computes(activation: AnyActivation, seed: int) -> None:
    rng = np.random.default_rng(seed)
    policy = random_policy(rng, (5, 8, 7, 3), activation)
    states = rng.normal(0, 2, (9, 5))
    found = twin(policy, dtype=torch.float64)(torch.from_numpy(states)).numpy()
    assert found == pytest.approx(policy.network(states), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("activation", EVERY)
def test_large_sums_overflow_no_activation_nor_its_gradient(activation: AnyActivation) -> None:
    """exp(89) is infinite in float32, in which training computes."""
    sums = np.array([-1e4, -200.0, -89.0, 89.0, 200.0, 1e4], np.float32)
    x = torch.from_numpy(sums).requires_grad_()
    found = forward(activation, x)
    assert found.detach().numpy() == pytest.approx(activation(sums.astype(np.float64)), rel=1e-6)
    (slopes,) = torch.autograd.grad(found.sum(), x)
    assert torch.isfinite(slopes).all()


@pytest.mark.parametrize("activation", EVERY)
def test_the_gradient_by_inputs_is_that_of_autograd(activation: AnyActivation) -> None:
    rng = np.random.default_rng(0)
    net = twin(random_policy(rng, (5, 8, 7, 3), activation), dtype=torch.float64)
    x = torch.from_numpy(rng.normal(size=(9, 5))).requires_grad_()
    target = torch.from_numpy(rng.normal(size=(9, 3)))
    (expected,) = torch.autograd.grad((net(x) - target).square().sum(), x)
    with torch.no_grad():
        found = net.input_gradient(x, lambda output: 2 * (output - target))
    assert found.numpy() == pytest.approx(expected.numpy(), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("activation", EVERY)
def test_the_gradient_by_parameters_is_that_of_autograd(activation: AnyActivation) -> None:
    net = network(activation)
    x = torch.randn(9, 5, generator=torch.Generator().manual_seed(1))
    parameters = [*net.mlp.weights, *net.mlp.biases]
    copies = [parameter.detach().clone().requires_grad_() for parameter in parameters]
    same = mlp_from_layers(net.mlp.to_layers(), dtype=torch.float32)
    same = type(same)(
        weights=tuple(copies[:3]), biases=tuple(copies[3:]), activations=same.activations
    )
    expected = torch.autograd.grad(same(x).square().sum(), copies)
    trace = net.mlp.trace(x)
    net.backward(trace, 2 * trace.output)
    for found, wanted in zip(
        [*net.gradient_mlp.weights, *net.gradient_mlp.biases], expected, strict=True
    ):
        assert found.numpy() == pytest.approx(wanted.numpy(), rel=1e-4, abs=1e-5)


def test_new_weights_are_orthogonal_with_the_gain_of_their_layer_and_biases_zero() -> None:
    net = network(Activation.TANH, sizes=(5, 8, 8, 3))
    for weight, gain in zip(net.mlp.weights, (2**0.5, 2**0.5, 1.0), strict=True):
        short = weight if weight.shape[0] <= weight.shape[1] else weight.t()
        gram = (short @ short.t()).numpy()
        assert gram == pytest.approx(gain**2 * np.eye(len(gram)), abs=1e-5)
    assert all((bias == 0).all() for bias in net.mlp.biases)


def test_all_parameters_lie_in_one_vector() -> None:
    net = network(Activation.RELU)
    net.parameters.zero_()
    assert all((entry == 0).all() for entry in (*net.mlp.weights, *net.mlp.biases))
    assert net.parameters.numel() == sum(
        entry.numel() for entry in (*net.mlp.weights, *net.mlp.biases)
    )


def test_layers_are_copies_with_positive_zeros() -> None:
    net = network(Activation.TANH)
    net.mlp.weights[0].mul_(0).neg_()
    layers = net.mlp.to_layers()
    assert not np.signbit(layers[0].weight).any()
    net.parameters.fill_(1)
    assert (layers[0].weight == 0).all()
