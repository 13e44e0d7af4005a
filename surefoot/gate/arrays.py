"""The limits of a gate as float32 arrays, held against one call or against all recorded steps.

Comparisons are written so that NaN breaks them, as in the generated C.

n = steps, d = sensors, p = pairs, m = actions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.gate.limits import ActionLimits, Cause, Gate
from surefoot.policy import Array

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SensorArrays:
    """The limits on sensors and on pairs of them.

    Attributes:
        low: Least readings, (d,).
        high: Largest readings, (d,).
        rate: Largest changes, infinite for no limit, (d,); None where none has a limit.
        first: First sensor of each pair, (p,).
        second: Second sensor of each pair, (p,).
        factors: Factors of both, (p, 2).
        at_most: Largest sum of the two products, (p,).
    """

    low: Float32
    high: Float32
    rate: Float32 | None
    first: NDArray[np.intp]
    second: NDArray[np.intp]
    factors: Float32
    at_most: Float32

    @classmethod
    def of(cls, gate: Gate) -> "SensorArrays":
        """Return the limits of a gate."""
        pairs = gate.pairs
        return cls(
            low=_array([sensor.low for sensor in gate.sensors]),
            high=_array([sensor.high for sensor in gate.sensors]),
            rate=sizes([sensor.rate for sensor in gate.sensors]),
            first=np.array([pair.sensors[0] for pair in pairs], np.intp),
            second=np.array([pair.sensors[1] for pair in pairs], np.intp),
            factors=_array([pair.factors for pair in pairs]).reshape(-1, 2),
            at_most=_array([pair.at_most for pair in pairs]),
        )

    def outside(self, obs: Array) -> Mask:
        """Return which readings are out of range or not finite, (..., d)."""
        return ~((obs >= self.low) & (obs <= self.high))

    def apart(self, obs: Array) -> Mask:
        """Return which pairs do not go together, (..., p)."""
        sums = pair_sums(obs, self.first, self.second, self.factors)
        return ~(sums <= self.at_most)

    def broken(self, obs: Array, last: Float32 | None) -> tuple[Cause, int] | None:
        """Return the first limit that a reading breaks, with the number of the sensor or pair."""
        if (number := first(self.outside(obs))) is not None:
            return Cause.RANGE if np.isfinite(obs[number]) else Cause.NOT_FINITE, number
        if last is not None and (number := first(too_large(obs - last, self.rate))) is not None:
            return Cause.RATE, number
        number = first(self.apart(obs))
        return None if number is None else (Cause.PAIR, number)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ActionArrays:
    """The limits on actions.

    Attributes:
        low: Least actions, (m,).
        high: Largest actions, (m,).
        rate: Largest changes, infinite for no limit, (m,); None where none has a limit.
        jerk: Largest changes of changes, the same way.
    """

    low: Float32
    high: Float32
    rate: Float32 | None
    jerk: Float32 | None

    @classmethod
    def of(cls, actions: Sequence[ActionLimits]) -> "ActionArrays":
        """Return the limits of a gate."""
        return cls(
            low=_array([action.low for action in actions]),
            high=_array([action.high for action in actions]),
            rate=sizes([action.rate for action in actions]),
            jerk=sizes([action.jerk for action in actions]),
        )

    def outside(self, actions: Array) -> Mask:
        """Return which actions are out of range or not finite, (..., m)."""
        return ~((actions >= self.low) & (actions <= self.high))

    def broken(
        self, action: Float32, change: Float32 | None, last_change: Float32 | None
    ) -> tuple[Cause, int] | None:
        """Return the first limit that a finite action breaks, with its number."""
        if (number := first(self.outside(action))) is not None:
            return Cause.ACTION_RANGE, number
        if change is None:
            return None
        if (number := first(too_large(change, self.rate))) is not None:
            return Cause.ACTION_RATE, number
        if last_change is None:
            return None
        number = first(too_large(change - last_change, self.jerk))
        return None if number is None else (Cause.ACTION_JERK, number)


def broken_steps(gate: Gate, obs: Array, actions: Array, steps: NDArray[np.int64]) -> Mask:
    """Return which recorded steps break a limit on sensors or actions, (n,).

    Args:
        gate: The gate.
        obs: Observations, raw units, float32, one episode behind the other, (n, d).
        actions: Actions of the policy at them, (n, m).
        steps: Number of each step in its episode, from 0, (n,); all 0 where these are unknown.
    """
    sensors, limits = SensorArrays.of(gate), ActionArrays.of(gate.actions)
    with np.errstate(over="ignore", invalid="ignore"):
        wrong = (sensors.outside(obs), sensors.apart(obs), limits.outside(actions))
        broken: Mask = np.any(np.concatenate(wrong, axis=1), axis=1, keepdims=True)[:, 0]
        moves, changes = np.diff(obs, axis=0), np.diff(actions, axis=0)
        fast = too_large(moves, sensors.rate).any(axis=1)
        fast |= too_large(changes, limits.rate).any(axis=1)
        jerky = too_large(np.diff(changes, axis=0), limits.jerk).any(axis=1)
    broken[1:] |= fast & (steps[1:] >= 1)
    broken[2:] |= jerky & (steps[2:] >= 2)
    return broken


def pair_sums(
    obs: Array, one: NDArray[np.intp], other: NDArray[np.intp], factors: Float32
) -> Float32:
    """Return the sums that half-spaces limit, float32, (..., p)."""
    sums: Float32 = factors[:, 0] * obs[..., one] + factors[:, 1] * obs[..., other]
    return sums


def too_large(changes: Array, limits: Float32 | None) -> Mask:
    """Return which changes are larger than their limits, or NaN."""
    return np.zeros(changes.shape, np.bool_) if limits is None else ~(np.abs(changes) <= limits)


def sizes(given: Sequence[float | None]) -> Float32 | None:
    """Return largest changes as an array, infinite for no limit; None where none has a limit."""
    if all(value is None for value in given):
        return None
    return _array([np.inf if value is None else value for value in given])


def first(broken: Mask) -> int | None:
    """Return the first number that is broken; None for none."""
    return int(broken.argmax()) if broken.any() else None


def _array(values: object) -> Float32:
    return np.array(values, np.float32)
