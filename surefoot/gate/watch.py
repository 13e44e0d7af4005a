"""What a gate decides, call by call: the reference of the generated C, which has the same bits.

Exactly, in the order of a call:

* Time, where the gate limits it. Times are differences modulo 2^32. A clock that went back (by up
  to 2^31 us), a gap since the last call and a reading that is too old are rejected.
* Sensors: finite and in range, then the change since the last call, then the pairs. The first call,
  and one after a gap, a clock that went back or a reading that was not finite, has no last call to
  be compared with. What a rejected call read is compared with as well, so that one wrong reading
  breaks a rate twice and a lasting step once.
* The action of the policy, which is computed if nothing is broken so far: finite, in range, its
  change since the last call and the change of that. Only calls in a row in which it was computed
  are compared. What the robot got meanwhile does not count, so that no reaction locks itself in.

A broken limit closes the gate; ``recover_after`` good calls in a row open it again, the last of
them with the action of the policy. Counters end at 2^32 - 1 and stay there; the ring of events goes
on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from surefoot.errors import InputError
from surefoot.gate.arrays import ActionArrays, Float32, SensorArrays, first
from surefoot.gate.limits import Cause, Gate, Reaction
from surefoot.policy import Array

NUM_EVENTS = 16
"""Events that are kept, the last ones."""

LARGEST_COUNT = 2**32 - 1
"""Where counters end, in C as well."""

UserFunction = Callable[[Array], Array]
"""From an observation, shape (obs_dim,), which may hold NaN, to an action, shape (num_outputs,)."""


class Code(IntEnum):
    """What a call gave."""

    PASSED = 0
    """The action of the policy."""
    HELD = 1
    """The last action once more."""
    FELL_BACK = 2
    """The action of the user's function."""
    NO_ACTION = 3
    """None: there is no last action, or no function."""
    STOPPED = 4
    """None: the controller has stopped."""


_UNLINKED = (Cause.CLOCK, Cause.GAP)


@dataclass(frozen=True, slots=True)
class Event:
    """A broken limit.

    Attributes:
        call: Number of the call, from 1.
        cause: The limit.
        index: Number of the sensor, pair or action, from 0; 0 where it is about time.
    """

    call: int
    cause: Cause
    index: int


class Watch:
    """A gate at work in one control loop.

    Attributes:
        gate: The gate.
        num_calls: Calls so far.
        num_events: Calls that broke a limit so far.
        stopped: Whether the controller has stopped.
    """

    def __init__(self, gate: Gate, fallback: UserFunction | None = None) -> None:
        """Close nothing yet: the first good call passes.

        Args:
            gate: The gate.
            fallback: The user's function, for the reaction ``fallback``.
        """
        self.gate = gate
        self._fallback = fallback
        self._sensors = SensorArrays.of(gate)
        self._actions = ActionArrays.of(gate.actions)
        self.reset()

    def reset(self) -> None:
        """Start again, as after a stop: nothing is known of earlier calls."""
        self.num_calls = self.num_events = 0
        self.stopped = False
        self._ring: list[Event] = []
        self._last_obs: Float32 | None = None
        self._last_action: Float32 | None = None
        self._last_change: Float32 | None = None
        self._last_now: int | None = None
        self._given: Float32 | None = None
        self._is_open, self._num_good, self._num_rejected = True, 0, 0

    @property
    def events(self) -> tuple[Event, ...]:
        """The last events, the oldest first."""
        return tuple(self._ring)

    @property
    def last_reading(self) -> Float32 | None:
        """What the last call read, shape (obs_dim,), raw units; None where rates have no past."""
        return self._last_obs

    def step(
        self, obs: Array, propose: Callable[[Float32], Array], now_us: int = 0, taken_us: int = 0
    ) -> tuple[Code, Float32 | None]:
        """Decide about one call.

        Args:
            obs: Observation, raw units, float32, shape (obs_dim,).
            propose: The policy, from such an observation to an action, shape (num_outputs,).
            now_us: Time of the call, microseconds modulo 2^32; of no meaning without time limits.
            taken_us: Time at which the observation was taken, on the same clock.

        Returns:
            What the call gave, and the action for the robot, None for none.
        """
        self.num_calls = min(self.num_calls + 1, LARGEST_COUNT)
        if self.stopped:
            return Code.STOPPED, None
        with np.errstate(over="ignore", invalid="ignore"):
            broken = self._time(now_us, taken_us)
            broken = self._readings(obs, broken)
            action, broken = self._proposal(obs, propose, broken)
        if broken is not None:
            self._note(*broken)
        if action is not None and broken is None and self._opens():
            self._given, self._num_rejected = action, 0
            return Code.PASSED, action.copy()
        return self._react(obs)

    def _time(self, now: int, taken: int) -> tuple[Cause, int] | None:
        limits, last = self.gate.time, self._last_now
        if limits is None:
            return None
        self._last_now = now
        gap = 0 if last is None else (now - last) % 2**32
        if gap >= 2**31:
            return Cause.CLOCK, 0
        if gap > limits.max_gap_us:
            return Cause.GAP, 0
        return (Cause.AGE, 0) if (now - taken) % 2**32 > limits.max_age_us else None

    def _readings(self, obs: Array, broken: tuple[Cause, int] | None) -> tuple[Cause, int] | None:
        linked = broken is None or broken[0] not in _UNLINKED
        last = self._last_obs if linked else None
        self._last_obs = obs.copy() if np.isfinite(obs).all() else None
        return broken if broken is not None else self._sensors.broken(obs, last)

    def _proposal(
        self, obs: Array, propose: Callable[[Float32], Array], broken: tuple[Cause, int] | None
    ) -> tuple[Float32 | None, tuple[Cause, int] | None]:
        if broken is not None:
            self._last_action = self._last_change = None
            return None, broken
        action = propose(obs)
        if (number := first(~np.isfinite(action))) is not None:
            self._last_action = self._last_change = None
            return action, (Cause.ACTION_NOT_FINITE, number)
        change = None if self._last_action is None else action - self._last_action
        broken = self._actions.broken(action, change, self._last_change)
        self._last_action, self._last_change = action, change
        return action, broken

    def _note(self, cause: Cause, index: int) -> None:
        self._is_open, self._num_good = False, 0
        self.num_events = min(self.num_events + 1, LARGEST_COUNT)
        self._ring = [*self._ring, Event(self.num_calls, cause, index)][-NUM_EVENTS:]

    def _opens(self) -> bool:
        """Count a good call; return whether the gate is open."""
        if not self._is_open:
            self._num_good += 1
            self._is_open = self._num_good >= self.gate.recover_after
        return self._is_open

    def _react(self, obs: Array) -> tuple[Code, Float32 | None]:
        self._num_rejected = min(self._num_rejected + 1, LARGEST_COUNT)
        most = self.gate.stop_after
        if self.gate.reaction is Reaction.STOP or (most is not None and self._num_rejected >= most):
            self.stopped = True
            return Code.STOPPED, None
        if self.gate.reaction is Reaction.HOLD:
            held = self._given
            return (Code.NO_ACTION, None) if held is None else (Code.HELD, held.copy())
        if self._fallback is None:
            return Code.NO_ACTION, None
        return Code.FELL_BACK, self._users(self._fallback(obs.copy()))

    def _users(self, action: Array) -> Float32:
        """Return the action of the user's function as float32.

        Raises:
            InputError: If it is no action.
        """
        given = np.asarray(action)
        if given.shape != (len(self.gate.actions),) or given.dtype.kind not in "fiu":
            raise InputError(
                f"fallback must return {len(self.gate.actions)} numbers, got shape {given.shape} "
                f"of {given.dtype}"
            )
        with np.errstate(over="ignore"):
            action = given.astype(np.float32)
        if not np.isfinite(action).all():
            raise InputError(f"fallback must return finite numbers, got {given.tolist()}")
        return action
