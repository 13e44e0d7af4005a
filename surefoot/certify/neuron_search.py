"""Closing a box by cuts along neurons: for regions of many sensors, in which few neurons are open.

A cut across a sensor narrows every neuron by its share of that sensor, of which there are many; a
cut along a neuron takes its relaxation away. Leaves are bounded by linear programmes, best first,
and the multipliers of their duals make the proof.

Reference:
    Bunel et al., JMLR 2020 (arXiv 1909.06588), for branching on neurons.
"""

import heapq
from dataclasses import dataclass, replace

import numpy as np

from surefoot.activation import Activation, parts_of
from surefoot.certify.bounds.branch_and_bound import region_between
from surefoot.certify.bounds.conditions import ConditionBounds
from surefoot.certify.bounds.crown import layer_bounds
from surefoot.certify.bounds.neuron_trees import LeafLines, Neuron, NeuronTree, split_excesses
from surefoot.certify.bounds.region import Bounds
from surefoot.certify.bounds.tangent_points import is_relu
from surefoot.certify.bounds.triangle import Optimum, maximum
from surefoot.certify.bounds.upward import Float

FEWEST_SENSORS = 8
"""With fewer sensors, cuts across them are better than along neurons."""

_OPEN_PER_SENSOR = 2
"""Most neurons on both sides of their kinks, for each sensor, for which a box is tried."""

_MOST_LEAVES = 128


@dataclass(frozen=True, slots=True, eq=False)
class Closing:
    """What came of the attempt to close a box.

    Attributes:
        tree: The cuts that close it; None where it stays open.
        points: States at which the condition may be broken, shape (d,) each.
    """

    tree: NeuronTree | None
    points: tuple[Float, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A part of the box.

    Attributes:
        sides: Sides of the neurons that are cut above it.
        optima: Optimum of the inequality that is tried for each clause, by its row.
    """

    sides: dict[Neuron, float]
    optima: dict[int, Optimum]

    @property
    def worst(self) -> Optimum:
        """The largest optimum."""
        return max(self.optima.values(), key=lambda optimum: optimum.value)


def may_be_closed(bounds: ConditionBounds) -> bool:
    """Return True if neurons are worth a look: many sensors, and hidden layers of ReLU."""
    network = bounds.network
    kinked = any(Activation.RELU in parts_of(each) for each in network.activations)
    return network.weights[0].shape[1] >= FEWEST_SENSORS and kinked and network.is_elementwise


def close(bounds: ConditionBounds, low: Float, high: Float) -> Closing:
    """Try to prove the condition on a box by cuts along neurons.

    Args:
        bounds: Bounds of the condition.
        low: Lower corner of the box, normalised units, shape (d,).
        high: Its upper corner.
    """
    before = layer_bounds(bounds.network, region_between(low[None], high[None]))[:-1]
    if _num_open(bounds, before) > _OPEN_PER_SENSOR * len(low):
        return Closing(tree=None)
    rows = _rows_to_prove(bounds, bounds.excesses(low[None], high[None])[0])
    search = _Search(bounds, low, high, before, rows)
    return search.run()


def _num_open(bounds: ConditionBounds, before: list[Bounds]) -> int:
    """Return the number of ReLU neurons on both sides of their kinks; infinitely many of others."""
    count = 0
    for activation, ends in zip(bounds.network.activations, before, strict=True):
        relu = is_relu(activation, ends.lower.shape[1])
        count += int((relu & (ends.lower < 0) & (ends.upper > 0)).sum())
    return count


def _rows_to_prove(bounds: ConditionBounds, excesses: Float) -> list[int]:
    """Return the inequality of least excess of each clause that is open."""
    first, rows = 0, []
    for clause in bounds.condition.clauses:
        own = excesses[first : first + len(clause)]
        if own.min() > 0:
            rows.append(first + int(own.argmin()))
        first += len(clause)
    return rows


class _Search:
    """The search in one box."""

    def __init__(
        self,
        bounds: ConditionBounds,
        low: Float,
        high: Float,
        before: list[Bounds],
        rows: list[int],
    ) -> None:
        self._bounds, self._low, self._high = bounds, low, high
        self._before = before
        self._networks = {row: bounds.network_of_row(row) for row in rows}
        # A relaxation is solved to about seven digits.
        sizes = [np.abs(network.biases[-1]).max() for network in self._networks.values()]
        self._margin = 1e-6 * (1 + max(sizes, default=0.0))

    def run(self) -> Closing:
        """Cut the worst part along its worst neuron until none is open."""
        root = self._part({})
        if root is None or not np.isfinite(root.worst.value):
            return Closing(tree=None)
        # Children of each part that is cut, by the sides above it.
        cuts: dict[frozenset[tuple[Neuron, float]], Neuron] = {}
        waiting, closed, count = [(-root.worst.value, 0, root)], list[_Part](), 0
        while waiting:
            value, _, part = heapq.heappop(waiting)
            if -value <= -self._margin:
                closed.append(part)
                continue
            costs = part.worst.costs
            neuron = max(costs, key=lambda each: costs[each], default=None)
            if neuron is None or costs[neuron] <= 0 or len(cuts) + 1 >= _MOST_LEAVES:
                return Closing(tree=None, points=(part.worst.point,))
            cuts[frozenset(part.sides.items())] = neuron
            for side in (1.0, -1.0):
                half = self._part(part.sides | {neuron: side})
                if half is None:
                    return Closing(tree=None)
                count += 1
                heapq.heappush(waiting, (-half.worst.value, count, half))
        tree = _tree(cuts, closed)
        excesses = split_excesses(self._bounds, self._low, self._high, tree)
        proved = bool((self._bounds.condition.violation(excesses) <= 0).all())
        return Closing(tree=tree if proved else None)

    def _part(self, sides: dict[Neuron, float]) -> _Part | None:
        """Return a part with the optima of its inequalities, None where the solver has none."""
        optima = {}
        for row, network in self._networks.items():
            optimum = maximum(network, self._low, self._high, self._before, sides)
            if optimum is None:
                return None
            margin = float(self._bounds.whole_margin[row])
            optima[row] = replace(optimum, value=optimum.value + margin)
        return _Part(sides, optima)


def _tree(cuts: dict[frozenset[tuple[Neuron, float]], Neuron], closed: list[_Part]) -> NeuronTree:
    """Return the tree of parts that were cut and closed."""
    parts = {frozenset(part.sides.items()): part for part in closed}
    found: list[Neuron | None] = []
    lines: list[LeafLines] = []
    waiting: list[frozenset[tuple[Neuron, float]]] = [frozenset()]
    num_leaves = 0
    while waiting:
        sides = waiting.pop()
        neuron = cuts.get(sides)
        found.append(neuron)
        if neuron is not None:
            waiting += [sides | {(neuron, -1.0)}, sides | {(neuron, 1.0)}]
            continue
        for row, optimum in parts[sides].optima.items():
            slopes, prices = optimum.slopes, optimum.prices
            lines.append(LeafLines(leaf=num_leaves, row=row, slopes=slopes, prices=prices))
        num_leaves += 1
    return NeuronTree(cuts=tuple(found), lines=tuple(lines))
