"""The observations that a finished policy visits, as they are saved beside it for certification."""

import io
from dataclasses import dataclass, fields
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from surefoot.errors import IntegrityError

VISITED_FILE = "visited.npz"


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
                sampled=_sampled_from(arrays),
            )
        except (ValueError, TypeError, KeyError, OSError, EOFError, BadZipFile) as error:
            raise IntegrityError(f"visited.npz does not hold visited states: {error}") from error


_PREFIX = "sampled_"


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
