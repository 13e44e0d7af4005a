"""Bounds of a network on a small ball around each of many states: IBP and CROWN, in batches.

Everything is float64 and widened by its own rounding: a coefficient matrix that was computed counts
as exact, and what it may be wrong by, times the largest input, is charged to the constant.

In the words of the paper (arXiv 1811.00866, Theorem 3.2): ``slopes_up`` and ``slopes_low`` are its
matrices Lambda and Omega; its lines alpha (y + beta) have here the slope alpha and the intercept
alpha beta; ``concrete`` is its Corollary 3.3. Proofs: docs/explanation/mathematics.md, 5.1 to 5.4.

Shape legend: B states, d sensors, n and m widths, r rows of a target.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from surefoot.activation import Mixed, RmsNorm, normalises
from surefoot.certify.bounds.planes import Planes
from surefoot.certify.bounds.region import UNDERFLOW, Bounds, Network, Region
from surefoot.certify.bounds.relaxation import Lines, image, relax
from surefoot.certify.bounds.root_mean_square import Squares, square_lines, squares_on
from surefoot.certify.bounds.second_order_bounds import second_order_bounds
from surefoot.certify.bounds.upward import Float, gamma, matmul_up, up

_CHUNK = 64
"""States handled together at the most."""

_COEFFICIENTS = 2**18
"""Coefficients of one layer that are handled together: 2 MB, a second-level cache."""

_MOST_THREADS = 4

_Found = TypeVar("_Found")


def interval_bounds(network: Network, region: Region) -> Bounds:
    """Return bounds of the outputs by interval arithmetic alone (IBP), shape (B, m)."""
    return interval_layers(network, region)[-1]


def interval_layers(network: Network, region: Region) -> list[Bounds]:
    """Return IBP bounds before every activation, and of the outputs last, each of shape (B, n)."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = [honest(_first_layer(network, region))]
        for number in range(1, len(network.weights)):
            found.append(honest(_interval_layer(network, number, found[-1])))
    return found


def crown_bounds(network: Network, region: Region) -> Bounds:
    """Return bounds of the outputs by CROWN, never looser than IBP; shape (B, m)."""
    return layer_bounds(network, region)[-1]


def layer_bounds(network: Network, region: Region, *, second_order: bool = False) -> list[Bounds]:
    """Return CROWN bounds before every activation, and of the outputs last, each of shape (B, n).

    Args:
        network: The network.
        region: States and sizes of the perturbation.
        second_order: Bound the second layer by second-order expansions as well.

    Reference:
        Zhang et al., NeurIPS 2018 (arXiv 1811.00866).
    """

    def work(part: Region) -> list[Bounds]:
        return bounds_of_chunk(network, part, second_order=second_order)

    return in_chunks(network, work, region)


def bounds_and_planes(network: Network, region: Region) -> tuple[Bounds, Planes]:
    """Return CROWN bounds of the outputs, and the planes that its upper bounds come from.

    Args:
        network: The network.
        region: Boxes of states.
    """

    def work(part: Region) -> tuple[Bounds, Planes]:
        found, planes = _chunk_and_planes(network, part, second_order=False)
        return found[-1], planes

    bounds, planes = zip(*_by_chunk(network, work, region), strict=True)
    return Bounds.joined(bounds), Planes.joined(planes)


def in_chunks(
    network: Network, work: Callable[[Region], list[Bounds]], region: Region
) -> list[Bounds]:
    """Apply ``work`` to a few states at a time, on threads, and join what comes out."""
    found = _by_chunk(network, work, region)
    return [Bounds.joined(same_layer) for same_layer in zip(*found, strict=True)]


def _by_chunk(network: Network, work: Callable[[Region], _Found], region: Region) -> list[_Found]:
    """Apply ``work`` to a few states at a time, on threads (NumPy releases the GIL)."""
    count = len(region.centres)
    size = _chunk(network)
    parts = [region.part(slice(start, start + size)) for start in range(0, count, size)]
    if len(parts) == 1:
        return [work(parts[0])]
    with ThreadPoolExecutor(min(len(parts), _num_threads())) as threads:
        return list(threads.map(work, parts))


def _chunk(network: Network) -> int:
    """Return the number of states handled together."""
    if not network.is_elementwise:
        # A coupling needs the coefficients of the first layer for every state, not for all at once.
        return _CHUNK // 8
    # The second layer is bounded without an array of coefficients (`_fused`).
    rows = max((len(weight) for weight in network.weights[2:]), default=1)
    widest = max(weight.shape[1] for weight in network.weights[1:]) if rows > 1 else 1
    return int(np.clip(_COEFFICIENTS // (rows * widest), 1, _CHUNK))


def _num_threads() -> int:
    """Return the number of chunks handled at once: one if matrix products already use all cores."""
    names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
    told = next((os.environ[name] for name in names if name in os.environ), "")
    return min(os.cpu_count() or 1, _MOST_THREADS) if told == "1" else 1


def bounds_of_chunk(
    network: Network, region: Region, *, second_order: bool = False
) -> list[Bounds]:
    """Compute ``layer_bounds`` for a few states on the calling thread."""
    return _chunk_and_planes(network, region, second_order=second_order)[0]


def _chunk_and_planes(
    network: Network, region: Region, *, second_order: bool
) -> tuple[list[Bounds], Planes]:
    """Return the bounds of a few states, and the planes above the outputs."""
    # Overflow ends as infinite bounds, which prove nothing and need no warning.
    with np.errstate(over="ignore", invalid="ignore"):
        found = [honest(_first_layer(network, region))]
        shape = len(region.centres), *network.weights[0].shape
        slopes, crown = np.broadcast_to(network.weights[0], shape), found[0]
        lines: list[Lines] = []
        sizes = [region.magnitude]
        for number in range(1, len(network.weights)):
            activation = network.activations[number - 1]
            if normalises(activation):
                found[-1] = _with_squares(network, found[-1], lines, sizes, region)
            before = found[-1]
            ends = before.lower, before.upper, before.squares
            # Lines need the bounds before their activation: layer by layer, from the state on.
            lines.append(relax(activation, *ends))
            sizes.append(Bounds(*image(activation, *ends)).magnitude)
            crown, slopes = _backward(network, number, lines, sizes, region)
            # Neither is the tighter one everywhere; both hold, so that their intersection does.
            best = honest(crown).meet(honest(_interval_layer(network, number, before)))
            if number == 1 and second_order:
                expanded = second_order_bounds(network, region, before)
                best = best if expanded is None else best.meet(honest(expanded))
            found.append(best)
    return found, Planes(slopes, honest(crown).upper)


def _with_squares(
    network: Network, before: Bounds, lines: list[Lines], sizes: list[Float], region: Region
) -> Bounds:
    """Return bounds with those of the sums of squares of each normalisation.

    CROWN for one more layer: lines around the squares, and rows of ones over the neurons of each.

    Args:
        network: The network.
        before: Bounds before its activation ``len(sizes)``.
        lines: Lines of the activations before that.
        sizes: Bounds of the inputs of the layers up to there.
        region: States and sizes of the perturbation.
    """
    number, box = len(sizes), squares_on(before.lower, before.upper)
    activation, width = network.activations[number - 1], before.lower.shape[1]
    neurons = [slice(0, width)]
    if isinstance(activation, Mixed):
        neurons = [*activation.places_of(RmsNorm)]
    rows = np.zeros((len(neurons), width))
    least, most = np.zeros_like(box.least), np.full_like(box.most, np.inf)
    for row, place in zip(rows, neurons, strict=True):
        row[place] = 1.0
        own = squares_on(before.lower[:, place], before.upper[:, place])
        least[:, place], most[:, place] = own.least, own.most
    sums = Network(
        weights=(*network.weights[:number], rows),
        biases=(*network.biases[:number], np.zeros(len(rows))),
        activations=network.activations[:number],
    )
    around = Lines(*square_lines(before.lower, before.upper))
    found = honest(_backward(sums, number, [*lines, around], sizes, region)[0])
    for part, place in enumerate(neurons):
        least[:, place] = np.maximum(least[:, place], found.lower[:, part, None])
        most[:, place] = np.minimum(most[:, place], found.upper[:, part, None])
    return Bounds(before.lower, before.upper, Squares(least, most))


def _first_layer(network: Network, region: Region) -> Bounds:
    weight, bias = network.weights[0], network.biases[0]
    middle = region.centres @ weight.T + bias
    # Exact but for rounding: a linear function over a ball is its middle and a dual norm.
    terms = np.abs(region.centres) @ np.abs(weight).T + np.abs(bias)
    slack = up(region.spread(weight) + terms * gamma(weight.shape[1] + 4), 4) + UNDERFLOW
    if len(network.weights) == 1:
        slack = up(slack + last_layer_error(network, 0, region.magnitude))
    return Bounds(middle - slack, middle + slack)


def _interval_layer(network: Network, number: int, before: Bounds) -> Bounds:
    """Return interval bounds of layer ``number`` from bounds before the activation below it."""
    weight, bias = network.weights[number], network.biases[number]
    low, high = image(network.activations[number - 1], before.lower, before.upper, before.squares)
    centre = low + (high - low) / 2
    radius = up(np.maximum(high - centre, centre - low))
    middle = centre @ weight.T + bias
    rows = np.abs(weight).T
    # W h lies in W c +- |W| r; the middle itself is computed with the error of an inner product.
    rounding = (np.abs(centre) @ rows + np.abs(bias)) * gamma(weight.shape[1] + 4)
    size = np.maximum(np.abs(low), np.abs(high))
    slack = up(radius @ rows + rounding + last_layer_error(network, number, size), 4 + len(rows))
    return Bounds(middle - slack - UNDERFLOW, middle + slack + UNDERFLOW)


def last_layer_error(network: Network, number: int, size: Float) -> Float | float:
    """Bound the error of an inexact last layer for inputs of at most ``size``."""
    if network.last_error is None or number < len(network.weights) - 1:
        return 0.0
    return matmul_up(size, network.last_error[:, :-1].T) + network.last_error[:, -1]


def _backward(
    network: Network, number: int, lines: list[Lines], sizes: list[Float], region: Region
) -> tuple[Bounds, Float]:
    """Substitute lines from layer ``number`` back to the state; ``sizes`` bound layer inputs.

    Returns:
        The bounds, and the slopes of the planes above, shape (B, r, d).
    """
    weight, bias = network.weights[number], network.biases[number]
    # Charge and freeze: what is computed from here on counts as exact coefficients.
    charge = charge_of(
        np.abs(weight)[None], network, number - 1, lines[number - 1], sizes[number - 1]
    )
    charge = charge + np.abs(bias) * gamma(64) + last_layer_error(network, number, sizes[-1])
    below = lines[number - 1]
    # An upper bound takes the upper line where the coefficient is positive, else the lower one.
    positive, negative = np.maximum(weight, 0.0), np.minimum(weight, 0.0)
    constant_up = below.cut_high @ positive.T + below.cut_low @ negative.T + bias
    constant_low = below.cut_low @ positive.T + below.cut_high @ negative.T + bias
    if number == 1 and below.coupling is None:
        slopes_up, slopes_low, shift_up, shift_low = _fused(network, weight, below)
        constant_up, constant_low = constant_up + shift_up, constant_low + shift_low
    else:
        rows = weight[None]
        slopes_up, slopes_low, shift_up, shift_low = _through(rows, rows, below)
        constant_up, constant_low = constant_up + shift_up, constant_low + shift_low
        for layer in range(number - 1, -1, -1):
            # y = W h + b: the bias goes to the constant, the weights into the coefficients of h.
            shift = network.biases[layer]
            constant_up = constant_up + slopes_up @ shift
            constant_low = constant_low + slopes_low @ shift
            is_same = slopes_low is slopes_up  # as long as lines above and below are parallel
            slopes_up = times(slopes_up, network.weights[layer])
            slopes_low = slopes_up if is_same else times(slopes_low, network.weights[layer])
            if layer == 0:
                break
            below = lines[layer - 1]
            # One charge serves both directions, so that it takes the larger coefficients.
            size_up, size_low = np.abs(slopes_up), np.abs(slopes_low)
            cuts = below.cut_high, below.cut_low
            constant_up = constant_up + _constants(slopes_up, size_up, *cuts)
            constant_low = constant_low + _constants(slopes_low, size_low, *cuts[::-1])
            largest = np.maximum(size_up, size_low, out=size_up)
            charge = charge + charge_of(largest, network, layer - 1, below, sizes[layer - 1])
            slopes_up, slopes_low, shift_up, shift_low = _through(slopes_up, slopes_low, below)
            constant_up, constant_low = constant_up + shift_up, constant_low + shift_low
    upper = concrete(slopes_up, constant_up, region, 1.0)
    lower = concrete(slopes_low, constant_low, region, -1.0)
    return Bounds(lower - charge, upper + charge), slopes_up


def charge_of(rows: Float, network: Network, layer: int, below: Lines, size: Float) -> Float:
    """Bound the rounding error of one substitution through ``layer``, shape (B, r).

    |A| ( |slopes| (|W| |input| + |b|) + |cuts| ) times the roundings of a whole substitution.
    """
    # Absolute values throughout: where coefficients cancel, their rounding errors do not.
    slope = np.maximum(np.abs(below.slope_high), np.abs(below.slope_low))
    cut = np.maximum(np.abs(below.cut_high), np.abs(below.cut_low))
    weight = np.abs(network.weights[layer])
    sums = size @ weight.T + np.abs(network.biases[layer])
    reach = slope * sums + cut
    if below.coupling is not None:
        reach = reach + below.coupling.reach(sums)
    total = (rows @ reach[..., None])[..., 0]
    # No term meets more roundings: n of the sum over neurons, m of that over inputs, each with its
    # products; the factor covers what is computed in parts, such as positive and negative ones.
    num_roundings = 4 * (weight.shape[0] + weight.shape[1] + 16)
    return up(total * gamma(num_roundings), num_roundings) + UNDERFLOW


def times(rows: Float, weight: Float) -> Float:
    """Return ``rows @ weight`` for rows of shape (B, r, n), as one product.

    Layers that scale or centre are a diagonal and one number everywhere else, for which a sum does.
    """
    parts = _diagonal_and_rest(weight)
    if parts is not None:
        diagonal, rest = parts
        return np.asarray(rows * diagonal + rest * rows.sum(axis=-1, keepdims=True))
    return (rows.reshape(-1, rows.shape[-1]) @ weight).reshape(*rows.shape[:-1], weight.shape[1])


def _diagonal_and_rest(weight: Float) -> tuple[Float, float] | None:
    """Return d and c with weight = diag(d) + c, or None where there are none.

    c is at most the entries on the diagonal, so that the charge of a product counts for this sum.
    """
    if weight.shape[0] != weight.shape[1] or len(weight) < 2:
        return None
    rest, entries = float(weight[0, 1]), weight.diagonal()
    others = np.count_nonzero(weight != rest) - np.count_nonzero(entries != rest)
    if others or (np.abs(entries) < abs(rest)).any():
        return None
    return entries - rest, rest


def _constants(rows: Float, size: Float, positive_cut: Float, negative_cut: Float) -> Float:
    """Return the sums of rows times the cuts of their signs, shape (B, r); ``size`` is |rows|."""
    middle, half = _middle_and_half(positive_cut, negative_cut)
    return np.asarray((rows @ middle[..., None] + size @ half[..., None])[..., 0])


def _middle_and_half(positive: Float, negative: Float) -> tuple[Float, Float]:
    """Return m and h with a m + |a| h = a positive where a > 0, and a negative where a < 0.

    Such sums take a tenth of the time of a choice between two arrays.
    """
    return (positive + negative) / 2, (positive - negative) / 2


def _sloped(rows: Float, size: Float, positive: Float, negative: Float) -> Float:
    """Return rows times the slopes of their signs, shape (B, r, n); ``size`` is |rows|."""
    middle, half = _middle_and_half(positive, negative)
    found = size * half[:, None, :]
    found += rows * middle[:, None, :]
    return found


def _through(rows_up: Float, rows_low: Float, below: Lines) -> tuple[Float, Float, Float, Float]:
    """Return coefficients before an activation from those behind it, and added constants.

    The coefficients have shape (B, r, n), the constants (B, r); they come of couplings alone.
    """
    is_same = rows_low is rows_up
    if below.slope_high is below.slope_low:
        slope = below.slope_high[:, None, :]
        before_up = rows_up * slope
        before_low = before_up if is_same else rows_low * slope
    else:
        # The choice between lambda and omega, entry by entry.
        size_up = np.abs(rows_up)
        size_low = size_up if is_same else np.abs(rows_low)
        before_up = _sloped(rows_up, size_up, below.slope_high, below.slope_low)
        before_low = _sloped(rows_low, size_low, below.slope_low, below.slope_high)
    if below.coupling is None:
        nothing = np.zeros(before_up.shape[:2])
        return before_up, before_low, nothing, nothing
    is_same = before_low is before_up
    added_up, (shift_low, shift_up) = below.coupling.through(rows_up)
    before_up = before_up + added_up
    if is_same:
        return before_up, before_up, shift_up, shift_low
    added_low, (shift_low, _) = below.coupling.through(rows_low)
    return before_up, before_low + added_low, shift_up, shift_low


def _fused(network: Network, weight: Float, below: Lines) -> tuple[Float, Float, Float, Float]:
    """Return coefficients of a layer behind the first one, without a (B, r, n) array.

    positive(W) diag(high) + negative(W) diag(low) = W diag(mean) + |W| diag(half difference), so
    that one product with the scaled first layer serves all states at once.
    """
    # The bias is one more column, so that its products are those of the weights.
    first = np.column_stack([network.weights[0], network.biases[0]])
    mean, half = _middle_and_half(below.slope_high, below.slope_low)
    num_states, columns = len(mean), first.shape[1]
    shape = (weight.shape[1], num_states * columns)
    middle = weight @ (mean.T[:, :, None] * first[:, None, :]).reshape(shape)
    spread = np.abs(weight) @ (half.T[:, :, None] * first[:, None, :]).reshape(shape)
    both = (weight.shape[0], num_states, columns)
    rows_up = (middle + spread).reshape(both).transpose(1, 0, 2)
    rows_low = (middle - spread).reshape(both).transpose(1, 0, 2)
    return rows_up[..., :-1], rows_low[..., :-1], rows_up[..., -1], rows_low[..., -1]


def concrete(rows: Float, constant: Float, region: Region, sign: float) -> Float:
    """Return the largest (sign 1) or smallest (sign -1) value of linear functions, shape (B, r)."""
    # max over the ball of A z + c = A z_0 + epsilon |A|_dual + c.
    middle = (rows @ region.centres[..., None])[..., 0] + constant
    largest = np.abs(region.centres).max(axis=1, keepdims=True)
    terms = np.abs(rows).sum(axis=-1) * largest + np.abs(constant)
    slack = up(region.spread(rows) + terms * gamma(2 * rows.shape[-1] + 8), 6) + UNDERFLOW
    return middle + sign * slack


def honest(bounds: Bounds) -> Bounds:
    """Return bounds in which no number is replaced by infinity."""
    return Bounds(
        np.where(np.isnan(bounds.lower), -np.inf, bounds.lower),
        np.where(np.isnan(bounds.upper), np.inf, bounds.upper),
    )
