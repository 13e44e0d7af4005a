"""Products of two computed values: no bound of theirs is left, in real arithmetic or in float32.

The oracle computes in extended precision, from the formula alone.
"""

import os
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from support.onnx_graphs import Array
from support.policies import draw_policy
from surefoot.activation import Activation, Mixed, Product
from surefoot.ball import Norm
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.bounds.branch_and_bound import jacobian
from surefoot.certify.bounds.crown import interval_layers, layer_bounds
from surefoot.certify.bounds.local_bounds import local_bounds, local_region
from surefoot.certify.bounds.products import product_bands, product_errors, product_image
from surefoot.certify.bounds.region import network_of
from surefoot.certify.bounds.rounding import RoundingBound, rounding_around, rounding_bound
from surefoot.certify.bounds.slopes import derivative, slope_range, times_jacobian
from surefoot.certify.counterexamples import network_and_gradient
from surefoot.certify.everywhere import Everywhere
from surefoot.coupled_activation import halves
from surefoot.policy import NO_PRODUCT_SLOPES, Policy
from surefoot.unknown import Unknown

TRIALS = int(os.environ.get("SUREFOOT_TRIALS", "8"))
EXTENDED = np.longdouble
FLOAT32 = ARITHMETICS["float32"]
FACTORS = Mixed.of([(Activation.SIGMOID, 3), (Product(), 4), (Activation.TANH, 3), (Product(), 2)])


def boxes(rng: np.random.Generator, count: int, width: int) -> tuple[Array, Array]:
    """Boxes of many sizes and places, points among them."""
    middle = rng.normal(size=(count, width)) * 10.0 ** rng.uniform(-4, 3, (count, 1))
    radius = np.abs(rng.normal(size=(count, width))) * 10.0 ** rng.uniform(-6, 2, (count, 1))
    radius[rng.random(radius.shape) < 0.1] = 0
    return middle - radius, middle + radius


def points_of(low: Array, high: Array, rng: np.random.Generator, count: int) -> Iterator[Array]:
    """Corners and inner points of boxes."""
    for number in range(count):
        share = rng.random(low.shape)
        yield np.clip(low + (np.round(share) if number % 2 else share) * (high - low), low, high)


def multiplying_policies(count: int) -> Iterator[tuple[np.random.Generator, Policy]]:
    """Random controllers with products of products, beside other functions and alone."""
    for seed in range(count):
        rng = np.random.default_rng(seed)
        activation, width = ((FACTORS, FACTORS.width), (Product(), 6))[seed % 2]
        yield rng, draw_policy(rng, [4, width, width, 2], activation)


def test_no_point_of_a_box_leaves_its_image_or_its_band() -> None:
    rng = np.random.default_rng(0)
    low, high = boxes(rng, 400, 6)
    lower, upper = product_image(low, high)
    slope, cut_low, cut_high, partner = product_bands(low, high)
    for x in points_of(low, high, rng, 60):
        wide = x.astype(EXTENDED)
        value = Product()(wide)
        assert (value >= lower).all()
        assert (value <= upper).all()
        given = halves(partner * wide)[1]
        added = np.concatenate([given, np.zeros_like(given)], axis=-1)
        assert (slope * wide + cut_low + added <= value).all()
        assert (slope * wide + cut_high + added >= value).all()


def test_the_band_is_the_mean_of_the_planes_of_mccormick() -> None:
    rng = np.random.default_rng(0)
    low, high = (-np.abs(rng.normal(size=2)), np.abs(rng.normal(size=2)))
    slope, cut_low, cut_high, partner = (row[0] for row in product_bands(low[None], high[None]))
    (a, b), (c, d) = (low[0], high[0]), (low[1], high[1])
    above = [(d, a, -a * d), (c, b, -b * c)]
    below = [(c, a, -a * c), (d, b, -b * d)]
    np.testing.assert_allclose([slope[0], partner[1], cut_high[0]], np.mean(above, axis=0))
    np.testing.assert_allclose([slope[0], partner[1], cut_low[0]], np.mean(below, axis=0))


def test_no_value_of_any_layer_leaves_its_bounds() -> None:
    for rng, policy in multiplying_policies(TRIALS):
        network = network_of(policy)
        for norm in Norm:
            region = local_region(rng.normal(0, 1, (5, 4)), 10.0 ** rng.uniform(-3, 0), norm)
            step = rng.normal(size=(100, 5, 4))
            size = np.abs(step) if norm is Norm.LINF else np.linalg.norm(step, axis=2)[..., None]
            step *= np.where(rng.random((100, 5, 1)) < 0.5, 1, rng.random((100, 5, 1))) / size
            hidden = (region.centres + step * region.radius[:, None] * (1 - 1e-15)).astype(EXTENDED)
            found = [interval_layers(network, region), layer_bounds(network, region)]
            for number, layer in enumerate(policy.layers):
                sums = hidden @ layer.weight.T.astype(EXTENDED) + layer.bias
                slack = 1e-12 * (1 + np.abs(sums))
                for bounds in found:
                    assert (sums >= bounds[number].lower - slack).all()
                    assert (sums <= bounds[number].upper + slack).all()
                hidden = layer.activation(sums)


def test_bounds_around_a_state_are_near_what_it_does_for_small_balls() -> None:
    for rng, policy in multiplying_policies(TRIALS):
        states = rng.normal(size=(8, 4))
        bound = local_bounds(policy, local_region(states, 1e-4, Norm.LINF)).action
        step = 1e-4 * np.sign(rng.normal(size=(200, 8, 4)))
        change = np.abs(policy.outputs_at(states + step) - policy.outputs_at(states)).max(axis=0)
        assert (change <= bound + 1e-12).all()
        assert (bound <= 1.01 * change + 1e-5).all()


def test_no_float32_product_leaves_its_bound() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        exact = rng.normal(size=(20, 6)) * 10.0 ** rng.uniform(-20, 6, (20, 6))
        error = np.abs(exact) * 10.0 ** rng.uniform(-8, -1, exact.shape)
        moved = (exact + error * rng.choice([-1, 1], exact.shape)).astype(np.float32)
        arrived = np.abs(moved.astype(EXTENDED) - exact).astype(np.float64) * (1 + 1e-12)
        low, high = np.minimum(exact, moved), np.maximum(exact, moved)
        least, most, _, crossed, added = product_errors(low, high, arrived)
        bound = np.maximum(np.abs(least), np.abs(most)) * arrived + crossed + added
        distance = np.abs(Product()(moved).astype(EXTENDED) - Product()(exact.astype(EXTENDED)))
        assert (distance <= bound).all()


def test_the_norm_of_a_pair_bounds_its_jacobian() -> None:
    rng = np.random.default_rng(0)
    low, high = boxes(rng, 50, 2)
    norms = product_errors(low, high, np.zeros_like(low))[2]
    for x in points_of(low, high, rng, 20):
        for point, norm in zip(x, norms, strict=True):
            found = np.linalg.norm(times_jacobian(Product(), point, np.eye(2)), 2)
            assert found <= norm.max() * (1 + 1e-12)


def in_float32(policy: Policy, states: Array, rng: np.random.Generator) -> Array:
    """The outputs in float32, each sum in an order of its own."""
    hidden = states.astype(np.float32)
    for layer in policy.layers:
        order = rng.permutation(hidden.shape[1])
        total = np.zeros((len(hidden), len(layer.bias)), np.float32)
        for column in order:
            total = total + layer.weight[:, column] * hidden[:, column, None]
        hidden = layer.activation(total + layer.bias)
    return policy.head.outputs(hidden)


def test_no_controller_in_float32_leaves_the_bounds_on_its_rounding() -> None:
    for rng, policy in multiplying_policies(TRIALS):
        states = rng.normal(size=(40, 4)).astype(np.float32).astype(np.float64)
        region = local_region(states, 0.01, Norm.LINF)
        around = rounding_around(policy, region, layer_bounds(network_of(policy), region), FLOAT32)
        everywhere = rounding_bound(policy, np.full(4, 10.0), FLOAT32)
        assert isinstance(around, RoundingBound)
        assert isinstance(everywhere, RoundingBound)
        error = np.abs(in_float32(policy, states, rng) - policy.outputs_at(states.astype(EXTENDED)))
        assert (error <= around.action).all()
        assert (error <= everywhere.action).all()


def test_a_product_that_float32_may_not_hold_has_no_bound_but_a_reason() -> None:
    for _, policy in multiplying_policies(2):
        huge = rounding_bound(policy, np.full(4, 1e20), FLOAT32)
        half = rounding_bound(policy, np.full(4, 1.0), ARITHMETICS["float16"])
        assert isinstance(huge, Unknown)
        assert isinstance(half, Unknown)
        assert "product" in huge.reason
        assert "product" in half.reason


def test_nothing_is_said_about_every_state_and_the_reason_is() -> None:
    for _, policy in multiplying_policies(2):
        bound = Everywhere(policy, FLOAT32).lipschitz(Norm.L2)
        assert not np.isfinite(bound.value)
        assert bound.note == NO_PRODUCT_SLOPES


def test_a_product_has_no_slopes_of_single_neurons() -> None:
    for ask in (lambda: slope_range(Product()), lambda: derivative(Product(), np.ones(2))):
        with pytest.raises(TypeError, match="single ones"):
            ask()


def test_gradients_are_those_of_finite_differences() -> None:
    for rng, policy in multiplying_policies(2):
        states, direction = rng.normal(size=(20, 4)), rng.normal(size=2)
        _, gradient = network_and_gradient(
            policy, states, lambda outputs, d=direction: np.broadcast_to(d, outputs.shape)
        )
        network = network_of(policy)
        rows = direction @ jacobian(network, states, network.weights[-1])
        steps = 1e-6 * np.eye(4)[:, None]
        rise = policy.network(states + steps) - policy.network(states - steps)
        difference = (rise @ direction).T / 2e-6
        np.testing.assert_allclose(gradient, difference, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(rows, difference, rtol=1e-4, atol=1e-7)


def test_the_reference_is_the_product_in_rational_numbers() -> None:
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    for row, found in zip(x.tolist(), Product()(x.astype(EXTENDED)), strict=True):
        exact = [Fraction(row[k]) * Fraction(row[k + 2]) for k in range(2)]
        assert [Fraction(*float(each).as_integer_ratio()) for each in found[:2]] == exact
        assert found[2:].tolist() == row[2:]
