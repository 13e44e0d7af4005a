"""Fitting a small network to numbers or to choices. B = samples, M = outputs."""

from collections.abc import Callable

import torch
from torch import Tensor

from surefoot.train.networks import TorchNetwork

MINIBATCH = 256
HIDDEN = (64, 64)
"""Widths of what is fitted to a controller or its task."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""From outputs, (B, M), and targets to the gradient of the loss by the outputs, (B, M)."""


def squared_loss(output_BM: Tensor, target_BM: Tensor) -> Tensor:
    """Return the gradient of the mean squared error, summed over the outputs."""
    return 2 * (output_BM - target_BM) / len(output_BM)


def choice_loss(logits_BM: Tensor, choice_B: Tensor) -> Tensor:
    """Return the gradient of the mean cross entropy of choices, (B,) integers."""
    chosen_BM = torch.nn.functional.one_hot(choice_B, logits_BM.shape[1])
    return (torch.softmax(logits_BM, 1) - chosen_BM) / len(logits_BM)


@torch.inference_mode()
def fit(
    network: TorchNetwork,
    inputs: Tensor,
    targets: Tensor,
    *,
    epochs: int,
    generator: torch.Generator,
    learning_rate: float = 1e-3,
    loss: Loss = squared_loss,
) -> None:
    """Bring a network to the least loss by Adam, in place.

    Args:
        network: Network from inputs to targets.
        inputs: Shape (B, O).
        targets: Shape (B, M), or (B,) of choices.
        epochs: Passes over the data.
        generator: Source of the order of the data.
        learning_rate: Learning rate at the start; it falls to zero.
        loss: Loss whose gradient is followed.
    """
    network.parameters.grad = network.gradient
    optimiser = torch.optim.Adam([network.parameters], lr=learning_rate)
    num_updates = epochs * -(-len(inputs) // MINIBATCH)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, num_updates)
    for _ in range(epochs):
        order = torch.randperm(len(inputs), generator=generator)
        for rows in torch.split(order, MINIBATCH):
            trace = network.mlp.trace(inputs[rows])
            network.backward(trace, loss(trace.output, targets[rows]))
            optimiser.step()
            schedule.step()
