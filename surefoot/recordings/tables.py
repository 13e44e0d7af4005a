"""Recordings as tables: CSV, and Parquet by way of Arrow."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from surefoot.artifact import read_file
from surefoot.errors import InputError, MissingLibraryError
from surefoot.installation import how_to_install
from surefoot.limits import MAX_COLUMNS
from surefoot.recordings.fields import Field, Recording, as_number, check_expanded

if TYPE_CHECKING:
    from pyarrow import ChunkedArray
    from pyarrow.parquet import FileMetaData


def read_csv(path: Path) -> Recording:
    """Read a CSV file; where its first line holds only numbers, its columns have no names.

    Raises:
        InputError: If it is no text, or a line has another number of cells than the first.
    """
    lines = _lines(path)
    columns = [_cells(cells) for cells in zip(*lines, strict=True)]
    if all(column.dtype.kind == "f" for column in columns):
        rows = Field.of("", np.stack(columns, axis=1))
        return Recording(path=str(path), fields={"": rows}, is_named=False)
    names = [name.strip() for name in lines[0]]
    _check_names(path, names)
    cells = list(zip(*lines[1:], strict=True)) or [()] * len(names)
    fields = {
        name: Field.of(name, _cells(column)) for name, column in zip(names, cells, strict=True)
    }
    return Recording(path=str(path), fields=fields)


def _lines(path: Path) -> list[list[str]]:
    """Return the cells of each line that is not empty; all lines have as many.

    Raises:
        InputError: If it is no text, too long, has no line, or one of another number of cells.
    """
    data = read_file(path)
    cells = data.count(b",") + data.count(b"\n")
    check_expanded(path, cells * np.dtype(np.float64).itemsize, len(data))
    lines: list[list[str]] = []
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig")), strict=True)
        for line in filter(None, reader):
            if lines and len(line) != len(lines[0]):
                raise InputError(
                    f"{path}: line {reader.line_num} must have {len(lines[0])} cells as the "
                    f"first, has {len(line)}"
                )
            if len(line) > MAX_COLUMNS:
                raise InputError(f"{path} must have at most {MAX_COLUMNS} columns, has {len(line)}")
            lines.append(line)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV file in UTF-8: {error}") from error
    if not lines:
        raise InputError(f"{path} must hold a row per state, is empty")
    return lines


def _check_names(path: Path, names: Sequence[str]) -> None:
    """Refuse two columns of one name.

    Raises:
        InputError: If there are any.
    """
    name, count = Counter(names).most_common(1)[0] if names else ("", 0)
    if count > 1:
        raise InputError(f"{path}: columns must have names of their own, two are called {name!r}")


def _cells(cells: Sequence[str]) -> NDArray[Any]:
    """Return cells as numbers if all are, else as text."""
    try:
        return np.array([as_number(cell) for cell in cells], np.float64)
    except ValueError:
        return np.array(cells, dtype=object)


def read_parquet(path: Path) -> Recording:
    """Read a Parquet file; a column of lists of one length is a field of as many columns.

    Raises:
        InputError: If it is none, would expand to too much, or two columns have one name.
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
        # Folders called name=value are a column to read_table, which a single file has not.
        with parquet.ParquetFile(path) as file:
            check_expanded(path, _expanded(file.metadata), path.stat().st_size)
            table = file.read()
        _check_names(path, table.column_names)
        columns = {name: _values(table.column(name)) for name in table.column_names}
    except (arrow.ArrowException, OSError) as error:
        said = next(iter(str(error).splitlines()), "")
        raise InputError(f"{path} is no Parquet file: {said}") from error
    fields = {name: Field.of(name, values) for name, values in columns.items()}
    return Recording(path=str(path), fields=fields)


def _expanded(metadata: "FileMetaData") -> int:
    """Return the bytes of all values that the footer of a Parquet file tells of."""
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    values = sum(group.column(k).num_values for group in groups for k in range(group.num_columns))
    return int(values) * np.dtype(np.float64).itemsize


def _values(column: "ChunkedArray") -> NDArray[Any]:
    """Return a column as NumPy holds it; lists of numbers of one length as rows."""
    values = column.to_numpy()
    return _rows(values) if column.type.num_fields else values


def _rows(values: NDArray[Any]) -> NDArray[Any]:
    """Return lists of numbers of one length as rows; anything else as it is."""
    try:
        rows = np.stack([np.asarray(entry) for entry in values])
    except ValueError:
        return values
    return rows if rows.dtype.kind in "biuf" else values
