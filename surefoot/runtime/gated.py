"""A controller behind its gate: in the loop of one robot, only what passes it acts.

The generated C of a bundle holds the same gate; see ``c_gate``.
"""

import numpy as np

from surefoot.errors import InputError, RejectedError
from surefoot.gate import Code, Event, Gate, Watch
from surefoot.gate.arrays import broken_steps
from surefoot.gate.watch import UserFunction
from surefoot.policy import Array, Policy
from surefoot.runtime.c_source import twin_outputs
from surefoot.runtime.controller import CheckedController, Engine, OneAtATime, real_numbers


def passing_reading(policy: Policy, gate: Gate, observations: Array) -> Array | None:
    """Return the first observation that a gate lets through again and again, or None.

    Args:
        policy: Policy of the controller.
        gate: Its gate.
        observations: Observations to try, raw units, (n, obs_dim).

    Returns:
        float32, shape (1, obs_dim).
    """
    with np.errstate(over="ignore"):
        readings = observations.astype(np.float32)
    alone = np.zeros(len(readings), np.int64)
    broken = broken_steps(gate, readings, twin_outputs(policy, readings), alone)
    passing = readings[~broken]
    return passing[:1] if len(passing) else None


class GatedController(CheckedController):
    """The controller of one robot, with everything that goes in and comes out held to a gate.

    A call takes one observation, since a gate compares it with that of the call before.
    """

    def __init__(self, engine: Engine, gate: Gate, fallback: UserFunction | None = None) -> None:
        """Put a gate before an engine.

        Args:
            engine: Engine that computes; its name and sizes are the controller's.
            gate: The gate.
            fallback: From an observation, shape (obs_dim,), NaN and all, to an action, for the
                reaction ``fallback``.

        Raises:
            InputError: If the gate is another controller's, or it falls back and to nothing.
        """
        super().__init__(engine)
        gate.check_fits(engine.obs_dim, engine.num_outputs)
        if (gate.reaction == "fallback") != (fallback is not None):
            need = "must be given" if fallback is None else "is of no effect"
            raise InputError(f"fallback {need} where the gate's reaction is {gate.reaction}")
        self.gate = gate
        self._watch = Watch(gate, fallback)
        self._one_call = OneAtATime()

    def __call__(self, obs: Array, now_us: int | None = None, taken_us: int | None = None) -> Array:
        """Return the action for the robot, shape (1, num_outputs), float32.

        Args:
            obs: Shape (1, obs_dim), raw units; taken as float32. NaN and infinity are the gate's to
                reject.
            now_us: Time of the call, microseconds of a clock that may wrap at 2^32 or later; needed
                where the gate limits time.
            taken_us: Time at which the observation was taken, on the same clock; ``now_us`` if it
                is not given.

        Raises:
            InputError: If ``obs`` is no observation of one robot, or the time is missing.
            RejectedError: If the gate gives no action: it has stopped the controller, or there is
                no last action yet.
        """
        reading = self._reading(obs)
        if now_us is None:
            if self.gate.time is not None:
                raise InputError("now_us must be given: the gate limits the time of readings")
            now_us = 0
        taken_us = now_us if taken_us is None else taken_us
        return self._one_call.do(self._given, reading, now_us % 2**32, taken_us % 2**32)[None]

    @property
    def num_events(self) -> int:
        """Calls that broke a limit so far."""
        return self._watch.num_events

    @property
    def events(self) -> tuple[Event, ...]:
        """The last events, the oldest first."""
        return self._watch.events

    def reset(self) -> None:
        """Start again, as after a stop: nothing is known of earlier calls."""
        self._one_call.do(self._watch.reset)

    def describe(self, event: Event) -> str:
        """Return an event as one line, with the name of the sensor where it has one."""
        return self.gate.describe(event.cause, event.index)

    def _reading(self, obs: Array) -> Array:
        obs = real_numbers(obs, "obs")
        if obs.shape != (1, self.obs_dim):
            raise InputError(
                f"obs must have shape (1, {self.obs_dim}), as a gate watches one robot, got "
                f"{obs.shape}"
            )
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and rejected
            # A copy: a simulator may write meanwhile, and what is checked is what acts.
            return np.array(obs[0], np.float32)

    def _given(self, reading: Array, now_us: int, taken_us: int) -> Array:
        """Return the action for the robot, shape (num_outputs,).

        Raises:
            RejectedError: If the gate gives none.
        """
        code, action = self._watch.step(reading, self._propose, now_us, taken_us)
        if action is None:
            raise RejectedError(self._words(code))
        return action

    def _propose(self, obs: Array) -> Array:
        return np.asarray(self._one_at_a_time.do(self.engine.infer, obs[None])[0])

    def _words(self, code: Code) -> str:
        what = "has stopped the controller" if code is Code.STOPPED else "has no action to give"
        if not self.events:
            return f"the gate {what}"
        last = self.events[-1]
        return f"the gate {what}: {self.describe(last)} at call {last.call}"
