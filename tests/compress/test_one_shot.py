"""Whole policies: exact counts, zeros that stay, less change where the inputs are looked at."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from support.policies import file_of, random_policy
from surefoot.compress import (
    Allocation,
    Method,
    OneShotConfig,
    WeightFormat,
    compress_policy,
    erdos_renyi_kernel,
    num_weights,
    store_weights,
)
from surefoot.errors import InputError
from surefoot.policy import Activation, Array, Policy, weights_sha256

SIZES = (5, 24, 20, 3)
SIZE = 5 * 24 + 24 * 20 + 20 * 3


@pytest.fixture(scope="module")
def dense() -> Policy:
    policy = random_policy(np.random.default_rng(0), SIZES, Activation.TANH)
    rng = np.random.default_rng(1)
    layers = tuple(
        replace(layer, weight=rng.normal(0, 0.4, layer.weight.shape).astype(np.float32))
        for layer in policy.layers
    )
    return replace(policy, layers=layers)


@pytest.fixture(scope="module")
def states() -> NDArray[np.float64]:
    rng = np.random.default_rng(2)
    return rng.normal(0, 1, (300, 2)) @ rng.normal(0, 1, (2, 5)) + rng.normal(0, 0.1, (300, 5))


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("allocation", Allocation)
@pytest.mark.parametrize("refit", [False, True])
def test_exactly_so_many_weights_are_kept(
    dense: Policy, states: NDArray[np.float64], method: Method, allocation: Allocation, refit: bool
) -> None:
    config = OneShotConfig(method=method, allocation=allocation, refit=refit)
    for kept in (3, 100, 331, SIZE - 1, SIZE):
        small = compress_policy(dense, states, kept, config)
        assert num_weights(small) == kept
        assert small.sparsity == pytest.approx(1 - kept / SIZE)
        assert all(layer.weight.any() for layer in small.layers)
        # It is what its canonical file holds, bit for bit.
        again = file_of(small).policy
        assert weights_sha256(again) == weights_sha256(small)
        for before, after in zip(dense.layers, small.layers, strict=True):
            np.testing.assert_array_equal(before.bias, after.bias)


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("allocation", Allocation)
@pytest.mark.parametrize("rows", [4, 8])
def test_as_many_blocks_are_kept_as_fit(
    dense: Policy,
    states: NDArray[np.float64],
    method: Method,
    allocation: Allocation,
    rows: Literal[4, 8],
) -> None:
    config = OneShotConfig(method=method, allocation=allocation, block_rows=rows, refit=rows == 4)
    divided = [layer.weight.shape[0] % rows == 0 for layer in dense.layers]
    for kept in (SIZE - 70, SIZE - 31, SIZE):
        small = compress_policy(dense, states, kept, config)
        assert 0 <= kept - num_weights(small) < rows
        for before, after, ours in zip(dense.layers, small.layers, divided, strict=True):
            if ours:
                alive = (after.weight != 0).reshape(-1, rows, after.weight.shape[1])
                assert (alive.all(axis=1) | ~alive.any(axis=1)).all()
                assert alive.any()
            else:
                np.testing.assert_array_equal(before.weight, after.weight)


def test_of_a_sparse_policy_blocks_only_lose_weights(
    dense: Policy, states: NDArray[np.float64]
) -> None:
    half = compress_policy(dense, states, SIZE // 2, OneShotConfig(method=Method.MAGNITUDE))
    for method in Method:
        config = OneShotConfig(method=method, block_rows=4, refit=True)
        less = compress_policy(half, states, SIZE // 4, config)
        assert num_weights(less) <= SIZE // 4
        for before, after in zip(half.layers, less.layers, strict=True):
            assert not after.weight[before.weight == 0].any()


def test_blocks_that_look_at_the_inputs_change_the_outputs_less(
    dense: Policy, states: NDArray[np.float64]
) -> None:
    def error(method: Method) -> float:
        config = OneShotConfig(method=method, block_rows=4)
        small = compress_policy(dense, states, 330, config)
        return float(np.square(small.network(states) - dense.network(states)).mean())

    errors = {method: error(method) for method in Method}
    assert errors[Method.OBS] < errors[Method.SPARSEGPT] < errors[Method.MAGNITUDE]


def test_nothing_changes_where_nothing_is_removed(
    dense: Policy, states: NDArray[np.float64]
) -> None:
    for method in Method:
        same = compress_policy(dense, states, SIZE, OneShotConfig(method=method, refit=True))
        assert weights_sha256(same) == weights_sha256(dense)


def test_erk_and_uniform_spread_as_they_say(dense: Policy, states: NDArray[np.float64]) -> None:
    small = compress_policy(dense, states, 200, OneShotConfig(allocation=Allocation.UNIFORM))
    kept = [np.count_nonzero(layer.weight) for layer in small.layers]
    assert np.abs(np.array(kept) - 200 / SIZE * np.array([120, 480, 60])).max() < 1
    small = compress_policy(dense, states, 200, OneShotConfig(allocation=Allocation.ERK))
    kept = [np.count_nonzero(layer.weight) for layer in small.layers]
    shares = erdos_renyi_kernel([(24, 5), (20, 24), (3, 20)], 1 - 200 / SIZE)
    wanted = (1 - np.array(shares)) * [120, 480, 60]
    assert np.abs(np.array(kept) - wanted).max() < 1


def test_global_magnitude_is_one_threshold(dense: Policy) -> None:
    config = OneShotConfig(method=Method.MAGNITUDE, allocation=Allocation.GLOBAL)
    small = compress_policy(dense, None, 200, config)
    pairs = list(zip(dense.layers, small.layers, strict=True))
    kept = [np.abs(a.weight[b.weight != 0]).min() for a, b in pairs]
    gone = [np.abs(a.weight[b.weight == 0]).max() for a, b in pairs]
    assert min(kept) >= max(gone)
    for before, after in pairs:
        assert (after.weight[after.weight != 0] == before.weight[after.weight != 0]).all()


def hessians(policy: Policy, states: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return H of each layer on the inputs that it sees in an unpruned policy."""
    found = []
    for layer in policy.layers:
        gram = states.T @ states / len(states)
        found.append(gram + 0.01 * np.trace(gram) / len(gram) * np.eye(len(gram)))
        states = layer.activation(states @ layer.weight.T.astype(float) + layer.bias)
    return found


def test_obd_removes_what_costs_least_by_the_diagonal_of_the_hessian(
    dense: Policy, states: NDArray[np.float64]
) -> None:
    config = OneShotConfig(method=Method.OBD, allocation=Allocation.UNIFORM)
    small = compress_policy(dense, states, SIZE // 2, config)
    before, after = dense.layers[0].weight.astype(float), small.layers[0].weight
    cost = np.diag(hessians(dense, states)[0]) * before**2
    assert cost[after != 0].min() > cost[after == 0].max()
    assert np.abs(before)[after != 0].min() < np.abs(before)[after == 0].max()
    assert (after[after != 0] == dense.layers[0].weight[after != 0]).all()


def removed_one_by_one(
    weight: NDArray[np.float64], hessian: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what the dearest removal up to each weight's own costs, by inverting anew each time.

    A weight whose row has K left costs w_q^2 / (2 [H_KK^-1]_qq), and its neighbours move.
    """
    scores = np.empty_like(weight)
    for row, score in zip(weight.copy(), scores, strict=True):
        left, dearest = list(range(len(row))), 0.0
        while left:
            inverse = np.linalg.inv(hessian[np.ix_(left, left)])
            costs = row[left] ** 2 / (2 * np.diag(inverse))
            place = int(costs.argmin())
            dearest = max(dearest, costs[place])
            score[left[place]] = dearest
            row[left] -= row[left[place]] / inverse[place, place] * inverse[:, place]
            del left[place]
    return scores


def to_the_right_alone(
    weight: NDArray[np.float64], hessian: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return w^2 / (2 d_j), d_j the variance of column j of H^-1 that those left of it leave."""
    inverse = np.linalg.inv(hessian)
    left_over = [
        1 / np.linalg.inv(inverse[: column + 1, : column + 1])[-1, -1]
        for column in range(len(inverse))
    ]
    return weight**2 / (2 * np.array(left_over))


@pytest.mark.parametrize(
    ("method", "score"),
    [
        (Method.OBD, lambda weight, hessian: np.diag(hessian) * weight**2 / 2),
        (Method.OBS, removed_one_by_one),
        (Method.SPARSEGPT, to_the_right_alone),
    ],
)
def test_global_is_one_threshold_on_the_costs_of_the_method(
    dense: Policy,
    states: NDArray[np.float64],
    method: Method,
    score: Callable[[Array, Array], Array],
) -> None:
    config = OneShotConfig(method=method, allocation=Allocation.GLOBAL)
    scores = [
        score(layer.weight.astype(float), hessian)
        for layer, hessian in zip(dense.layers, hessians(dense, states), strict=True)
    ]
    threshold = np.sort(np.concatenate([one.ravel() for one in scores]))[-300]
    # Removals of OBS that a dearer one had to wait for tie with it.
    least = np.array([(one > threshold).sum() for one in scores])
    most = np.array([(one >= threshold).sum() for one in scores])

    def counts(config: OneShotConfig) -> NDArray[np.int64]:
        small = compress_policy(dense, states, 300, config)
        return np.array([np.count_nonzero(layer.weight) for layer in small.layers])

    assert ((counts(config) >= least) & (counts(config) <= most)).all()
    other = counts(replace(config, method=Method.MAGNITUDE))
    assert ((other < least) | (other > most)).any()


def test_who_looks_at_the_inputs_changes_the_outputs_less(
    dense: Policy, states: NDArray[np.float64]
) -> None:
    def error(method: Method, refit: bool = False) -> float:
        small = compress_policy(dense, states, 250, OneShotConfig(method=method, refit=refit))
        return float(np.square(small.network(states) - dense.network(states)).mean())

    errors = {method: error(method) for method in Method}
    assert errors[Method.OBS] < 0.5 * errors[Method.SPARSEGPT] < 0.5 * errors[Method.MAGNITUDE]
    assert error(Method.MAGNITUDE, refit=True) < 0.5 * errors[Method.MAGNITUDE]
    assert error(Method.OBD, refit=True) < errors[Method.OBD]


def test_later_layers_are_pruned_on_what_they_will_see(
    dense: Policy, states: NDArray[np.float64]
) -> None:
    # Refit makes the residual of a layer orthogonal to the inputs that it sees in the end; damping
    # (one hundredth) is all that is left of it.
    small = compress_policy(dense, states, 200, OneShotConfig(allocation=Allocation.UNIFORM))
    hidden = states
    for before, after in zip(dense.layers, small.layers, strict=True):
        change = (after.weight - before.weight).astype(float)
        gram = hidden.T @ hidden / len(hidden)
        gram += 0.01 * np.trace(gram) / len(gram) * np.eye(len(gram))
        kept = after.weight != 0
        assert np.abs((change @ gram)[kept]).max() < 1e-5 * np.abs(gram).max()
        hidden = after.activation(hidden @ after.weight.T + after.bias)


def test_a_policy_that_is_sparse_already_only_loses_weights(
    dense: Policy, states: NDArray[np.float64]
) -> None:
    half = compress_policy(dense, states, SIZE // 2, OneShotConfig(method=Method.MAGNITUDE))
    for method in Method:
        less = compress_policy(half, states, SIZE // 4, OneShotConfig(method=method))
        assert num_weights(less) == SIZE // 4
        for before, after in zip(half.layers, less.layers, strict=True):
            assert not after.weight[before.weight == 0].any()
    with pytest.raises(
        InputError, match=r"at least 0\.500000, which the policy has already, got one that k"
    ):
        compress_policy(half, states, round(0.7 * SIZE), OneShotConfig())


def test_what_cannot_be_kept_is_refused(dense: Policy, states: NDArray[np.float64]) -> None:
    with pytest.raises(InputError, match=r"sparsity must be at most 0\.995454, at which each of 3"):
        compress_policy(dense, states, 2, OneShotConfig())
    with pytest.raises(InputError, match="method obs needs calibration states, got none"):
        compress_policy(dense, None, 100, OneShotConfig())
    with pytest.raises(InputError, match=r"each of 2 layers keeps one block of 4, got one that"):
        compress_policy(dense, None, 60, OneShotConfig(method=Method.MAGNITUDE, block_rows=4))
    outputs = random_policy(np.random.default_rng(0), (5, 3))
    with pytest.raises(InputError, match="block_rows must divide the rows of a layer, got 8"):
        compress_policy(outputs, None, 9, OneShotConfig(method=Method.MAGNITUDE, block_rows=8))
    large = replace(dense.layers[0], weight=dense.layers[0].weight * np.float32(1e6))
    with pytest.raises(InputError, match="float16 weights must be at most 65504"):
        store_weights(replace(dense, layers=(large, *dense.layers[1:])), WeightFormat.FLOAT16)


@pytest.mark.parametrize("weights", [WeightFormat.FLOAT16, WeightFormat.INT8])
def test_fewer_bits_come_last_and_zeros_stay(
    dense: Policy, states: NDArray[np.float64], weights: WeightFormat
) -> None:
    exact = compress_policy(dense, states, 300, OneShotConfig())
    small = compress_policy(dense, states, 300, OneShotConfig(weights=weights))
    assert weights_sha256(small) == weights_sha256(store_weights(exact, weights))
    for before, after in zip(exact.layers, small.layers, strict=True):
        assert after.weight.dtype == np.float32
        assert not after.weight[before.weight == 0].any()
