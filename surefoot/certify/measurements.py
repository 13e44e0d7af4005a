"""What was measured on one controller file, and what independent episodes prove of it.

Nothing here is a proof about the policy: an attack that was not run may do worse.
"""

from dataclasses import dataclass

import numpy as np

from surefoot.ball import Ball
from surefoot.certify.confidence_limits import (
    betting_mean_limit,
    success_rate_lower,
    success_rate_upper,
)
from surefoot.certify.evidence import Evidence
from surefoot.onnx_file import ControllerFile
from surefoot.quantities import QUANTITIES
from surefoot.quantities.base.measurement import Episodes, Limits, Measurement
from surefoot.quantities.base.quantity import MeasuredQuantity
from surefoot.unknown import Unknown


@dataclass(frozen=True, kw_only=True, slots=True)
class FileMeasurements:
    """What is known by measurement about one controller file.

    Attributes:
        onnx_sha256: Digest of the file.
        sparsity: Fraction of its weights that are zero.
        size_bytes: Number of its bytes.
        evidence: Measurements, of whatever file, and assumptions about rewards.
    """

    onnx_sha256: str
    sparsity: float
    size_bytes: int
    evidence: Evidence

    @classmethod
    def of(cls, controller: ControllerFile, evidence: Evidence) -> "FileMeasurements":
        """Collect the measurements of a file."""
        return cls(
            onnx_sha256=controller.sha256,
            sparsity=controller.policy.sparsity,
            size_bytes=len(controller.data),
            evidence=evidence,
        )

    def measurements(self, quantity: str, ball: Ball | None) -> tuple[Measurement, ...] | Unknown:
        """Return the measurements of a quantity under a perturbation, at least one."""
        fitting = [
            entry
            for entry in self.evidence.measurements
            if entry.quantity == quantity and entry.is_under(ball)
        ]
        own = tuple(entry for entry in fitting if entry.onnx_sha256 == self.onnx_sha256)
        if own:
            return own
        return Unknown("it was measured on another file" if fitting else "it was not measured")

    def rate_limits(self, entries: tuple[Measurement, ...], delta: float) -> Limits:
        """Limit the lowest of several rates, each limit wrong with a chance of ``delta``."""
        return lowest_rate(entries, delta)

    def mean_limits(self, entries: tuple[Measurement, ...], delta: float) -> Limits | Unknown:
        """Limit the lowest of several mean returns, each wrong with a chance of ``delta``."""
        allowed = self.evidence.return_range
        if allowed is None:
            return Unknown("reward_range and horizon must both be given: they bound a return")
        return lowest_mean(entries, *allowed, delta)


def measurements_of(episodes: Episodes) -> tuple[Measurement, ...]:
    """Measure episodes: one number for each quantity that they are about."""
    measured = (
        quantity.of_episodes(episodes)
        for quantity in QUANTITIES.values()
        if isinstance(quantity, MeasuredQuantity)
    )
    return tuple(entry for entry in measured if entry is not None)


def lowest_rate(entries: tuple[Measurement, ...], delta: float) -> Limits:
    """Return the Clopper-Pearson limits of the lowest of several rates.

    Args:
        entries: Rates of several attacks on one file, at least one.
        delta: Chance that a limit is wrong.
    """
    limits = []
    for entry in entries:
        episodes = entry.episodes or 0  # the measurement of a rate has its episodes
        successes = round(entry.value * episodes)
        limits.append(
            Limits(
                source=entry.title,
                seen=f"{successes} of {episodes} episodes",
                # The least of the lower limits errs no more often than that of the worst attack;
                # of the upper limits each may err, so that they share the chance.
                lower=success_rate_lower(successes, episodes, delta),
                upper=success_rate_upper(successes, episodes, delta / len(entries)),
                method="Clopper-Pearson",
            )
        )
    return min(limits, key=lambda limit: limit.lower)


def lowest_mean(
    entries: tuple[Measurement, ...], low: float, high: float, delta: float
) -> Limits | Unknown:
    """Return the limits of the lowest of several mean returns.

    Args:
        entries: Returns under several attacks on one file, at least one.
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
            return Unknown(f"a return lies outside [{low:g}, {high:g}], which reward_range allows")
        limits.append(
            Limits(
                source=entry.title,
                seen=f"mean {values.mean():.6g} of {len(values)} episodes",
                lower=betting_mean_limit(values, low, high, delta),
                upper=-betting_mean_limit(-values, -high, -low, delta / len(entries)),
                method="betting",
            )
        )
    return min(limits, key=lambda limit: limit.lower)
