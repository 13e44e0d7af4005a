"""Multi-layer perceptrons in PyTorch: actor, critic, and the twin of a finished policy.

B = batch, O = number of inputs, M = number of outputs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from surefoot.policy import Activation, Layer

_FUNCTIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    Activation.IDENTITY: lambda x: x,
    Activation.RELU: torch.relu,
    Activation.TANH: torch.tanh,
    Activation.SIGMOID: torch.sigmoid,
    Activation.SILU: functional.silu,
    Activation.ELU: functional.elu,
    Activation.SOFTPLUS: lambda x: functional.softplus(x, threshold=float("inf")),
}

# Gradient with respect to y of phi(y), times g; from y itself (before) and h = phi(y) (after).
_aten = torch.ops.aten
_BACKWARD: dict[Activation, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    Activation.IDENTITY: lambda g, before, after: g,
    Activation.RELU: lambda g, before, after: _aten.threshold_backward(g, after, 0),
    Activation.TANH: lambda g, before, after: _aten.tanh_backward(g, after),
    Activation.SIGMOID: lambda g, before, after: _aten.sigmoid_backward(g, after),
    Activation.SILU: lambda g, before, after: _aten.silu_backward(g, before),
    Activation.ELU: lambda g, before, after: g * torch.where(before > 0, 1, after + 1),
    Activation.SOFTPLUS: lambda g, before, after: g * torch.sigmoid(before),
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Mlp:
    """Affine layers, each followed by its activation; the last activation is the identity.

    Attributes:
        weights: One per layer, (fan_out, fan_in).
        biases: One per layer, (fan_out,).
        activations: One per layer.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    activations: tuple[Activation, ...]

    def __call__(self, x_BO: Tensor) -> Tensor:
        """Return the outputs, (B, M)."""
        hidden = x_BO
        for weight, bias, activation in self._layers():
            hidden = _FUNCTIONS[activation](functional.linear(hidden, weight, bias))
        return hidden

    @torch.no_grad()
    def input_gradient(self, x_BO: Tensor, output_gradient: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the gradient with respect to the inputs of a function of the outputs, (B, O).

        Two matrix products per layer and no graph: several times faster than autograd, which
        decides the cost of every search inside a perturbation ball.

        Args:
            x_BO: Inputs.
            output_gradient: Maps outputs (B, M) to the gradient with respect to them.
        """
        after, trace = x_BO, []
        for weight, bias, activation in self._layers():
            before = functional.linear(after, weight, bias)
            after = _FUNCTIONS[activation](before)
            trace.append((weight, activation, before, after))
        gradient = output_gradient(after)
        for weight, activation, before, after in reversed(trace):
            gradient = _BACKWARD[activation](gradient, before, after) @ weight
        return gradient

    def parameters(self) -> list[Tensor]:
        """Return weights and biases, layer by layer."""
        return [entry for pair in zip(self.weights, self.biases, strict=True) for entry in pair]

    def to_layers(self) -> tuple[Layer, ...]:
        """Return the layers as NumPy copies, zeros as +0.0.

        Weights are in Fortran order, in which NumPy multiplies by their transpose twice as fast.
        """
        return tuple(
            Layer(
                weight=np.asfortranarray(weight.detach().cpu().numpy() + 0),
                bias=bias.detach().cpu().numpy() + 0,
                activation=activation,
            )
            for weight, bias, activation in self._layers()
        )

    def _layers(self) -> Iterator[tuple[Tensor, Tensor, Activation]]:
        return zip(self.weights, self.biases, self.activations, strict=True)


def new_mlp(
    sizes: Sequence[int],
    activation: Activation,
    *,
    output_gain: float,
    generator: torch.Generator,
    device: torch.device,
) -> Mlp:
    """Return a trainable float32 network: orthogonal weights (gain sqrt 2, last one as given).

    Args:
        sizes: Number of inputs, hidden widths, number of outputs.
        activation: Between the layers.
        output_gain: Gain of the last layer: .01 for an actor, 1 for a critic.
        generator: Of the weights, on the CPU; biases are zero.
        device: Where the network lives.
    """
    num_hidden = len(sizes) - 2
    gains = [2**0.5] * num_hidden + [output_gain]
    weights, biases = [], []
    for fan_in, fan_out, gain in zip(sizes[:-1], sizes[1:], gains, strict=True):
        weight = torch.empty(fan_out, fan_in)
        torch.nn.init.orthogonal_(weight, gain, generator=generator)
        weights.append(weight.to(device).requires_grad_())
        biases.append(torch.zeros(fan_out, device=device, requires_grad=True))
    return Mlp(
        weights=tuple(weights),
        biases=tuple(biases),
        activations=(*[activation] * num_hidden, Activation.IDENTITY),
    )


def mlp_from_layers(
    layers: Sequence[Layer], *, device: torch.device | str = "cpu", dtype: torch.dtype
) -> Mlp:
    """Return the frozen twin of NumPy layers, in the given precision."""
    return Mlp(
        weights=tuple(torch.tensor(layer.weight, dtype=dtype, device=device) for layer in layers),
        biases=tuple(torch.tensor(layer.bias, dtype=dtype, device=device) for layer in layers),
        activations=tuple(layer.activation for layer in layers),
    )
