"""Growing the tree of boxes that answers a question, and looking for an input that refutes it.

Best first: the box that is broken most is cut, where `branching` says. At middles and at corners of
steepest ascent a witness is looked for, and what is found is replayed in the deployed arithmetic.

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
from surefoot.certify.bounds.branching import sensors_to_cut
from surefoot.certify.bounds.conditions import ConditionBounds
from surefoot.certify.bounds.upward import Float
from surefoot.certify.counterexamples import Replay, Single, attainable_states
from surefoot.certify.neuron_search import close, may_be_closed
from surefoot.certify.open_boxes import Boxes, Nodes
from surefoot.certify.questions import Corners, lets_through, region_of, states_between
from surefoot.certify.suspects import climbed, suspects
from surefoot.gate import Gate
from surefoot.policy import Policy
from surefoot.quantities.base.witness import Witness
from surefoot.question import Box, Condition, Question, RawBox

_BATCH, _SUSPECTED = 128, 32
_CUTS_AT_ONCE = 3

_PATIENCE = 16
"""How many times as many leaves there are when neurons are tried again."""

_MOST_MULTIPLIERS = 20_000
"""After so many nothing more is cut along neurons: a certificate takes 15 bytes for each."""

_NUDGES = 4
"""Steps of a float32 number by which an observation is moved into its box."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Growth:
    """What came of a question.

    Attributes:
        tree: How the region was cut; not at all if it is refuted.
        witness: Input that breaks the condition as deployed; None where none was found.
        is_decided: Whether the tree proves the condition, or a witness refutes it.
        still_open: Boxes that keep it undecided, the worst first; None where nothing was cut.
    """

    tree: BoxTree
    witness: Witness | None
    is_decided: bool
    still_open: Boxes | None = None


UNDECIDED = Growth(tree=BoxTree(), witness=None, is_decided=False)
"""Nothing came of a question."""


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
    witness = _first(replayed, climbed(bounds, corners, seed))
    nodes, waiting = Nodes([LEAF], [LEAF]), _boxes_of(bounds, corners)
    while witness is None:
        waiting = waiting.worst_first(bounds)
        if may_be_closed(bounds) and nodes.num_leaves >= nodes.neurons_from:
            waiting, points = _without_closed(bounds, nodes, waiting, num_boxes, stop)
            witness = _first(replayed, points)
            if witness is not None:
                break
        take = min(_BATCH, len(waiting.nodes), num_boxes - nodes.num_leaves)
        worst, others = waiting.part(slice(take)), waiting.part(slice(take, None))
        is_point = not (worst.high > worst.low).any()  # which has no halves
        if take <= 0 or is_point or time.monotonic() > stop:
            is_decided = not len(waiting.nodes)
            left = None if is_decided else waiting
            return Growth(tree=nodes.tree(), witness=None, is_decided=is_decided, still_open=left)
        new = _cut(bounds, nodes, worst, num_boxes)
        seen = np.argsort(-bounds.condition.violation(new.excesses))[:_SUSPECTED]
        witness = _first(replayed, suspects(bounds, new.low[seen], new.high[seen]))
        waiting = others.joined(new)
    return Growth(tree=BoxTree(), witness=witness, is_decided=True)


def _without_closed(
    bounds: ConditionBounds, nodes: Nodes, boxes: Boxes, num_boxes: int, stop: float
) -> tuple[Boxes, tuple[Float, ...]]:
    """Return the boxes that cuts along neurons do not close, and where these may be broken.

    They are tried in their order, and the first that stays open ends it: the others are alike.
    """
    for number, node in enumerate(boxes.nodes.tolist()):
        if time.monotonic() > stop or nodes.num_multipliers > _MOST_MULTIPLIERS:
            return boxes.part(slice(number, None)), ()
        closing = close(bounds, boxes.low[number], boxes.high[number])
        room = num_boxes - nodes.num_leaves
        if closing.tree is None or len(closing.tree.cuts) // 2 > room:
            nodes.neurons_from = _PATIENCE * nodes.num_leaves
            return boxes.part(slice(number, None)), closing.points
        nodes.closed[node] = closing.tree
    return boxes.part(slice(len(boxes.nodes), None)), ()


def _first(replayed: Callable[[Float], Witness | None], states: Sequence[Float]) -> Witness | None:
    """Return the first witness among states; None for none."""
    return next((found for state in states if (found := replayed(state)) is not None), None)


def _boxes_of(bounds: ConditionBounds, corners: Corners) -> Boxes:
    """Return the whole region as the one box that waits."""
    low, high = corners[0][None], corners[1][None]
    unknown = np.full(1, np.nan)
    return Boxes(low, high, np.zeros(1, dtype=np.int64), bounds.excesses(low, high), unknown)


def _cut(bounds: ConditionBounds, nodes: Nodes, boxes: Boxes, num_boxes: int) -> Boxes:
    """Return the pieces of boxes, and cut their nodes.

    Args:
        bounds: Bounds of the condition.
        nodes: The tree.
        boxes: Leaves of it.
        num_boxes: Largest number of leaves of the tree.
    """
    order = sensors_to_cut(bounds, boxes.low, boxes.high, boxes.excesses)
    worth = bounds.condition.violation(boxes.excesses)
    num_cuts = _num_cuts(worth, boxes.gains, order.shape[1])
    if (2**num_cuts - 1).sum() > num_boxes - nodes.num_leaves:
        num_cuts[:] = 1
    low, high, known, above = boxes.low, boxes.high, boxes.nodes, np.arange(len(worth))
    for level in range(int(num_cuts.max())):
        cut, whole = num_cuts[above] > level, num_cuts[above] <= level
        sensors = order[above[cut], level]
        pairs = zip(known[cut].tolist(), sensors.tolist(), strict=True)
        first = np.array([nodes.cut(node, sensor) for node, sensor in pairs])
        lower, upper = halves(low[cut], high[cut], sensors)
        low = np.concatenate([low[whole], lower[0], upper[0]])
        high = np.concatenate([high[whole], lower[1], upper[1]])
        known = np.concatenate([known[whole], first, first + 1])
        above = np.concatenate([above[whole], above[cut], above[cut]])
    excesses = bounds.excesses(low, high)
    gains = (worth[above] - bounds.condition.violation(excesses)) / num_cuts[above]
    return Boxes(low, high, known, excesses, gains)


def _num_cuts(worth: Float, gains: Float, num_sensors: int) -> NDArray[np.int64]:
    """Return how often each box is cut before its pieces are bounded, shape (B,).

    Where cuts gained little so far, the halves will be open as well, and are not worth a bound.
    """
    needed = np.ones_like(worth)
    needed[gains <= 0] = np.inf
    np.divide(worth, gains, out=needed, where=gains > 0)
    return np.clip(needed, 1, min(_CUTS_AT_ONCE, num_sensors)).astype(np.int64)


def answer(
    question: Question,
    policy: Policy,
    arithmetic: Arithmetic,
    replay: Replay,
    *,
    num_boxes: int,
    seconds: float = np.inf,
    seed: int = 0,
    gate: Gate | None = None,
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
        gate: Gate that must let a witness through; None for any witness.

    Raises:
        InputError: If the question is not about such a controller, or about no box.
    """
    box, condition = question.box, question.condition
    corners = region_of(question, policy)

    def replayed(state: Float) -> Witness | None:
        observation = _observation_in(box, corners, state, policy)
        if observation is None or (gate is not None and not lets_through(gate, observation)):
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
    readings = observation.astype(np.float64)
    if not np.isfinite(outputs).all() or not condition.is_violated(outputs, readings):
        return None
    rows, limits = condition.rows(len(outputs))
    sums = rows @ outputs + condition.reading_rows(len(readings)) @ readings
    return Witness(
        observation=tuple(readings.tolist()),
        state=tuple(state.astype(np.float64).tolist()),
        action=tuple(outputs.tolist()),
        runtime=replay.name,
        # The float64 difference may end at 0 where the exact one is above it.
        value=max(
            float(condition.violation(sums - limits)),
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
