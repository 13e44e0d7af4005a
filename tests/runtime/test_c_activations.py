"""Activations of the generated C err by at most C_TAU, keep NaN, and saturate."""

import numpy as np
import pytest
from numpy.typing import NDArray

from support.oracles import FLOAT64_ACTIVATIONS
from surefoot.policy import Activation
from surefoot.runtime.arithmetic import TAU
from surefoot.runtime.c_activations import C_TAU, twin


def sweep(stride: int) -> NDArray[np.float32]:
    """Every ``stride``-th float32 of both signs up to 2^100, and zeros."""
    bits = np.arange(0, np.float32(2.0**100).view(np.uint32), stride, dtype=np.uint32)
    positive = bits.view(np.float32)
    return np.concatenate([positive, -positive])


@pytest.mark.parametrize("activation", FLOAT64_ACTIVATIONS)
def test_error_is_at_most_tau(activation: Activation) -> None:
    x = sweep(2003)
    exact = FLOAT64_ACTIVATIONS[activation](x.astype(np.float64))
    allowed = np.full(x.shape, 0.0 if activation is Activation.RELU else C_TAU)
    if activation in (Activation.SILU, Activation.SOFTPLUS):
        allowed *= np.maximum(1, np.abs(x))
    with np.errstate(over="ignore"):
        computed = twin(activation, x)
    assert computed.dtype == np.float32
    assert (np.abs(computed.astype(np.float64) - exact) <= allowed).all()


def test_tanh_is_odd_and_nowhere_exceeds_one() -> None:
    x = np.concatenate([sweep(40_009), np.float32([np.inf])])
    y = twin(Activation.TANH, x)
    assert (twin(Activation.TANH, -x) == -y).all()
    assert np.abs(y).max() <= 1
    assert 1 - y[-1] <= C_TAU


def test_the_bound_of_the_c_form_is_within_the_one_that_certificates_count_on() -> None:
    assert 0 < C_TAU <= TAU


@pytest.mark.parametrize("activation", FLOAT64_ACTIVATIONS)
def test_nan_is_kept_and_infinity_has_its_limit(activation: Activation) -> None:
    ends = np.float32([-np.inf, np.inf, np.nan])
    low, high, nan = twin(activation, ends)
    assert np.isnan(nan)
    limits = {
        Activation.SIGMOID: (0, 1),
        Activation.ELU: (-1, np.inf),
        Activation.SOFTPLUS: (0, np.inf),
        Activation.RELU: (0, np.inf),
    }
    if activation in limits:  # SiLU and ReLU of -infinity are infinity times zero or a difference
        low_limit, high_limit = limits[activation]
        assert high == high_limit
        assert low == low_limit or np.isnan(low)
