"""Layers compute what their PyTorch modules compute, in float64."""

import numpy as np
import pytest
import torch
from torch import nn

from surefoot.activation import Activation
from surefoot.convert.torch_layers import identity_layer, layers_of
from surefoot.errors import InputError
from surefoot.policy import Array, Layer


def outputs_of(layers: list[Layer], x: Array) -> Array:
    for layer in layers:
        x = layer.activation(x @ layer.weight.astype(np.float64).T + layer.bias.astype(np.float64))
    return x


@pytest.mark.parametrize(
    "activation",
    [
        nn.ReLU(),
        nn.ReLU6(),
        nn.Tanh(),
        nn.Sigmoid(),
        nn.SiLU(),
        nn.SELU(),
        nn.ELU(),
        nn.ELU(alpha=0.25),
        nn.CELU(),
        nn.Softplus(),
        nn.LeakyReLU(0.25),
        nn.Hardtanh(-0.5, 2.0),
        nn.Identity(),
        nn.Dropout(),
    ],
    ids=str,
)
def test_layers_compute_what_their_modules_compute(activation: nn.Module) -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(5, 7, bias=False), activation)
    modules = [nn.Sequential(body, nn.Linear(7, 6)), activation, nn.Linear(6, 2)]
    layers = layers_of(modules, "net")
    x = 30 * torch.randn(500, 5, dtype=torch.float64)
    module = nn.Sequential(*modules).double().eval()
    with torch.no_grad():
        expected = module(x).numpy()
    # SELU's two constants are float32 numbers in PyTorch's own float32 kernels alone.
    np.testing.assert_allclose(outputs_of(layers, x.numpy()), expected, rtol=2e-7, atol=2e-6)


def test_an_identity_layer_gives_its_input_on_and_has_no_weight() -> None:
    x = np.random.default_rng(0).normal(size=(10, 4))
    layer = identity_layer(4)
    np.testing.assert_array_equal(outputs_of([layer], x), x)
    assert layer.weights.size == 0


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        ([nn.Linear(2, 2), nn.GELU()], "net: GELU"),
        ([nn.Linear(2, 2), nn.LayerNorm(2)], "net: LayerNorm"),
        ([nn.Conv2d(1, 1, 1)], "net: Conv2d"),
        ([nn.GRUCell(2, 2)], "net: GRUCell"),
        ([nn.Linear(2, 2), nn.Softplus(beta=2)], "beta of 1"),
        ([nn.Linear(2, 2), nn.CELU(2.0)], "alpha of 1"),
        ([nn.Linear(2, 2), nn.LeakyReLU(1.5)], "alpha must be in"),
        ([nn.Tanh(), nn.Linear(2, 2)], "before the first affine layer"),
        ([nn.Linear(2, 2), nn.Tanh(), nn.ReLU()], "relu follows tanh"),
        ([nn.Identity()], "no affine layer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_layer_is_refused_by_name(modules: list[nn.Module], said: str) -> None:
    with pytest.raises(InputError, match=said):
        layers_of(modules, "net")


def test_a_linear_module_of_ones_own_is_not_taken_for_a_plain_one() -> None:
    class Scaled(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(input)

    with pytest.raises(InputError, match="Scaled"):
        layers_of([Scaled(2, 2)], "net")


def test_the_last_layer_is_plain_where_no_module_follows() -> None:
    layers = layers_of([nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)], "net")
    assert [layer.activation for layer in layers] == [Activation.TANH, Activation.IDENTITY]
