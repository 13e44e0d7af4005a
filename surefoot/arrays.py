"""NumPy files that others may have written: nothing is executed, and nothing grows.

What a header claims is held against the bytes that are there, before anything is allocated.
"""

import io
import math
import struct
import warnings
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from surefoot.limits import MAX_ARRAYS

_DIRECTORY_ENTRY = b"PK\x01\x02"
_MOST_HEADER = 4096
_CHUNK = 1 << 20
_UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    OSError,
    EOFError,
    OverflowError,
    RuntimeError,
    struct.error,
    BadZipFile,
)
"""What zipfile raises for bytes that are not its own."""


def arrays_from_npz(data: bytes) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of an npz file without compression, by name.

    Raises:
        ValueError: If it is none, is compressed, or holds more than its bytes.
    """
    # Each entry of the directory becomes an object of ten times its size.
    if data.count(_DIRECTORY_ENTRY) > MAX_ARRAYS:
        raise ValueError(f"it holds more than the {MAX_ARRAYS} arrays allowed")
    try:
        with ZipFile(io.BytesIO(data)) as file:
            members = file.infolist()
            if any(member.compress_type != ZIP_STORED for member in members):
                raise ValueError("it is compressed")
            if sum(member.file_size for member in members) > len(data):  # they overlap
                raise ValueError("its arrays are larger than the file")
            return {
                member.filename.removesuffix(".npy"): array_from_npy(_content(file, member))
                for member in members
            }
    except ValueError:
        raise
    except _UNREADABLE as error:
        raise ValueError(f"it is no npz file: {error}") from error


def _content(file: ZipFile, member: ZipInfo) -> bytearray:
    """Return what a member holds, in memory that an array may have for its own."""
    content, end = bytearray(member.file_size), 0
    with file.open(member) as stream:  # ends with an error unless it is of this size
        while chunk := stream.read(_CHUNK):
            content[end : end + len(chunk)] = chunk
            end += len(chunk)
    return content


def array_from_npy(data: bytes | bytearray) -> NDArray[np.generic]:
    """Return the array of an npy file, of real numbers or truth values; it shares memory with it.

    Raises:
        ValueError: If it is none, or not as large as its header says.
    """
    stream = io.BytesIO(data[: 2 * _MOST_HEADER])
    try:
        with warnings.catch_warnings(action="error"):  # headers of Python 2
            read_header = _HEADERS[np.lib.format.read_magic(stream)]
            shape, by_column, dtype = read_header(stream, _MOST_HEADER)
    except Exception as error:  # a header is Python's, with all errors of its parser
        raise ValueError("it holds an array whose header cannot be read") from error
    size, begin = math.prod(shape) * dtype.itemsize, stream.tell()
    if dtype.kind not in "biuf":
        raise ValueError(f"it holds an array of {dtype} that is not of numbers")
    if min(shape, default=0) < 0 or size != len(data) - begin:
        raise ValueError(f"it holds an array of {dtype} that is not {shape}")
    flat = np.frombuffer(data, dtype, offset=begin)
    return flat.reshape([int(size) for size in shape], order="F" if by_column else "C")


_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
