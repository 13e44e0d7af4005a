"""Descriptive statistics of returns, shared by training, attacks and studies.

Nothing here is a guarantee: bootstrap intervals describe. Statistical certificates are in certify.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import trim_mean

from surefoot.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A 95 % bootstrap interval."""

    low: float
    high: float


def interquartile_mean(values: NDArray[np.float64]) -> float:
    """Return the mean of the middle half of ``values``, shape (n,).

    Reference:
        Agarwal et al., NeurIPS 2021 (arXiv 2108.13264), section 4.3.

    Raises:
        InputError: If there are no values or one is not finite.
    """
    _require_values(values)
    return float(trim_mean(values, 0.25))


def bootstrap_interval(
    values: NDArray[np.float64], *, seed: int = 0, replicates: int = 10_000
) -> Interval:
    """Return the 95 % percentile bootstrap interval of the interquartile mean of ``values``.

    Args:
        values: Shape (n,).
        seed: Seed of the resampling, so that the same values give the same interval.
        replicates: Number of resamples.

    Raises:
        InputError: If there are no values or one is not finite.
    """
    _require_values(values)
    rng = np.random.default_rng(seed)
    samples = rng.choice(values, size=(replicates, len(values)))
    low, high = np.percentile(trim_mean(samples, 0.25, axis=1), [2.5, 97.5])
    return Interval(low=float(low), high=float(high))


def interval_over_agents(
    returns: NDArray[np.float64], *, seed: int = 0, replicates: int = 10_000
) -> Interval:
    """Return the 95 % interval of the interquartile mean over agents of their mean returns.

    Agents are drawn again, and then the episodes of each: those of one agent are alike, and more
    of them say nothing about another training seed.

    Args:
        returns: One row per agent, (num_agents, num_episodes).
        seed: Seed of the resampling.
        replicates: Number of resamples.

    Reference:
        Agarwal et al., NeurIPS 2021 (arXiv 2108.13264), section 4: runs are resampled within each
        task.

    Raises:
        InputError: If there are no values or one is not finite.
    """
    _require_values(returns.ravel())
    rng = np.random.default_rng(seed)
    num_agents, num_episodes = returns.shape
    agents = rng.integers(num_agents, size=(replicates, num_agents, 1))
    episodes = rng.integers(num_episodes, size=(replicates, num_agents, num_episodes))
    samples = returns[agents, episodes].mean(axis=2)
    low, high = np.percentile(trim_mean(samples, 0.25, axis=1), [2.5, 97.5])
    return Interval(low=float(low), high=float(high))


def _require_values(values: NDArray[np.float64]) -> None:
    if values.ndim != 1 or values.size == 0:
        raise InputError(f"values must be a non-empty vector, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise InputError(f"values must be finite, got {values[~np.isfinite(values)][0]}")
