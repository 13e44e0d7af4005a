"""Lines above and below an activation on an interval: the relaxation behind CROWN.

A slope is a chosen float and exact by definition; the intercept is pushed outwards by more than
the rounding of what it is computed from. Three facts carry all cases, for any slope k:

* if phi is convex, phi - k x is largest at an end; if concave, it is smallest at an end;
* if phi is concave, the tangent at any t lies above; if convex, below;
* if phi is convex up to 0, then concave, and k <= phi'(high), phi - k x is largest at an end.

Their proofs: docs/explanation/mathematics.md, 5.2. In the words of CROWN the fields of
:class:`Lines` are alpha_L, alpha_L beta_L, alpha_U and alpha_U beta_U.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surefoot.activation import (
    Activation,
    AnyActivation,
    Clamp,
    LeakyRelu,
    Mixed,
    Product,
    RmsNorm,
    ScaledElu,
    by_part,
)
from surefoot.certify.bounds.coupling import Coupling
from surefoot.certify.bounds.piecewise_linear import kinked_image, kinked_lines
from surefoot.certify.bounds.products import product_bands, product_image
from surefoot.certify.bounds.root_mean_square import Squares, rms_bands, rms_image, squares_on
from surefoot.certify.bounds.slopes import SILU_EXTREME, derivative, slope_range_on
from surefoot.certify.bounds.upward import UNIT, Float

_BISECTIONS = 12


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """slope_low x + cut_low <= phi(x) <= slope_high x + cut_high on the interval, elementwise.

    Where neurons depend on each other, ``coupling`` says what both sides have besides.

    Attributes:
        slope_low: Slope of the line below.
        cut_low: Its intercept.
        slope_high: Slope of the line above.
        cut_high: Its intercept.
        coupling: What each neuron takes of the others; None for nothing.
    """

    slope_low: Float
    cut_low: Float
    slope_high: Float
    cut_high: Float
    coupling: Coupling | None = None

    @property
    def as_tuple(self) -> tuple[Float, Float, Float, Float]:
        """Its fields in their order."""
        return self.slope_low, self.cut_low, self.slope_high, self.cut_high


def relax(
    activation: AnyActivation, low: Float, high: Float, squares: Squares | None = None
) -> Lines:
    """Return lines that enclose an activation on [low, high].

    Args:
        activation: The activation to enclose.
        low: Finite, any shape.
        high: Upper ends of the intervals, at least ``low``, same shape.
        squares: What more is known about the neurons of a normalisation.

    Reference:
        Zhang et al., NeurIPS 2018 (arXiv 1811.00866), with tangents chosen for the least area.
    """
    whole = (slice(0, low.shape[-1]),)
    match activation:
        case Mixed():
            return _side_by_side(activation, low, high, squares)
        case RmsNorm():
            slope, cut_low, cut_high, *coupled = rms_bands(
                activation, low, high, squares or squares_on(low, high)
            )
            return Lines(slope, cut_low, slope, cut_high, _coupling(coupled, groups=whole))
        case Product():
            slope, cut_low, cut_high, partner = product_bands(low, high)
            zero = np.zeros_like(low)
            coupling = _coupling((zero, partner, zero, zero), products=whole)
            return Lines(slope, cut_low, slope, cut_high, coupling)
        case Activation.IDENTITY:
            one, zero = np.ones_like(low), np.zeros_like(low)
            return Lines(one, zero, one, zero)
        case Activation.RELU:
            return _relu(low, high)
        case Activation.TANH | Activation.SIGMOID:
            slope_high, cut_high = _s_shape_above(activation, low, high)
            slope_low, mirrored = _s_shape_above(activation, -high, -low)
            # Symmetry about (0, phi(0)): phi(x) = 2 phi(0) - phi(-x).
            twice = 0.0 if activation is Activation.TANH else 1.0
            return Lines(slope_low, twice - mirrored - 4 * UNIT, slope_high, cut_high)
        case Activation.ELU | Activation.SOFTPLUS:
            return _convex(activation, low, high)
        case Activation.SILU:
            return _silu(low, high)
        case LeakyRelu() | ScaledElu() | Clamp():
            return Lines(*kinked_lines(activation, low, high))


def _with_squares(
    activation: Mixed, low: Float, high: Float, squares: Squares | None
) -> tuple[Float, Float, Float, Float]:
    """Return the box, and bounds of the sums of squares of each part."""
    if squares is None:
        found = by_part(_stacked_squares, activation, low, high)
        return low, high, found[0], found[1]
    return low, high, squares.least, squares.most


def _stacked_squares(_: AnyActivation, low: Float, high: Float) -> Float:
    squares = squares_on(low, high)
    return np.stack([squares.least, squares.most])


def _side_by_side(activation: Mixed, low: Float, high: Float, squares: Squares | None) -> Lines:
    """Return the lines of several functions."""
    found = by_part(_stacked_lines, activation, *_with_squares(activation, low, high, squares))
    groups, products = (activation.places_of(kind) for kind in (RmsNorm, Product))
    coupling = _coupling([*found[4:]], groups, products) if groups or products else None
    return Lines(found[0], found[1], found[2], found[3], coupling)


def _coupling(
    fields: Sequence[Float], groups: tuple[slice, ...] = (), products: tuple[slice, ...] = ()
) -> Coupling:
    along, gradient, low, high = fields
    return Coupling(
        groups=groups, products=products, along=along, gradient=gradient, low=low, high=high
    )


def _stacked_lines(
    activation: AnyActivation, low: Float, high: Float, least: Float, most: Float
) -> Float:
    lines = relax(activation, low, high, Squares(least, most))
    each = lines.coupling
    nothing = np.zeros_like(low)
    coupled = [nothing] * 4 if each is None else [each.along, each.gradient, each.low, each.high]
    return np.stack([*lines.as_tuple, *coupled])


def _stacked_image(
    activation: AnyActivation, low: Float, high: Float, least: Float, most: Float
) -> Float:
    return np.stack(image(activation, low, high, Squares(least, most)))


def image(
    activation: AnyActivation, low: Float, high: Float, squares: Squares | None = None
) -> tuple[Float, Float]:
    """Return bounds of an activation on [low, high]; see :func:`relax` for ``squares``."""
    if isinstance(activation, Mixed):
        arrays = _with_squares(activation, low, high, squares)
        found = by_part(_stacked_image, activation, *arrays)
        return found[0], found[1]
    if isinstance(activation, RmsNorm):
        return rms_image(activation, low, high, squares or squares_on(low, high))
    if isinstance(activation, Product):
        return product_image(low, high)
    if activation in (Activation.IDENTITY, Activation.RELU):
        return activation(low), activation(high)
    if not isinstance(activation, Activation):
        return kinked_image(activation, low, high)
    slack = _slack(low, high)
    if activation is Activation.SILU:
        # SiLU falls to its least value -0.2784645... at -1.2784645... and rises after it.
        inside = (low <= -1.2784645427) & (high >= -1.2784645428)
        ends = np.minimum(activation(low), activation(high))
        return np.where(inside, -0.2784645427610738, ends) - slack, np.maximum(
            activation(low), activation(high)
        ) + slack
    return activation(low) - slack, activation(high) + slack


def _slack(low: Float, high: Float) -> Float:
    """Return more than the rounding of phi(x) - k x and of a slope times the interval."""
    return 64 * UNIT * (1.0 + np.maximum(np.abs(low), np.abs(high)))


def _chord(activation: Activation, low: Float, high: Float) -> tuple[Float, Float, Float]:
    """Return the chord's slope and phi at both ends; any float is a valid slope."""
    at_low, at_high = activation(low), activation(high)
    width = high - low
    safe = np.where(width > 0, width, 1.0)
    # The quotient of a tiny width is noise: sound, but far from the function.
    slope = np.where(width > 1e-12, (at_high - at_low) / safe, derivative(activation, low))
    return slope, at_low, at_high


def _relu(low: Float, high: Float) -> Lines:
    # The triangle of Ehlers: above the chord, below one of the two pieces (CROWN-Ada by area).
    crossing = (low < 0) & (high > 0)
    width = np.where(crossing, high - low, 1.0)
    slope = np.where(crossing, np.minimum(high / width, 1.0), (low >= 0) * 1.0)
    # The rounded chord misses an end by a little; the intercept is the larger that both ends need.
    cut = np.maximum(-slope * low, (1.0 - slope) * high)
    cut_high = np.where(crossing, cut * (1 + 8 * UNIT) + 1e-300, 0.0)
    slope_low = np.where(crossing, (high > -low) * 1.0, slope)
    return Lines(slope_low, np.zeros_like(low), slope, cut_high)


def _convex(activation: Activation, low: Float, high: Float) -> Lines:
    """Return the chord above and the tangent of the middle below."""
    slope_high, at_low, at_high = _chord(activation, low, high)
    slack = _slack(low, high)
    # Above a convex function: both ends. Below: the tangent in the middle has the least area.
    cut_high = np.maximum(at_low - slope_high * low, at_high - slope_high * high) + slack
    middle = low + (high - low) / 2
    slope_low = derivative(activation, middle)
    return Lines(slope_low, activation(middle) - slope_low * middle - slack, slope_high, cut_high)


def _silu(low: Float, high: Float) -> Lines:
    """Use that SiLU is convex between its two extreme slopes and concave outside of them."""
    band = _chord_band(Activation.SILU, low, high)
    slope, at_low, at_high = _chord(Activation.SILU, low, high)
    slack = _slack(low, high)
    middle = low + (high - low) / 2
    tangent = derivative(Activation.SILU, middle)
    at_middle = Activation.SILU(middle) - tangent * middle
    ends = at_low - slope * low, at_high - slope * high
    # Strictly inside one piece; on the border of two the band, which needs no convexity, serves.
    convex = (low > -SILU_EXTREME + 1e-9) & (high < SILU_EXTREME - 1e-9)
    concave = (low > SILU_EXTREME + 1e-9) | (high < -SILU_EXTREME - 1e-9)
    return Lines(
        np.where(convex, tangent, np.where(concave, slope, band.slope_low)),
        np.where(convex, at_middle, np.where(concave, np.minimum(*ends), band.cut_low)) - slack,
        np.where(concave, tangent, np.where(convex, slope, band.slope_high)),
        np.where(concave, at_middle, np.where(convex, np.maximum(*ends), band.cut_high)) + slack,
    )


def _s_shape_above(activation: Activation, low: Float, high: Float) -> tuple[Float, Float]:
    """Return slope and intercept of a line above a function that is convex, then concave."""
    slope, at_low, at_high = _chord(activation, low, high)
    at_end = derivative(activation, high)
    concave = low >= 0
    # In the mixed case a chord that is steeper than the end's tangent cuts through the function.
    bent = ~concave & (high > 0) & (slope > at_end)
    middle = low + (high - low) / 2
    touch = np.where(concave, middle, 0.0)
    if bent.any():
        touch[bent] = _tangent_through(activation, low[bent], high[bent], at_low[bent])
    tangent = concave | bent
    # The third fact for the flatter slope of chord and end, the second for tangents.
    slope = np.where(tangent, derivative(activation, touch), np.minimum(slope, at_end))
    # Convex only: the chord, whatever the slope at the end.
    slope = np.where(~concave & (high <= 0), _chord(activation, low, high)[0], slope)
    cut = np.maximum(at_low - slope * low, at_high - slope * high)
    cut = np.where(tangent, np.maximum(cut, activation(touch) - slope * touch), cut)
    return slope, cut + _slack(low, high)


def _tangent_through(activation: Activation, low: Float, high: Float, at_low: Float) -> Float:
    """Find the point whose tangent in the concave part passes (low, phi(low)), or the middle.

    Only tightness depends on the precision: a tangent at any point is sound with its intercept.
    """
    left = np.maximum(low + (high - low) / 2, 0.0)
    right = high.copy()
    for _ in range(_BISECTIONS):
        point = (left + right) / 2
        missing = derivative(activation, point) * (point - low) > activation(point) - at_low
        left, right = np.where(missing, point, left), np.where(missing, right, point)
    return left


def _chord_band(activation: Activation, low: Float, high: Float) -> Lines:
    """Enclose by the chord and how far slopes in [a, b] can leave it: (s-a)(b-s)/(b-a) width."""
    slope, at_low, at_high = _chord(activation, low, high)
    # Off the ends by t the function is within min((b - s) t, (s - a)(width - t)) of the chord.
    least, largest = slope_range_on(activation, low, high)
    spread = np.maximum(largest - least, 1e-300)
    band = np.maximum((slope - least) * (largest - slope) / spread, 0.0)
    # At most (b - a) / 4, reached by a chord in the middle; a rounded chord may lie outside [a, b].
    band = np.where((slope < least) | (slope > largest), spread / 4, np.minimum(band, spread / 4))
    slack = _slack(low, high) + band * (high - low) * (1 + 1e-12)
    cuts = at_low - slope * low, at_high - slope * high
    return Lines(slope, np.minimum(*cuts) - slack, slope, np.maximum(*cuts) + slack)
