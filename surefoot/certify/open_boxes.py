"""A tree of boxes that grows, and its leaves that are open."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from surefoot.certify.bounds.box_trees import LEAF, BoxTree
from surefoot.certify.bounds.conditions import ConditionBounds
from surefoot.certify.bounds.neuron_trees import NeuronTree
from surefoot.certify.bounds.region import Rows
from surefoot.certify.bounds.upward import Float


@dataclass(slots=True)
class Nodes:
    """A tree that grows.

    Attributes:
        cuts: Sensor across which each node is cut, or ``LEAF``.
        children: The first of the two children of each node that is cut.
        closed: Trees of neurons by the node that they close.
        neurons_from: Leaves from which on neurons are tried again: one failure costs many cuts.
    """

    cuts: list[int]
    children: list[int]
    closed: dict[int, NeuronTree] = field(default_factory=dict)
    neurons_from: int = 0

    def cut(self, node: int, sensor: int) -> int:
        """Cut a leaf and return the first of its halves."""
        first = len(self.cuts)
        self.cuts[node], self.children[node] = sensor, first
        self.cuts += [LEAF, LEAF]
        self.children += [LEAF, LEAF]
        return first

    @property
    def num_leaves(self) -> int:
        """Number of boxes that are not cut, and of parts of those that neurons cut."""
        extra = sum(len(tree.cuts) // 2 for tree in self.closed.values())
        return (len(self.cuts) + 1) // 2 + extra

    @property
    def num_multipliers(self) -> int:
        """Number of multipliers that the tree holds."""
        return sum(tree.num_multipliers for tree in self.closed.values())

    def tree(self) -> BoxTree:
        """Return the tree, each box before its halves."""
        found, waiting, leaves = [], [0], list[int]()
        while waiting:
            node = waiting.pop()
            found.append(self.cuts[node])
            if self.cuts[node] != LEAF:
                waiting += [self.children[node] + 1, self.children[node]]
            else:
                leaves.append(node)
        closed = [(n, self.closed[node]) for n, node in enumerate(leaves) if node in self.closed]
        return BoxTree(tuple(found), tuple(closed))


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """Leaves of a tree that grows.

    Attributes:
        low: Lower corners, shape (B, d).
        high: Upper corners, shape (B, d).
        nodes: Their nodes, shape (B,).
        excesses: Bounds of the inequalities there, shape (B, r).
        gains: By how much each cut on the way from the box above lowered the violation, shape (B,).
    """

    low: Float
    high: Float
    nodes: NDArray[np.int64]
    excesses: Float
    gains: Float

    def part(self, rows: Rows) -> "Boxes":
        """Return some of the boxes."""
        return Boxes(
            self.low[rows],
            self.high[rows],
            self.nodes[rows],
            self.excesses[rows],
            self.gains[rows],
        )

    def joined(self, other: "Boxes") -> "Boxes":
        """Return these boxes and then others."""
        return Boxes(
            np.concatenate([self.low, other.low]),
            np.concatenate([self.high, other.high]),
            np.concatenate([self.nodes, other.nodes]),
            np.concatenate([self.excesses, other.excesses]),
            np.concatenate([self.gains, other.gains]),
        )

    def worst_first(self, bounds: ConditionBounds) -> "Boxes":
        """Return the boxes in which the condition may be broken, the most broken first."""
        worth = bounds.condition.violation(self.excesses)
        is_open = worth > 0
        return self.part(np.flatnonzero(is_open)[np.argsort(-worth[is_open])])
