"""Recordings as NumPy writes them: one array, or several by name. Nothing in them is executed."""

import io
import zlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from surefoot.arrays import array_from_npy
from surefoot.artifact import read_file
from surefoot.errors import InputError
from surefoot.recordings.fields import Field, Recording

_UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    OSError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    BadZipFile,
    zlib.error,
)
"""What NumPy and zipfile raise for bytes that are not theirs."""


def read_array(path: Path) -> Recording:
    """Read an ``.npy`` file: one array, whose columns have no names.

    Raises:
        InputError: If it is no array with a row per moment.
    """
    try:
        array = array_from_npy(read_file(path))
    except ValueError as error:
        raise InputError(f"{path} is not a .npy array of numbers: {error}") from error
    if array.ndim == 0:
        raise InputError(f"{path} must hold one array with a row per state")
    return Recording(path=str(path), fields={"": Field.of("", array)})


def read_arrays(path: Path) -> Recording:
    """Read an ``.npz`` file: every array with rows is a field; arrays of objects are passed over.

    Raises:
        InputError: If it is no such file, or holds no such array.
    """
    fields, data = {}, read_file(path)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            for name in file.files:
                try:
                    array = file[name]
                except ValueError:  # of objects, which only a pickle can hold
                    continue
                if array.ndim:
                    fields[name] = Field.of(name, array)
    except (*_UNREADABLE, AttributeError) as error:  # an .npy array is no context
        raise InputError(f"{path} is not a .npz file of arrays") from error
    if not fields:
        raise InputError(f"{path} must hold an array with a row per state, holds none")
    return Recording(path=str(path), fields=fields)
