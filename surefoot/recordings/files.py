"""Any file of recorded states to a recording, by what its name ends with."""

from collections.abc import Sequence
from pathlib import Path

from surefoot.errors import InputError
from surefoot.recordings.arrays import read_array, read_arrays
from surefoot.recordings.bags import read_bag
from surefoot.recordings.fields import Recording
from surefoot.recordings.tables import read_csv, read_parquet

_READERS = {".npy": read_array, ".npz": read_arrays, ".csv": read_csv, ".parquet": read_parquet}
_BAGS = (".mcap", ".db3")


def read_recording(path: Path, wanted: Sequence[str]) -> Recording:
    """Read a recording.

    Args:
        path: ``.npy``, ``.npz``, ``.csv``, ``.parquet``, or a bag of ROS 2: ``.mcap``, ``.db3`` or
            a folder.
        wanted: Columns that are needed; bags are read no further.

    Raises:
        InputError: If it is of another kind, or not what its name says.
    """
    suffix = path.suffix.lower()
    if suffix in _READERS:
        return _READERS[suffix](path)
    if suffix not in _BAGS and not path.is_dir():
        known = ", ".join([*_READERS, *_BAGS])
        raise InputError(f"states must be a file {known} or the folder of a bag, got {path}")
    if not wanted:
        raise InputError(f"the columns of a bag must be named, TOPIC.FIELD with --columns: {path}")
    return read_bag(path, wanted)
