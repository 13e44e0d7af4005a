"""CROWN with lines that are chosen for each output: the optimised slopes of alpha-CROWN.

Where a line may touch an activation anywhere in a range, a few projected gradient steps choose the
touches for every state, output and direction. Every choice is sound, so that the result is,
whatever the steps do; what counts is one last substitution with its rounding charged.

A substitution is a linear function of the state; with y the relaxed value before a neuron at the
worst point of the ball, the derivative with respect to the touch t of a tangent is a positive
multiple of phi''(t) (y - t), up to a sign that says "towards y"; with respect to a slope of ReLU
it is the coefficient times y.

Then the ReLU neurons whose lines cost most are cut in half: on y >= 0 and on y <= 0 the neuron is
linear, and the largest value over both halves counts. A multiple b >= 0 of +-y, which is at least 0
on its half, may be added to the function there (beta-CROWN), and b descends like the touches.

Proofs: docs/explanation/mathematics.md, 5.5 and 5.6.

Shape legend: B states, r rows (each output upwards, then downwards), n widths.
"""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from surefoot.activation import Activation, AnyActivation, parts_of
from surefoot.ball import Norm
from surefoot.certify.bounds.crown import (
    bounds_of_chunk,
    charge_of,
    concrete,
    honest,
    in_chunks,
    last_layer_error,
)
from surefoot.certify.bounds.region import Bounds, Network, Region
from surefoot.certify.bounds.relaxation import Lines, image, relax
from surefoot.certify.bounds.tangent_points import (
    Touches,
    free_touches,
    is_relu,
    lines_touching,
)
from surefoot.certify.bounds.upward import Float, gamma

_HALVED_NEURONS = 1
"""For each state and row; every one doubles the rows."""


@dataclass(frozen=True, slots=True, eq=False)
class _Hidden:
    """One hidden layer of a problem.

    Attributes:
        activation: The function between the lines.
        before: Intervals of its input, shape (B, n).
        lines: Lines of CROWN, which stay where there is no choice, shape (B, n).
        touches: Ranges within which lines are free, shape (B, n).
    """

    activation: AnyActivation
    before: Bounds
    lines: Lines
    touches: Touches


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    """What is bounded from above, over each of B balls.

    Attributes:
        network: The network.
        region: States and sizes of the perturbation.
        layers: Hidden layers, first to last.
        rows: Rows of the last layer, and their negatives for the lower bounds, shape (r, n).
        shift: Biases with the signs of the rows, shape (r,).
    """

    network: Network
    region: Region
    layers: list[_Hidden]
    rows: Float
    shift: Float


@dataclass(frozen=True, slots=True, eq=False)
class _Tangents:
    """What the steps choose for one hidden layer, each of shape (B, r, n).

    Attributes:
        touch: Points (or slopes, for ReLU) at which free lines touch.
        half: Half of the interval that is meant: 1 for y >= 0, -1 for y <= 0, 0 for all of it.
        price: Multiplier b >= 0 of half * y, the beta of beta-CROWN.
    """

    touch: Float
    half: Float
    price: Float


@dataclass(frozen=True, slots=True, eq=False)
class _Line:
    """The lines that the coefficients behind one hidden layer met, each of shape (B, r, n).

    Attributes:
        coefficients: Coefficients of the activation's values.
        slope: Slopes of the lines taken.
        cut: Intercepts of the lines taken.
        free: Entries whose line may still move.
    """

    coefficients: Float
    slope: Float
    cut: Float
    free: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class GivenLines:
    """Given lines of one hidden layer, each of shape (B, n).

    Attributes:
        touch: Slopes of lower lines of ReLU neurons, NaN for those of CROWN.
        half: Half of the interval that is meant: 1 for y >= 0, -1 for y <= 0, 0 for all of it.
            Neurons that are halved must be ReLU.
        price: Multiplier b >= 0 of half * y.
    """

    touch: Float
    half: Float
    price: Float


def bounds_by_choice(
    network: Network, region: Region, before: list[Bounds], choices: list[GivenLines]
) -> Float:
    """Return upper bounds of a single output by given lines, shape (B,).

    Args:
        network: A network of at least two layers and one output.
        region: B balls, which are all the same one.
        before: Bounds before each activation on that ball.
        choices: Lines of each hidden layer.
    """
    everywhere = np.zeros(len(region.centres), dtype=np.int64)
    layers = [
        replace(layer, touches=_of_relu(layer))
        for layer in _layers(network, [bounds.part(everywhere) for bounds in before])
    ]
    problem = _Problem(network, region, layers, network.weights[-1], network.biases[-1])
    tangents = [
        _Tangents(
            np.where(np.isnan(choice.touch), layer.touches.start, choice.touch)[:, None, :],
            choice.half[:, None, :],
            choice.price[:, None, :],
        )
        for layer, choice in zip(layers, choices, strict=True)
    ]
    with np.errstate(over="ignore", invalid="ignore"):
        found = _sound(problem, tangents)[:, 0]
    return np.where(np.isnan(found), np.inf, found)


def _of_relu(layer: _Hidden) -> Touches:
    """Return the freedom of the ReLU neurons of a layer alone."""
    below, above = layer.touches.below, layer.touches.above
    relu = is_relu(layer.activation, below.free.shape[-1])
    return Touches(
        replace(below, free=below.free & relu),
        replace(above, free=above.free & relu),
        layer.touches.start,
    )


def _layers(network: Network, before: list[Bounds]) -> list[_Hidden]:
    """Return the hidden layers of a problem."""
    return [
        _Hidden(
            activation,
            bounds,
            relax(activation, bounds.lower, bounds.upper, bounds.squares),
            free_touches(activation, bounds),
        )
        for activation, bounds in zip(network.activations, before, strict=True)
    ]


def optimised_bounds(network: Network, region: Region, steps: int) -> list[Bounds]:
    """Tighten the bounds of ``layer_bounds`` by a few gradient steps on the relaxation's lines.

    Args:
        network: The network.
        region: States and sizes of the perturbation.
        steps: Gradient steps for the lines behind the outputs, at least 1.

    Reference:
        Xu et al., ICLR 2021 (arXiv 2011.13824); Wang et al., NeurIPS 2021 (arXiv 2103.06624).
    """

    def work(part: Region) -> list[Bounds]:
        found = bounds_of_chunk(network, part)
        if len(found) == 1 or not network.is_elementwise:
            return found  # neurons that are normalised together have no lines to choose
        # Tighter intervals do not always make tighter lines behind them.
        sharper = bounds_of_chunk(network, part, second_order=True)
        # Both hold, and the intersection is never looser than plain CROWN.
        found = [bounds.meet(other) for bounds, other in zip(found, sharper, strict=True)]
        with np.errstate(over="ignore", invalid="ignore"):
            best = output_bounds(network, part, found[:-1], steps)
        return [*found[:-1], found[-1].meet(honest(best))]

    return in_chunks(network, work, region)


def output_bounds(network: Network, region: Region, before: list[Bounds], steps: int) -> Bounds:
    """Return bounds of the outputs by optimised lines alone, shape (B, m).

    Args:
        network: A network of at least two layers.
        region: Few states and sizes of the perturbation.
        before: Bounds before each activation.
        steps: Gradient steps.
    """
    layers = _layers(network, before)
    # min f = -max(-f): lower bounds are upper bounds of the negated rows.
    rows = np.concatenate([network.weights[-1], -network.weights[-1]])
    shift = np.concatenate([network.biases[-1], -network.biases[-1]])
    problem = _Problem(network, region, layers, rows, shift)
    choices = []
    for layer in layers:
        # Every row starts at the lines of CROWN, and then chooses for itself.
        touch = np.repeat(layer.touches.start[:, None, :], len(rows), axis=1)
        choices.append(_Tangents(touch, np.zeros_like(touch), np.zeros_like(touch)))
    choices = _descend(problem, choices, steps)
    upper = _sound(problem, choices)
    if any(Activation.RELU in parts_of(layer.activation) for layer in layers):
        pieces = 2**_HALVED_NEURONS
        parts = _Problem(
            network, region, layers, np.tile(rows, (pieces, 1)), np.tile(shift, pieces)
        )
        found = _sound(parts, _descend(parts, _halved(problem, choices), steps))
        # A bound that is no number is no bound.
        found = np.where(np.isnan(found), np.inf, found)
        # The halves cover the ball: the larger of both bounds is one for all of it.
        upper = np.fmin(upper, found.reshape(len(found), pieces, len(rows)).max(axis=1))
    half = len(rows) // 2
    return Bounds(-upper[:, half:], upper[:, :half])


def _descend(problem: _Problem, choices: list[_Tangents], steps: int) -> list[_Tangents]:
    """Return the best choices on the way of a few steps, for each state and row by itself."""
    best, least = choices, np.full((len(problem.region.centres), len(problem.rows)), np.inf)
    for number in range(steps + 1):
        met, first, constant = _substitute(problem, choices)
        # The maximum of a linear function over a ball is attained at one point (Danskin), so that
        # its derivative with respect to the lines is taken there.
        worst = _worst_points(first, problem.region)
        value = (first * worst).sum(axis=-1) + constant
        better = (value < least)[..., None]
        least = np.minimum(value, least)
        best = [
            _Tangents(
                np.where(better, new.touch, old.touch),
                new.half,
                np.where(better, new.price, old.price),
            )
            for new, old in zip(choices, best, strict=True)
        ]
        if number < steps:
            # Steps that shrink like 1 / k, as subgradient methods need.
            choices = _step(problem, met, worst, choices, 1 / (1 + number))
    return best


def _substitute(problem: _Problem, choices: list[_Tangents]) -> tuple[list[_Line], Float, Float]:
    """Return the lines met by each layer (first layer first), and the linear function's parts."""
    network, shape = problem.network, (len(problem.region.centres), *problem.rows.shape)
    coefficients = np.broadcast_to(problem.rows, shape)
    constant = np.broadcast_to(problem.shift, shape[:2])
    met: list[_Line] = []
    for number in range(len(problem.layers) - 1, -1, -1):
        # A phi(y) <= A (slope y + cut), plus b half y, which is nowhere negative on its half.
        choice = choices[number]
        line = _meet(problem.layers[number], coefficients, choice)
        sloped = coefficients * line.slope + choice.half * choice.price
        constant = constant + (coefficients * line.cut).sum(axis=-1)
        constant = constant + sloped @ network.biases[number]
        coefficients = _times(sloped, network.weights[number])
        met.append(line)
    return met[::-1], coefficients, constant


def _meet(layer: _Hidden, coefficients: Float, choice: _Tangents) -> _Line:
    """Return upper lines for positive coefficients and lower ones for negative, (B, r, n)."""
    lines, (below, above) = layer.lines, (layer.touches.below, layer.touches.above)
    up = coefficients > 0

    # CROWN's choice by sign, for the fixed lines and for the ranges of the free ones.
    def pick(high: Float, low: Float) -> Float:
        return np.where(up, high[:, None, :], low[:, None, :])

    free = np.where(up, above.free[:, None, :], below.free[:, None, :])
    slope, cut = pick(lines.slope_high, lines.slope_low), pick(lines.cut_high, lines.cut_low)
    if free.any():
        # Clipped into the range in which every touch is sound: soundness asks nothing of the steps.
        inside = np.clip(choice.touch, pick(above.least, below.least), pick(above.most, below.most))
        own_slope, own_cut = lines_touching(layer.activation, layer.before, inside, up)
        slope, cut = np.where(free, own_slope, slope), np.where(free, own_cut, cut)
    # On a half ReLU is y or 0: both lines are the function itself.
    halved = choice.half != 0
    slope = np.where(halved, (choice.half > 0) * 1.0, slope)
    return _Line(coefficients, slope, np.where(halved, 0.0, cut), free & ~halved)


def _worst_points(first: Float, region: Region) -> Float:
    """Return the point of each ball where each linear function is largest, shape (B, r, d)."""
    radius = region.radius[:, None, None]
    if region.sides is not None:
        radius = region.sides[:, None, :]
    if region.norm is Norm.LINF:
        moved = np.sign(first) * radius
        for group in map(list, region.groups):
            steep = first[..., group] * radius[..., group]
            lengths = np.linalg.norm(steep, axis=-1, keepdims=True)
            moved[..., group] = radius[..., group] * steep / np.maximum(lengths, 1e-300)
        return np.asarray(region.centres[:, None, :] + moved)
    # l2: equality in Cauchy-Schwarz, along the coefficients.
    lengths = np.linalg.norm(first, axis=-1, keepdims=True)
    return np.asarray(region.centres[:, None, :] + first / np.maximum(lengths, 1e-300) * radius)


def _step(
    problem: _Problem, met: list[_Line], worst: Float, choices: list[_Tangents], size: float
) -> list[_Tangents]:
    """Return choices after one step; the worst points are carried forward along the lines."""
    moved, hidden = [], worst
    for number, (layer, line, choice) in enumerate(zip(problem.layers, met, choices, strict=True)):
        network = problem.network
        value = _times(hidden, network.weights[number].T) + network.biases[number]
        touch, price = choice.touch, choice.price
        # d/dt of the tangent at y is phi''(t) (y - t): towards y, which is best where t = y.
        new = touch + (value - touch) * size
        relu = is_relu(layer.activation, touch.shape[-1])
        if relu.any():
            # d/dk of A (k y) is A y; only its sign is used, so that no scale has to be known.
            stride = np.sqrt(size) / 2
            slope = np.clip(touch - np.sign(line.coefficients * value) * stride, 0.0, 1.0)
            new = np.where(relu, slope, new)
            # d/db of b half y is half y; b stays at least 0, as a multiplier of an inequality.
            dearer = np.sign(choice.half * value) * np.abs(line.coefficients) * stride
            price = np.where(choice.half != 0, np.maximum(price - dearer, 0.0), 0.0)
        touch = np.where(line.free & np.isfinite(new), new, touch)
        moved.append(_Tangents(touch, choice.half, np.where(np.isfinite(price), price, 0.0)))
        # The relaxed network at the worst point: lines in the place of activations.
        hidden = line.slope * value + line.cut
    return moved


def _halved(problem: _Problem, choices: list[_Tangents]) -> list[_Tangents]:
    """Return the choices for both halves of the ReLU neurons whose lines cost most, (B, 2^k r, n).

    The cost is the coefficient times the distance of line and ReLU at the worst point.
    """
    met, first, _ = _substitute(problem, choices)
    hidden, costs = _worst_points(first, problem.region), []
    for number, (layer, line) in enumerate(zip(problem.layers, met, strict=True)):
        weight, bias = problem.network.weights[number], problem.network.biases[number]
        value = _times(hidden, weight.T) + bias
        hidden = line.slope * value + line.cut
        relu = is_relu(layer.activation, value.shape[-1])
        # Only neurons that may be on either side of the kink have halves.
        crossing = layer.touches.below.free[:, None, :] & relu
        gap = np.abs(line.coefficients * (hidden - np.maximum(value, 0.0)))
        costs.append(np.where(crossing & np.isfinite(gap), gap, -1.0))
    ends = np.cumsum([cost.shape[-1] for cost in costs])
    order = np.argsort(-np.concatenate(costs, axis=-1), axis=-1)[..., :_HALVED_NEURONS]
    worth = np.take_along_axis(np.concatenate(costs, axis=-1), order, axis=-1) >= 0
    pieces = []
    # All combinations of signs: 2^k pieces that together cover the ball.
    for signs in product([1.0, -1.0], repeat=_HALVED_NEURONS):
        half = np.zeros((*order.shape[:2], ends[-1]))
        chosen = np.array(signs)[: order.shape[-1]] * worth
        np.put_along_axis(half, order, chosen, axis=-1)
        pieces.append(np.split(half, ends[:-1], axis=-1))
    return [
        _Tangents(
            np.concatenate([choice.touch] * len(pieces), axis=1),
            np.concatenate([piece[number] for piece in pieces], axis=1),
            np.concatenate([choice.price] * len(pieces), axis=1),
        )
        for number, choice in enumerate(choices)
    ]


def _sound(problem: _Problem, choices: list[_Tangents]) -> Float:
    """Return upper bounds that the choices give, with all rounding charged, shape (B, r)."""
    network, layers = problem.network, problem.layers
    met, first, constant = _substitute(problem, choices)
    # The charge of CROWN, layer by layer, with the lines that were really met.
    sizes = [problem.region.magnitude]
    for layer in layers:
        before = layer.before
        ends = image(layer.activation, before.lower, before.upper, before.squares)
        sizes.append(Bounds(*ends).magnitude)
    half = len(network.biases[-1])
    error = last_layer_error(network, len(network.weights) - 1, sizes[-1])
    error = error + np.zeros((len(first), half))
    charge = np.tile(error, len(problem.rows) // half) + np.abs(problem.shift) * gamma(64)
    for number in range(len(layers) - 1, -1, -1):
        rows, lines = np.abs(met[number].coefficients), _largest(met[number])
        charge = charge + charge_of(rows, network, number, lines, sizes[number])
        # b half y was substituted as well: a line of slope 1 with the coefficient b.
        one, zero = np.ones_like(lines.slope_low), np.zeros_like(lines.cut_low)
        unit = Lines(one, zero, one, zero)
        charge = charge + charge_of(choices[number].price, network, number, unit, sizes[number])
    return concrete(first, constant, problem.region, 1.0) + charge


def _largest(line: _Line) -> Lines:
    """Return the largest slope and intercept of any row, as lines of shape (B, n)."""
    slope, cut = np.abs(line.slope).max(axis=1), np.abs(line.cut).max(axis=1)
    return Lines(slope, cut, slope, cut)


def _times(rows: Float, weight: Float) -> Float:
    """Return ``rows @ weight`` for rows of shape (B, r, n), as one product."""
    return (rows.reshape(-1, rows.shape[-1]) @ weight).reshape(*rows.shape[:-1], weight.shape[1])
