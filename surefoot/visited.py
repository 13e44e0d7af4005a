"""The observations that a finished policy visits, as they are saved beside it for certification."""

import io
import math
import struct
from dataclasses import dataclass, fields
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from surefoot.errors import IntegrityError

VISITED_FILE = "visited.npz"
_DIRECTORY_ENTRY = b"PK\x01\x02"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SampledEpisodes:
    """Independent clean episodes of the policy that samples its actions, raw units.

    Attributes:
        observations: One observation per episode, at its step; 0 where the episode ended earlier,
            (num_episodes, obs_dim).
        steps: Drawn beforehand, step k with a chance in proportion to horizon - k, (num_episodes,).
        alive: Whether the episode reached its step, (num_episodes,).
        returns: Undiscounted return of the whole episode, (num_episodes,).
        horizon: Steps after which an episode is over.
    """

    observations: NDArray[np.float64]
    steps: NDArray[np.int64]
    alive: NDArray[np.bool_]
    returns: NDArray[np.float64]
    horizon: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Visited:
    """Observations along clean episodes of the deterministic policy, raw units.

    Attributes:
        independent: One observation per independent episode, at a step drawn beforehand uniformly
            from the horizon; an episode that ended earlier was discarded and drawn again with its
            step. Independent and identically distributed, (num_states, obs_dim).
        steps: The steps at which they were taken, (num_states,).
        num_discarded: Episodes that ended before their step.
        pool: Every observation of some whole episodes: dependent, for parity and calibration only,
            (num_pool, obs_dim).
        sampled: Episodes of the policy that samples its actions; None where it has no noise, or
            none were played.
    """

    independent: NDArray[np.float64]
    steps: NDArray[np.int64]
    num_discarded: int
    pool: NDArray[np.float64]
    sampled: SampledEpisodes | None = None

    def to_bytes(self) -> bytes:
        """Return the content of `visited.npz`."""
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {} if self.sampled is None else _arrays_of(self.sampled)
        arrays |= {"independent": self.independent, "steps": self.steps, "pool": self.pool}
        np.savez(buffer, num_discarded=np.int64(self.num_discarded), **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Visited":
        """Read `visited.npz` back; nothing in it is executed, and nothing grows.

        Raises:
            IntegrityError: If it does not have the arrays that :meth:`to_bytes` writes.
        """
        try:
            arrays = _read_npz(data)
            visited = cls(
                independent=arrays["independent"].astype(np.float64, copy=False),
                steps=arrays["steps"].astype(np.int64),
                num_discarded=int(arrays["num_discarded"]),
                pool=arrays["pool"].astype(np.float64, copy=False),
                sampled=_sampled_from(arrays),
            )
            visited._check()
        except _UNREADABLE as error:
            raise IntegrityError(f"{VISITED_FILE} does not hold visited states: {error}") from error
        return visited

    def _check(self) -> None:
        """Check that the arrays fit each other.

        Raises:
            ValueError: If they do not.
        """
        shapes = self.independent.shape, self.pool.shape
        if not len(shapes[0]) == len(shapes[1]) == 2 or shapes[0][1] != shapes[1][1]:
            raise ValueError(f"independent and pool must be (n, obs_dim), are {shapes}")
        if self.steps.shape != shapes[0][:1]:
            raise ValueError(f"steps must be one for each state, are {self.steps.shape}")
        if not (np.isfinite(self.independent).all() and np.isfinite(self.pool).all()):
            raise ValueError("observations must be finite")


_PREFIX = "sampled_"
_MOST_MEMBERS = 16
_MOST_HEADER = 256
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
"""What zipfile and NumPy raise for bytes that are not theirs."""


def _read_npz(data: bytes) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of an npz file that is no larger than what is in it.

    Raises:
        ValueError: If a member is compressed or longer than the file, or is no array of numbers.
    """
    # Each entry of the directory becomes an object of ten times its size.
    if data.count(_DIRECTORY_ENTRY) > _MOST_MEMBERS:
        raise ValueError(f"it holds more than the {_MOST_MEMBERS} arrays allowed")
    with ZipFile(io.BytesIO(data)) as file:
        members = file.infolist()
        if any(member.compress_type != ZIP_STORED for member in members):
            raise ValueError("it is compressed")
        if sum(member.file_size for member in members) > len(data):  # they overlap
            raise ValueError("its arrays are larger than the file")
        return {
            member.filename.removesuffix(".npy"): _array(file.read(member)) for member in members
        }


def _array(data: bytes) -> NDArray[np.generic]:
    """Return the array of an npy file.

    Raises:
        ValueError: If it is not as large as its header says, or not of numbers.
    """
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("it holds an array of another version than 1.0")
    try:
        shape, by_column, dtype = np.lib.format.read_array_header_1_0(stream, _MOST_HEADER)
    except (*_UNREADABLE, SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError("it holds an array whose header cannot be read") from error
    num_bytes = math.prod(shape) * dtype.itemsize
    if (
        dtype.kind not in "bif"
        or min(shape, default=0) < 0
        or num_bytes != len(data) - stream.tell()
    ):
        raise ValueError(f"it holds an array of {dtype} that is not {shape}")
    flat = np.frombuffer(data, dtype, offset=stream.tell())
    return np.array(flat.reshape(shape, order="F" if by_column else "C"))


def _arrays_of(sampled: SampledEpisodes) -> dict[str, NDArray[np.generic]]:
    return {
        f"{_PREFIX}{field.name}": np.asarray(getattr(sampled, field.name))
        for field in fields(sampled)
    }


def _sampled_from(arrays: dict[str, NDArray[np.generic]]) -> SampledEpisodes | None:
    """Read the episodes of the sampling policy back, if the file has them.

    Raises:
        ValueError: If the arrays do not fit each other.
    """
    if not any(name.startswith(_PREFIX) for name in arrays):
        return None
    sampled = SampledEpisodes(
        observations=arrays["sampled_observations"].astype(np.float64),
        steps=arrays["sampled_steps"].astype(np.int64),
        alive=arrays["sampled_alive"].astype(np.bool_),
        returns=arrays["sampled_returns"].astype(np.float64),
        horizon=int(arrays["sampled_horizon"]),
    )
    count = len(sampled.observations)
    lengths = {array.shape for array in (sampled.steps, sampled.alive, sampled.returns)}
    inside = (sampled.steps >= 0) & (sampled.steps < sampled.horizon)
    if sampled.observations.ndim != 2 or lengths != {(count,)} or not inside.all():
        raise ValueError("the episodes of the sampling policy do not fit each other")
    return sampled
