"""Recordings as tables: CSV, and Parquet by way of Arrow."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surefoot.artifact import read_file
from surefoot.errors import InputError, MissingLibraryError
from surefoot.installation import how_to_install
from surefoot.recordings.fields import Field, Recording


def read_csv(path: Path) -> Recording:
    """Read a CSV file; where its first line holds only numbers, its columns have no names.

    Raises:
        InputError: If it is no text, or a line has another number of cells than the first.
    """
    try:
        text = read_file(path).decode("utf-8-sig")
        lines = [line for line in csv.reader(io.StringIO(text), strict=True) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV file in UTF-8: {error}") from error
    if not lines:
        raise InputError(f"{path} must hold a row per state, is empty")
    width = len(lines[0])
    for number, line in enumerate(lines, 1):
        if len(line) != width:
            raise InputError(
                f"{path}: line {number} must have {width} cells as the first, has {len(line)}"
            )
    columns = [_cells(cells) for cells in zip(*lines, strict=True)]
    if all(column.dtype.kind == "f" for column in columns):
        return Recording(path=str(path), fields={"": Field.of("", np.stack(columns, axis=1))})
    names = [name.strip() for name in lines[0]]
    if len(set(names)) < width:
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path}: columns must have names of their own, two are called {twice!r}")
    cells = list(zip(*lines[1:], strict=True)) or [()] * width
    fields = {
        name: Field.of(name, _cells(column)) for name, column in zip(names, cells, strict=True)
    }
    return Recording(path=str(path), fields=fields)


def _cells(cells: Sequence[str]) -> NDArray[Any]:
    """Return cells as numbers if all are, else as text."""
    try:
        return np.array([float(cell) for cell in cells], np.float64)
    except ValueError:
        return np.array(cells, dtype=object)


def read_parquet(path: Path) -> Recording:
    """Read a Parquet file; a column of lists of one length is a field of as many columns.

    Raises:
        InputError: If it is none.
        MissingLibraryError: If pyarrow is not installed.
    """
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        hint = f"pyarrow is not installed: {how_to_install('logs')}"
        raise MissingLibraryError(hint) from error
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    try:
        table = parquet.read_table(path)
    except (arrow.ArrowException, OSError) as error:
        said = next(iter(str(error).splitlines()), "")
        raise InputError(f"{path} is no Parquet file: {said}") from error
    fields = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        values = column.to_numpy()
        if arrow.types.is_nested(column.type):
            values = _rows(values)
        fields[name] = Field.of(name, values)
    return Recording(path=str(path), fields=fields)


def _rows(values: NDArray[Any]) -> NDArray[Any]:
    """Return lists of numbers of one length as rows; anything else as it is."""
    try:
        rows = np.stack([np.asarray(entry) for entry in values])
    except ValueError:
        return values
    return rows if rows.dtype.kind in "biuf" else values
