"""8-bit weights: half a step of error, stored in a quarter of the flash, the same bits in C."""

from pathlib import Path

import numpy as np
import pytest

from support.policies import file_of, random_policy
from surefoot.compress.weights import MAX_STEP, WeightFormat, store_weights
from surefoot.policy import Activation, Policy, weights_sha256
from surefoot.runtime.c_layers import MAX_STEP as RUNTIME_MAX_STEP
from surefoot.runtime.c_layers import Layout
from surefoot.runtime.c_source import CConfig, c_source, twin_outputs
from surefoot.runtime.load import Backend, controller_of


@pytest.fixture
def pair() -> tuple[Policy, Policy]:
    policy = random_policy(np.random.default_rng(0), (11, 40, 30, 3), Activation.RELU)
    policy.layers[1].weight[5] = 0
    return policy, store_weights(policy, WeightFormat.INT8)


def test_a_weight_moves_by_at_most_half_a_step_and_zeros_stay(pair: tuple[Policy, Policy]) -> None:
    for before, after in zip(pair[0].layers, pair[1].layers, strict=True):
        largest = np.abs(before.weight).max(axis=1, keepdims=True)
        # Half of a step that is at most 2^-15 larger than largest / 127; the largest itself moves
        # by the rounding of the step.
        allowed = largest / 127 * (0.5 + 2.0**-7)
        assert (np.abs(after.weight - before.weight) <= allowed).all()
        assert (after.weight[before.weight == 0] == 0).all()
        assert after.weight.dtype == np.float32
        assert (after.bias == before.bias).all()


def test_it_is_another_policy_and_quantising_again_changes_nothing(
    pair: tuple[Policy, Policy],
) -> None:
    before, after = pair
    assert weights_sha256(before) != weights_sha256(after)
    assert weights_sha256(store_weights(after, WeightFormat.INT8)) == weights_sha256(after)


def test_a_row_has_at_most_255_values_which_float32_holds_exactly(
    pair: tuple[Policy, Policy],
) -> None:
    for layer in pair[1].layers:
        for row in layer.weight:
            step = np.float64(np.abs(row).max()) / 127
            if step > 0:
                units = row / step
                assert (units == np.rint(units)).all()


@pytest.mark.parametrize("layout", [None, *Layout])
def test_c_stores_8_bits_in_every_layout_and_computes_the_bits_of_the_float32_policy(
    pair: tuple[Policy, Policy], layout: Layout | None
) -> None:
    before, after = pair
    wide = c_source(before, CConfig(layout=layout)).report
    report = c_source(after, CConfig(layout=layout)).report
    assert {layer.weights for layer in report.layers} == {"int8_t"}
    assert report.flash_bytes < 0.75 * wide.flash_bytes
    assert (twin_outputs(after, np.zeros((1, 11))) != twin_outputs(before, np.zeros((1, 11)))).any()


def test_the_c_backend_runs_the_8_bit_weights_with_the_bits_of_the_twin(
    pair: tuple[Policy, Policy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = file_of(pair[1])
    obs = np.random.default_rng(1).normal(0, 3, (200, 11)).astype(np.float32)
    assert (controller_of(file, Backend.C)(obs) == twin_outputs(pair[1], obs)).all()


def test_half_precision_weights_are_the_nearest_ones(pair: tuple[Policy, Policy]) -> None:
    half = store_weights(pair[0], WeightFormat.FLOAT16)
    for before, after in zip(pair[0].layers, half.layers, strict=True):
        assert (after.weight.astype(np.float16) == after.weight).all()
        spacing = np.abs(np.spacing(after.weight.astype(np.float16))).astype(float)
        assert (np.abs(after.weight - before.weight) <= spacing / 2).all()
        assert (after.bias == before.bias).all()
    again = store_weights(half, WeightFormat.FLOAT16)
    assert weights_sha256(again) == weights_sha256(half)


def test_the_step_is_the_one_that_the_generator_of_c_looks_for() -> None:
    assert MAX_STEP == RUNTIME_MAX_STEP
