"""A box cut into halves again and again: the tree that a proof over the box is made of.

A cut lies in the middle of its box, so that a tree needs only the sensors across which it cuts. The
leaves cover the box whatever the sensors are: both halves own their cut.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.artifact import Json
from surefoot.certify.bounds.neuron_trees import NeuronTree
from surefoot.certify.bounds.upward import Float
from surefoot.errors import IntegrityError
from surefoot.limits import MAX_BOXES

_NUMBER = re.compile(r"0|[1-9]\d{0,8}", re.ASCII)

LEAF = -1
"""Stands for a box that is not cut."""


@dataclass(frozen=True, slots=True)
class BoxTree:
    """A box and its halves.

    Attributes:
        cuts: Sensor across which each box is cut, or ``LEAF``; each box stands before its lower
            half, and that before the upper half.
        closed: Leaves that are cut along neurons, by their numbers in rising order.
    """

    cuts: tuple[int, ...] = (LEAF,)
    closed: tuple[tuple[int, NeuronTree], ...] = ()

    def leaves(self, low: Float, high: Float) -> tuple[Float, Float]:
        """Return the lower and the upper corners of the leaves, each of shape (n, obs_dim).

        Args:
            low: Lower corner of the whole box, shape (obs_dim,).
            high: Its upper corner.
        """
        found, waiting = [], [(low, high)]
        for sensor in self.cuts:
            box = waiting.pop()
            if sensor == LEAF:
                found.append(box)
            else:
                lower, upper = halves(box[0][None], box[1][None], np.array([sensor]))
                waiting += [(upper[0][0], upper[1][0]), (lower[0][0], lower[1][0])]
        lows, highs = zip(*found, strict=True)
        return np.stack(lows), np.stack(highs)

    @property
    def num_parts(self) -> int:
        """Number of leaves, those of trees of neurons among them."""
        return len(self.cuts) // 2 + 1 + sum(len(tree.cuts) // 2 for _, tree in self.closed)

    @property
    def depths(self) -> NDArray[np.int64]:
        """How often each leaf was cut, shape (n,): it is a share 2^-depth of the box."""
        return np.fromiter(_depths(self.cuts), dtype=np.int64)

    @property
    def text(self) -> str:
        """The cuts as one line, a point for each leaf: a single value of a certificate."""
        return " ".join("." if cut == LEAF else str(cut) for cut in self.cuts)

    def to_table(self) -> dict[str, Json]:
        """Return the tree as JSON values."""
        neurons = [{"leaf": leaf, **tree.to_table()} for leaf, tree in self.closed]
        return {"cuts": self.text, **({"neurons": neurons} if neurons else {})}

    @classmethod
    def from_table(cls, table: Mapping[str, Json], num_sensors: int) -> "BoxTree":
        """Return a tree that was saved.

        Raises:
            IntegrityError: If it is none over so many sensors.
        """
        tree = cls.parse(table.get("cuts"), num_sensors)
        saved = table.get("neurons", [])
        if not isinstance(saved, list) or not all(isinstance(entry, dict) for entry in saved):
            raise IntegrityError("neurons must be a list of tables")
        closed: list[tuple[int, NeuronTree]] = []
        for entry in saved:
            leaf, last = entry.get("leaf"), closed[-1][0] if closed else -1
            if type(leaf) is not int or not last < leaf < tree.text.count("."):
                raise IntegrityError(f"a tree of neurons belongs to no leaf, got {leaf!r}")
            closed.append((leaf, NeuronTree.from_table(entry)))
        return cls(tree.cuts, tuple(closed))

    @classmethod
    def parse(cls, text: object, num_sensors: int) -> "BoxTree":
        """Return a tree that was saved.

        Raises:
            IntegrityError: If it is none over so many sensors.
        """
        if not isinstance(text, str):
            raise IntegrityError(f"a tree of boxes must be a line of cuts, got {text!r}")
        if text.count(".") > MAX_BOXES:
            raise IntegrityError(f"a tree of boxes must have at most {MAX_BOXES} leaves")
        missing = 1  # boxes of which nothing is said so far
        known: list[int] = []
        for word in text.split(" "):
            cut = LEAF if word == "." else int(word) if _NUMBER.fullmatch(word) else num_sensors
            if cut >= num_sensors or not missing:
                raise IntegrityError(f"cut {len(known)} of a tree of boxes is none, got {word!r}")
            missing += -1 if cut == LEAF else 1
            known.append(cut)
        if missing:
            raise IntegrityError(f"a tree of boxes must end in leaves, {missing} are missing")
        return cls(tuple(known))


def _depths(cuts: Sequence[int]) -> Iterator[int]:
    waiting = [0]
    for cut in cuts:
        depth = waiting.pop()
        if cut == LEAF:
            yield depth
        else:
            waiting += [depth + 1, depth + 1]


def halves(
    low: Float, high: Float, sensors: NDArray[np.int64]
) -> tuple[tuple[Float, Float], tuple[Float, Float]]:
    """Return the lower and the upper halves of boxes, each by its two corners, shape (B, obs_dim).

    Args:
        low: Lower corners, shape (B, obs_dim).
        high: Upper corners, of the same shape.
        sensors: Sensor across which each box is cut, shape (B,).
    """
    rows = np.arange(len(low))
    middle = low[rows, sensors] + (high[rows, sensors] - low[rows, sensors]) / 2
    # Both halves own the cut, so that no point between two float64 numbers is lost.
    lower_high, upper_low = high.copy(), low.copy()
    lower_high[rows, sensors] = upper_low[rows, sensors] = middle
    return (low, lower_high), (upper_low, high)
