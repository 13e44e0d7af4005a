"""Growing the tree of boxes that answers a question, and looking for an input that refutes it.

Best first: the box that is broken most is cut across the sensor that moves the open inequalities
most over its side. At middles and at corners of steepest ascent a witness is looked for, and what
is found is replayed in the deployed arithmetic.

Reference:
    Wang et al., USENIX Security 2018 (arXiv 1804.10829), for bisection of inputs.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.certify.bounds.arithmetics import Arithmetic
from surefoot.certify.bounds.box_trees import LEAF, BoxTree, halves
from surefoot.certify.bounds.conditions import ConditionBounds
from surefoot.certify.bounds.region import Rows
from surefoot.certify.bounds.upward import Float
from surefoot.certify.counterexamples import Replay, Single, attainable_states
from surefoot.certify.questions import Corners, corners_of, states_between
from surefoot.policy import Policy
from surefoot.quantities.base.witness import Witness
from surefoot.question import Box, Condition, Question, RawBox

_BATCH = 128
_STARTS, _STEPS = 32, 12
_SMALLEST = float(np.finfo(np.float64).smallest_subnormal)
_NUDGES = 4
"""Steps of a float32 number by which an observation is moved into its box."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Growth:
    """What came of a question.

    Attributes:
        tree: How the region was cut; not at all if it is refuted.
        witness: Input that breaks the condition as deployed; None where none was found.
        is_decided: Whether the tree proves the condition, or a witness refutes it.
    """

    tree: BoxTree
    witness: Witness | None
    is_decided: bool


@dataclass(slots=True)
class _Nodes:
    """A tree that grows: cut of each node, and the first of its two children."""

    cuts: list[int]
    children: list[int]

    def cut(self, node: int, sensor: int) -> int:
        """Cut a leaf and return the first of its halves."""
        first = len(self.cuts)
        self.cuts[node], self.children[node] = sensor, first
        self.cuts += [LEAF, LEAF]
        self.children += [LEAF, LEAF]
        return first

    @property
    def num_leaves(self) -> int:
        """Number of boxes that are not cut."""
        return (len(self.cuts) + 1) // 2

    def tree(self) -> BoxTree:
        """Return the tree, each box before its halves."""
        found, waiting = [], [0]
        while waiting:
            node = waiting.pop()
            found.append(self.cuts[node])
            if self.cuts[node] != LEAF:
                waiting += [self.children[node] + 1, self.children[node]]
        return BoxTree(tuple(found))


@dataclass(frozen=True, slots=True, eq=False)
class _Boxes:
    """Leaves of a tree that grows.

    Attributes:
        low: Lower corners, shape (B, d).
        high: Upper corners, shape (B, d).
        nodes: Their nodes, shape (B,).
        excesses: Bounds of the inequalities there, shape (B, r).
    """

    low: Float
    high: Float
    nodes: NDArray[np.int64]
    excesses: Float

    def part(self, rows: Rows) -> "_Boxes":
        """Return some of the boxes."""
        return _Boxes(self.low[rows], self.high[rows], self.nodes[rows], self.excesses[rows])

    def joined(self, other: "_Boxes") -> "_Boxes":
        """Return these boxes and then others."""
        return _Boxes(
            np.concatenate([self.low, other.low]),
            np.concatenate([self.high, other.high]),
            np.concatenate([self.nodes, other.nodes]),
            np.concatenate([self.excesses, other.excesses]),
        )

    def worst_first(self, bounds: ConditionBounds) -> "_Boxes":
        """Return the boxes in which the condition may be broken, the most broken first."""
        worth = bounds.condition.violation(self.excesses)
        is_open = worth > 0
        return self.part(np.flatnonzero(is_open)[np.argsort(-worth[is_open])])


def grow(
    bounds: ConditionBounds,
    corners: Corners,
    replayed: Callable[[Float], Witness | None],
    *,
    num_boxes: int,
    seconds: float = np.inf,
    seed: int = 0,
) -> Growth:
    """Cut a region until the condition is proved or refuted, or effort runs out.

    Args:
        bounds: Bounds of the condition.
        corners: Corners of the region, normalised units.
        replayed: From a state to the witness there, None where the deployed arithmetic breaks
            nothing.
        num_boxes: Largest number of leaves.
        seconds: Time limit on top of that.
        seed: Seed of the states from which a search climbs.
    """
    stop = time.monotonic() + seconds
    witness = _first(replayed, _climbed(bounds, corners, seed))
    nodes, waiting = _Nodes([LEAF], [LEAF]), _boxes_of(bounds, corners)
    while witness is None:
        waiting = waiting.worst_first(bounds)
        take = min(_BATCH, len(waiting.nodes), num_boxes - nodes.num_leaves)
        worst, others = waiting.part(slice(take)), waiting.part(slice(take, None))
        is_point = not (worst.high > worst.low).any()  # which has no halves
        if take <= 0 or is_point or time.monotonic() > stop:
            is_decided = not len(waiting.nodes)
            return Growth(tree=nodes.tree(), witness=None, is_decided=is_decided)
        new = _halved(bounds, nodes, worst)
        witness = _first(replayed, _suspects(bounds, new.low, new.high))
        waiting = others.joined(new)
    return Growth(tree=BoxTree(), witness=witness, is_decided=True)


def _first(replayed: Callable[[Float], Witness | None], states: Sequence[Float]) -> Witness | None:
    """Return the first witness among states; None for none."""
    return next((found for state in states if (found := replayed(state)) is not None), None)


def _boxes_of(bounds: ConditionBounds, corners: Corners) -> _Boxes:
    """Return the whole region as the one box that waits."""
    low, high = corners[0][None], corners[1][None]
    return _Boxes(low, high, np.zeros(1, dtype=np.int64), bounds.excesses(low, high))


def _halved(bounds: ConditionBounds, nodes: _Nodes, boxes: _Boxes) -> _Boxes:
    """Return the halves of boxes, lower ones first, and cut their nodes."""
    sensors = _sensors(bounds, boxes.low, boxes.high, boxes.excesses)
    pairs = zip(boxes.nodes.tolist(), sensors.tolist(), strict=True)
    first = np.array([nodes.cut(node, sensor) for node, sensor in pairs])
    lower, upper = halves(boxes.low, boxes.high, sensors)
    low, high = (np.concatenate(ends) for ends in zip(lower, upper, strict=True))
    return _Boxes(low, high, np.concatenate([first, first + 1]), bounds.excesses(low, high))


def _sensors(
    bounds: ConditionBounds, low: Float, high: Float, excesses: Float
) -> NDArray[np.int64]:
    """Return the sensor across which each box is cut, shape (B,)."""
    slopes = np.abs(bounds.slopes_at(low + (high - low) / 2))
    # Only inequalities that may be broken have something to gain.
    influence = (slopes * (excesses > 0)[..., None]).max(axis=1) * (high - low)
    sides = high - low
    # A flat middle says nothing about the sides; the longest one breaks such ties.
    relative = sides / np.maximum(sides.max(axis=1, keepdims=True), _SMALLEST)
    ties = 1e-3 * influence.max(axis=1, keepdims=True) * relative
    return np.asarray((influence + ties).argmax(axis=1))


def _suspects(bounds: ConditionBounds, low: Float, high: Float) -> list[Float]:
    """Return the worst of middles and corners if the condition seems to be broken there."""
    middles = low + (high - low) / 2
    slopes = bounds.slopes_at(middles)
    # Where the network is linear on a piece, its extremes are at these corners.
    directions = [*np.moveaxis(slopes, 1, 0), slopes.sum(axis=1)]
    corners = [np.where(direction > 0, high, low) for direction in directions]
    return _worst(bounds, np.concatenate([middles, *corners]), 1)


def _worst(bounds: ConditionBounds, points: Float, count: int) -> list[Float]:
    """Return those points at which the condition seems to be broken most."""
    broken = bounds.condition.violation(bounds.excesses_at(points))
    order = np.argsort(-broken)[:count]
    return [points[number] for number in order if broken[number] > 0]


def _climbed(bounds: ConditionBounds, corners: Corners, seed: int) -> list[Float]:
    """Return where sign gradients of the least excess of each clause end, if that is broken."""
    low, high = corners
    rng = np.random.default_rng(seed)
    starts = low + rng.random((_STARTS, len(low))) * (high - low)
    ends, first = [starts], 0
    for clause in bounds.condition.clauses:
        rows = slice(first, first + len(clause))
        points = starts
        for step in range(_STEPS):
            least = bounds.excesses_at(points)[:, rows].argmin(axis=1)
            slopes = bounds.slopes_at(points)[:, rows][np.arange(len(points)), least]
            size = (high - low) * 0.5 * (1 - step / _STEPS)
            points = np.clip(points + np.sign(slopes) * size, low, high)
        ends.append(points)
        first += len(clause)
    return _worst(bounds, np.concatenate(ends), 4)


def answer(
    question: Question,
    policy: Policy,
    arithmetic: Arithmetic,
    replay: Replay,
    *,
    num_boxes: int,
    seconds: float = np.inf,
    seed: int = 0,
) -> Growth:
    """Prove or refute a question about a box, as far as effort reaches.

    Args:
        question: A question about a box.
        policy: The policy.
        arithmetic: Deployed arithmetic.
        replay: The same, to replay a witness.
        num_boxes: Largest number of leaves.
        seconds: Time limit on top of that.
        seed: Seed of the states from which a search climbs.

    Raises:
        InputError: If the question is not about such a controller, or about no box.
    """
    box, condition = question.box, question.condition
    corners = corners_of(box, policy)

    def replayed(state: Float) -> Witness | None:
        observation = _observation_in(box, corners, state, policy)
        if observation is None:
            return None
        there = policy.state(observation[None], np.float32)[0]
        return broken_at(observation, there, condition, replay)

    bounds = ConditionBounds(policy, condition, *corners, arithmetic)
    return grow(bounds, corners, replayed, num_boxes=num_boxes, seconds=seconds, seed=seed)


def broken_at(
    observation: Single, state: Single, condition: Condition, replay: Replay
) -> Witness | None:
    """Return the witness at an input, None where the deployed arithmetic breaks nothing there.

    Args:
        observation: Raw units, shape (obs_dim,).
        state: The state that it gives in deployed arithmetic, shape (obs_dim,).
        condition: Condition on the outputs.
        replay: The deployed arithmetic.
    """
    outputs = replay.outputs_at(state[None])[0].astype(np.float64)
    if not np.isfinite(outputs).all() or not condition.is_violated(outputs):
        return None
    rows, limits = condition.rows(len(outputs))
    return Witness(
        observation=tuple(observation.astype(np.float64).tolist()),
        state=tuple(state.astype(np.float64).tolist()),
        action=tuple(outputs.tolist()),
        runtime=replay.name,
        # The float64 difference may end at 0 where the exact one is above it.
        value=max(
            float(condition.violation(rows @ outputs - limits)),
            np.finfo(np.float64).smallest_subnormal,
        ),
    )


def _observation_in(box: Box, corners: Corners, state: Float, policy: Policy) -> Single | None:
    """Return the observation nearest to a state that surely lies in the box; None for none."""
    observation: Single = attainable_states(policy, state[None])[0][0]
    if isinstance(box, RawBox):
        least, most = _float32_inside(box)
        inside: Single = np.clip(observation, least, most)
        return None if (least > most).any() else inside
    for _ in range(_NUDGES):
        exact = observation.astype(np.float64)
        low, high = states_between(exact, exact, policy)
        below, above = low < corners[0], high > corners[1]
        if not (below | above).any():
            return observation
        inwards: Single = np.where(below, np.inf, -np.inf).astype(np.float32)
        moved: Single = np.nextafter(observation, inwards)
        observation = np.asarray(np.where(below | above, moved, observation))
    return None


def _float32_inside(box: Box) -> tuple[Single, Single]:
    """Return the ends of a box rounded inwards to float32, each of shape (obs_dim,)."""
    low, high = box.ends
    least: Single = low.astype(np.float32)
    most: Single = high.astype(np.float32)
    up, down = np.float32(np.inf), np.float32(-np.inf)
    least = np.where(least < low, np.nextafter(least, up), least)
    most = np.where(most > high, np.nextafter(most, down), most)
    return least, most
