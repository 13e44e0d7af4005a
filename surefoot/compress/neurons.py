"""Structured pruning: hidden neurons that are removed for real, with their rows and columns.

L = affine layers of a network; a network has L - 1 hidden layers, and neuron i of hidden layer l
reads row i of weight l and feeds column i of weight l + 1.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from surefoot.compress.masks import Mask
from surefoot.policy import Layer


def neuron_importance(
    weights: Sequence[NDArray[np.floating]], biases: Sequence[NDArray[np.floating]]
) -> list[NDArray[np.floating]]:
    """Return |(incoming weights, bias)|_2 |outgoing weights|_2 of every hidden neuron.

    With ReLU it is the same however a factor is shifted from the weights before a neuron to those
    after it, which changes no output.

    Args:
        weights: One per layer, (fan_out, fan_in).
        biases: One per layer, (fan_out,).

    Returns:
        One array per hidden layer, (width,); larger means keep.
    """
    return [
        np.hypot(np.linalg.norm(weight, axis=1), np.abs(bias)) * np.linalg.norm(after, axis=0)
        for weight, bias, after in zip(weights[:-1], biases[:-1], weights[1:], strict=True)
    ]


def neuron_masks(
    kept: Sequence[Mask], num_inputs: int, num_outputs: int
) -> tuple[list[Mask], list[Mask]]:
    """Return the masks of weights and biases that cut all ties of the neurons that go.

    Args:
        kept: Neurons that stay, (width,) of each hidden layer.
        num_inputs: Number of inputs of the network.
        num_outputs: Number of outputs of the network.
    """
    ends = [np.ones(num_inputs, np.bool_), *kept, np.ones(num_outputs, np.bool_)]
    weights = [np.outer(rows, columns) for columns, rows in itertools.pairwise(ends)]
    return weights, ends[1:]


def remove_neurons(layers: Sequence[Layer], kept: Sequence[Mask]) -> tuple[Layer, ...]:
    """Return the smaller network without the neurons that go.

    Where the neurons that go feed only zeros (:func:`neuron_masks`) it computes the same function
    up to the order in which floats are added.

    Args:
        layers: Layers of the whole network.
        kept: Neurons that stay, (width,) of each hidden layer.
    """
    num_inputs, num_outputs = layers[0].weight.shape[1], len(layers[-1].bias)
    ends = [np.ones(num_inputs, np.bool_), *kept, np.ones(num_outputs, np.bool_)]
    return tuple(
        Layer(
            weight=np.asfortranarray(layer.weight[rows][:, columns]),
            bias=layer.bias[rows],
            activation=layer.activation,
        )
        for layer, (columns, rows) in zip(layers, itertools.pairwise(ends), strict=True)
    )
