"""The observations that a finished policy visits, as they are saved beside it for certification."""

import io
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from surefoot.errors import IntegrityError

VISITED_FILE = "visited.npz"


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
    """

    independent: NDArray[np.float64]
    steps: NDArray[np.int64]
    num_discarded: int
    pool: NDArray[np.float64]

    def to_bytes(self) -> bytes:
        """Return the content of `visited.npz`."""
        buffer = io.BytesIO()
        np.savez(
            buffer,
            independent=self.independent,
            steps=self.steps,
            num_discarded=np.int64(self.num_discarded),
            pool=self.pool,
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Visited":
        """Read `visited.npz` back; nothing in it is executed.

        Raises:
            IntegrityError: If it does not have the arrays that :meth:`to_bytes` writes.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                arrays = dict(file)
            return cls(
                independent=arrays["independent"],
                steps=arrays["steps"].astype(np.int64),
                num_discarded=int(arrays["num_discarded"]),
                pool=arrays["pool"],
            )
        except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
            raise IntegrityError(f"visited.npz does not hold visited states: {error}") from error
