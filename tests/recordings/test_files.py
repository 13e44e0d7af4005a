"""Recorded states are the same whichever format they were logged in, or are refused in one line.

Also of ``recordings/arrays.py``, ``recordings/tables.py`` and ``recordings/fields.py``.
"""

import csv
import io
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray

from surefoot.errors import InputError, SurefootError
from surefoot.recordings import Sensors, StatesFile, fields

NAMES = ("height", "pitch", "knee")
STATES = np.random.default_rng(0).normal(0, 1, (20, 3))
EPISODES = np.repeat([3, 5, 8, 9], 5)
Write = Callable[[Path, NDArray[np.float64]], Path]


def write_npy(folder: Path, states: NDArray[np.float64]) -> Path:
    np.save(folder / "states.npy", states)
    return folder / "states.npy"


def write_npz(folder: Path, states: NDArray[np.float64]) -> Path:
    columns = dict(zip(NAMES, states.T, strict=True))
    np.savez_compressed(folder / "states.npz", time=np.arange(len(states)), dt=0.02, **columns)
    return folder / "states.npz"


def write_csv(folder: Path, states: NDArray[np.float64]) -> Path:
    with (folder / "states.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["time", *NAMES, "floor"])
        writer.writerows([k, *row, "grass"] for k, row in enumerate(states.tolist()))
    return folder / "states.csv"


def write_parquet(folder: Path, states: NDArray[np.float64]) -> Path:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = dict(zip(NAMES, states.T, strict=True))
    others = {"time": np.arange(len(states)), "floor": ["grass"] * len(states)}
    table = arrow.table(others | columns)
    parquet.write_table(table, folder / "states.parquet")
    return folder / "states.parquet"


NAMED: dict[str, Write] = {"npz": write_npz, "csv": write_csv, "parquet": write_parquet}
every_named_format = pytest.mark.parametrize("write", NAMED.values(), ids=NAMED)


@every_named_format
def test_columns_are_taken_by_name_whatever_their_order(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path, STATES)
    named = StatesFile(path=path).read(Sensors(count=3, names=NAMES))
    assert np.array_equal(named.pool, STATES)
    backwards = StatesFile(path=path, columns=NAMES[::-1]).read(Sensors(count=3))
    assert np.array_equal(backwards.pool, STATES[:, ::-1])


def test_an_array_has_its_columns_in_the_order_of_the_sensors(tmp_path: Path) -> None:
    visited = StatesFile(path=write_npy(tmp_path, STATES)).read(Sensors(count=3, names=NAMES))
    assert np.array_equal(visited.pool, STATES)
    assert len(visited.independent) == 0


def test_a_csv_file_without_a_head_is_an_array(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "states.csv", STATES, delimiter=",", fmt="%.17g")
    visited = StatesFile(path=tmp_path / "states.csv").read(Sensors(count=3, names=NAMES))
    assert np.array_equal(visited.pool, STATES)


def test_columns_in_a_file_of_ones_own_need_no_names_where_they_are_the_sensors(
    tmp_path: Path,
) -> None:
    (tmp_path / "states.csv").write_text("a,b\n1,2\n3,4\n")
    visited = StatesFile(path=tmp_path / "states.csv").read(Sensors(count=2))
    assert visited.pool.tolist() == [[1, 2], [3, 4]]


def test_a_field_of_several_numbers_is_as_many_sensors(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = arrow.table({"observation.state": STATES.tolist(), "frame": np.arange(len(STATES))})
    parquet.write_table(table, tmp_path / "states.parquet")
    np.savez(tmp_path / "states.npz", **{"observation.state": STATES})
    for name in ("states.parquet", "states.npz"):
        file = StatesFile(path=tmp_path / name, columns=("observation.state",))
        assert np.array_equal(file.read(Sensors(count=3)).pool, STATES)
        part = StatesFile(path=tmp_path / name, columns=("observation.state[2]",))
        assert np.array_equal(part.read(Sensors(count=1)).pool, STATES[:, 2:])


def test_the_inputs_of_a_controller_name_their_fields(tmp_path: Path) -> None:
    np.savez(tmp_path / "states.npz", command=STATES[:, :1], policy=STATES[:, 1:], t=STATES[:, 0])
    sensors = Sensors(count=3, parts=("policy", "command"))
    visited = StatesFile(path=tmp_path / "states.npz").read(sensors)
    assert np.array_equal(visited.pool, STATES[:, [1, 2, 0]])


@every_named_format
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_what_is_no_finite_float32_number_is_refused_by_column_and_row(
    tmp_path: Path, write: Write, value: float
) -> None:
    states = STATES.copy()
    states[6, 1] = value
    with pytest.raises(InputError, match="row 7 of column 'pitch' must be finite in float32"):
        StatesFile(path=write(tmp_path, states), columns=NAMES).read(Sensors(count=3))


@every_named_format
def test_a_file_without_rows_is_refused(tmp_path: Path, write: Write) -> None:
    with pytest.raises(InputError, match=r"must hold a row per state, holds none|must be a number"):
        StatesFile(path=write(tmp_path, STATES[:0]), columns=NAMES).read(Sensors(count=3))


@every_named_format
def test_a_column_that_is_not_there_is_refused_with_its_neighbour(
    tmp_path: Path, write: Write
) -> None:
    path = write(tmp_path, STATES)
    with pytest.raises(InputError, match="no column 'kneee'; did you mean 'knee'"):
        StatesFile(path=path, columns=("height", "pitch", "kneee")).read(Sensors(count=3))
    with pytest.raises(InputError, match="no column 'hip'"):
        StatesFile(path=path).read(Sensors(count=3, names=("height", "pitch", "hip")))


@pytest.mark.parametrize("write", [write_csv, write_parquet])
def test_words_are_refused_by_column_and_row(tmp_path: Path, write: Write) -> None:
    file = StatesFile(path=write(tmp_path, STATES), columns=("height", "floor", "knee"))
    with pytest.raises(InputError, match="row 1 of column 'floor' must be a number, got 'grass'"):
        file.read(Sensors(count=3))


@every_named_format
def test_as_many_columns_as_sensors_are_needed(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path, STATES)
    with pytest.raises(InputError, match=r"must have 2 columns.*has \d.*choose with --columns"):
        StatesFile(path=path).read(Sensors(count=2))
    with pytest.raises(InputError, match="must have 3 columns, one per sensor, has 2"):
        StatesFile(path=path, columns=NAMES[:2]).read(Sensors(count=3))


def npy_header(text: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def stored(data: bytes, *, lzma: bool = False) -> bytes:
    """An .npz file of one array; with lzma its stream is damaged."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA if lzma else zipfile.ZIP_STORED) as archive:
        archive.writestr("states.npy", data)
    written = bytearray(file.getvalue())
    if lzma:
        written[50:60] = bytes(10)
    return bytes(written)


BROKEN: dict[str, tuple[str, bytes, str]] = {
    "an array that is none": ("s.npy", b"obs", "is not a .npy array of numbers"),
    "arrays that are none": ("s.npz", b"PK\x03\x04 torn", "is not a .npz file of arrays"),
    "a pickle": ("s.npz", b"\x80\x04]\x94.", "is not a .npz file of arrays"),
    "a table that is none": ("s.parquet", b"PAR1 torn", "is no Parquet file"),
    "text of another code": ("s.csv", b"a,b\n\xff,1\n", "is no CSV file in UTF-8"),
    "a short line": ("s.csv", b"a,b\n1,2\n3\n", "line 3 must have 2 cells as the first, has 1"),
    "an empty file": ("s.csv", b"", "must hold a row per state, is empty"),
    "two of one name": ("s.csv", b"a,a\n1,2\n", "two are called 'a'"),
    "an empty cell": ("s.csv", b"a,b\n1,2\n,4\n", "row 2 of column 'a' must be a number, got ''"),
    "text that looks like digits": (
        "s.csv",
        b"a,b\n1,1_2\n",
        "row 1 of column 'b' must be a number, got '1_2'",
    ),
    "a line behind blank ones": ("s.csv", b"\na,b\n\n1,2\n3\n", "line 5 must have 2 cells"),
    "a header with truth values": (
        "s.npy",
        npy_header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (True, 3), }") + bytes(24),
        "must have 2 columns, one per sensor, has 3",
    ),
    "a header of brackets": ("s.npz", stored(npy_header(b"(" * 500)), "is not a .npz file"),
    "a torn stream": ("s.npz", stored(b"\x93NUMPY" * 9, lzma=True), "is not a .npz file"),
    "a name of two lines": ("s.csv", b'"a\nb",c,d\n1,2,3\n', r"has 3: 'a\\nb', c, d; choose"),
    "too many columns": ("s.csv", b"," * (1 << 16), "at most 65536 columns, has 65537"),
    "another kind": ("s.txt", b"1 2", "must be a file .npy, .npz, .csv, .parquet, .mcap, .db3 or"),
    "a bag without columns": ("s.mcap", b"", "the columns of a bag must be named"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_such_file_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    file, data, message = BROKEN[name]
    if file.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / file).write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        StatesFile(path=tmp_path / file).read(Sensors(count=2))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv", "parquet"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, suffix: str) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    with pytest.raises(SurefootError, match=f"no such file: .*states.{suffix}"):
        StatesFile(path=tmp_path / f"states.{suffix}").read(Sensors(count=3))


def test_a_bomb_is_refused_by_its_directory_before_anything_is_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.npz"
    np.savez_compressed(path, states=np.zeros((1 << 23, 3)), more=np.zeros(1))
    assert path.stat().st_size < 1 << 18

    def expanded(*given: object) -> NoReturn:
        raise AssertionError("it was expanded")

    monkeypatch.setattr(zlib, "decompressobj", expanded)
    with pytest.raises(InputError, match="must expand to at most 134217728 bytes, says 201326"):
        StatesFile(path=path).read(Sensors(count=3))


def test_an_uncompressed_file_takes_no_more_than_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fields, "MAX_EXPANDED_BYTES", 8)
    visited = StatesFile(path=write_npz(tmp_path, STATES), columns=NAMES).read(Sensors(count=3))
    assert np.array_equal(visited.pool, STATES)
    np.savez_compressed(tmp_path / "s.npz", states=np.zeros((1000, 3)))
    with pytest.raises(InputError, match="must expand to at most"):
        StatesFile(path=tmp_path / "s.npz").read(Sensors(count=3))


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", states=STATES, infos=np.array([{}] * 20, dtype=object))
    np.save(tmp_path / "s.npy", np.array([{}], dtype=object), allow_pickle=True)
    visited = StatesFile(path=tmp_path / "s.npz").read(Sensors(count=3))
    assert np.array_equal(visited.pool, STATES)
    with pytest.raises(InputError, match=r"is not a \.npy array of numbers"):
        StatesFile(path=tmp_path / "s.npy").read(Sensors(count=3))


def test_an_index_without_a_name_leaves_the_others_theirs(tmp_path: Path) -> None:
    """Pandas writes one so; it was taken for the first sensor, and every other for the next."""
    (tmp_path / "s.csv").write_text(",pitch,height\n0,1.5,2.5\n1,3.5,4.5\n")
    file = StatesFile(path=tmp_path / "s.csv")
    visited = file.read(Sensors(count=2, names=("height", "pitch")))
    assert visited.pool.tolist() == [[2.5, 1.5], [4.5, 3.5]]
    with pytest.raises(InputError, match="no column 'knee'"):
        file.read(Sensors(count=3, names=NAMES))
    with pytest.raises(InputError, match="must have 3 columns, one per sensor, has 2: , pitch"):
        file.read(Sensors(count=3))


def test_names_that_python_would_read_as_numbers_are_names(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("1_1,1_2\n5,6\n")
    visited = StatesFile(path=tmp_path / "s.csv").read(Sensors(count=2, names=("1_2", "1_1")))
    assert visited.pool.tolist() == [[6, 5]]


@pytest.mark.parametrize("dtype", ["U3", "S3", "datetime64[s]", np.complex128])
def test_a_column_without_rows_is_none_of_any_type(
    tmp_path: Path, dtype: str | type[np.generic]
) -> None:
    np.savez(tmp_path / "s.npz", height=np.zeros(0, dtype), pitch=np.zeros(0))
    with pytest.raises(InputError, match="must hold a row per state, holds none"):
        StatesFile(path=tmp_path / "s.npz").read(Sensors(count=2, names=("height", "pitch")))


def write_table(path: Path, columns: Mapping[str, object] | Sequence[tuple[str, object]]) -> Path:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    named = list(columns.items()) if isinstance(columns, Mapping) else columns
    arrays = [arrow.array(values) for _, values in named]
    parquet.write_table(arrow.Table.from_arrays(arrays, names=[name for name, _ in named]), path)
    return path


def test_decimals_and_numbers_as_text_are_numbers(tmp_path: Path) -> None:
    columns = {"height": [Decimal("1.5"), Decimal("2")], "pitch": ["3.25", "4"]}
    path = write_table(tmp_path / "s.parquet", columns)
    assert StatesFile(path=path).read(Sensors(count=2)).pool.tolist() == [[1.5, 3.25], [2, 4]]


def test_a_column_that_numpy_cannot_hold_is_one_error(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    path = write_table(tmp_path / "s.parquet", {"t": arrow.array([1], arrow.time64("ns"))})
    with pytest.raises(InputError, match="non-zero nanoseconds"):
        StatesFile(path=path).read(Sensors(count=1))


def test_two_columns_of_one_name_are_refused_in_parquet_too(tmp_path: Path) -> None:
    path = write_table(tmp_path / "s.parquet", [("a", [1.0]), ("a", [2.0])])
    with pytest.raises(InputError, match="must have names of their own, two are called 'a'"):
        StatesFile(path=path).read(Sensors(count=2))


def test_a_folder_called_like_a_partition_is_no_column(tmp_path: Path) -> None:
    (tmp_path / "run=3").mkdir()
    path = write_table(tmp_path / "run=3/s.parquet", {"height": [1.0, 2.0]})
    assert StatesFile(path=path).read(Sensors(count=1)).pool.tolist() == [[1], [2]]


@pytest.mark.parametrize("write", [write_csv, write_parquet])
def test_a_table_of_too_many_values_is_refused_before_it_is_expanded(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, np.zeros((20_000, 3)))
    monkeypatch.setattr(fields, "MAX_EXPANDED_BYTES", 8)
    with pytest.raises(InputError, match=r"must expand to at most \d+ bytes, says [\d]+"):
        StatesFile(path=path, columns=NAMES).read(Sensors(count=3))
