"""A controller behind its gate in an attacked loop: what the adversary shows must pass.

The gate reads observations, and an adversary moves states. It shows the observation of the moved
state: the true reading of a sensor that it leaves alone, ``mean + scale z'`` of one that it moves.
What is proposed to the gate are the outputs at the moved state itself, about which the proofs are.
Nothing in a simulation is late, so that limits on time are never broken.

N = environments, O = obs_dim, M = num_outputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.attack.adversary import Adversary
from surefoot.attack.cost import Cost
from surefoot.attack.deployed import Outputs
from surefoot.ball import Ball, Norm, Randoms, States
from surefoot.envs import function_of
from surefoot.envs.user_code import user_code
from surefoot.envs.vector import Floats
from surefoot.errors import InputError
from surefoot.gate import Code, Gate, Reaction, Watch
from surefoot.gate.arrays import Float32, SensorArrays
from surefoot.gate.watch import UserFunction
from surefoot.policy import Array, Normaliser

WITHIN = ", within the gate"
"""Ends the name of a variant that keeps to the ranges and rates of the gate."""

_ROUNDING = 2.0**-21
"""More than a reading loses on the way to a state and back, relative to the largest term."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DeployedGate:
    """The gate of a bundle as the robot has it.

    Attributes:
        gate: The gate.
        normaliser: Normaliser of the controller.
        fallback: Function of the user's for a gate that falls back; None for actuators at rest.
        fallback_name: Name of that function.
    """

    gate: Gate
    normaliser: Normaliser
    fallback: UserFunction | None = None
    fallback_name: str | None = None

    @property
    def words(self) -> str:
        """What the robot gets in the place of a rejected action."""
        if self.gate.reaction is not Reaction.FALLBACK:
            return self.gate.reaction.value
        return f"{self.gate.reaction} to {self.fallback_name or 'actuators at rest'}"

    def guard(self) -> "Guard":
        """Return the gate of a new episode."""
        return Guard(self.gate, self.fallback)

    def shown(self, obs_NO: Floats, state_NO: States, moved_NO: States) -> Float32:
        """Return the readings that an adversary shows, raw units, (N, O).

        Args:
            obs_NO: True observations.
            state_NO: Their states.
            moved_NO: The states that the adversary wants the controller to see.
        """
        of_state = self.normaliser.mean + self.normaliser.scale * moved_NO.astype(np.float64)
        with np.errstate(over="ignore"):  # what float32 does not hold is infinite, and rejected
            shown: Float32 = np.where(moved_NO == state_NO, obs_NO, of_state).astype(np.float32)
        return shown

    def within(
        self,
        guards: Sequence["Guard"],
        ball: Ball,
        obs_NO: Floats,
        state_NO: States,
        moved_NO: States,
    ) -> States:
        """Return the states of the ball nearest to moved ones whose readings are let through.

        Of the gate's limits only ranges and rates of sensors count, one by one. Where the ball
        leaves no reading that they let through, the nearest to one is taken.

        Args:
            guards: The gate of each episode.
            ball: The perturbation set.
            obs_NO: True observations.
            state_NO: Their states.
            moved_NO: The states that the adversary would show without a gate.
        """
        mean, scale = self.normaliser.mean, self.normaliser.scale
        reading = self.shown(obs_NO, state_NO, moved_NO).astype(np.float64)
        low, high = (np.stack(ends) for ends in zip(*(one.reach() for one in guards), strict=True))
        lost = _ROUNDING * (np.abs(reading) + np.abs(mean) + scale * ball.epsilon)
        low, high = low + lost, high - lost
        delta = moved_NO.astype(np.float64) - state_NO
        wanted = delta + (np.clip(reading, low, high) - reading) / scale
        if ball.norm is Norm.L2:
            still = reading - delta * scale
            least = (np.clip(still, low, high) - still) / scale
            wanted = _in_sphere(ball.epsilon, least, wanted)
        return ball.perturbed(state_NO, wanted)


def _in_sphere(radius: float, inner_NO: Array, outer_NO: Array) -> Array:
    """Return the points farthest on the way from inner to outer ones whose length is allowed.

    Between two points of a box lies no other than one of the box.
    """
    way = outer_NO - inner_NO
    a, b = np.square(way).sum(axis=1), (inner_NO * way).sum(axis=1)
    c = np.square(inner_NO).sum(axis=1) - (radius * (1 - _ROUNDING)) ** 2
    root = np.sqrt(np.maximum(b**2 - a * c, 0.0))
    share = np.clip((root - b) / np.maximum(a, 1e-300), 0.0, 1.0)
    return np.asarray(inner_NO + share[:, None] * way)


class Guard:
    """The gate in one episode, and when it fired.

    Attributes:
        first_rejection: Step at which it first rejected, from 1; None where it never did.
        replaced: Steps in which the robot did not get the policy's action.
    """

    def __init__(self, gate: Gate, fallback: UserFunction | None) -> None:
        """Begin an episode.

        Args:
            gate: The gate.
            fallback: Function of the user's; None for none.
        """
        self._watch = Watch(gate, fallback)
        self._sensors = SensorArrays.of(gate)
        self.first_rejection: int | None = None
        self.replaced = 0

    def reach(self) -> tuple[Array, Array]:
        """Return the least and the largest readings that pass next, by range and rate, (O,)."""
        low, high = self._sensors.low.astype(np.float64), self._sensors.high.astype(np.float64)
        last, rate = self._watch.last_reading, self._sensors.rate
        if last is None or rate is None:
            return low, high
        most = rate.astype(np.float64)
        return np.maximum(low, last - most), np.minimum(high, last + most)

    def decide(self, reading_O: Float32, proposed_M: Outputs) -> Float32 | None:
        """Return the outputs that the robot gets, (M,); None for none.

        Args:
            reading_O: What the sensors seem to read.
            proposed_M: Outputs of the policy there.
        """
        code, given = self._watch.step(reading_O, lambda _: proposed_M)
        if self.first_rejection is None and self._watch.num_events:
            self.first_rejection = self._watch.num_calls
        self.replaced += code is not Code.PASSED
        return given


@dataclass(frozen=True, slots=True)
class WithinGate:
    """An adversary that knows the gate and keeps to its ranges and rates.

    Attributes:
        adversary: What it would do without a gate.
    """

    adversary: Adversary

    @property
    def ball(self) -> Ball:
        """The perturbation set."""
        return self.adversary.ball

    @property
    def effort(self) -> Cost:
        """That of the adversary."""
        return self.adversary.effort

    def perturb(self, state_ND: States, randoms: Randoms) -> States:
        """Return the states that the adversary would show without a gate."""
        return self.adversary.perturb(state_ND, randoms)


def decide_all(
    guards: Sequence[Guard], readings_NO: Float32, proposed_NM: Outputs
) -> tuple[Outputs, NDArray[np.bool_]]:
    """Return the outputs that robots get, (N, M), and whether each gets any, (N,)."""
    given = [
        guard.decide(reading, proposed)
        for guard, reading, proposed in zip(guards, readings_NO, proposed_NM, strict=True)
    ]
    outputs = np.zeros(proposed_NM.shape, np.float32)
    acts = np.array([one is not None for one in given], np.bool_)
    for number, one in enumerate(given):
        outputs[number] = 0 if one is None else one
    return outputs, acts


def fallback_of(env_module: str | None, name: str | None) -> UserFunction | None:
    """Return the function to which a gate falls back, or None for actuators at rest.

    Args:
        env_module: Module that holds it: a name, or a path that ends in .py.
        name: Name of a function from an observation, (O,), to an action, (M,).

    Raises:
        InputError: If the module cannot be imported, or has no such function.
    """
    if name is None:
        return None
    if env_module is None:
        raise InputError(f"fallback must be in an env_module, got {name!r} without one")
    function = function_of(env_module, name)

    def falls_back(obs_O: Array) -> Array:
        with user_code(lambda: f"fallback {name!r} of {env_module} failed"):
            return np.asarray(function(obs_O))

    return falls_back
