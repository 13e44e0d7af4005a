"""How the errors of a runtime pass through the layers of a network.

An error is known entry by entry and by its l2 norm: the box serves where few entries matter, the
ball where many small ones meet. Each layer passes on what it was given, times its slopes, and adds
what it makes by itself: the rounding of its sums (``summation``) and the error of its activation.
Telescoped, the error of the outputs is the sum over the layers of what each made by itself, times
what the later layers can make of it. Proofs: docs/explanation/mathematics.md, 6.2 to 6.4.

Shape legend: B regions, n widths, m outputs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from surefoot.activation import (
    Activation,
    AnyActivation,
    Clamp,
    LeakyRelu,
    Mixed,
    OneActivation,
    Product,
    RmsNorm,
    ScaledElu,
    by_part,
    is_elementwise,
    normalises,
    parts_of,
)
from surefoot.certify.bounds.arithmetics import (
    HALF_LARGEST,
    HALF_SPACING,
    LARGEST,
    SMALLEST,
    Arithmetic,
)
from surefoot.certify.bounds.partial_sums import additions_in_first_place
from surefoot.certify.bounds.products import product_errors
from surefoot.certify.bounds.region import UNDERFLOW, Bounds
from surefoot.certify.bounds.relaxation import image
from surefoot.certify.bounds.root_mean_square import Squares, rms_errors
from surefoot.certify.bounds.slopes import slope_range, slope_range_on
from surefoot.certify.bounds.summation import (
    AffineSum,
    Error,
    Sums,
    Values,
    flushed_to_zero,
    lengths,
    sum_error,
    sums_of,
)
from surefoot.certify.bounds.upward import Float, gamma, matmul_up, up, vector_norm_up
from surefoot.coupled_activation import halves
from surefoot.policy import Policy
from surefoot.runtime.arithmetic import UNIT_ROUNDOFF
from surefoot.unknown import Unknown

_MOST_ROUNDINGS = 0.01 / UNIT_ROUNDOFF
"""Most roundings of a term for which the analysis of a sum holds."""

_GROWING = (Activation.SILU, Activation.SOFTPLUS)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LayerStep:
    """What one layer does to errors.

    Attributes:
        own: Error that the layer makes by itself, behind its activation.
        total: Error of its output.
        values: Where its exact output lies.
        low: Least slope of its activation in each neuron's own input between any two values that
            occur, shape (B, n); minus the norm of the Jacobian for the neurons of a normalisation.
        high: Largest slope, or that norm.
    """

    own: Error
    total: Error
    values: Values
    low: Float
    high: Float


def through(
    affine: AffineSum,
    activation: AnyActivation,
    values: Values,
    error: Error,
    before: Bounds | None,
    arithmetic: Arithmetic,
) -> LayerStep | Unknown:
    """Propagate the errors of a layer's inputs through the layer.

    Args:
        affine: Affine part of the layer.
        activation: Activation of the layer.
        values: Where the exact inputs lie.
        error: How far the runtime's inputs may be from them.
        before: Bounds before the activation on each region; None for all numbers.
        arithmetic: Deployed arithmetic.
    """
    if affine.num_roundings > _MOST_ROUNDINGS:
        num_products = affine.weight.shape[1]
        return Unknown(f"a layer sums {num_products} products, too many for float32")
    seen = values.widened(error)
    sums = sums_of(affine, seen)
    reach = sums.terms if affine.rounding is None else up(sums.terms + affine.rounding.excess)
    if not (reach * max(1.0, _steepest(activation)) < LARGEST).all():
        return Unknown("a value may exceed the largest float32")
    made = _sum_error(affine, seen, sums, arithmetic, local=before is not None)
    if arithmetic.half:
        largest = [seen.magnitude.max(), np.abs(affine.weight).max(initial=0.0)]
        if max(*largest, up(reach + made.entries).max()) > HALF_LARGEST:
            return Unknown("a value may exceed 65504, the largest half-precision number")
    arrived = _arrived(affine, error, made)
    exact = Bounds(-sums.negative, sums.positive)
    if before is not None:
        exact = exact.meet(before)
    # Here lie the exact values, the runtime's, and those of a run that is exact from some layer on.
    met = Bounds(exact.lower - arrived.entries, exact.upper + arrived.entries)
    size = met.magnitude * (1 + 2.0**-50)
    local = before is not None
    if is_elementwise(activation):
        low, high = _slopes(activation, met, local=local)
        crossed, added = np.zeros_like(size), _activation_error(activation, size, arithmetic.tau)
        norm = np.maximum(np.abs(low), np.abs(high))
    else:
        if arithmetic.half:
            what = "squares of a normalisation" if normalises(activation) else "product of values"
            return Unknown(f"half precision holds the {what}, with no bound")
        with np.errstate(over="ignore", invalid="ignore"):
            low, high, norm, crossed, added = _coupled(
                activation,
                affine,
                exact,
                met,
                (arrived, made.entries, reach),
                arithmetic.tau,
                local=local,
            )
            is_held = np.isfinite(added).all() and (size**2 * size.shape[1] < LARGEST).all()
        if not is_held and normalises(activation):
            return Unknown("a mean square may be smaller than its rounding, or exceed float32")
        if not is_held:
            return Unknown("a product of two values may exceed the largest float32")
    steepest = np.maximum(np.abs(low), np.abs(high))
    return LayerStep(
        own=_sloped(made, steepest, norm, crossed, added),
        total=_sloped(arrived, steepest, norm, crossed, added),
        values=_behind(activation, exact, affine, values, local=local),
        low=low,
        high=high,
    )


def _steepest(activation: AnyActivation) -> float:
    """Return the largest slope of any function of single neurons."""
    return max(
        (slope_range(one).largest for one in parts_of(activation) if is_elementwise(one)),
        default=1.0,
    )


def _slopes(activation: AnyActivation, met: Bounds, *, local: bool) -> tuple[Float, Float]:
    """Return the least and the largest slope of each neuron, where values lie or anywhere."""
    if local:
        return slope_range_on(activation, met.lower, met.upper)
    whole = slope_range(activation)
    return np.full_like(met.lower, whole.low), np.full_like(met.lower, whole.high)


def _coupled(
    activation: AnyActivation,
    affine: AffineSum,
    exact: Bounds,
    met: Bounds,
    errors: tuple[Error, Float, Float],
    tau: float,
    *,
    local: bool,
) -> Float:
    """Return what an activation that is not elementwise makes of errors, shape (5, B, n).

    They are least and largest slopes, norms of the Jacobian (the largest of all neurons bounds that
    of the layer), errors that cross between neurons, and own errors.

    Args:
        activation: One with a normalisation or a product.
        affine: The layer before it.
        exact: Where its exact inputs lie.
        met: Where its exact inputs and the runtime's lie.
        errors: What arrives at the activation, what of it the sums have made, and their terms.
        tau: Error of the runtime's smooth activations.
        local: Whether slopes are taken where the inputs lie.
    """
    in_one_pass = affine.rounding is not None and affine.rounding.in_one_pass
    squares = exact.squares
    if squares is None:
        nothing = np.zeros_like(exact.lower)
        squares = Squares(nothing, nothing + np.inf)

    def of_one(function: OneActivation, *arrays: Float) -> Float:
        lower, upper, least, most, *parts = arrays
        arrived, made, terms = parts
        if isinstance(function, Product):
            return product_errors(lower, upper, arrived)
        if not isinstance(function, RmsNorm):
            low, high = _slopes(function, Bounds(lower, upper), local=local)
            size = np.maximum(np.abs(lower), np.abs(upper)) * (1 + 2.0**-50)
            norm, nothing = np.maximum(np.abs(low), np.abs(high)), np.zeros_like(low)
            return np.stack([low, high, norm, nothing, _activation_error(function, size, tau)])
        found = rms_errors(
            function,
            lower,
            upper,
            Squares(least, most),
            (arrived, made, terms),
            errors[0].length,
            in_one_pass=in_one_pass,
        )
        steepest = found.steepest
        return np.stack([-steepest, steepest, steepest, found.crossed, found.added])

    return by_part(
        of_one,
        activation,
        met.lower,
        met.upper,
        squares.least,
        squares.most,
        errors[0].entries,
        *errors[1:],
    )


def _arrived(affine: AffineSum, error: Error, made: Error) -> Error:
    """Return the error before an activation: that of the inputs, and that of the sums."""
    # Entry by entry |W| e, or the row's norm times |e|_2: the better of box and ball.
    box = matmul_up(error.entries, np.abs(affine.weight).T)
    ball = up(error.length[:, None] * affine.row_norms)
    entries = up(np.minimum(box, ball) + made.entries)
    brought = np.minimum(lengths(box), up(affine.norm * error.length))
    return Error(entries, np.minimum(up(brought + made.length), lengths(entries)))


def _sloped(error: Error, steepest: Float, norm: Float, crossed: Float, added: Float) -> Error:
    """Return an error behind an activation of these slopes that errs by ``added`` itself.

    ``crossed`` comes from the errors of other neurons: it is within ``norm``, that of the Jacobian.
    """
    entries = up(error.entries * steepest + crossed + added, 3)
    length = up(error.length * norm.max(axis=1) + lengths(added), 2)
    return Error(entries, np.minimum(length, lengths(entries)))


def _behind(
    activation: AnyActivation, exact: Bounds, affine: AffineSum, inputs: Values, *, local: bool
) -> Values:
    """Bound the exact values behind an activation.

    Args:
        activation: The activation.
        exact: Where its exact inputs lie.
        affine: The layer before it.
        inputs: Where the inputs of that layer lie.
        local: Whether the image itself is taken, or one that grows no faster than its intervals.
    """
    low, high = image(activation, exact.lower, exact.upper, exact.squares)
    if not is_elementwise(activation):
        return Values(low, high, lengths(np.maximum(np.abs(low), np.abs(high))))
    if not local:
        # SiLU(x) / x rises with x, that of every other image falls.
        low, high = np.minimum(low, 0.0), activation_range(activation, exact.upper)
    # |phi(y)| <= |phi(0)| + S |y|, and |y|_2 <= |W| |h|_2 + |b|_2.
    start = vector_norm_up(activation(np.zeros(len(affine.bias))))
    reach = up(affine.norm * inputs.length + vector_norm_up(affine.bias), 3)
    ball = up(slope_range(activation).largest * reach + start, 3)
    length = lengths(np.maximum(np.abs(low), np.abs(high)))
    return Values(low, high, np.minimum(ball, length))


def _sum_error(
    affine: AffineSum, seen: Values, sums: Sums, arithmetic: Arithmetic, *, local: bool
) -> Error:
    """Bound the rounding error of a layer's sums in an arithmetic, underflow included."""
    # The first place of a value grows by jumps; anywhere a bound may grow no faster than states.
    in_place = local and affine.rounding is None and not arithmetic.storage
    additions = additions_in_first_place(affine, seen, sums) if in_place else None
    made = sum_error(affine, sums, additions)
    # Both factors of a product are rounded before it, if they are stored in fewer bits.
    stored = 2 * arithmetic.storage + arithmetic.storage**2
    flushed = flushed_to_zero(affine, seen)
    if arithmetic.half:  # subnormal weights and inputs are rounded by half their distance
        weights = np.abs(affine.weight).sum(axis=1).max()
        inputs = seen.magnitude.sum(axis=1)
        flushed += HALF_SPACING * up(weights + inputs + 2, seen.low.shape[1] + 4)
    width = math.sqrt(len(affine.bias))
    entries = up(made.entries * (1 + stored) + stored * sums.terms + flushed[:, None], 6)
    length = up(made.length * (1 + stored) + stored * sums.terms_length + flushed * width, 6)
    if arithmetic.half:
        # The sum itself is rounded before the activation; what comes behind that is `stored`.
        storage = arithmetic.storage
        entries = up(entries + storage * up(sums.terms + entries) + HALF_SPACING, 3)
        length = up(length + storage * up(sums.terms_length + length) + HALF_SPACING * width, 3)
    return Error(entries, np.minimum(length, lengths(entries)))


def carried(
    affines: Sequence[AffineSum], owns: Sequence[Error], slopes: Sequence[tuple[Float, Float]]
) -> Float:
    """Return the sum of all layers' own errors, each amplified by the later layers.

    The layers behind one are W_L D ... D W with slopes D = M +- R: the matrix C with M for D, and a
    rest of at most E entry by entry, or a product of norms. The lesser counts, error by error.

    Args:
        affines: Affine layers, first to last.
        owns: Error of the state, then of each layer, behind its activation.
        slopes: Least and largest slope of the activation of each layer, shape (B, n).
    """
    total: Float = owns[-1].entries
    last = affines[-1].weight
    centre = np.broadcast_to(last, (len(total), *last.shape))
    rest = np.zeros_like(centre)
    below = np.ones(len(total))
    for number in range(len(affines) - 1, -1, -1):
        own = owns[number]
        reach = up(np.abs(centre) + rest)
        by_entries = up((reach @ own.entries[:, :, None])[..., 0], reach.shape[-1])
        by_norm = up(affines[-1].row_norms * (below * own.length)[:, None], 3) + UNDERFLOW
        total = up(total + np.minimum(by_entries, by_norm))
        if number > 0:
            affine, (low, high) = affines[number - 1], slopes[number - 1]
            middle = (low + high) / 2
            radius = up(np.maximum(high - middle, middle - low))
            scaled = np.abs(middle)[:, None, :] * np.abs(centre)
            # |J D - C M| <= |J - C| |M| + |J| R, and what float64 loses in C M W.
            lost = scaled * gamma(affine.weight.shape[0] + 4)
            grown = np.abs(middle)[:, None, :] * rest + radius[:, None, :] * reach
            rest = up(_times(up(grown + lost, 6), np.abs(affine.weight)), len(affine.weight))
            rest = rest + UNDERFLOW
            centre = _times(centre * middle[:, None, :], affine.weight)
            most = np.maximum(np.abs(low), np.abs(high)).max(axis=1)
            below = up(below * most * affine.norm, 3) + UNDERFLOW
    return total


def _times(rows: Float, weight: Float) -> Float:
    """Return ``rows @ weight`` for rows of shape (B, m, n), as one product."""
    product = rows.reshape(-1, rows.shape[-1]) @ weight
    return product.reshape(*rows.shape[:-1], weight.shape[1])


def _activation_error(activation: AnyActivation, inputs: Float, tau: float) -> Float:
    """Return the error of a runtime's elementwise activation itself for |x| <= ``inputs``."""
    match activation:
        case Mixed():
            return by_part(partial(_activation_error, tau=tau), activation, inputs)
        case Activation.IDENTITY | Activation.RELU | Clamp():
            return np.zeros_like(inputs)
        case LeakyRelu(alpha):
            return up(alpha * UNIT_ROUNDOFF * inputs + SMALLEST, 2)
        case ScaledElu():
            return up(activation.size * (tau * np.maximum(1.0, inputs) + 2 * SMALLEST), 3)
    growth = np.maximum(1.0, inputs) if activation in _GROWING else np.ones_like(inputs)
    return up(tau * growth + SMALLEST, 2)


def activation_range(activation: AnyActivation, inputs: Float) -> Float:
    """Return a bound of |phi(x)| for |x| <= ``inputs``."""
    match activation:
        case Mixed():
            return by_part(activation_range, activation, inputs)
        case RmsNorm():
            most = up(math.sqrt(inputs.shape[-1]), 2)
            return np.minimum(up(inputs / math.sqrt(activation.epsilon), 4), most)
        case Product():
            first, second = halves(inputs)
            return np.concatenate([up(first * second), second], axis=-1)
        case Activation.TANH:
            return np.minimum(inputs, 1.0)
        case Activation.SIGMOID:
            return np.ones_like(inputs)
        case Activation.SOFTPLUS:
            return up(inputs + math.log(2.0), 2)
        case ScaledElu():
            return up(inputs * activation.size)
        case Clamp():
            return np.maximum(np.abs(activation(-inputs)), np.abs(activation(inputs)))
        case _:
            return inputs


def carried_anywhere(policy: Policy, sources: Sequence[Float]) -> Float:
    """Return the sum of the errors of all layers, each amplified by the later layers.

    Args:
        policy: The network.
        sources: Error of the state, then of each layer (behind its activation), each of shape (n,).

    Returns:
        Shape (m,), at all states.
    """
    rows = [source[None] for source in sources]
    ranges = [slope_range(layer.activation) for layer in policy.layers]
    slopes = [
        (np.full_like(row, whole.low), np.full_like(row, whole.high))
        for row, whole in zip(rows[1:], ranges, strict=True)
    ]
    affines = [AffineSum.of(layer) for layer in policy.layers]
    return np.asarray(carried(affines, [Error(row, lengths(row)) for row in rows], slopes)[0])
