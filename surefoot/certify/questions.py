"""Questions as proofs see them: their regions in normalised units, and what their witnesses show.

Nothing here searches.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.certify.bounds.arithmetics import Arithmetic
from surefoot.certify.bounds.box_trees import BoxTree
from surefoot.certify.bounds.conditions import ConditionBounds
from surefoot.certify.bounds.neuron_trees import split_excesses
from surefoot.certify.bounds.upward import UNIT, Float
from surefoot.errors import InputError, IntegrityError
from surefoot.gate import Gate
from surefoot.gate.arrays import SensorArrays
from surefoot.policy import Policy
from surefoot.quantities.base.proof import Bound
from surefoot.quantities.base.witness import Witness
from surefoot.question import Box, Condition, Question, RawBox
from surefoot.robot import Robot
from surefoot.robot_words import intervals_in_words, short

_AT_ONCE = 1024
"""Leaves bounded together, so that memory does not grow with the tree."""

Corners = tuple[Float, Float]
"""Lower and upper corner of a box, normalised units, shape (obs_dim,)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxQuestion:
    """A question about a box, and the controller of which it is asked.

    Attributes:
        question: The question.
        policy: The policy.
        gate: Gate that must let an observation through; None where any observation counts.
    """

    question: Question
    policy: Policy
    gate: Gate | None = None

    def admits(self, observation: Float) -> bool:
        """Return True if an observation of float32 values, shape (obs_dim,), counts."""
        return self.gate is None or lets_through(self.gate, observation.astype(np.float32))


def corners_of(box: Box, policy: Policy) -> Corners:
    """Return corners between which lie the states of every input of a box.

    Args:
        box: Inputs, raw or normalised units.
        policy: The policy.

    Raises:
        InputError: If the box is about another number of sensors, or no state lies in it.
    """
    low, high = box.ends
    if len(low) != policy.obs_dim:
        raise InputError(f"a region must have {policy.obs_dim} intervals, got {len(low)}")
    if isinstance(box, RawBox):
        return states_between(low, high, policy)
    clip = policy.normaliser.clip
    for sensor in np.flatnonzero((low > clip) | (high < -clip)):
        raise InputError(
            f"no state lies in [{low[sensor]:g}, {high[sensor]:g}] of sensor {sensor}: states "
            f"end at {clip:g} normalised units"
        )
    return np.maximum(low, -clip), np.minimum(high, clip)


def region_of(question: Question, policy: Policy) -> Corners:
    """Return corners between which lie the states of every input of a question's box.

    Raises:
        InputError: If the question is about another controller, no box, no state, or a reading that
            the controller cuts off there, since states do not tell it.
    """
    corners, condition = corners_of(question.box, policy), question.condition
    condition.rows(policy.num_outputs)
    condition.reading_rows(policy.obs_dim)
    clip = policy.normaliser.clip
    for sensor in condition.sensors:
        if max(-corners[0][sensor], corners[1][sensor]) >= clip:
            raise InputError(
                f"a condition is about sensor[{sensor}], which the controller cuts off at {clip:g} "
                "normalised units, inside the region"
            )
    return corners


def readings_of(gate: Gate) -> RawBox:
    """Return the box of all observations that a gate lets through; its pairs may admit fewer."""
    low, high = gate.box
    return RawBox(low=tuple(low.tolist()), high=tuple(high.tolist()))


def lets_through(gate: Gate, observation: NDArray[np.float32]) -> bool:
    """Return True if a gate lets an observation of shape (obs_dim,) through as the first one."""
    return SensorArrays.of(gate).broken(observation, None) is None


def states_between(low: Float, high: Float, policy: Policy) -> Corners:
    """Return corners between which lie the exact states of observations between two, raw units."""
    # A difference, a quotient and a scale that may be a reciprocal: at most four roundings.
    low, high = (policy.normaliser.unclipped(end) for end in (low, high))
    widened = low - 8 * UNIT * np.abs(low) - 1e-300, high + 8 * UNIT * np.abs(high) + 1e-300
    clip = policy.normaliser.clip
    lower, upper = (np.clip(end, -clip, clip) for end in widened)
    return lower, upper


def proved_violation(
    question: Question,
    policy: Policy,
    arithmetic: Arithmetic,
    tree: BoxTree,
    robot: Robot | None = None,
) -> Bound:
    """Bound by how much a condition is broken anywhere in a box.

    Args:
        question: A question about a box.
        policy: The policy.
        arithmetic: Deployed arithmetic.
        tree: How the box is cut; every tree gives a bound.
        robot: Robot whose names say where the condition is open; None for numbers.

    Raises:
        InputError: If the question is not about such a controller, or about no box.
    """
    corners = region_of(question, policy)
    bounds = ConditionBounds(policy, question.condition, *corners, arithmetic)
    low, high = tree.leaves(*corners)
    parts = [slice(start, start + _AT_ONCE) for start in range(0, len(low), _AT_ONCE)]
    found = np.concatenate([bounds.violations(low[part], high[part]) for part in parts])
    for leaf, neurons in tree.closed:
        excesses = split_excesses(bounds, low[leaf], high[leaf], neurons)
        found[leaf] = min(found[leaf], bounds.condition.violation(excesses).max())
    method = "crown" if len(found) == 1 else f"crown in {len(found)} boxes"
    if count := sum(len(neurons.cuts) // 2 + 1 for _, neurons in tree.closed):
        method += f", of which {len(tree.closed)} in {count} parts along neurons"
    value = bounds.rounded(float(found.max()))
    said = ""
    if (is_open := found > 0).any():
        share = float((0.5 ** tree.depths[is_open]).sum())
        worst = int(found.argmax())
        said = still_open(share, low[worst], high[worst], policy, robot)
    return Bound(value=value, method=method, still_open=said)


def still_open(
    share: float, low: Float, high: Float, policy: Policy, robot: Robot | None = None
) -> str:
    """Say which share of a region is open, and where it is worst, in both units.

    Args:
        share: Share of the region.
        low: Lower corner of the worst box, normalised units, shape (obs_dim,).
        high: Its upper corner.
        policy: The policy.
        robot: Robot whose names say where; None for numbers.
    """
    mean, scale = policy.normaliser.mean, policy.normaliser.scale
    normalised = _intervals(low, high, robot, units=False)
    raw = _intervals(mean + scale * low, mean + scale * high, robot, units=True)
    where = f"{normalised} (normalised units), {raw} (raw units)"
    return f"open in a share {share:.3g} of the region, worst in {where}"


def _intervals(low: Float, high: Float, robot: Robot | None, *, units: bool) -> str:
    # What a controller remembers has no names.
    if robot is None or len(low) != len(robot.sensor_labels):
        pairs = zip(low, high, strict=True)
        return " x ".join(f"[{least:.6g}, {most:.6g}]" for least, most in pairs)
    return intervals_in_words(low.tolist(), high.tolist(), robot, short, units=units)


def violations_at(
    states: Float, condition: Condition, policy: Policy, arithmetic: Arithmetic
) -> Float:
    """Bound by how much a condition is broken at single states, shape (n,).

    Args:
        states: States in deployed arithmetic, normalised units, shape (n, obs_dim).
        condition: Condition on the outputs.
        policy: The policy.
        arithmetic: Deployed arithmetic.

    Raises:
        InputError: If the condition is not about such a controller.
    """
    region = states.min(axis=0), states.max(axis=0)
    bounds = ConditionBounds(policy, condition, *region, arithmetic)
    return np.array([bounds.rounded(one) for one in bounds.violations(states, states).tolist()])


def violation_at(
    witness: Witness, question: Question, policy: Policy, arithmetic: Arithmetic
) -> float:
    """Bound the violation that the deployed arithmetic may show at a witness.

    It is -infinity where its observation is not in the box.

    Raises:
        IntegrityError: If it holds no observation of this policy.
    """
    observation = observation_of(witness, policy)
    low, high = states_between(observation, observation, policy)
    box, outer = question.box, region_of(question, policy)
    if isinstance(box, RawBox) and not box.holds(observation):
        return -np.inf
    if (high < outer[0]).any() or (low > outer[1]).any():
        return -np.inf
    bounds = ConditionBounds(policy, question.condition, low, high, arithmetic)
    return float(bounds.violations(low[None], high[None])[0])


def observation_of(witness: Witness, policy: Policy) -> Float:
    """Return the observation of a witness, shape (obs_dim,).

    Raises:
        IntegrityError: If it holds none of this policy.
    """
    observation = np.array(witness.observation, np.float64)
    held = observation.shape == (policy.obs_dim,) and bool(np.isfinite(observation).all())
    if not held or not (observation.astype(np.float32) == observation).all():
        raise IntegrityError(
            f"the witness must be an observation of {policy.obs_dim} float32 numbers"
        )
    return observation
