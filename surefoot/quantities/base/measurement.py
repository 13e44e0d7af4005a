"""Measured numbers, and what a quantity may ask to be known about them.

Nothing here is a proof about the policy: an attack that was not run may do worse.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from surefoot.ball import Ball, Groups, Norm
from surefoot.errors import InputError
from surefoot.unknown import Unknown


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """A measured number about one controller file.

    Attributes:
        quantity: Name of a quantity that is measured.
        value: Number, in the unit of the quantity; of a rate the share that was seen.
        onnx_sha256: Digest of the file that was measured.
        epsilon: Size of the perturbation, normalised units; None without one.
        norm: Norm of the perturbation.
        sensors: Share of epsilon by which each sensor was moved; None for all of it.
        groups: Sensors whose moves counted together, in l2; None where each counted by itself.
        delays: Steps by which the reading of each sensor was late at most; None where none was.
        biases: Share of its side by which each sensor was off for a whole episode at most; None
            where all of it could vary.
        episodes: Number of independent episodes; None where there were none.
        returns: Returns of independent episodes, whose mean is the value; may be empty.
        failures: Number of episodes in which the controller or the simulation failed: they ended
            there, and have no return.
        source: Description of the run, in words.
    """

    quantity: str
    value: float
    onnx_sha256: str
    epsilon: float | None = None
    norm: Norm | None = None
    sensors: tuple[float, ...] | None = None
    groups: Groups | None = None
    delays: tuple[int, ...] | None = None
    biases: tuple[float, ...] | None = None
    episodes: int | None = None
    returns: tuple[float, ...] = ()
    failures: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        """Check the number.

        Raises:
            InputError: If a value is not finite, is not the mean of its returns, or failures are
                negative.
        """
        if not np.isfinite(self.value) or not np.isfinite(self.returns).all():
            raise InputError(f"measured {self.quantity} must be finite, got {self.value}")
        if self.failures < 0:
            raise InputError(f"failures must be at least 0, got {self.failures}")
        if self.returns:
            mean, size = float(np.mean(self.returns)), float(np.abs(self.returns).max())
            if abs(mean - self.value) > 1e-9 * (1 + size):
                raise InputError(f"returns have the mean {mean:g}, got a value of {self.value:g}")

    def is_under(self, ball: Ball | None) -> bool:
        """Whether it was made under a perturbation set, or under none."""
        if ball is None:
            return (self.epsilon, self.norm) == (None, None)
        if self.epsilon is None or self.norm is None:
            return False
        return ball == Ball(
            norm=self.norm,
            epsilon=self.epsilon,
            sensors=self.sensors,
            groups=self.groups,
            delays=self.delays,
            biases=self.biases,
        )

    @property
    def title(self) -> str:
        """What was run, in words."""
        return self.source or "an attack without a name"


@dataclass(frozen=True, kw_only=True, slots=True)
class Episodes:
    """Independent episodes of one controller file under one attack, or under none.

    Attributes:
        onnx_sha256: Digest of the file.
        source: Description of the run, in words.
        ball: Perturbation set of the attack; None without one.
        returns: Undiscounted return of each episode.
        survived: Whether the task did not end the episode before its time, and nothing failed.
        failures: Number of episodes in which the controller or the simulation failed.
        successes: The user's predicate on each episode; None without a predicate.
        moves_actions: Whether the attack moves the actions, as far as a proof about the ball lets
            it, and no observation.
    """

    onnx_sha256: str
    source: str
    ball: Ball | None
    returns: tuple[float, ...]
    survived: tuple[bool, ...]
    failures: int = 0
    successes: tuple[bool, ...] | None = None
    moves_actions: bool = False

    @property
    def attacks_observations(self) -> bool:
        """Whether an attack perturbs what the controller sees."""
        return self.ball is not None and not self.moves_actions

    def rate(self, quantity: str, flags: tuple[bool, ...]) -> Measurement:
        """Return the share of episodes of which ``flags`` are true."""
        return replace(self._measured(quantity), value=sum(flags) / len(flags))

    def mean_return(self, quantity: str) -> Measurement:
        """Return the mean return, with the return of each episode."""
        mean = float(np.mean(self.returns))
        return replace(
            self._measured(quantity), value=mean, returns=self.returns, failures=self.failures
        )

    def _measured(self, quantity: str) -> Measurement:
        return Measurement(
            quantity=quantity,
            value=0.0,
            onnx_sha256=self.onnx_sha256,
            epsilon=None if self.ball is None else self.ball.epsilon,
            norm=None if self.ball is None else self.ball.norm,
            sensors=None if self.ball is None else self.ball.sensors,
            groups=None if self.ball is None else self.ball.groups,
            delays=None if self.ball is None else self.ball.delays,
            biases=None if self.ball is None else self.ball.biases,
            episodes=len(self.returns),
            source=self.source,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """A number that was measured, or counted.

    Attributes:
        value: Number, in the unit of the quantity.
        method: How it is known.
        source: Measured object, in words.
    """

    value: float
    method: str
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a measurement proves with a confidence.

    Attributes:
        source: Description of the run, in words.
        seen: Outcome that was counted or averaged, in words.
        lower: Lower limit of the quantity.
        upper: Upper limit of the quantity.
        method: Name of what gives the limits.
    """

    source: str
    seen: str
    lower: float
    upper: float
    method: str


class MeasuredFile(Protocol):
    """What is known by measurement about one controller file."""

    @property
    def sparsity(self) -> float:
        """Fraction of its weights that are zero."""
        ...

    @property
    def size_bytes(self) -> int:
        """Number of its bytes."""
        ...

    def measurements(self, quantity: str, ball: Ball | None) -> tuple[Measurement, ...] | Unknown:
        """Return the measurements of a quantity under a perturbation, at least one."""
        ...

    def rate_limits(self, entries: tuple[Measurement, ...], delta: float) -> Limits:
        """Limit the lowest of several rates, each limit wrong with a chance of ``delta``."""
        ...

    def mean_limits(self, entries: tuple[Measurement, ...], delta: float) -> Limits | Unknown:
        """Limit the lowest of several mean returns, each wrong with a chance of ``delta``."""
        ...
