"""Multi-layer perceptrons in PyTorch: actor, critic, and the twin of a finished policy.

B = batch, O = number of inputs, M = number of outputs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from surefoot.activation import (
    Activation,
    AnyActivation,
    Clamp,
    LeakyRelu,
    Mixed,
    Product,
    RmsNorm,
    ScaledElu,
)
from surefoot.policy import Layer

_FUNCTIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    Activation.IDENTITY: lambda x: x,
    Activation.RELU: torch.relu,
    Activation.TANH: torch.tanh,
    Activation.SIGMOID: torch.sigmoid,
    Activation.SILU: functional.silu,
    Activation.ELU: functional.elu,
    # functional.softplus is either not softplus beyond its threshold or infinite beyond 88
    Activation.SOFTPLUS: lambda x: torch.logaddexp(x, torch.zeros_like(x)),
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


SILU_SLOPES = (-0.09984, 1.09984)
"""All slopes of SiLU lie between: its steepest is 1.0998393, where x tanh(x / 2) = 2."""


def forward(activation: AnyActivation, x: Tensor) -> Tensor:
    """Return an activation of ``x``, along its last axis."""
    match activation:
        case Mixed():
            parts = [forward(one, x[..., neurons]) for one, neurons in activation.places()]
            return torch.cat(parts, dim=-1)
        case LeakyRelu(alpha):
            return functional.leaky_relu(x, alpha)
        case ScaledElu(alpha, gamma):
            return gamma * functional.elu(x, alpha)
        case Clamp(low, high):
            return torch.clamp(x, low, high)
        case RmsNorm():
            return functional.rms_norm(x, x.shape[-1:], eps=activation.epsilon)
        case Product():
            first, second = x.chunk(2, dim=-1)
            return torch.cat([first * second, second], dim=-1)
        case _:
            return _FUNCTIONS[activation](x)


def _backward(activation: AnyActivation, g: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Return the gradient with respect to the input of an activation."""
    match activation:
        case Mixed():
            parts = [
                _backward(one, g[..., neurons], before[..., neurons], after[..., neurons])
                for one, neurons in activation.places()
            ]
            return torch.cat(parts, dim=-1)
        case LeakyRelu(alpha):
            return torch.where(before > 0, g, alpha * g)
        case ScaledElu(alpha, gamma):
            return g * torch.where(before > 0, gamma, after + gamma * alpha)
        case Clamp(low, high):
            return torch.where((before > low) & (before < high), g, 0)
        case RmsNorm(epsilon):
            square = before.square().mean(dim=-1, keepdim=True)
            along = (after * g).mean(dim=-1, keepdim=True)
            return (g - after * along) * torch.rsqrt(square + epsilon)
        case Product():
            (first, second), (left, right) = before.chunk(2, dim=-1), g.chunk(2, dim=-1)
            return torch.cat([left * second, left * first + right], dim=-1)
        case _:
            return _BACKWARD[activation](g, before, after)


def product(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """Return the matrix product of two tensors, on one thread of the CPU by NumPy; no autograd.

    NumPy's kernels can be pinned to the same ones on all processors with AVX2 (see `provenance`).
    Those of PyTorch's MKL cannot, but for kernels that take more than twice the time.

    Args:
        a: Shape (m, k).
        b: Shape (k, n).
        out: Where the product goes, (m, n); new memory if not given.
    """
    if a.shape[-1] == 1:  # every entry is one product, whoever computes it
        return torch.mul(a, b, out=out)
    if a.device.type != "cpu" or torch.get_num_threads() > 1:
        return torch.mm(a, b, out=out)
    with np.errstate(all="ignore"):  # what is not finite stops the training by name
        if out is None:
            return torch.from_numpy(np.matmul(a.numpy(), b.numpy()))
        np.matmul(a.numpy(), b.numpy(), out=out.numpy())
        return out


def _affine(x_BO: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return product(x_BO, weight.t()).add_(bias)


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """A forward pass, kept for the backward pass.

    Attributes:
        inputs: Input of every layer.
        sums: weight @ input + bias of every layer.
        output: Output of the last layer, (B, M).
    """

    inputs: list[Tensor]
    sums: list[Tensor]
    output: Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Mlp:
    """Affine layers, each followed by its activation; the last activation is the identity.

    Gradients are written by hand: two matrix products per layer and no graph cost a third of
    autograd on networks this small, in every update and in every search inside a ball.

    Attributes:
        weights: One per layer, (fan_out, fan_in).
        biases: One per layer, (fan_out,).
        activations: One per layer.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    activations: tuple[AnyActivation, ...]

    def __call__(self, x_BO: Tensor) -> Tensor:
        """Return the outputs, (B, M); differentiable by autograd too."""
        leaves = (x_BO, *self.weights, *self.biases)
        if not torch.is_grad_enabled() or not any(leaf.requires_grad for leaf in leaves):
            return self.trace(x_BO).output
        hidden = x_BO
        for weight, bias, activation in self._layers():
            hidden = forward(activation, functional.linear(hidden, weight, bias))
        return hidden

    def trace(self, x_BO: Tensor) -> Trace:
        """Return the outputs, and the intermediate values that gradients need."""
        inputs, sums, hidden = [], [], x_BO
        for weight, bias, activation in self._layers():
            inputs.append(hidden)
            sums.append(_affine(hidden, weight, bias))
            hidden = forward(activation, sums[-1])
        return Trace(inputs, sums, hidden)

    def input_gradient(self, x_BO: Tensor, output_gradient: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the gradient with respect to the inputs of a function of the outputs, (B, O).

        Args:
            x_BO: Inputs.
            output_gradient: Maps outputs (B, M) to the gradient with respect to them.
        """
        trace = self.trace(x_BO)
        gradient = output_gradient(trace.output)
        for _, sum_gradient in self._sum_gradients(trace, gradient):
            gradient = sum_gradient
        return product(gradient, self.weights[0])

    def write_gradient(self, trace: Trace, output_gradient_BM: Tensor, into: "Mlp") -> None:
        """Write the gradient with respect to weights and biases over those of ``into``."""
        for number, gradient in self._sum_gradients(trace, output_gradient_BM):
            product(gradient.t(), trace.inputs[number], out=into.weights[number])
            torch.sum(gradient, 0, out=into.biases[number])

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

    def _layers(self) -> Iterator[tuple[Tensor, Tensor, AnyActivation]]:
        return zip(self.weights, self.biases, self.activations, strict=True)

    def _sum_gradients(self, trace: Trace, gradient: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield layer number and gradient with respect to its sums, last layer first."""
        after = trace.output
        for number in reversed(range(len(self.weights))):
            activation = self.activations[number]
            gradient = _backward(activation, gradient, trace.sums[number], after)
            yield number, gradient
            if number:
                gradient = product(gradient, self.weights[number])
                after = trace.inputs[number]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TorchNetwork:
    """A network that is trained: one vector of parameters, and one of their gradient.

    In one vector, a step of the optimiser, a mask and a norm are one operation each.

    Attributes:
        parameters: Weights and biases, layer by layer.
        gradient: Shape of ``parameters``.
        mlp: Views of ``parameters``.
        gradient_mlp: Views of ``gradient``.
    """

    parameters: Tensor
    gradient: Tensor
    mlp: Mlp
    gradient_mlp: Mlp

    def views_of(self, vector: Tensor) -> Mlp:
        """Return the network that has ``vector`` for its parameters."""
        shapes = [(weight.shape[0], weight.shape[1]) for weight in self.mlp.weights]
        return _views(vector, shapes, self.mlp.activations)

    def backward(self, trace: Trace, output_gradient_BM: Tensor) -> None:
        """Write the gradient of a function of the outputs to ``gradient``."""
        self.mlp.write_gradient(trace, output_gradient_BM, self.gradient_mlp)


def new_network(
    sizes: Sequence[int],
    activation: Activation,
    *,
    output_gain: float,
    generator: torch.Generator,
    device: torch.device,
) -> TorchNetwork:
    """Return an untrained float32 network: orthogonal weights (gain sqrt 2, last one as given).

    Args:
        sizes: Number of inputs, hidden widths, number of outputs.
        activation: Function between the layers.
        output_gain: Gain of the last layer: .01 for an actor, 1 for a critic.
        generator: Source of the weights, on the CPU; biases are zero.
        device: Where the network lives.
    """
    shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
    total = sum(fan_out * fan_in + fan_out for fan_out, fan_in in shapes)
    parameters, gradient = torch.zeros(2, total, device=device)
    activations = (*[activation] * (len(shapes) - 1), Activation.IDENTITY)
    mlp = _views(parameters, shapes, activations)
    gains = [2**0.5] * (len(shapes) - 1) + [output_gain]
    for weight, gain in zip(mlp.weights, gains, strict=True):
        start = torch.empty(weight.shape)
        torch.nn.init.orthogonal_(start, gain, generator=generator)
        weight.copy_(start)
    gradient_mlp = _views(gradient, shapes, activations)
    return TorchNetwork(
        parameters=parameters, gradient=gradient, mlp=mlp, gradient_mlp=gradient_mlp
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


def _views(
    vector: Tensor, shapes: Sequence[tuple[int, int]], activations: tuple[AnyActivation, ...]
) -> Mlp:
    """Return weights and biases as views of a vector of both."""
    weights, biases, start = [], [], 0
    for fan_out, fan_in in shapes:
        weights.append(vector[start : start + fan_out * fan_in].view(fan_out, fan_in))
        start += fan_out * fan_in
        biases.append(vector[start : start + fan_out])
        start += fan_out
    return Mlp(weights=tuple(weights), biases=tuple(biases), activations=activations)
