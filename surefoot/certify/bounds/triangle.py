"""The linear programme of lines and triangles, and the multipliers of its dual.

Variables are the inputs, and the value of each neuron that its interval does not make linear. Its
optimum bounds one output from above where some neurons are kept on one side of their kinks. What
is proved does not depend on it: `neuron_trees` computes bounds from its multipliers.

Reference:
    Ehlers, ATVA 2017 (arXiv 1705.01320); Wong and Kolter, ICML 2018 (arXiv 1711.00851), for the
    multipliers as slopes of lines.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from surefoot.certify.bounds.neuron_trees import Neuron
from surefoot.certify.bounds.region import Bounds, Network
from surefoot.certify.bounds.relaxation import Lines, relax
from surefoot.certify.bounds.tangent_points import is_relu
from surefoot.certify.bounds.upward import Float

_PENALTY = 1e4
"""Price of each unit by which a kept side may be left, so that a programme has a solution."""

_DIGITS = 6
"""Decimals of a multiplier that are kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Optimum:
    """What a linear programme found.

    Attributes:
        value: Largest output of the relaxation.
        point: Inputs there, shape (d,).
        slopes: Slopes of the lower lines of ReLU neurons, from the dual.
        prices: Prices of the kept sides, from the dual.
        costs: What the relaxation of each open ReLU neuron costs there.
    """

    value: float
    point: Float
    slopes: dict[Neuron, float]
    prices: dict[Neuron, float]
    costs: dict[Neuron, float]


@dataclass(slots=True)
class _Programme:
    """Inequalities ``rows @ v <= limits`` of the variables so far.

    Attributes:
        rows: Coefficients of each inequality; those of later variables are 0.
        limits: Their limits.
        neurons: Neuron of each variable after the inputs.
        lower: Number of the inequality that keeps each open ReLU neuron above its input.
        upper: Number of the one that keeps it below its chord.
        sides: Number of the one that keeps a neuron on its side.
    """

    rows: list[Float] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)
    neurons: list[Neuron] = field(default_factory=list)
    lower: dict[Neuron, int] = field(default_factory=dict)
    upper: dict[Neuron, int] = field(default_factory=dict)
    sides: dict[Neuron, int] = field(default_factory=dict)

    def require(self, row: Float, limit: float) -> int:
        """Add an inequality and return its number."""
        self.rows.append(row)
        self.limits.append(limit)
        return len(self.rows) - 1

    def matrix(self, width: int) -> Float:
        """Return all coefficients, shape (inequalities, width)."""
        found = np.zeros((len(self.rows), width))
        for full, row in zip(found, self.rows, strict=True):
            full[: len(row)] = row
        return found


def maximum(
    network: Network,
    low: Float,
    high: Float,
    before: list[Bounds],
    sides: Mapping[Neuron, float],
) -> Optimum | None:
    """Return the largest output of the relaxation, None where the solver finds none.

    Args:
        network: A network of one output, of elementwise layers.
        low: Lower corner of the box of inputs, shape (d,).
        high: Its upper corner.
        before: Bounds before each activation on the box, one box.
        sides: 1 for a ReLU whose input must be at least 0, -1 for one at most 0.
    """
    programme = _Programme()
    # Values behind a layer are factors @ v + shift of the variables v.
    factors, shift = np.eye(len(low)), np.zeros(len(low))
    for layer, bounds in enumerate(before):
        weight = network.weights[layer]
        inputs = weight @ factors, weight @ shift + network.biases[layer]
        activation = network.activations[layer]
        lines = relax(activation, bounds.lower, bounds.upper)
        relu = is_relu(activation, len(weight))
        factors, shift = _behind(programme, layer, inputs, lines, relu, sides)
    objective = network.weights[-1] @ factors
    constant = float((network.weights[-1] @ shift + network.biases[-1])[0])
    return _solved(programme, objective[0], constant, low, high)


def _behind(
    programme: _Programme,
    layer: int,
    inputs: tuple[Float, Float],
    lines: Lines,
    relu: NDArray[np.bool_],
    sides: Mapping[Neuron, float],
) -> tuple[Float, Float]:
    """Return the values of a layer as functions of the variables, of which it may add some."""
    factors, shift = inputs
    low, cut_low, high, cut_high = (part[0] for part in lines.as_tuple)
    kept = {neuron.number: side for neuron, side in sides.items() if neuron.layer == layer}
    slope, cut, is_open = low.copy(), cut_low.copy(), (low != high) | (cut_low != cut_high)
    for number, side in kept.items():
        neuron = Neuron(layer, number)
        row, limit = -side * factors[number], side * shift[number]
        programme.sides[neuron] = programme.require(row, limit)
        slope[number], cut[number], is_open[number] = float(side > 0), 0.0, False
    numbers = np.flatnonzero(is_open)
    width, count = factors.shape[1], len(numbers)
    values = np.column_stack([factors * slope[:, None], np.zeros((len(shift), count))])
    offsets = shift * slope + cut
    values[numbers], offsets[numbers] = 0.0, 0.0
    for place, number in enumerate(numbers.tolist()):
        own = np.zeros(width + count)
        own[width + place] = 1.0
        values[number] = own
        given = np.concatenate([factors[number], np.zeros(count)])
        neuron, at = Neuron(layer, number), shift[number]
        is_kinked = bool(relu[number])
        # A ReLU lies above its input, and above 0; elsewhere the line below is that of CROWN.
        below = (1.0, 0.0) if is_kinked else (low[number], cut_low[number])
        first = programme.require(below[0] * given - own, -below[0] * at - below[1])
        last = programme.require(own - high[number] * given, high[number] * at + cut_high[number])
        programme.neurons.append(neuron)
        if is_kinked:
            programme.lower[neuron], programme.upper[neuron] = first, last
    return values, offsets


def _solved(
    programme: _Programme, objective: Float, constant: float, low: Float, high: Float
) -> Optimum | None:
    """Return the optimum of a programme, None where the solver finds none."""
    width, num_inputs = len(objective), len(low)
    # One more variable leaves all kept sides at once, at a price.
    rows = np.column_stack([programme.matrix(width), np.zeros(len(programme.rows))])
    rows[list(programme.sides.values()), -1] = -1.0
    least = [0.0 if neuron in programme.lower else -np.inf for neuron in programme.neurons]
    ends = [*zip(low.tolist(), high.tolist(), strict=True), *((each, np.inf) for each in least)]
    found = linprog(
        np.append(-objective, _PENALTY),
        A_ub=rows if len(rows) else None,
        b_ub=np.array(programme.limits) if len(rows) else None,
        bounds=[*ends, (0.0, np.inf)],
        method="highs",
    )
    if found.status != 0:
        return None
    duals = -found.ineqlin.marginals if len(rows) else np.zeros(0)
    slopes, costs = {}, {}
    for place, neuron in enumerate(programme.neurons, start=num_inputs):
        if neuron not in programme.lower:
            continue
        along, flat = duals[programme.lower[neuron]], found.lower.marginals[place]
        slopes[neuron] = _kept(along / (along + flat) if along + flat > 0 else 0.0)
        row = programme.rows[programme.lower[neuron]]
        given = float(row @ found.x[: len(row)]) + found.x[place]
        reached = given - programme.limits[programme.lower[neuron]]
        gap = abs(found.x[place] - max(reached, 0.0))
        costs[neuron] = float(gap * max(along + flat, duals[programme.upper[neuron]]))
    prices = {neuron: _kept(duals[number]) for neuron, number in programme.sides.items()}
    value = constant - float(found.fun)
    return Optimum(value, found.x[:num_inputs].copy(), slopes, prices, costs)


def _kept(value: float) -> float:
    """Return a multiplier with the digits that are kept."""
    return round(max(float(value), 0.0), _DIGITS)
