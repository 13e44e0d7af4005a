"""CROWN with lines that are chosen for each output: the optimised slopes of alpha-CROWN.

Where a line may touch an activation anywhere in a range, a few projected gradient steps choose the
touches for every state, output and direction. Every choice is sound, so that the result is,
whatever the steps do; what counts is one last substitution with its rounding charged.

A substitution is a linear function of the state; with y the relaxed value before a neuron at the
worst point of the ball, the derivative with respect to the touch t of a tangent is a positive
multiple of phi''(t) (y - t), up to a sign that says "towards y"; with respect to a slope of ReLU
it is the coefficient times y.

Shape legend: B states, r rows (each output upwards, then downwards), n widths.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.activation import Activation, AnyActivation
from surefoot.budget import Norm
from surefoot.certify.crown import (
    bounds_of_chunk,
    charge_of,
    concrete,
    honest,
    in_chunks,
    last_layer_error,
)
from surefoot.certify.region import Bounds, Network, Region
from surefoot.certify.relaxation import Lines, image, relax
from surefoot.certify.touches import Touches, free_touches, lines_touching
from surefoot.certify.upward import Float, gamma


@dataclass(frozen=True, slots=True, eq=False)
class _Hidden:
    """One hidden layer: its activation, the intervals before it, fixed lines, free touches."""

    activation: AnyActivation
    before: Bounds
    lines: Lines
    touches: Touches


@dataclass(frozen=True, slots=True, eq=False)
class _Line:
    """The lines that the coefficients behind one hidden layer met, each of shape (B, r, n)."""

    coefficients: Float
    slope: Float
    cut: Float
    free: NDArray[np.bool_]


def optimised_bounds(network: Network, region: Region, steps: int) -> list[Bounds]:
    """Return what ``layer_bounds`` returns, with the best lines that a few steps find.

    Args:
        network: The network.
        region: States and sizes of the perturbation.
        steps: Gradient steps for the lines behind the outputs, at least 1.

    Reference:
        Xu et al., ICLR 2021 (arXiv 2011.13824).
    """

    def work(part: Region) -> list[Bounds]:
        found = bounds_of_chunk(network, part)
        if len(found) == 1:
            return found
        # Tighter intervals do not always make tighter lines behind them.
        sharper = bounds_of_chunk(network, part, second_order=True)
        found = [bounds.meet(other) for bounds, other in zip(found, sharper, strict=True)]
        with np.errstate(over="ignore", invalid="ignore"):
            best = output_bounds(network, part, found[:-1], steps)
        return [*found[:-1], found[-1].meet(honest(best))]

    return in_chunks(work, region)


def output_bounds(network: Network, region: Region, before: list[Bounds], steps: int) -> Bounds:
    """Return bounds of the outputs by optimised lines alone, shape (B, m).

    Args:
        network: Of at least two layers.
        region: Few states and sizes of the perturbation.
        before: Bounds before each activation.
        steps: Gradient steps.
    """
    layers = [
        _Hidden(
            activation,
            bounds,
            relax(activation, bounds.lower, bounds.upper),
            free_touches(activation, bounds),
        )
        for activation, bounds in zip(network.activations, before, strict=True)
    ]
    rows = np.concatenate([network.weights[-1], -network.weights[-1]])
    touches = [np.repeat(layer.touches.start[:, None, :], len(rows), axis=1) for layer in layers]
    best, least = touches, np.full((len(region.centres), len(rows)), np.inf)
    for number in range(steps + 1):
        met, first, constant = _substitute(network, layers, rows, touches)
        worst = _worst_points(first, region)
        value = (first * worst).sum(axis=-1) + constant
        better = value < least
        least = np.where(better, value, least)
        best = [
            np.where(better[..., None], new, old) for new, old in zip(touches, best, strict=True)
        ]
        if number < steps:
            touches = _step(network, layers, met, worst, touches, 1 / (1 + number))
    return _sound(network, region, layers, rows, best)


def _substitute(
    network: Network, layers: list[_Hidden], rows: Float, touches: list[Float]
) -> tuple[list[_Line], Float, Float]:
    """Return the lines met by each layer (first layer first), and the linear function's parts."""
    shape = (len(touches[0]), *rows.shape)
    coefficients = np.broadcast_to(rows, shape)
    shift = network.biases[-1]
    constant = np.broadcast_to(np.concatenate([shift, -shift]), shape[:2])
    met: list[_Line] = []
    for number in range(len(layers) - 1, -1, -1):
        line = _meet(layers[number], coefficients, touches[number])
        sloped = coefficients * line.slope
        constant = constant + (coefficients * line.cut).sum(axis=-1)
        constant = constant + sloped @ network.biases[number]
        coefficients = _times(sloped, network.weights[number])
        met.append(line)
    return met[::-1], coefficients, constant


def _meet(layer: _Hidden, coefficients: Float, touch: Float) -> _Line:
    """Return upper lines for positive coefficients and lower ones for negative, (B, r, n)."""
    lines, (below, above) = layer.lines, (layer.touches.below, layer.touches.above)
    up = coefficients > 0

    def pick(high: Float, low: Float) -> Float:
        return np.where(up, high[:, None, :], low[:, None, :])

    free = np.where(up, above.free[:, None, :], below.free[:, None, :])
    slope, cut = pick(lines.slope_high, lines.slope_low), pick(lines.cut_high, lines.cut_low)
    if free.any():
        inside = np.clip(touch, pick(above.least, below.least), pick(above.most, below.most))
        own_slope, own_cut = lines_touching(layer.activation, layer.before, inside, up)
        slope, cut = np.where(free, own_slope, slope), np.where(free, own_cut, cut)
    return _Line(coefficients, slope, cut, free)


def _worst_points(first: Float, region: Region) -> Float:
    """Return the point of each ball where each linear function is largest, shape (B, r, d)."""
    radius = region.radius[:, None, None]
    if region.sides is not None:
        radius = region.sides[:, None, :]
    if region.norm is Norm.LINF:
        return np.asarray(region.centres[:, None, :] + np.sign(first) * radius)
    lengths = np.linalg.norm(first, axis=-1, keepdims=True)
    return np.asarray(region.centres[:, None, :] + first / np.maximum(lengths, 1e-300) * radius)


def _step(
    network: Network,
    layers: list[_Hidden],
    met: list[_Line],
    worst: Float,
    touches: list[Float],
    size: float,
) -> list[Float]:
    """Return touches after one step; the worst points are carried forward along the lines."""
    moved, hidden = [], worst
    for number, (layer, line, touch) in enumerate(zip(layers, met, touches, strict=True)):
        value = _times(hidden, network.weights[number].T) + network.biases[number]
        if layer.activation is Activation.RELU:
            towards = -np.sign(line.coefficients * value) * np.sqrt(size) / 2
            new = np.clip(touch + towards, 0.0, 1.0)
        else:
            new = touch + (value - touch) * size
        moved.append(np.where(line.free & np.isfinite(new), new, touch))
        hidden = line.slope * value + line.cut
    return moved


def _sound(
    network: Network, region: Region, layers: list[_Hidden], rows: Float, touches: list[Float]
) -> Bounds:
    """Return the bounds that the chosen lines give, with all rounding charged."""
    met, first, constant = _substitute(network, layers, rows, touches)
    sizes = [region.magnitude]
    for layer in layers:
        ends = image(layer.activation, layer.before.lower, layer.before.upper)
        sizes.append(Bounds(*ends).magnitude)
    bias = np.abs(network.biases[-1])
    error = bias * gamma(64) + last_layer_error(network, len(network.weights) - 1, sizes[-1])
    charge = np.concatenate([np.broadcast_to(error, (len(first), len(bias)))] * 2, axis=1)
    largest = [_largest(line) for line in met]
    for number in range(len(layers) - 1, -1, -1):
        magnitudes = np.abs(met[number].coefficients)
        charge = charge + charge_of(magnitudes, network, number, largest, sizes)
    upper = concrete(first, constant, region, 1.0) + charge
    half = len(bias)
    return Bounds(-upper[:, half:], upper[:, :half])


def _largest(line: _Line) -> Lines:
    """Return the largest slope and intercept of any row, as lines of shape (B, n)."""
    slope, cut = np.abs(line.slope).max(axis=1), np.abs(line.cut).max(axis=1)
    return Lines(slope, cut, slope, cut)


def _times(rows: Float, weight: Float) -> Float:
    """Return ``rows @ weight`` for rows of shape (B, r, n), as one product."""
    return (rows.reshape(-1, rows.shape[-1]) @ weight).reshape(*rows.shape[:-1], weight.shape[1])
