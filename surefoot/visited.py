"""The observations that a finished policy visits, as they are saved beside it for certification."""

import io
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from surefoot.arrays import arrays_from_npz
from surefoot.errors import IntegrityError

Numbers = NDArray[np.int64]
"""A number for each of some rows."""

VISITED_FILE = "visited.npz"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Order:
    """What came before recorded and visited observations, for claims about readings that are late.

    Attributes:
        episodes: Number of the episode of each recorded observation, of which every step is there
            in the order of time, (m,); None where nothing tells.
        earlier: Observations of the steps before each visited one, the latest first; an episode
            repeats its first one. Raw units, (n, k, obs_dim); None where nothing tells.
    """

    episodes: Numbers | None = None
    earlier: NDArray[np.float64] | None = None


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
        pool: Every observation of some whole episodes: dependent, for parity, calibration and
            claims about each of them, (num_pool, obs_dim).
        sampled: Episodes of the policy that samples its actions; None where it has no noise, or
            none were played.
        episodes: Number of the episode of each row of the pool, which then holds every step of an
            episode in the order of time, (num_pool,); None where nothing tells them apart.
        in_pool: Whether the episode of each independent observation is one of the pool's, so that
            the two depend on each other, (num_states,); None where nothing tells.
        trials: One observation of each of further episodes, drawn as the independent ones are, on
            which a gate is tried and of which nothing else is made, (num_trials, obs_dim); None
            where none were played.
        earlier: Observations of the steps before each independent one, the latest first; an episode
            repeats its first one. (num_states, any number, obs_dim); None where nothing tells.
    """

    independent: NDArray[np.float64]
    steps: NDArray[np.int64]
    num_discarded: int
    pool: NDArray[np.float64]
    sampled: SampledEpisodes | None = None
    episodes: NDArray[np.int64] | None = None
    in_pool: NDArray[np.bool_] | None = None
    trials: NDArray[np.float64] | None = None
    earlier: NDArray[np.float64] | None = None

    @property
    def order(self) -> Order:
        """What came before the observations."""
        return Order(episodes=self.episodes, earlier=self.earlier)

    @property
    def recorded(self) -> NDArray[np.float64] | None:
        """Every observation of the whole episodes, raw units, (num_pool, obs_dim), or None."""
        return self.pool if len(self.pool) else None

    def to_bytes(self) -> bytes:
        """Return the content of `visited.npz`."""
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {} if self.sampled is None else _arrays_of(self.sampled)
        arrays |= {"independent": self.independent, "steps": self.steps, "pool": self.pool}
        arrays |= {} if self.episodes is None else {"episodes": self.episodes}
        arrays |= {} if self.in_pool is None else {"in_pool": self.in_pool}
        arrays |= {} if self.trials is None else {"trials": self.trials}
        arrays |= {} if self.earlier is None else {"earlier": self.earlier}
        np.savez(buffer, num_discarded=np.int64(self.num_discarded), **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Visited":
        """Read `visited.npz` back; nothing in it is executed, and nothing grows.

        Raises:
            IntegrityError: If it does not have the arrays that :meth:`to_bytes` writes.
        """
        try:
            arrays = arrays_from_npz(data)
            visited = cls(
                independent=_floats(arrays["independent"]),
                steps=_integers(arrays["steps"]),
                num_discarded=int(arrays["num_discarded"]),
                pool=_floats(arrays["pool"]),
                sampled=_sampled_from(arrays),
                episodes=_integers(arrays["episodes"]) if "episodes" in arrays else None,
                in_pool=_of_type(arrays["in_pool"], np.bool_) if "in_pool" in arrays else None,
                trials=_floats(arrays["trials"]) if "trials" in arrays else None,
                earlier=_floats(arrays["earlier"]) if "earlier" in arrays else None,
            )
            visited._check()
        except (ValueError, TypeError, KeyError, OverflowError) as error:
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
        if self.episodes is not None and self.episodes.shape != shapes[1][:1]:
            raise ValueError(f"episodes must be one for each row, are {self.episodes.shape}")
        if self.in_pool is not None and self.in_pool.shape != shapes[0][:1]:
            raise ValueError(f"in_pool must be one for each state, is {self.in_pool.shape}")
        seen = [self.independent, self.pool]
        if self.trials is not None:
            if self.trials.ndim != 2 or self.trials.shape[1] != shapes[0][1]:
                raise ValueError(f"trials must be (n, obs_dim), are {self.trials.shape}")
            seen.append(self.trials)
        if self.earlier is not None:
            if self.earlier.ndim != 3 or self.earlier.shape[::2] != shapes[0]:
                raise ValueError(f"earlier must be (n, k, obs_dim), are {self.earlier.shape}")
            seen.append(self.earlier)
        if not all(np.isfinite(part).all() for part in seen):
            raise ValueError("observations must be finite")


_PREFIX = "sampled_"
Scalar = TypeVar("Scalar", bound=np.generic)


def _arrays_of(sampled: SampledEpisodes) -> dict[str, NDArray[np.generic]]:
    return {
        f"{_PREFIX}{field.name}": np.asarray(getattr(sampled, field.name))
        for field in fields(sampled)
    }


def _of_type(array: NDArray[np.generic], kind: type[Scalar]) -> NDArray[Scalar]:
    """Return an array as one of this type, which it must be: a conversion may take more memory.

    Raises:
        ValueError: If it is of another.
    """
    if array.dtype != kind:
        raise ValueError(f"it has {array.dtype} in the place of {np.dtype(kind)}")
    return array.view(kind)


def _floats(array: NDArray[np.generic]) -> NDArray[np.float64]:
    return _of_type(array, np.float64)


def _integers(array: NDArray[np.generic]) -> NDArray[np.int64]:
    return _of_type(array, np.int64)


def _sampled_from(arrays: dict[str, NDArray[np.generic]]) -> SampledEpisodes | None:
    """Read the episodes of the sampling policy back, if the file has them.

    Raises:
        ValueError: If the arrays do not fit each other.
    """
    if not any(name.startswith(_PREFIX) for name in arrays):
        return None
    sampled = SampledEpisodes(
        observations=_floats(arrays["sampled_observations"]),
        steps=_integers(arrays["sampled_steps"]),
        alive=_of_type(arrays["sampled_alive"], np.bool_),
        returns=_floats(arrays["sampled_returns"]),
        horizon=int(arrays["sampled_horizon"]),
    )
    count = len(sampled.observations)
    lengths = {array.shape for array in (sampled.steps, sampled.alive, sampled.returns)}
    inside = (sampled.steps >= 0) & (sampled.steps < sampled.horizon)
    if sampled.observations.ndim != 2 or lengths != {(count,)} or not inside.all():
        raise ValueError("the episodes of the sampling policy do not fit each other")
    if not (np.isfinite(sampled.observations).all() and np.isfinite(sampled.returns).all()):
        raise ValueError("the episodes of the sampling policy must be finite")
    return sampled
