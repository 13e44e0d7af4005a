"""Numbers that were measured about a controller file, and what independent episodes prove of them.

Nothing here is a proof about the policy: an attack that was not run may do worse.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from surefoot.ball import Norm
from surefoot.certify.confidence_limits import (
    betting_mean_limit,
    success_rate_lower,
    success_rate_upper,
)
from surefoot.errors import InputError
from surefoot.unknown import Unknown


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """A measured number about one controller file.

    Attributes:
        quantity: ``attacked_return``, ``latency_us`` or ``success_rate``.
        value: In the unit of the quantity; for ``success_rate`` the share that was seen.
        onnx_sha256: Digest of the file that was measured.
        epsilon: Size of the perturbation, normalised units.
        norm: Its norm.
        episodes: Number of independent episodes (for ``success_rate``).
        returns: For ``attacked_return`` the return of each independent episode; may be empty.
        failures: Of these episodes, those in which the controller or the simulation failed: they
            ended there, and have no return.
        source: What was run, in words.
    """

    quantity: Literal["attacked_return", "latency_us", "success_rate"]
    value: float
    onnx_sha256: str
    epsilon: float | None = None
    norm: Norm | None = None
    episodes: int | None = None
    returns: tuple[float, ...] = ()
    failures: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        """Check the number.

        Raises:
            InputError: If a value is not finite, a rate is not a share of its episodes, a return is
                not the mean of its episodes, or failures are negative.
        """
        if not np.isfinite(self.value) or not np.isfinite(self.returns).all():
            raise InputError(f"measured {self.quantity} must be finite, got {self.value}")
        if self.failures < 0:
            raise InputError(f"failures must be at least 0, got {self.failures}")
        if self.quantity == "success_rate":
            if self.episodes is None or self.episodes < 1:
                raise InputError(f"success_rate needs its episodes, got {self.episodes}")
            successes = self.value * self.episodes
            if not 0 <= self.value <= 1 or abs(successes - round(successes)) > 1e-6:
                raise InputError(
                    f"success_rate must be a share of {self.episodes} episodes, got {self.value}"
                )
        if self.returns:
            mean, size = float(np.mean(self.returns)), float(np.abs(self.returns).max())
            if self.quantity != "attacked_return" or abs(mean - self.value) > 1e-9 * (1 + size):
                raise InputError(f"returns have the mean {mean:g}, got a value of {self.value:g}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a measurement proves with a confidence.

    Attributes:
        source: What was run, in words.
        seen: What was counted or averaged, in words.
        lower: Lower limit of the quantity.
        upper: Upper limit of the quantity.
        method: What gives the limits.
    """

    source: str
    seen: str
    lower: float
    upper: float
    method: str


def worst_rate(entries: Sequence[Measurement], delta: float) -> Limits | None:
    """Return the Clopper-Pearson limits of the lowest success rate, or None without any.

    Args:
        entries: Success rates of several attacks on one file.
        delta: Chance that a limit is wrong.
    """
    limits = []
    for entry in entries:
        episodes = entry.episodes or 0  # a Measurement of a rate has its episodes
        successes = round(entry.value * episodes)
        limits.append(
            Limits(
                source=_source(entry),
                seen=f"{successes} of {episodes} episodes",
                # The least of the lower limits errs no more often than that of the worst attack;
                # of the upper limits each may err, so that they share the chance.
                lower=success_rate_lower(successes, episodes, delta),
                upper=success_rate_upper(successes, episodes, delta / len(entries)),
                method="Clopper-Pearson",
            )
        )
    return min(limits, key=lambda limit: limit.lower, default=None)


def worst_mean(
    entries: Sequence[Measurement], low: float, high: float, delta: float
) -> Limits | Unknown:
    """Return the limits of the lowest mean return, or why there are none.

    Args:
        entries: Attacked returns of several attacks on one file.
        low: Least possible return of an episode.
        high: Largest possible return of an episode.
        delta: Chance that a limit is wrong.
    """
    limits = []
    for entry in entries:
        values = np.array(entry.returns)
        if not values.size:
            return Unknown("the returns of its episodes are not known")
        if not ((values >= low) & (values <= high)).all():
            return Unknown(
                f"a return lies outside of [{low:g}, {high:g}], which reward_range allows"
            )
        limits.append(
            Limits(
                source=_source(entry),
                seen=f"mean {values.mean():.6g} of {len(values)} episodes",
                lower=betting_mean_limit(values, low, high, delta),
                upper=-betting_mean_limit(-values, -high, -low, delta / len(entries)),
                method="betting",
            )
        )
    return min(limits, key=lambda limit: limit.lower) if limits else Unknown("it was not measured")


def _source(entry: Measurement) -> str:
    return entry.source or "an attack without a name"
