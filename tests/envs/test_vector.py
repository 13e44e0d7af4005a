"""Ranges of actions, and random streams that are stored and taken up again."""

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from surefoot.envs.vector import BoxActions, generator_from_state, generator_state, rounded_down
from surefoot.errors import InputError


@given(seed=st.integers(0, 2**64), num_halves=st.integers(0, 5), num_normals=st.integers(0, 5))
def test_a_stored_stream_goes_on_where_it_was(seed: int, num_halves: int, num_normals: int) -> None:
    draw = np.random.default_rng(seed)
    draw.integers(2**32, size=num_halves, dtype=np.uint32)  # leaves half a word over when odd
    draw.normal(size=num_normals)
    stored = json.loads(json.dumps(generator_state(draw)))
    again = generator_from_state(stored)
    for _ in range(3):
        assert again.integers(2**32, dtype=np.uint32) == draw.integers(2**32, dtype=np.uint32)
        assert again.normal() == draw.normal()


def test_another_kind_of_stream_is_refused() -> None:
    with pytest.raises(InputError, match="must be a PCG64 generator to be stored, got Philox"):
        generator_state(np.random.Generator(np.random.Philox(0)))


@given(st.floats(-1e30, 1e30))
def test_rounding_down_gives_the_nearest_single_that_is_not_above(value: float) -> None:
    below = rounded_down(np.array([value]))
    assert below.dtype == np.float32
    assert Fraction(float(below[0])) <= Fraction(value)
    assert Fraction(float(np.nextafter(below, np.float32(np.inf))[0])) > Fraction(value)


SINGLES = st.floats(-(2.0**99), 2.0**99, width=32)


@given(SINGLES, SINGLES, st.floats(-1, 1, width=32))
def test_no_share_of_a_range_leads_out_of_its_bounds(
    one: float, other: float, share: float
) -> None:
    assume(one != other)
    actions = BoxActions(*np.sort(np.float32([one, other]))[:, None])
    for part in (-1, share, 1):
        action = np.float32(part) * actions.half_range + actions.centre
        assert actions.low <= action <= actions.high


@given(st.integers(-(2**20), 2**20), st.integers(1, 2**20))
def test_a_range_that_float32_halves_exactly_is_used_up_to_its_bounds(
    middle: int, half: int
) -> None:
    actions = BoxActions(*np.float32([[middle - half], [middle + half]]) / 8)
    assert (actions.centre * 8, actions.half_range * 8) == (middle, half)
