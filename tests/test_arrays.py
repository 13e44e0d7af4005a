"""NumPy files are read as NumPy wrote them, and take no more than their bytes."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray

from surefoot.arrays import array_from_npy, arrays_from_npz

NUMBERS = st.one_of(
    st_numpy.boolean_dtypes(),
    st_numpy.integer_dtypes(endianness="?"),
    st_numpy.floating_dtypes(endianness="?"),
)


def npy(array: NDArray[np.generic]) -> bytes:
    """Return the file that NumPy writes."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@given(
    st_numpy.arrays(NUMBERS, st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0)),
    st.booleans(),
)
def test_what_numpy_wrote_is_read_bit_for_bit(array: NDArray[np.generic], by_column: bool) -> None:
    written = np.asfortranarray(array) if by_column and array.ndim else array
    again = array_from_npy(npy(written))
    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    assert again.tobytes() == array.tobytes()


@given(st.binary(max_size=300))
def test_bytes_are_an_array_or_a_value_error(data: bytes) -> None:
    whole = npy(np.arange(3.0))
    for given_bytes in (data, whole[: len(data)], whole + data, whole[:8] + data):
        try:
            array = array_from_npy(given_bytes)
        except ValueError:
            continue
        assert array.nbytes <= len(given_bytes)


@pytest.mark.parametrize(
    "array",
    [np.array(["text"]), np.array([1j]), np.array([None]), np.zeros(2, [("a", "<f8")])],
    ids=["text", "complex", "objects", "fields"],
)
def test_only_real_numbers_are_read(array: NDArray[np.generic]) -> None:
    with pytest.raises(ValueError, match="that is not of numbers"):
        array_from_npy(npy(array))


HEADERS = ("(", "'", "{", "{}", "[" * 500, "-" * 500 + "1", "__import__('os').abort()", "\0", "1L")


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_that_is_none_is_refused_whatever_python_says_of_it(header: str) -> None:
    line = header.encode().ljust(117) + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line
    with pytest.raises(ValueError, match="it holds an array whose header cannot be read"):
        array_from_npy(data)


def test_a_header_of_python_2_is_refused_without_a_warning() -> None:
    data = npy(np.arange(3.0)).replace(b"(3,), }", b"(3L,),}")
    with pytest.raises(ValueError, match="header cannot be read"):
        array_from_npy(data)


def test_an_npz_file_is_what_numpy_wrote_and_a_compressed_one_is_refused() -> None:
    arrays = {"a": np.arange(4.0), "b": np.eye(2, dtype=np.int8), "c": np.float32(3)}
    plain, packed = io.BytesIO(), io.BytesIO()
    np.savez(plain, **arrays)
    np.savez_compressed(packed, **arrays)
    read = arrays_from_npz(plain.getvalue())
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert np.array_equal(read[name], array)
    with pytest.raises(ValueError, match="it is compressed"):
        arrays_from_npz(packed.getvalue())


@pytest.mark.parametrize("damage", ["encrypted", "another version", "a wrong checksum"])
def test_a_member_that_zipfile_does_not_read_is_a_value_error(damage: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.npy", npy(np.arange(3.0)))
    data = bytearray(buffer.getvalue())
    local, entry = 0, data.index(b"PK\x01\x02")
    if damage == "encrypted":
        data[local + 6] |= 1
        data[entry + 8] |= 1
    elif damage == "another version":
        data[entry + 6] = 99
    else:
        data[entry + 16] ^= 1
    with pytest.raises(ValueError, match="it is no npz file"):
        arrays_from_npz(bytes(data))
