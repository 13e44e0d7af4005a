"""What local bounds are about: a network, a ball around each of many states, and intervals.

Shape legend: B states, d sensors, n widths, r rows of coefficients.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from surefoot.activation import AnyActivation, is_elementwise
from surefoot.ball import Groups, Norm
from surefoot.certify.bounds.root_mean_square import Squares
from surefoot.certify.bounds.upward import Float, up
from surefoot.policy import Policy

Rows = slice | NDArray[np.intp]
"""Which regions are meant."""

UNDERFLOW = 1e-200
"""More than underflow loses: 2^-1074 times a weight and an input, both below 1e39."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Network:
    """Float64 weights of a network; the last layer may hold other rows than the policy's own.

    Attributes:
        weights: W_1 to W_L, each exact but the last.
        biases: b_1 to b_L.
        activations: After each of the L - 1 hidden layers.
        last_error: Entrywise error of W_L, and of b_L as one more column.
    """

    weights: tuple[Float, ...]
    biases: tuple[Float, ...]
    activations: tuple[AnyActivation, ...]
    last_error: Float | None = None

    @property
    def is_elementwise(self) -> bool:
        """Whether every activation treats each neuron by itself."""
        return all(map(is_elementwise, self.activations))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Region:
    """A ball of perturbations around each of B states.

    Attributes:
        centres: States, normalised units, shape (B, d).
        radius: Size of the perturbation, normalised units, shape (B,).
        norm: Its norm.
        sides: Half the side lengths of boxes that are no cubes, shape (B, d); then the norm is
            linf and the radius is the longest side.
        groups: Sensors whose movements, each as a share of its side, are at most 1 long in l2.
        states: Points of the regions from which changes count, shape (B, d); None for the centres.
    """

    centres: Float
    radius: Float
    norm: Norm
    sides: Float | None = None
    groups: Groups = ()
    states: Float | None = None

    def part(self, rows: Rows) -> "Region":
        """Return the regions around some of the states."""
        return Region(
            centres=self.centres[rows],
            radius=self.radius[rows],
            norm=self.norm,
            sides=None if self.sides is None else self.sides[rows],
            groups=self.groups,
            states=None if self.states is None else self.states[rows],
        )

    def scaled(self, factors: Float) -> "Region":
        """Return the regions with each radius times a factor of its own, shape (B,).

        Raises:
            ValueError: If changes count from other states than the centres.
        """
        if self.states is not None:
            raise ValueError("a region around other states than its centres has no radius")
        return Region(
            centres=self.centres,
            radius=up(self.radius * factors),
            norm=self.norm,
            sides=None if self.sides is None else up(self.sides * factors[:, None]),
            groups=self.groups,
        )

    def reaching(self, below: Float, above: Float) -> "Region":
        """Return boxes that reach farther on either side; ellipsoids that do become boxes.

        Args:
            below: By how much more, to lower values, shape (B, d).
            above: The same to higher ones.
        """
        # The larger half of an interval covers the rounding of its middle.
        low, high = self.centres - below, self.centres + above
        centres = np.where(below + above > 0, low + (high - low) / 2, self.centres)
        halves = up(np.maximum(high - centres, centres - low), 2)
        slack = (np.abs(low) + np.abs(high)) * 2.0**-51
        more = np.where(below + above > 0, halves + slack, 0.0)
        own = self.radius[:, None] if self.sides is None else self.sides
        sides = up(own + more)
        kept = tuple(group for group in self.groups if not more[:, group].any())
        return Region(
            centres=centres,
            radius=sides.max(axis=1),
            norm=Norm.LINF,
            sides=sides,
            groups=kept,
            states=self.centres,
        )

    @property
    def origins(self) -> Float:
        """The states from which changes count, shape (B, d)."""
        return self.centres if self.states is None else self.states

    @property
    def around_origins(self) -> "Region":
        """The smallest region around these states that holds this one."""
        if self.states is None:
            return self
        own = self.radius[:, None] if self.sides is None else self.sides
        sides = up(own + up(np.abs(self.centres - self.states)), 2)
        return replace(
            self, centres=self.states, radius=sides.max(axis=1), sides=sides, states=None
        )

    @property
    def magnitude(self) -> Float:
        """Largest |z_k|, shape (B, d)."""
        return up(np.abs(self.centres) + self.radius[:, None])

    def spread(self, coefficients: Float) -> Float:
        """Return the largest change of linear functions over the region, shape (B, r).

        Args:
            coefficients: Shape (r, d), or (B, r, d) if they differ from state to state.
        """
        size = coefficients.shape[-1]
        # The dual norm of each row: linf against l1, weighted by the sides, and l2 against itself.
        if self.sides is not None:
            return spread_of_sides(coefficients, self.sides[:, None, :], self.groups)
        if self.norm is Norm.LINF:
            return up(np.abs(coefficients).sum(axis=-1) * self.radius[:, None], size + 1)
        # Squares of tiny coefficients may underflow; the last term is more than what they lose.
        lengths = np.sqrt(np.square(coefficients).sum(axis=-1))
        return up((up(lengths, size + 2) + 1e-150) * self.radius[:, None])


def spread_of_sides(coefficients: Float, sides: Float, groups: Groups) -> Float:
    """Return the largest change of linear functions over boxes and ellipsoids, shape (..., r).

    The parts move independently of each other, so that the largest changes of the parts add up.

    Args:
        coefficients: Shape (..., r, d).
        sides: Half the side lengths, or semi-axes of the sensors of groups, shape (..., 1, d).
        groups: Sensors that share an ellipsoid; every other one has an interval.
    """
    size = coefficients.shape[-1]
    if not groups:
        return up((np.abs(coefficients) @ np.swapaxes(sides, -1, -2))[..., 0], size)
    alone = sides.copy()
    alone[..., [sensor for group in groups for sensor in group]] = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        total = (np.abs(coefficients) @ np.swapaxes(alone, -1, -2))[..., 0]
        for group in map(list, groups):
            squares = np.square(coefficients[..., group] * sides[..., group]).sum(axis=-1)
            total = total + np.sqrt(squares) + 1e-150  # more than squares lose by underflow
    return np.where(np.isnan(total), np.inf, up(total, size + 3 * len(groups)))


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """lower <= value <= upper, for every point of the region; shape (B, n).

    Attributes:
        lower: Least values.
        upper: Largest values.
        squares: Bounds of the sums of squares of the neurons that are normalised together, where
            more is known than the box says; of no meaning for other neurons.
    """

    lower: Float
    upper: Float
    squares: Squares | None = None

    @classmethod
    def joined(cls, parts: Sequence["Bounds"]) -> "Bounds":
        """Return the bounds on some regions and then on others."""
        squares = [part.squares for part in parts if part.squares is not None]
        return cls(
            np.concatenate([part.lower for part in parts]),
            np.concatenate([part.upper for part in parts]),
            None
            if len(squares) < len(parts)
            else Squares(
                np.concatenate([each.least for each in squares]),
                np.concatenate([each.most for each in squares]),
            ),
        )

    def part(self, rows: Rows) -> "Bounds":
        """Return the bounds on some of the regions."""
        squares = self.squares
        if squares is not None:
            squares = Squares(squares.least[rows], squares.most[rows])
        return Bounds(self.lower[rows], self.upper[rows], squares)

    def first(self, count: int) -> "Bounds":
        """Return the bounds of the first so many neurons."""
        neurons, squares = slice(count), self.squares
        if squares is not None:
            squares = Squares(squares.least[:, neurons], squares.most[:, neurons])
        return Bounds(self.lower[:, neurons], self.upper[:, neurons], squares)

    def meet(self, other: "Bounds") -> "Bounds":
        """Return the intersection of both bounds."""
        known = [each.squares for each in (self, other) if each.squares is not None]
        squares = known[0].meet(known[-1]) if known else None
        lower, upper = np.maximum(self.lower, other.lower), np.minimum(self.upper, other.upper)
        return Bounds(lower, upper, squares)

    @property
    def magnitude(self) -> Float:
        """Largest absolute value."""
        return np.maximum(np.abs(self.lower), np.abs(self.upper))


def network_of(policy: Policy) -> Network:
    """Return the network of a policy up to its raw mean or logits."""
    return Network(
        weights=tuple(layer.weight.astype(np.float64) for layer in policy.layers),
        biases=tuple(layer.bias.astype(np.float64) for layer in policy.layers),
        activations=tuple(layer.activation for layer in policy.layers[:-1]),
    )


def logit_differences_of(policy: Policy) -> Network:
    """Return the network whose outputs are the differences of every two logits."""
    network = network_of(policy)
    weight, bias = network.weights[-1], network.biases[-1]
    first, second = np.triu_indices(len(bias), k=1)
    # A difference of two float32 numbers may need more than 53 bits: its rounding is kept.
    rows, shifts = weight[first] - weight[second], bias[first] - bias[second]
    error = np.abs(np.column_stack([rows, shifts])) * 2.0**-52
    return Network(
        weights=(*network.weights[:-1], rows),
        biases=(*network.biases[:-1], shifts),
        activations=network.activations,
        last_error=error,
    )
