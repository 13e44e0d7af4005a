"""A box that is cut along neurons: on each side of its kink a ReLU is linear.

A cut splits the box where the input of a ReLU is 0, so that a tree of them covers the box whatever
its neurons are: both sides own the kink. A leaf may have lines of its own, and a price for each
side: with y the input of a neuron, s its side and b >= 0, an excess is at most itself plus b s y.

Reference:
    Wang et al., NeurIPS 2021 (arXiv 2103.06624): beta-CROWN.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from surefoot.activation import Activation, AnyActivation, Mixed
from surefoot.artifact import Json
from surefoot.certify.bounds.alpha_crown import GivenLines, bounds_by_choice
from surefoot.certify.bounds.branch_and_bound import region_between
from surefoot.certify.bounds.conditions import ConditionBounds
from surefoot.certify.bounds.crown import layer_bounds
from surefoot.certify.bounds.region import Bounds, Network, Region
from surefoot.certify.bounds.upward import Float
from surefoot.errors import IntegrityError
from surefoot.limits import MAX_BOXES

_PAIR = re.compile(r"(0|[1-9]\d{0,3})/(0|[1-9]\d{0,5})", re.ASCII)

_AT_ONCE = 1024
"""Leaves bounded together, so that memory does not grow with the tree."""


class Neuron(NamedTuple):
    """A neuron: the number of its hidden layer, and its own in there, both from 0."""

    layer: int
    number: int

    @property
    def text(self) -> str:
        """Both numbers as one word."""
        return f"{self.layer}/{self.number}"

    @classmethod
    def parse(cls, word: object) -> "Neuron":
        """Read a neuron back.

        Raises:
            IntegrityError: If it is none.
        """
        found = _PAIR.fullmatch(word) if isinstance(word, str) else None
        if found is None:
            raise IntegrityError(f"a neuron must be layer/number, got {word!r}")
        return cls(int(found[1]), int(found[2]))


Values = Mapping[Neuron, float]
"""A number for each of some neurons."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeafLines:
    """What bounds one inequality on one leaf.

    Attributes:
        leaf: Number of the leaf.
        row: Number of the inequality in its condition.
        slopes: Slopes of lower lines of ReLU neurons; elsewhere they are those of CROWN.
        prices: Prices of the sides of the neurons that are cut above the leaf.
    """

    leaf: int
    row: int
    slopes: Values
    prices: Values

    def to_table(self) -> dict[str, Json]:
        """Return it as JSON values."""
        return {
            "leaf": self.leaf,
            "row": self.row,
            "slopes": _words(self.slopes),
            "prices": _words(self.prices),
        }

    @classmethod
    def from_table(cls, table: Json) -> "LeafLines":
        """Read it back.

        Raises:
            IntegrityError: If it is none.
        """
        if not isinstance(table, dict):
            raise IntegrityError(f"lines of a leaf must be a table, got {table!r}")
        leaf, row = table.get("leaf"), table.get("row")
        if type(leaf) is not int or type(row) is not int:
            raise IntegrityError(f"lines belong to a leaf and an inequality, got {leaf!r}, {row!r}")
        slopes, prices = (_values(table.get(name)) for name in ("slopes", "prices"))
        return cls(leaf=leaf, row=row, slopes=slopes, prices=prices)


@dataclass(frozen=True, kw_only=True, slots=True)
class NeuronTree:
    """A box and its parts on either side of the kinks of neurons.

    Attributes:
        cuts: Neuron along which each part is cut, None for a leaf; each part stands before the one
            where the input of the neuron is at least 0, and that before the other.
        lines: Lines of leaves; a leaf without lines is bounded by those of CROWN.
    """

    cuts: tuple[Neuron | None, ...]
    lines: tuple[LeafLines, ...]

    @property
    def num_multipliers(self) -> int:
        """Number of slopes and prices on all leaves."""
        return sum(len(lines.slopes) + len(lines.prices) for lines in self.lines)

    @property
    def sides(self) -> list[dict[Neuron, float]]:
        """Side of each neuron that is cut above each leaf: 1 where its input is at least 0."""
        found: list[dict[Neuron, float]] = []
        waiting: list[dict[Neuron, float]] = [{}]
        for neuron in self.cuts:
            above = waiting.pop()
            if neuron is None:
                found.append(above)
            else:
                waiting += [above | {neuron: -1.0}, above | {neuron: 1.0}]
        return found

    def to_table(self) -> dict[str, Json]:
        """Return the tree as JSON values, the cuts as one line with a point for each leaf."""
        words = ["." if neuron is None else neuron.text for neuron in self.cuts]
        return {"cuts": " ".join(words), "lines": [each.to_table() for each in self.lines]}

    @classmethod
    def from_table(cls, table: Json) -> "NeuronTree":
        """Read a tree back.

        Raises:
            IntegrityError: If it is none.
        """
        cuts = table.get("cuts") if isinstance(table, dict) else None
        lines = table.get("lines") if isinstance(table, dict) else None
        if not isinstance(cuts, str) or not isinstance(lines, list):
            raise IntegrityError("a tree of neurons must have cuts and lines")
        if cuts.count(".") > MAX_BOXES:
            raise IntegrityError(f"a tree of neurons must have at most {MAX_BOXES} leaves")
        known = [None if word == "." else Neuron.parse(word) for word in cuts.split(" ")]
        missing = 1  # parts of which nothing is said so far
        for neuron in known:
            if not missing:
                raise IntegrityError("a tree of neurons goes on after its last leaf")
            missing += -1 if neuron is None else 1
        if missing:
            raise IntegrityError(f"a tree of neurons must end in leaves, {missing} are missing")
        found = tuple(map(LeafLines.from_table, lines))
        if len({(each.leaf, each.row) for each in found}) < len(found):
            raise IntegrityError("lines of one leaf and one inequality are given twice")
        return cls(cuts=tuple(known), lines=found)


def split_excesses(bounds: ConditionBounds, low: Float, high: Float, tree: NeuronTree) -> Float:
    """Bound sum minus limit of each inequality in the deployed arithmetic, shape (leaves, r).

    Args:
        bounds: Bounds of the condition.
        low: Lower corner of the box, normalised units, shape (d,).
        high: Its upper corner.
        tree: How the box is cut; every tree gives bounds.

    Raises:
        IntegrityError: If the tree is about neurons that there are not, or that have no kink.
    """
    region = region_between(low[None], high[None])
    found = layer_bounds(bounds.network, region)
    sides = tree.sides
    excesses = np.tile(bounds.excesses(low[None], high[None]), (len(sides), 1))
    margins = bounds.margins(region, found)[0]
    for row in dict.fromkeys(lines.row for lines in tree.lines):
        own = [lines for lines in tree.lines if lines.row == row]
        if not 0 <= row < excesses.shape[1] or not all(0 <= x.leaf < len(sides) for x in own):
            raise IntegrityError("lines belong to no inequality, or to no leaf")
        network = bounds.network_of_row(row)
        for start in range(0, len(own), _AT_ONCE):
            part = own[start : start + _AT_ONCE]
            choices = _choices(network, found, part, sides)
            exact = bounds_by_choice(network, _repeated(region, len(part)), found[:-1], choices)
            for lines, upper in zip(part, np.nextafter(exact + margins[row], np.inf), strict=True):
                excesses[lines.leaf, row] = np.fmin(excesses[lines.leaf, row], upper)
    return excesses


def _choices(
    network: Network,
    found: list[Bounds],
    lines: list[LeafLines],
    sides: list[dict[Neuron, float]],
) -> list[GivenLines]:
    """Return the lines of some leaves, layer by layer.

    Raises:
        IntegrityError: If one is about a neuron that there is not, or that has no kink.
    """
    shapes = [(len(lines), bounds.lower.shape[1]) for bounds in found[:-1]]
    choices = [
        GivenLines(np.full(shape, np.nan), np.zeros(shape), np.zeros(shape)) for shape in shapes
    ]
    for number, each in enumerate(lines):
        cut = sides[each.leaf]
        for neuron in {*cut, *each.slopes, *each.prices}:
            require_kink(network, neuron)
        for neuron, side in cut.items():
            choices[neuron.layer].half[number, neuron.number] = side
            choices[neuron.layer].price[number, neuron.number] = each.prices.get(neuron, 0.0)
        for neuron, slope in each.slopes.items():
            choices[neuron.layer].touch[number, neuron.number] = slope
    return choices


def require_kink(network: Network, neuron: Neuron) -> None:
    """Check that a neuron is a ReLU of a network.

    Raises:
        IntegrityError: If it is not.
    """
    layers = network.activations
    if neuron.layer >= len(layers) or not _has_kink(
        layers[neuron.layer], neuron.number, len(network.biases[neuron.layer])
    ):
        raise IntegrityError(f"neuron {neuron.text} has no kink along which it may be cut")


def _has_kink(activation: AnyActivation, number: int, width: int) -> bool:
    if isinstance(activation, Mixed):
        places = activation.places()
        return any(
            kind is Activation.RELU and place.start <= number < place.stop for kind, place in places
        )
    return activation is Activation.RELU and number < width


def _repeated(region: Region, count: int) -> Region:
    """Return one region so many times."""
    return region.part(np.zeros(count, dtype=np.int64))


def _words(values: Values) -> str:
    return " ".join(f"{neuron.text}={value!r}" for neuron, value in values.items())


def _values(text: Json) -> Values:
    """Read numbers of neurons back.

    Raises:
        IntegrityError: If they are none, or one is negative or not finite.
    """
    if not isinstance(text, str):
        raise IntegrityError(f"numbers of neurons must be one line, got {text!r}")
    found = {}
    for word in text.split():
        name, _, written = word.partition("=")
        try:
            value = float(written)
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            raise IntegrityError(f"numbers of neurons must be finite and at least 0, got {word!r}")
        found[Neuron.parse(name)] = value
    return found
