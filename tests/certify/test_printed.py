"""Numbers of two papers as printed, against finite differences, cases by hand, and refutations."""

import math
from dataclasses import replace

import numpy as np
import pytest

from support.policies import build_policy, draw_policy, random_policy
from surefoot.certify.bounds.chain import network_chain
from surefoot.certify.bounds.global_bounds import paper_surrogate
from surefoot.certify.printed import (
    lemma_1_deviation,
    one_layer_constants,
    output_jacobians,
    parameter_step,
    path_sensitivity,
    theorem_3_terms,
)
from surefoot.compress import Method, OneShotConfig, compress_policy
from surefoot.errors import InputError
from surefoot.policy import Activation, Policy
from surefoot.unknown import Unknown

STATES = np.random.default_rng(0).normal(0, 1, (12, 4))


def pair(activation: Activation = Activation.TANH, kept: int = 40) -> tuple[Policy, Policy]:
    """A policy of 4-8-8-2 pruned by magnitude, and the dense one."""
    dense = random_policy(np.random.default_rng(1), [4, 8, 8, 2], activation, zeros=0.0)
    config = OneShotConfig(method=Method.MAGNITUDE)
    return compress_policy(dense, None, kept, config), dense


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_the_jacobian_of_a_layer_is_the_slope_of_the_outputs_by_its_biases(layer: int) -> None:
    _, dense = pair()
    found = output_jacobians(dense, STATES)[layer]
    step = 1e-6
    for neuron in range(len(dense.layers[layer].bias)):
        moved = [with_bias(dense, layer, neuron, sign * step) for sign in (1, -1)]
        slope = (moved[0].network(STATES) - moved[1].network(STATES)) / (2 * step)
        np.testing.assert_allclose(found[:, :, neuron], slope, atol=1e-8)


def with_bias(policy: Policy, layer: int, neuron: int, change: float) -> Policy:
    layers = list(policy.layers)
    bias = layers[layer].bias.astype(np.float64)
    bias[neuron] += change
    layers[layer] = replace(layers[layer], bias=bias)
    return replace(policy, layers=tuple(layers))


def test_lemma_1_bounds_smooth_networks_and_may_exceed_the_global_bound() -> None:
    _, dense = pair()
    direction = np.random.default_rng(2).standard_normal(STATES.shape)
    for length in (0.05, 1.0):
        step = direction / np.linalg.norm(direction, axis=1, keepdims=True) * length
        moved = np.linalg.norm(dense.network(STATES + step) - dense.network(STATES), axis=1)
        found = lemma_1_deviation(dense, STATES, length)
        assert found is not None
        assert (moved <= found).all()
    everywhere = paper_surrogate(network_chain(dense)) * length
    assert found.max() > everywhere


def test_lemma_1_says_that_a_relu_behind_its_kink_never_moves() -> None:
    # max(z - 0.1, 0) at 0: the Jacobian says 0, the truth is 0.1.
    policy = build_policy([[[1]], [[1]]], Activation.RELU, biases=[[-0.1], [0]])
    assert lemma_1_deviation(policy, np.zeros((1, 1)), 0.2) == pytest.approx([0.0])
    assert policy.network(np.array([[0.2]])) == pytest.approx(0.1)


def test_lemma_1_says_nothing_of_an_activation_with_other_kinks() -> None:
    assert lemma_1_deviation(pair(Activation.ELU)[1], STATES, 0.1) is None


def test_the_sensitivity_of_one_affine_layer_is_the_length_of_its_input() -> None:
    dense = build_policy([np.random.default_rng(3).normal(0, 1, (2, 4))])
    pruned = build_policy([np.zeros((2, 4))])
    exact = math.sqrt(float((1 + np.square(STATES).sum(axis=1)).mean()))
    assert path_sensitivity(pruned, dense, STATES) == pytest.approx(exact)
    step = float(np.linalg.norm(dense.layers[0].weight))
    assert parameter_step(pruned, dense) == pytest.approx(step)


def test_a_path_of_parameters_bounds_the_mean_change_and_its_quadrature_has_converged() -> None:
    pruned, dense = pair()
    whole, parts = (path_sensitivity(pruned, dense, STATES, pieces=count) for count in (1, 4))
    assert whole == pytest.approx(parts, rel=1e-3)
    change = np.linalg.norm(pruned.network(STATES) - dense.network(STATES), axis=1)
    assert change.mean() <= whole * parameter_step(pruned, dense)


def test_the_terms_of_theorem_3_are_in_multiples_of_the_trivial_bound() -> None:
    pruned, dense = pair()
    terms = theorem_3_terms(pruned, dense, STATES, epsilon=0.1, std=0.1, discount=0.9)
    # alpha c / trivial = (1 + g / (1 - g)^2) (1 - g) / (sqrt(2 pi) sigma)
    share = (1 + 0.9 / 0.01) * 0.1 / (math.sqrt(2 * math.pi) * 0.1)
    assert terms.robustness_gap == pytest.approx(
        share * paper_surrogate(network_chain(pruned)) * 0.1
    )
    loss = share * path_sensitivity(pruned, dense, STATES) * parameter_step(pruned, dense)
    assert terms.performance_loss == pytest.approx(loss)
    assert terms.robustness_gap < terms.dense_gap < terms.total


def test_without_pruning_theorem_3_keeps_the_gap_alone() -> None:
    _, dense = pair()
    terms = theorem_3_terms(dense, dense, STATES, epsilon=0.1, std=0.1, discount=0.9)
    assert terms.performance_loss == 0
    assert terms.total == terms.dense_gap


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_change_of_one_layer_that_is_admissible_keeps_the_tolerance(number: int) -> None:
    _, policy = pair()
    constants, tolerance = one_layer_constants(policy, STATES), 0.05
    assert not isinstance(constants, Unknown)
    assert (constants.forward_pass <= constants.norms_and_biases * (1 + 1e-12)).all()
    noise = np.random.default_rng(number).normal(0, 1, policy.layers[number].weight.shape)
    change = noise / np.linalg.norm(noise, 2) * constants.admissible(tolerance)[number]
    layers = list(policy.layers)
    layers[number] = replace(layers[number], weight=layers[number].weight + change)
    moved = replace(policy, layers=tuple(layers)).network(STATES) - policy.network(STATES)
    lengths = np.linalg.norm(moved, axis=1)
    assert 0 < lengths.max() <= tolerance
    spectral = np.linalg.norm(change, 2)
    assert (lengths <= constants.forward_pass[:, number] * spectral * (1 + 1e-12)).all()


@pytest.mark.parametrize("activation", [Activation.SIGMOID, Activation.SILU])
def test_activations_that_are_steep_or_not_zero_at_zero_have_no_constants(
    activation: Activation,
) -> None:
    assert isinstance(one_layer_constants(pair(activation)[1], STATES), Unknown)


def test_policies_of_other_shapes_have_no_path_between_them() -> None:
    other = draw_policy(np.random.default_rng(0), [4, 6, 2])
    with pytest.raises(InputError, match="equal layers"):
        path_sensitivity(other, pair()[1], STATES)
