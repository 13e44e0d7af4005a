"""A recording: what was recorded, by name, one row per moment."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surefoot.errors import InputError, did_you_mean
from surefoot.limits import MAX_EXPANDED_BYTES

_MOST_NAMES = 12
"""Names that one line lists."""

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Column:
    """One number, or one word, per row.

    Attributes:
        name: What it is called.
        values: As they were read, shape (n,).
    """

    name: str
    values: NDArray[Any]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Field:
    """What a recording holds under one name: a number per row, or several.

    Attributes:
        values: As they were read, shape (n, k).
        names: What its columns are called, one each.
    """

    values: NDArray[Any]
    names: tuple[str, ...]

    @classmethod
    def of(cls, name: str, values: NDArray[Any]) -> "Field":
        """Return the field of an array with one row per moment; ``name[3]`` is a column of it.

        Args:
            name: Name of the field.
            values: Shape (n,) or (n, ...).
        """
        if values.ndim == 1:
            return cls(values=values[:, None], names=(name,))
        flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
        return cls(values=flat, names=tuple(f"{name}[{k}]" for k in range(flat.shape[1])))

    def columns(self) -> Iterator[Column]:
        """Yield its columns."""
        for name, values in zip(self.names, self.values.T, strict=True):
            yield Column(name=name, values=values)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Recording:
    """What a file recorded.

    Attributes:
        path: The file, in words for errors.
        fields: By name, in the order of the file.
        is_named: Whether the file names its columns. A column may be called nothing among others
            that have names, as pandas writes its index.
    """

    path: str
    fields: Mapping[str, Field]
    is_named: bool = True

    @property
    def columns(self) -> list[Column]:
        """All columns, in the order of the file."""
        return [column for field in self.fields.values() for column in field.columns()]

    @property
    def listed(self) -> str:
        """The names of its columns, for errors."""
        return listed([column.name for column in self.columns])

    def chosen(self, names: Sequence[str]) -> list[Column]:
        """Return columns by name; the name of a field stands for all of its columns.

        Raises:
            InputError: If there is none of a name.
        """
        known = {column.name: column for column in self.columns}
        found: list[Column] = []
        for name in names:
            if name in self.fields:
                found += self.fields[name].columns()
            elif name in known:
                found.append(known[name])
            else:
                hint = did_you_mean(name, [*self.fields, *known])
                raise InputError(f"{self.path} has no column {name!r}{hint}; it has {self.listed}")
        return found


def listed(names: Sequence[str]) -> str:
    """Return names as one line lists them: the first dozen, and how many there are."""
    more = f", ... ({len(names)} in all)" if len(names) > _MOST_NAMES else ""
    # A name of a file may have several lines; an error has one.
    shown = [name if name.isprintable() else repr(name) for name in names[:_MOST_NAMES]]
    return ", ".join(shown) + more


def numbers(path: str, columns: Sequence[Column]) -> NDArray[np.float64]:
    """Return columns of a recording side by side, shape (n, k).

    Raises:
        InputError: If they are of several lengths, or an entry is no finite float32 number; the
            message names its column and row.
    """
    lengths = {len(column.values): column.name for column in columns}
    if len(lengths) > 1:
        each = ", ".join(f"{name!r} {count}" for count, name in lengths.items())
        raise InputError(f"{path}: columns must have as many rows as each other, have {each}")
    return np.stack([_numbers(path, column) for column in columns], axis=1)


def _numbers(path: str, column: Column) -> NDArray[np.float64]:
    """Return the numbers of a column, shape (n,).

    Raises:
        InputError: If an entry is none.
    """
    if column.values.dtype.kind in "biuf":
        with np.errstate(over="ignore"):
            values = column.values.astype(np.float64)
    else:
        values = _numbers_of_objects(path, column)
    wrong = np.flatnonzero(~(np.abs(values) <= _LARGEST))
    if len(wrong):
        raise InputError(
            f"{path}: row {wrong[0] + 1} of column {column.name!r} must be finite in float32, got "
            f"{values[wrong[0]]:g}"
        )
    return values


def _numbers_of_objects(path: str, column: Column) -> NDArray[np.float64]:
    """Return the numbers that a column holds as decimals or as text, shape (n,).

    Raises:
        InputError: If an entry is none.
    """
    values = np.empty(len(column.values))
    for row, entry in enumerate(column.values):
        try:
            values[row] = as_number(entry)
        except ValueError as error:
            raise InputError(
                f"{path}: row {row + 1} of column {column.name!r} must be a number, got "
                f"{str(entry)[:40]!r}"
            ) from error
    return values


def as_number(entry: object) -> float:
    """Return the number that an entry is written as.

    Raises:
        ValueError: If it is none. ``1_2`` is none: Python alone groups digits so, and a joint may
            be called that.
    """
    text = str(entry)
    if "_" in text:
        raise ValueError(f"{text!r} is no number")
    return float(text)


def check_expanded(path: Path, size: int, held: int) -> None:
    """Refuse a file by what it says of its size, before anything of it is expanded.

    Args:
        path: The file.
        size: Bytes of its arrays.
        held: Bytes of the file: an uncompressed one takes as many.

    Raises:
        InputError: If they are too many.
    """
    most = max(MAX_EXPANDED_BYTES, held)
    if size > most:
        raise InputError(
            f"{path} must expand to at most {most} bytes, says {size}: keep what is read of it"
        )
