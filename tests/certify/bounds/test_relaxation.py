"""Lines must enclose the activation at every point, checked in 80-bit arithmetic.

Also of ``certify/bounds/tangent_points.py``.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.oracles import extended
from surefoot.certify.bounds.relaxation import image, relax
from surefoot.policy import Activation

ENDS = st.floats(-30, 30) | st.sampled_from([0.0, -0.0, 1e-300, -1e-20, 2.3993572805154, 700.0])


@pytest.mark.parametrize("activation", Activation)
@settings(max_examples=150, deadline=None)
@given(low=ENDS, width=st.floats(0, 40) | st.sampled_from([0.0, 1e-16, 1e-12, 1e-9, 1e-6]))
def test_the_lines_and_the_image_enclose_the_activation(
    activation: Activation, low: float, width: float
) -> None:
    ends = np.array([low]), np.array([low + width])
    lines = relax(activation, *ends)
    least, largest = image(activation, *ends)
    points = np.clip(np.linspace(low, low + width, 400), ends[0], ends[1])
    values = extended(activation, points)
    x = points.astype(np.longdouble)
    assert (lines.slope_low * x + lines.cut_low <= values).all()
    assert (values <= lines.slope_high * x + lines.cut_high).all()
    assert (least <= values).all()
    assert (values <= largest).all()


@pytest.mark.parametrize("activation", Activation)
def test_the_lines_close_in_on_a_shrinking_interval(activation: Activation) -> None:
    centres = np.linspace(-4, 4, 33) + 0.01
    gaps = []
    for width in (0.1, 0.01):
        low, high = centres - width / 2, centres + width / 2
        lines = relax(activation, low, high)
        gap = (lines.slope_high - lines.slope_low) * centres + lines.cut_high - lines.cut_low
        gaps.append(np.median(gap))
    # Quadratic: a tenth of the width leaves a hundredth of the gap.
    assert gaps[1] <= gaps[0] / 50 + 1e-12


def test_the_upper_line_of_tanh_is_the_least_area_one_that_touches() -> None:
    low, high = np.array([-1.0]), np.array([2.0])
    lines = relax(Activation.TANH, low, high)
    area = float((lines.slope_high * 0.5 + lines.cut_high)[0])
    best = min(
        max(
            np.tanh(-1.0) + k * 1.5,
            max(np.tanh(x) + k * (0.5 - x) for x in np.linspace(-1, 2, 301)),
        )
        for k in np.linspace(0.05, 1, 200)
    )
    assert area <= best * 1.01
