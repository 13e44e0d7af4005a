"""Random streams that are stored and taken up again."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.envs.vector import generator_from_state, generator_state
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
