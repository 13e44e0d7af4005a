"""Every bound holds for layers that apply several functions: branches, skips, carried values."""

import os
from collections.abc import Iterator

import numpy as np
import pytest

from support.onnx_graphs import Array, RandomController
from surefoot.activation import Mixed
from surefoot.ball import Norm
from surefoot.certify.ascent import network_and_gradient
from surefoot.certify.bounds.alpha_crown import optimised_bounds
from surefoot.certify.bounds.branch_and_bound import split_deviation
from surefoot.certify.bounds.chain import action_chain, network_chain
from surefoot.certify.bounds.crown import interval_bounds, layer_bounds
from surefoot.certify.bounds.global_bounds import closed_form_bounds
from surefoot.certify.bounds.lipsdp import semidefinite_bounds
from surefoot.certify.bounds.local_bounds import local_bounds, local_region
from surefoot.certify.bounds.local_lipschitz import centred_lipschitz
from surefoot.certify.bounds.region import Region, network_of
from surefoot.certify.bounds.relaxation import image, relax
from surefoot.certify.bounds.slopes import derivative, slope_range_on
from surefoot.certify.compression import compression_error, compression_error_around
from surefoot.certify.counterexamples import jacobian_norms
from surefoot.compress.weights import WeightFormat, store_weights
from surefoot.onnx_file import ForeignFile, read_onnx
from surefoot.policy import Policy

TRIALS = int(os.environ.get("SUREFOOT_TRIALS", "20"))
SLACK = 1e-9
"""Of float64 in the values that are compared, relative."""


def mixed_policies(count: int = TRIALS) -> Iterator[tuple[np.random.Generator, Policy]]:
    """Random controllers with branches that need layers of several functions."""
    seed = 0
    while count:
        rng = np.random.default_rng(seed)
        seed += 1
        file = read_onnx(RandomController(rng).branched(3)[0], "controller.onnx")
        assert isinstance(file, ForeignFile)
        if any(isinstance(layer.activation, Mixed) for layer in file.policy.layers):
            count -= 1
            yield rng, file.policy


def inside(region: Region, rng: np.random.Generator, count: int = 200) -> Array:
    """Points of the balls of a region, shape (count, B, d)."""
    step = rng.normal(size=(count, *region.centres.shape))
    if region.norm is Norm.L2:
        step /= np.linalg.norm(step, axis=2, keepdims=True)
        step *= rng.random((count, len(region.centres), 1)) ** 0.3
    else:
        step = np.where(rng.random((count, 1, 1)) < 0.5, np.sign(step), np.clip(step, -1, 1))
    return region.centres + step * region.radius[:, None] * (1 - 1e-15)


def regions(rng: np.random.Generator, policy: Policy) -> Iterator[Region]:
    for norm in Norm:
        for radius in (0.0, 0.02, 0.5):
            states = rng.normal(0, 1.5, (6, policy.obs_dim))
            yield local_region(states, radius, norm)


def test_no_value_of_any_layer_leaves_its_bounds() -> None:
    for rng, policy in mixed_policies():
        network = network_of(policy)
        for region in regions(rng, policy):
            points = inside(region, rng)
            found = [
                layer_bounds(network, region),
                [*layer_bounds(network, region)[:-1], interval_bounds(network, region)],
                optimised_bounds(network, region, 3),
            ]
            hidden = points
            for number, layer in enumerate(policy.layers):
                sums = hidden @ layer.weight.T.astype(np.float64) + layer.bias
                slack = SLACK * (1 + np.abs(sums))
                for bounds in found:
                    assert (sums >= bounds[number].lower - slack).all()
                    assert (sums <= bounds[number].upper + slack).all()
                hidden = layer.activation(sums)


def test_no_deviation_of_a_ball_exceeds_its_local_bounds() -> None:
    for rng, policy in mixed_policies():
        for region in regions(rng, policy):
            moved = policy.outputs_at(inside(region, rng).reshape(-1, policy.obs_dim))
            here = policy.outputs_at(region.centres)
            change = np.abs(moved.reshape(-1, *here.shape) - here).max(axis=0)
            for steps in (0, 3):
                bound = local_bounds(policy, region, steps).action
                assert (change <= bound + SLACK * (1 + np.abs(here))).all()


def test_no_pair_of_states_is_steeper_than_the_global_bounds() -> None:
    for rng, policy in mixed_policies():
        chain = network_chain(policy)
        first = rng.normal(0, 2, (2000, policy.obs_dim))
        second = first + rng.normal(size=first.shape) * 10.0 ** rng.uniform(-3, 1, (2000, 1))
        change = policy.network(first) - policy.network(second)
        closed = closed_form_bounds(chain)
        slopes = {
            Norm.L2: np.linalg.norm(change, axis=1) / np.linalg.norm(first - second, axis=1),
            Norm.LINF: np.abs(change).max(axis=1) / np.abs(first - second).max(axis=1),
        }
        for norm, found in slopes.items():
            for name, bound in closed.lipschitz(norm).items():
                if name != "paper_surrogate":
                    assert found.max() <= bound * (1 + SLACK), name
        moved = policy.outputs_at(first) - policy.outputs_at(second)
        secant = np.linalg.norm(moved, axis=1) / np.linalg.norm(first - second, axis=1)
        steepest = max(secant.max(), jacobian_norms(policy, first[:100])[0].max())
        proved = semidefinite_bounds(action_chain(policy), iterations=30, row_iterations=0)
        for multipliers in (proved.fast, proved.whole):
            if multipliers is not None:
                assert steepest <= multipliers.bound * (1 + SLACK)


def test_local_constants_and_splitting_hold() -> None:
    for rng, policy in mixed_policies(TRIALS // 2):
        network = network_of(policy)
        region = local_region(rng.normal(size=(4, policy.obs_dim)), 0.3, Norm.L2)
        whole, rows = centred_lipschitz(network, layer_bounds(network, region)[:-1])
        points = inside(region, rng)
        change = policy.network(points.reshape(-1, policy.obs_dim)).reshape(len(points), 4, -1)
        change = change - policy.network(region.centres)
        lengths = np.linalg.norm(points - region.centres, axis=2)
        assert (np.linalg.norm(change, axis=2) <= whole * lengths * (1 + SLACK) + SLACK).all()
        assert (np.abs(change) <= rows * lengths[..., None] * (1 + SLACK) + SLACK).all()
        state = rng.normal(size=policy.obs_dim).astype(np.float32)
        split = split_deviation(policy, state, 0.2, 0.0, num_boxes=60)
        box = local_region(state[None], 0.2, Norm.LINF)
        moved = policy.outputs_at(inside(box, rng)[:, 0])
        seen = np.abs(moved - policy.outputs_at(state[None].astype(np.float64))).max()
        assert split.worst <= split.bound * (1 + SLACK)
        assert seen <= split.bound * (1 + SLACK) + SLACK


def test_rounded_weights_move_no_action_by_more_than_is_bounded() -> None:
    for rng, policy in mixed_policies(TRIALS // 2):
        rounded = store_weights(policy, WeightFormat.INT8)
        states = rng.uniform(-2, 2, (500, policy.obs_dim))
        change = np.abs(policy.outputs_at(states) - rounded.outputs_at(states))
        everywhere = compression_error(rounded, policy, np.full(policy.obs_dim, 2.0))
        assert (change <= everywhere * (1 + SLACK) + SLACK).all()
        around = compression_error_around(rounded, policy, states[:5], 0.1)
        moved = states[:5] + rng.uniform(-0.1, 0.1, (200, 5, policy.obs_dim))
        flat = moved.reshape(-1, policy.obs_dim)
        both = [either.outputs_at(flat).reshape(200, 5, -1) for either in (policy, rounded)]
        assert (np.abs(both[0] - both[1]) <= around * (1 + SLACK) + SLACK).all()


def test_the_gradient_of_searches_is_that_of_finite_differences() -> None:
    for rng, policy in mixed_policies(TRIALS // 2):
        states = rng.normal(size=(20, policy.obs_dim))
        direction = rng.normal(size=policy.num_outputs)
        _, gradient = network_and_gradient(
            policy, states, lambda outputs, d=direction: np.broadcast_to(d, outputs.shape)
        )
        for sensor in range(policy.obs_dim):
            step = np.zeros(policy.obs_dim)
            step[sensor] = 1e-6
            ends = [policy.network(states + sign * step) @ direction for sign in (1, -1)]
            difference = (ends[0] - ends[1]) / 2e-6
            near = np.abs(difference - gradient[:, sensor]) < 1e-3 * (1 + np.abs(difference))
            assert near.mean() > 0.7  # all but those next to a kink


@pytest.mark.parametrize("width", [1, 3])
def test_several_functions_are_what_each_is_on_its_neurons(width: int) -> None:
    rng = np.random.default_rng(0)
    for _, policy in mixed_policies(5):
        for layer in policy.layers:
            size = layer.bias.size
            low = rng.normal(size=(width, size))
            high = low + np.abs(rng.normal(size=(width, size)))
            whole = [
                layer.activation(low),
                derivative(layer.activation, low),
                *slope_range_on(layer.activation, low, high),
                *image(layer.activation, low, high),
                *relax(layer.activation, low, high).as_tuple,
            ]
            for neuron in range(size):
                one = one_at(layer.activation, neuron)
                ends = low[:, neuron], high[:, neuron]
                alone = [
                    one(ends[0]),
                    derivative(one, ends[0]),
                    *slope_range_on(one, *ends),
                    *image(one, *ends),
                    *relax(one, *ends).as_tuple,
                ]
                for together, each in zip(whole, alone, strict=True):
                    np.testing.assert_array_equal(together[:, neuron], each)


def one_at(activation: object, neuron: int) -> object:
    if not isinstance(activation, Mixed):
        return activation
    return next(one for one, where in activation.places() if where.start <= neuron < where.stop)
