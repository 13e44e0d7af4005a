"""Numbers as C text are C, and read back to the same numbers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from surefoot.runtime.c_layer_text import array, float_literal


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_literal_is_c_and_reads_back_to_the_same_number(number: float) -> None:
    text = float_literal(number)
    assert text.endswith("f")
    assert "." in text or "e" in text
    assert np.float32(text[:-1]) == np.float32(number)


def test_an_array_of_each_type_has_its_type_and_suffix() -> None:
    assert "static const uint8_t x[2] = {\n    0u, 7u\n};" in array("x", np.uint8([0, 7]))
    assert "static const int8_t x[1] = {\n    -7\n};" in array("x", np.int8([-7]))
    assert "static const float x[1] = {\n    1.0f\n};" in array("x", np.float32([1]))
