"""Running mean and variance, and the normalisers of observations and rewards made of them.

T = steps of a rollout, N = environments, O = obs_dim. Statistics change once per rollout, so that
all of a rollout is seen through one normaliser.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surefoot.policy import Normaliser
from surefoot.sensors import SCALE_FLOOR, SensorScales

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Moments:
    """Count, mean and sum of squared deviations of samples, float64.

    Law: merging is associative up to rounding, and equal to the moments of all samples together.

    Attributes:
        count: Number of samples.
        mean: Shape (O,).
        squares: Sum over samples of (x - mean)^2, shape (O,).
    """

    count: int
    mean: Floats
    squares: Floats

    @classmethod
    def of(cls, samples: Floats) -> "Moments":
        """Return the moments of samples, (num_samples, O); not finite if they overflow."""
        with np.errstate(over="ignore", invalid="ignore"):
            mean = samples.mean(axis=0)
            return cls(count=len(samples), mean=mean, squares=((samples - mean) ** 2).sum(axis=0))

    @classmethod
    def none(cls, dim: int) -> "Moments":
        """Return the moments of no samples."""
        return cls(count=0, mean=np.zeros(dim), squares=np.zeros(dim))

    def merge(self, other: "Moments") -> "Moments":
        """Return the moments of both sets of samples together; not finite if they overflow.

        Reference:
            Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample
            variances", 1979.
        """
        count = self.count + other.count
        with np.errstate(over="ignore", invalid="ignore"):
            shift = other.mean - self.mean
            return Moments(
                count=count,
                mean=self.mean + shift * (other.count / max(count, 1)),
                squares=self.squares
                + other.squares
                + shift**2 * (self.count * other.count / max(count, 1)),
            )

    def std(self) -> Floats:
        """Return the standard deviation, (O,); one while there are no samples."""
        if self.count == 0:
            return np.ones_like(self.mean)
        return np.sqrt(self.squares / self.count)

    @property
    def fit_float32(self) -> bool:
        """Whether a float32 normaliser can be made of them."""
        largest = np.finfo(np.float32).max  # no comparison with NaN holds
        return bool((np.abs(self.mean) <= largest).all() and (self.std() <= largest).all())

    def state_dict(self) -> dict[str, Any]:
        """Return everything as arrays and numbers."""
        return {"count": self.count, "mean": self.mean, "squares": self.squares}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Moments":
        """Return the moments that :meth:`state_dict` described."""
        return cls(count=state["count"], mean=state["mean"], squares=state["squares"])


def normaliser_of(moments: Moments, clip: float) -> Normaliser:
    """Return the normaliser of these statistics, in the float32 that every runtime uses."""
    return Normaliser(
        mean=moments.mean.astype(np.float32),
        scale=(moments.std() + SCALE_FLOOR).astype(np.float32),
        clip=float(np.float32(clip)),
    )


def with_constant_scale(normaliser: Normaliser, scale: float) -> Normaliser:
    """Return the normaliser with another scale on sensors that never moved, raw units.

    On the readings that were seen it computes the same: there they are zero.
    """
    constant = list(SensorScales.of(normaliser).degenerate)
    if not constant:
        return normaliser
    scales = normaliser.scale.copy()
    scales[constant] = scale
    return replace(normaliser, scale=scales)


class RewardNormaliser:
    """Divides rewards by the running standard deviation of the discounted return."""

    def __init__(self, num_envs: int, *, gamma: float, clip: float) -> None:
        """Start with no statistics; ``clip`` limits the magnitude of a normalised reward."""
        self._gamma = gamma
        self._clip = clip
        self._returns = np.zeros(num_envs)
        self._moments = Moments.none(1)

    def __call__(self, reward_TN: Floats, done_TN: NDArray[np.bool_]) -> Floats:
        """Take a rollout into the statistics and return its rewards normalised, (T, N)."""
        returns_TN = np.empty_like(reward_TN)
        for returns_N, reward_N, done_N in zip(returns_TN, reward_TN, done_TN, strict=True):
            self._returns *= self._gamma
            self._returns += reward_N
            returns_N[:] = self._returns
            self._returns[done_N] = 0
        self._moments = self._moments.merge(Moments.of(returns_TN.reshape(-1, 1)))
        scaled_TN: Floats = reward_TN / (self._moments.std()[0] + 1e-8)
        return scaled_TN.clip(-self._clip, self._clip)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that later rewards depend on."""
        return {"returns": self._returns.copy(), "moments": self._moments.state_dict()}

    def begin_episodes(self) -> None:
        """Forget the returns of the episodes in progress."""
        self._returns[:] = 0

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a stored state."""
        self._returns = state["returns"].copy()
        self._moments = Moments.from_state(state["moments"])
