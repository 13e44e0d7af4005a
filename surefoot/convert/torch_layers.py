"""Layers of PyTorch modules: what a feed-forward network of ``torch.nn`` computes."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from surefoot.activation import Activation, Clamp, LeakyRelu, OneActivation, ScaledElu
from surefoot.errors import InputError
from surefoot.policy import Array, Layer

_NOTHING = (nn.Identity, nn.Dropout, nn.Flatten)
"""Modules that change no number of a vector when a policy acts."""

_SOFTPLUS_THRESHOLD = 20
"""From here PyTorch gives x for softplus(x): a difference of exp(-20), less than it rounds."""


def layers_of(modules: Iterable[nn.Module], name: str) -> list[Layer]:
    """Return the layers of modules that follow each other.

    Args:
        modules: In the order in which they compute; sequences of them as well.
        name: How error messages call the network.

    Raises:
        InputError: If one is no affine map and no known activation, or stands at a wrong place.
    """
    layers: list[Layer] = []
    for module in _flat(modules):
        if type(module) is nn.Linear:
            layers.append(_affine(module))
        elif type(module) not in _NOTHING:
            if not layers:
                raise InputError(f"{name}: {module} stands before the first affine layer")
            layers.append(_activated(layers.pop(), _activation_of(module, name)))
    if not layers:
        raise InputError(f"{name} holds no affine layer")
    return layers


def array_of(tensor: torch.Tensor) -> Array:
    """Return the numbers of a tensor."""
    return np.asarray(tensor.detach().cpu().numpy())


def identity_layer(width: int) -> Layer:
    """Return a layer that gives its input on, with no weights of its own."""
    return Layer(
        weight=np.eye(width, dtype=np.float32),
        bias=np.zeros(width, np.float32),
        activation=Activation.IDENTITY,
        is_weight=np.zeros((width, width), np.bool_),
    )


def _flat(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    for module in modules:
        if isinstance(module, nn.Sequential):
            yield from _flat(module)
        else:
            yield module


def _affine(module: nn.Linear) -> Layer:
    weight = array_of(module.weight)
    given = module.bias
    bias = np.zeros(len(weight), weight.dtype) if given is None else array_of(given)
    return Layer(weight=weight, bias=bias, activation=Activation.IDENTITY)


def _activated(layer: Layer, activation: OneActivation) -> Layer:
    """Return the layer with an activation behind it.

    Raises:
        InputError: If there is one already.
    """
    if layer.activation is not Activation.IDENTITY:
        raise InputError(f"{activation.value} follows {layer.activation.value} without a layer")
    return replace(layer, activation=activation)


def _activation_of(module: nn.Module, name: str) -> OneActivation:
    """Return the activation that a module is.

    Raises:
        InputError: If it is none that a controller may have.
    """
    if (make := _ACTIVATIONS.get(type(module))) is None:
        raise InputError(f"{name}: {module} is no activation that a controller may have")
    return make(module)


def _elu(module: nn.Module) -> OneActivation:
    alpha = _number(module, "alpha")
    return Activation.ELU if alpha == 1 else ScaledElu(alpha, 1.0)


def _celu(module: nn.Module) -> OneActivation:
    if _number(module, "alpha") != 1:
        raise InputError(f"{module} must have an alpha of 1, where it is an ELU")
    return Activation.ELU


def _softplus(module: nn.Module) -> OneActivation:
    if _number(module, "beta") != 1 or _number(module, "threshold") < _SOFTPLUS_THRESHOLD:
        raise InputError(f"{module} must have a beta of 1 and a threshold of 20 or more")
    return Activation.SOFTPLUS


def _number(module: nn.Module, attribute: str) -> float:
    """Return a constant of a module as PyTorch takes it: rounded to float32."""
    return float(np.float32(getattr(module, attribute)))


_SELU = ScaledElu(
    alpha=float(np.float32(1.6732632423543772848170429916717)),
    gamma=float(np.float32(1.0507009873554804934193349852946)),
)

_ACTIVATIONS: dict[type[nn.Module], Callable[[nn.Module], OneActivation]] = {
    nn.ReLU: lambda module: Activation.RELU,
    nn.ReLU6: lambda module: Clamp(0.0, 6.0),
    nn.Tanh: lambda module: Activation.TANH,
    nn.Sigmoid: lambda module: Activation.SIGMOID,
    nn.SiLU: lambda module: Activation.SILU,
    nn.SELU: lambda module: _SELU,
    nn.ELU: _elu,
    nn.CELU: _celu,
    nn.Softplus: _softplus,
    nn.LeakyReLU: lambda module: LeakyRelu(_number(module, "negative_slope")),
    nn.Hardtanh: lambda module: Clamp(_number(module, "min_val"), _number(module, "max_val")),
}
