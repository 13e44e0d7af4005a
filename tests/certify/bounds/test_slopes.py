"""Slope ranges are checked against secants in extended precision."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.oracles import extended
from surefoot.certify.bounds.slopes import SILU_EXTREME, derivative, slope_range, slope_range_on
from surefoot.policy import Activation

SMOOTH = [a for a in Activation if a not in (Activation.IDENTITY, Activation.RELU)]


@pytest.mark.parametrize("activation", Activation)
def test_no_secant_leaves_the_slope_range(activation: Activation) -> None:
    rng = np.random.default_rng(0)
    low = rng.normal(0, 4, 20000)
    high = low + 10.0 ** rng.uniform(-3, 1.5, 20000)
    with np.errstate(over="ignore"):
        secant = (extended(activation, high) - extended(activation, low)) / (high - low)
    whole = slope_range(activation)
    assert (secant >= whole.low - 1e-13).all()
    assert (secant <= whole.high + 1e-13).all()


@pytest.mark.parametrize("activation", SMOOTH)
def test_the_slope_range_is_attained(activation: Activation) -> None:
    x = np.linspace(-40, 40, 200001)
    slopes = derivative(activation, x)
    whole = slope_range(activation)
    assert slopes.min() <= whole.low + 1e-5
    assert slopes.max() >= whole.high - 1e-5


def test_the_extreme_slopes_of_silu_are_where_they_are_said_to_be() -> None:
    ends = derivative(Activation.SILU, np.array([-SILU_EXTREME, SILU_EXTREME]))
    np.testing.assert_allclose(ends, [-0.0998393201, 1.0998393201], atol=1e-10)
    around = derivative(Activation.SILU, SILU_EXTREME + np.array([-1e-4, 1e-4]))
    assert (around < ends[1]).all()
    assert slope_range(Activation.SILU).low <= ends[0]
    assert slope_range(Activation.SILU).high >= ends[1]
    assert slope_range(Activation.SILU).middle == 0.5


@pytest.mark.parametrize("activation", Activation)
@given(low=st.floats(-8, 8), width=st.floats(0, 6), seed=st.integers(0, 99))
def test_no_secant_inside_an_interval_leaves_its_local_range(
    activation: Activation, low: float, width: float, seed: int
) -> None:
    ends = np.array([low]), np.array([low + width])
    least, largest = slope_range_on(activation, *ends)
    points = low + width * np.sort(np.random.default_rng(seed).random((2, 50)), axis=0)
    first, second = points[0], points[1]
    apart = second - first > 1e-6
    values = extended(activation, points)
    secant = (values[1] - values[0])[apart] / (second - first)[apart]
    assert (secant >= least[0] - 1e-10).all()
    assert (secant <= largest[0] + 1e-10).all()
