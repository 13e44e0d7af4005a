import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from surefoot.compress.neurons import neuron_importance, neuron_masks, remove_neurons
from surefoot.policy import Activation, Layer


def draw_layers(
    rng: np.random.Generator, sizes: list[int], activation: Activation = Activation.RELU
) -> list[Layer]:
    return [
        Layer(
            weight=rng.normal(size=(after, before)),
            bias=rng.normal(size=after),
            activation=activation,
        )
        for before, after in itertools.pairwise(sizes)
    ]


def forward(layers: Sequence[Layer], states: NDArray[np.float64]) -> NDArray[np.float64]:
    for number, layer in enumerate(layers):
        states = states @ layer.weight.T + layer.bias
        if number < len(layers) - 1:
            states = np.maximum(states, 0)
    return states


nets = st.tuples(st.lists(st.integers(1, 9), min_size=3, max_size=5), st.integers(0, 999))


@given(nets, st.data())
def test_the_masked_net_and_the_smaller_one_are_one_function(
    net: tuple[list[int], int], data: st.DataObject
) -> None:
    sizes, seed = net
    layers = draw_layers(np.random.default_rng(seed), sizes)
    kept = [
        np.array(data.draw(st.lists(st.booleans(), min_size=width, max_size=width).filter(any)))
        for width in sizes[1:-1]
    ]
    weights, biases = neuron_masks(kept, sizes[0], sizes[-1])
    masked = [
        Layer(weight=layer.weight * weight, bias=layer.bias * bias, activation=layer.activation)
        for layer, weight, bias in zip(layers, weights, biases, strict=True)
    ]
    small = remove_neurons(masked, kept)
    assert [len(layer.bias) for layer in small] == [*[mask.sum() for mask in kept], sizes[-1]]
    states = np.random.default_rng(seed).normal(size=(20, sizes[0]))
    assert forward(small, states) == pytest.approx(forward(masked, states), rel=1e-9, abs=1e-9)


@given(nets, st.data())
def test_a_neuron_that_goes_loses_every_tie_and_no_other_does(
    net: tuple[list[int], int], data: st.DataObject
) -> None:
    sizes, _ = net
    kept = [
        np.array(data.draw(st.lists(st.booleans(), min_size=width, max_size=width)))
        for width in sizes[1:-1]
    ]
    weights, biases = neuron_masks(kept, sizes[0], sizes[-1])
    ends = [[True] * sizes[0], *kept, [True] * sizes[-1]]
    for number, weight in enumerate(weights):
        for row, column in itertools.product(*map(range, weight.shape)):
            assert weight[row, column] == (ends[number + 1][row] and ends[number][column])
        assert list(biases[number]) == list(ends[number + 1])


@given(nets, st.floats(0.01, 100))
def test_importance_ignores_what_a_relu_lets_pass(
    net: tuple[list[int], int], factor: float
) -> None:
    """Scaling what a neuron reads and undoing it in what it feeds leaves the function alone."""
    sizes, seed = net
    layers = draw_layers(np.random.default_rng(seed), sizes)
    weights, biases = [x.weight.copy() for x in layers], [x.bias.copy() for x in layers]
    before = neuron_importance(weights, biases)
    weights[0][0] *= factor
    biases[0][0] *= factor
    weights[1][:, 0] /= factor
    scaled = [
        Layer(weight=weight, bias=bias, activation=Activation.RELU)
        for weight, bias in zip(weights, biases, strict=True)
    ]
    states = np.random.default_rng(seed).normal(size=(5, sizes[0]))
    assert forward(scaled, states) == pytest.approx(forward(layers, states), rel=1e-6, abs=1e-9)
    assert neuron_importance(weights, biases)[0] == pytest.approx(before[0], rel=1e-9)


def test_importance_is_the_product_of_both_norms() -> None:
    weights = [np.array([[3.0, 0.0], [0.0, 0.0], [1.0, 2.0]]), np.array([[1.0, 5.0, 0.0]])]
    (found,) = neuron_importance(weights, [np.array([4.0, 2.0, 2.0]), np.zeros(1)])
    assert found == pytest.approx([5.0, 10.0, 0.0])
