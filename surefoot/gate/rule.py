"""How the limits of a gate are made: the ``[gate]`` table of a budget."""

from dataclasses import dataclass

import numpy as np

from surefoot.config import settle_choices
from surefoot.errors import InputError
from surefoot.gate.limits import MOST_STEPS, MOST_US, Reaction, TimeLimits
from surefoot.ranges import require_at_least

MOST_MARGIN = 100.0
MOST_PAIRS = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class GateRule:
    """How the limits of a gate are made.

    Attributes:
        reaction: What the robot gets in the place of a rejected action.
        recover_after: Good calls in a row after which the policy's actions count again.
        stop_after: Rejected calls in a row after which the controller stops; without it never.
        margin: By how much a limit is beyond what was recorded: a share of the recorded width at
            each end of a range, of the largest recorded change for rates and jerks.
        beyond: How many recorded steps may lie beyond each limit before the margin is added.
        pairs: Pairs of sensors on which half-spaces are put, those with the thinnest recorded sets.
        low: Least reading of each sensor by its data sheet, raw units; one for all, or one each.
        high: Largest reading of each sensor by its data sheet.
        max_age_s: Oldest reading that counts, seconds before the call.
        max_gap_s: Longest time between two calls, seconds.
        confidence: Confidence of the bound on false alarms.
    """

    reaction: Reaction = Reaction.HOLD
    recover_after: int = 5
    stop_after: int | None = None
    margin: float = 0.1
    beyond: int = 0
    pairs: int = 0
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    max_age_s: float | None = None
    max_gap_s: float | None = None
    confidence: float = 0.95

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: If one is out of range, or half of a pair is missing.
        """
        settle_choices(self)
        require_at_least(self, 1, "recover_after", most=MOST_STEPS)
        if self.stop_after is not None:
            require_at_least(self, 1, "stop_after", most=MOST_STEPS)
        require_at_least(self, 0, "beyond")
        require_at_least(self, 0, "pairs", most=MOST_PAIRS)
        if not 0 <= self.margin <= MOST_MARGIN:
            raise InputError(f"margin must be in [0, {MOST_MARGIN:g}], got {self.margin}")
        if not 0 < self.confidence < 1:
            raise InputError(f"confidence must be in (0, 1), got {self.confidence}")
        _ = self.time
        if (self.low is None) != (self.high is None):
            raise InputError("low and high must be given together")
        if self.low is not None and self.high is not None:
            self._check_ends(self.low, self.high)

    def _check_ends(self, low: tuple[float, ...], high: tuple[float, ...]) -> None:
        if len(low) != len(high) or not low:
            raise InputError(f"low and high must be as many, got {len(low)} and {len(high)}")
        for number, (least, largest) in enumerate(zip(low, high, strict=True)):
            if not -np.inf < least <= largest < np.inf:
                raise InputError(
                    f"high must be at least low and both finite, got low {least:g}, high "
                    f"{largest:g} at {number}"
                )

    @property
    def time(self) -> TimeLimits | None:
        """The limits on time, or None for none.

        Raises:
            InputError: If one is out of range, or only one of the two is given.
        """
        if self.max_age_s is None and self.max_gap_s is None:
            return None
        for name in ("max_age_s", "max_gap_s"):
            value = getattr(self, name)
            if value is None:
                raise InputError(f"{name} must be given where time is limited")
            if not 0 <= value <= MOST_US / 1e6:
                raise InputError(f"{name} must be in [0, {MOST_US / 1e6:g}], got {value:g}")
        return TimeLimits(
            max_age_us=round(1e6 * (self.max_age_s or 0.0)),
            max_gap_us=round(1e6 * (self.max_gap_s or 0.0)),
        )

    def declared(self, num_sensors: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the declared ranges, float64, shape (num_sensors,) each; None without any.

        Raises:
            InputError: If there is not one for each sensor, nor one for all.
        """
        if self.low is None or self.high is None:
            return None
        if len(self.low) not in (1, num_sensors):
            raise InputError(
                f"low and high must have 1 or {num_sensors} numbers, as there are sensors, have "
                f"{len(self.low)}"
            )
        return (
            np.broadcast_to(np.array(self.low, np.float64), (num_sensors,)),
            np.broadcast_to(np.array(self.high, np.float64), (num_sensors,)),
        )
