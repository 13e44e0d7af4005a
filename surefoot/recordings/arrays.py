"""Recordings as NumPy writes them: one array, or several by name. Nothing in them is executed."""

import io
from pathlib import Path

import numpy as np

from surefoot.arrays import array_from_npy
from surefoot.artifact import read_file
from surefoot.errors import InputError
from surefoot.recordings.fields import Field, Recording, check_expanded


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
    return Recording(path=str(path), fields={"": Field.of("", array)}, is_named=False)


def read_arrays(path: Path) -> Recording:
    """Read an ``.npz`` file: every array with rows is a field; arrays of objects are passed over.

    Raises:
        InputError: If it is no such file, holds no such array, or would expand to too much.
    """
    fields, data = {}, read_file(path)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            # zipfile reads no more of each array than its directory says.
            check_expanded(path, sum(entry.file_size for entry in file.zip.infolist()), len(data))
            for name in file.files:
                try:
                    array = file[name]
                except ValueError:  # of objects, which only a pickle can hold
                    continue
                if array.ndim:
                    fields[name] = Field.of(name, array)
    except InputError:
        raise
    except Exception as error:  # of zipfile, each of its decompressors, and Python's parser
        raise InputError(f"{path} is not a .npz file of arrays") from error
    if not fields:
        raise InputError(f"{path} must hold an array with a row per state, holds none")
    return Recording(path=str(path), fields=fields)
