"""The semidefinite bound: its gradient, its block matrix, and what its proof refuses.

Also of ``certify/bounds/lipsdp_proof.py`` and ``certify/bounds/lipsdp_recursion.py``.
"""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from support.oracles import is_semidefinite
from support.policies import build_policy, draw_policy
from surefoot.activation import AnyActivation, LeakyRelu, ScaledElu
from surefoot.certify.bounds import lipsdp, lipsdp_recursion
from surefoot.certify.bounds.chain import network_chain
from surefoot.certify.bounds.global_bounds import closed_form_bounds
from surefoot.certify.bounds.lipsdp_proof import block_matrix, from_zero, proves_lipschitz
from surefoot.certify.bounds.upward import proves_semidefinite
from surefoot.policy import Activation

CURVED = [Activation.TANH, Activation.SIGMOID, Activation.SILU]


@pytest.mark.parametrize("activation", CURVED)
@pytest.mark.parametrize("sizes", [[3, 5, 2], [3, 5, 4, 2], [2, 4, 4, 4, 1]])
def test_the_gradient_by_hand_agrees_with_differences(
    activation: Activation, sizes: list[int]
) -> None:
    rng = np.random.default_rng(0)
    chain = network_chain(draw_policy(rng, sizes, activation))
    start = lipsdp_recursion.start_parameters(chain)
    point = start + 0.3 * rng.standard_normal(len(start))
    value, gradient = lipsdp_recursion.log_squared_bound(chain, point)
    numeric = approx_fprime(point, lambda x: lipsdp_recursion.log_squared_bound(chain, x)[0], 1e-7)
    assert np.isfinite(value)
    np.testing.assert_allclose(gradient, numeric, atol=2e-5)


@pytest.mark.parametrize("activation", CURVED)
def test_few_sensors_are_a_shorter_way_to_the_same_bound(
    activation: Activation, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(4)
    chain = network_chain(draw_policy(rng, [3, 9, 5, 2], activation))
    start = lipsdp_recursion.start_parameters(chain)
    point = start + 0.3 * rng.standard_normal(len(start))
    value, gradient = lipsdp_recursion.log_squared_bound(chain, point)
    monkeypatch.setattr(lipsdp_recursion, "_MANY", 4)
    shorter, its_gradient = lipsdp_recursion.log_squared_bound(chain, point)
    assert shorter == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(its_gradient, gradient, atol=1e-10)


@pytest.mark.parametrize("activation", CURVED)
def test_the_layer_recursion_is_the_block_matrix(activation: Activation) -> None:
    rng = np.random.default_rng(1)
    chain = network_chain(draw_policy(rng, [3, 5, 4, 2], activation))
    start = lipsdp_recursion.start_parameters(chain)
    for _ in range(5):
        point = start + 0.5 * rng.standard_normal(len(start))
        squared = float(np.exp(lipsdp_recursion.log_squared_bound(chain, point)[0]))
        _, steps = lipsdp_recursion._forward(chain, point)
        values = tuple(
            squared / (slope.radius**2 * step.diagonal)
            for slope, step in zip(chain.slopes, steps, strict=True)
        )

        def smallest(factor: float, squared: float = squared, values: tuple = values) -> float:
            matrix = block_matrix(chain, squared * factor**2, values)
            return float(np.linalg.eigvalsh(matrix)[0])

        assert abs(smallest(1.0)) < 1e-9
        assert smallest(1 - 1e-4) < -1e-12
        assert smallest(1 + 1e-4) > 1e-12


def test_multipliers_are_proved_just_above_the_bound_and_not_below() -> None:
    rng = np.random.default_rng(2)
    for activation in CURVED:
        chain = network_chain(draw_policy(rng, [4, 16, 16, 2], activation))
        found = lipsdp.semidefinite_bounds(chain, iterations=20, row_iterations=5)
        for proof in (found.fast, found.whole):
            assert proof is not None
            assert proves_lipschitz(chain, proof.squared, proof.values)
            assert not proves_lipschitz(chain, proof.squared * (1 - 1e-6), proof.values)
        assert found.whole.bound <= found.fast.bound * (1 + 1e-7)
        for row in found.rows:
            assert row.bound <= found.whole.bound * (1 + 1e-6)


def test_what_is_proved_holds_in_exact_rationals() -> None:
    rng = np.random.default_rng(3)
    trials = 0
    for _ in range(6):
        activation = CURVED[trials % 3]
        chain = network_chain(draw_policy(rng, [2, 4, 3, 2], activation))
        proof = lipsdp.semidefinite_bounds(chain, iterations=15, row_iterations=0).whole
        values = tuple(layer.astype(np.float64) for layer in proof.values)
        assert is_semidefinite(block_matrix(chain, proof.squared, values))
        trials += 1
    assert trials == 6


@pytest.mark.parametrize(
    "activation", [LeakyRelu(0.0), LeakyRelu(0.25), ScaledElu(1.5, 1.0507010221481323)]
)
def test_kinked_activations_have_a_bound_that_exact_rationals_prove(
    activation: AnyActivation,
) -> None:
    chain = network_chain(draw_policy(np.random.default_rng(5), [2, 4, 3, 2], activation))
    found = lipsdp.semidefinite_bounds(chain, iterations=20, row_iterations=0)
    assert found.whole.bound <= found.fast.bound <= closed_form_bounds(chain).whole["spectral"]
    # Entry by entry in rationals: what floats round in a product of three is no part of the proof.
    values = [[Fraction(float(value)) for value in layer] for layer in found.whole.values]
    exact = np.vectorize(Fraction, otypes=[object])(
        block_matrix(chain, found.whole.squared, tuple(v.astype(float) for v in found.whole.values))
    )
    sizes = np.cumsum([0, *(matrix.centre.shape[1] for matrix in chain.matrices)])
    for number, (low, high) in enumerate(pairwise(sizes[:-1])):
        rows = slice(sizes[number + 1], sizes[number + 2])
        weight = np.vectorize(Fraction, otypes=[object])(chain.matrices[number].centre)
        middle = Fraction(from_zero(chain).slopes[number].middle)
        block = -np.array(values[number], dtype=object)[:, None] * middle * weight
        exact[rows, low:high], exact[low:high, rows] = block, block.T
    assert is_semidefinite(exact)


def test_random_multipliers_never_prove_more_than_is_true() -> None:
    rng = np.random.default_rng(4)
    chain = network_chain(draw_policy(rng, [3, 4, 2], Activation.RELU))
    least = lipsdp.semidefinite_bounds(chain, iterations=200, row_iterations=0).whole.squared
    passed = 0
    for _ in range(1000):
        squared = least * 10.0 ** rng.uniform(-1, 2)
        values = (10.0 ** rng.uniform(-2, 2, 4)).astype(np.float32)
        if proves_lipschitz(chain, squared, (values,)):
            passed += 1
            assert squared >= least * (1 - 1e-3)
            exact = block_matrix(chain, squared, (values.astype(np.float64),))
            assert is_semidefinite(exact)
    assert passed > 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_bad_multipliers_are_refused(bad: float) -> None:
    chain = network_chain(draw_policy(np.random.default_rng(5), [3, 4, 2]))
    proof = lipsdp.semidefinite_bounds(chain, iterations=5, row_iterations=0).whole
    values = proof.values[0].copy()
    values[1] = bad
    assert proves_lipschitz(chain, proof.squared, proof.values)
    assert not proves_lipschitz(chain, proof.squared, (values,))
    assert not proves_lipschitz(chain, bad, proof.values)
    assert not proves_lipschitz(chain, proof.squared, (proof.values[0][:-1],))
    assert not proves_lipschitz(chain, proof.squared, ())


def test_a_network_without_a_semidefinite_bound_has_none() -> None:
    for policy in (
        build_policy([np.ones((2, 3))]),
        build_policy([np.zeros((2, 3)), np.ones((1, 2))]),
        build_policy([np.ones((2, 3)), np.ones((1, 2))], Activation.IDENTITY),
    ):
        found = lipsdp.semidefinite_bounds(network_chain(policy), iterations=5, row_iterations=5)
        assert (found.fast, found.whole) == (None, None)


def test_a_zero_matrix_is_not_taken_for_positive_definite() -> None:
    assert not proves_semidefinite(np.zeros((2, 2)))
