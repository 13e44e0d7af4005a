"""Fitting a small network to numbers."""

import torch
from torch import Tensor

from surefoot.train.networks import Network

_MINIBATCH = 256


@torch.inference_mode()
def fit(
    network: Network,
    inputs: Tensor,
    targets: Tensor,
    *,
    epochs: int,
    generator: torch.Generator,
    learning_rate: float = 1e-3,
) -> None:
    """Bring a network to the least squared error by Adam, in place.

    Args:
        network: From inputs to targets.
        inputs: Shape (B, O).
        targets: Shape (B, M).
        epochs: Passes over the data.
        generator: Of the order of the data.
        learning_rate: At the start; it falls to zero.
    """
    network.parameters.grad = network.gradient
    optimiser = torch.optim.Adam([network.parameters], lr=learning_rate)
    num_updates = epochs * -(-len(inputs) // _MINIBATCH)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, num_updates)
    for _ in range(epochs):
        order = torch.randperm(len(inputs), generator=generator)
        for rows in torch.split(order, _MINIBATCH):
            trace = network.mlp.trace(inputs[rows])
            network.backward(trace, 2 * (trace.output - targets[rows]) / len(rows))
            optimiser.step()
            schedule.step()
