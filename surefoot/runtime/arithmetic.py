"""How far float32 arithmetic may take a controller from its policy in real arithmetic.

The bound ``e`` travels through the layers beside the range ``h`` of their inputs, elementwise:

    affine      e <- |W| e + g_n (|W| (h + e) + |b|) + n 2^-149      n = fan_in + 2
    activation  e <- slope * e + tau

with g_n = n u / (1 - n u) and u = 2^-24. It covers every order of summation, blocking, fused
multiply-add, batch size and number of threads, because n counts the most roundings that any of them
can apply to one term. Normaliser and action scale are layers of fan-in 1. It does not cover TF32,
bfloat16 or flush-to-zero; the runtimes of this package switch these off. Proofs:
docs/explanation/mathematics.md, 6.1 to 6.6.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from surefoot.activation import (
    Activation,
    AnyActivation,
    Array,
    Clamp,
    Elementwise,
    LeakyRelu,
    Mixed,
    Product,
    RmsNorm,
    ScaledElu,
    by_part,
)
from surefoot.coupled_activation import halves
from surefoot.errors import InputError
from surefoot.policy import GaussianHead, Layer, Policy, Squash

ARITHMETIC = "float32"
"""The arithmetic that the bound is about and that the backends have, as a certificate names it."""

UNIT_ROUNDOFF = 2.0**-24
TAU = 10 * UNIT_ROUNDOFF
"""Error allowed to a runtime's smooth activation: tanh, sigmoid and ELU absolutely, SiLU and
softplus times max(1, |x|), a scaled ELU times its size as well. Measured, not proved: on every
float32 of magnitude 2^-40 to 32 the worst of ONNX Runtime 1.31.1 and NumPy 2.4.6 (x86-64, AVX-512),
in units of 2^-24, is 5.5 for tanh, 3.0 for sigmoid and softplus, 3.5 for SiLU, 1.2 for ELU
(``benchmarks/activation_error.py``)."""


class Grade(StrEnum):
    """How exact tanh and sigmoid of the generated C are; what is cheaper errs more."""

    FULL = "full"
    FINE = "fine"
    COARSE = "coarse"


ARITHMETIC_TAU = {ARITHMETIC: TAU, "float32-fine": 2.0**-14, "float32-coarse": 2.0**-11}
"""Error allowed to smooth activations by the arithmetic that a certificate names. Every backend
errs by less than the first; generated C of a lower grade by less than that of its name: 0.92 and
0.82 times it at most, over every float32 (``benchmarks/activation_error.py``)."""

_SUBNORMAL = 2.0**-149
_OVERFLOW = 2.0**127
_NORM_ROUNDINGS = 16  # of a mean square, its root and a product, beside those of n squares
_ONE_PASS = 3.25  # of E[x^2] once, of E[x]^2 twice
_SLOPE = {Activation.SIGMOID: 0.25, Activation.SILU: 1.0998395}  # the others have slope 1
_GROWING = (Activation.SILU, Activation.SOFTPLUS)


@dataclass(frozen=True, slots=True)
class _Range:
    """What a runtime may hold at one place of the network, each of shape (..., width).

    Attributes:
        lower: Least value in real arithmetic.
        upper: Greatest value in real arithmetic.
        error: Bound on the distance of the runtime's value from it.
        terms: Sum of the magnitudes of what was summed.
    """

    lower: Array
    upper: Array
    error: Array
    terms: Array

    @property
    def magnitude(self) -> Array:
        return np.maximum(np.abs(self.lower), np.abs(self.upper))

    @property
    def stacked(self) -> Array:
        """Its fields in their order, shape (4, ..., width)."""
        return np.stack([self.lower, self.upper, self.error, self.terms])


def runtime_error(policy: Policy, *, state_limit: float, tau: float = TAU) -> Array:
    """Bound |float32 runtime - real arithmetic| of each output, on all states of a box.

    The bound holds for observations (whose exact state lies in the box) and for states that enter
    after the normaliser alike. It is infinite where float32 could overflow.

    Args:
        policy: Its arrays are float32 by value, as in a canonical file.
        state_limit: Largest magnitude of a state, normalised units; clip + epsilon covers every
            state that an adversary may make of one that went through the clip.
        tau: Error of the smooth activations of the form that runs; the default covers every form.

    Returns:
        Shape (num_outputs,), action units (logits for a categorical head), rounded up.

    Raises:
        InputError: If ``state_limit`` is not positive and finite.

    Reference:
        Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., sections 3.1 and 4.2.
    """
    if not (state_limit > 0 and np.isfinite(state_limit)):
        raise InputError(f"state_limit must be positive and finite, got {state_limit}")
    box = np.full(policy.obs_dim, float(state_limit))
    return _error_of(policy, -box, box, tau)


def runtime_error_at(policy: Policy, states: Array, *, tau: float = TAU) -> Array:
    """Bound |float32 runtime - real arithmetic| of each output at single states.

    A layer that normalises over its neurons errs little where they are large and much where they
    are all near zero, as every box around zero holds.

    Args:
        policy: Its arrays are float32 by value.
        states: Exact states, float64, normalised units, shape (n, obs_dim).
        tau: As :func:`runtime_error` takes it.

    Returns:
        Shape (n, num_outputs), action units (logits for a categorical head), rounded up; infinite
        where float32 could overflow.
    """
    return _error_of(policy, states, states, tau)


def _error_of(policy: Policy, low: Array, high: Array, tau: float) -> Array:
    # An infinite intermediate only ever makes the bound infinite or NaN; both end as infinity.
    with np.errstate(over="ignore", invalid="ignore"):
        here = _normalised(policy, low, high)
        for layer in policy.layers:
            in_one_pass = layer.rounding is not None and layer.rounding.in_one_pass
            here = _activated(layer.activation, _affine(layer, here), tau, in_one_pass=in_one_pass)
        if isinstance(policy.head, GaussianHead):
            here = _scaled(policy.head, here, tau)
    error = here.error * (1 + _evaluation_error(policy))
    return np.where(np.isfinite(error), error, np.inf)


def _normalised(policy: Policy, low: Array, high: Array) -> _Range:
    """Start at the state: (o - mean) / scale is at most three roundings from exact, clip exact.

    Beyond the clip by more than the rounding both values are the limit itself, so that the largest
    error is made at the limit, whatever the observation.
    """
    box = np.maximum(np.abs(low), np.abs(high))
    # A difference that overflows must still end beyond the clip once it is divided.
    far = policy.normaliser.reach(box)
    n = policy.normaliser.num_roundings
    error = _gamma(n, UNIT_ROUNDOFF) * (box + policy.normaliser.excess) + n * _SUBNORMAL
    return _Range(low, high, np.where(far < _OVERFLOW, error, np.inf), box)


def _affine(layer: Layer, x: _Range) -> _Range:
    weight, bias = layer.weight.astype(np.float64), layer.bias.astype(np.float64)
    rows, n = np.abs(weight), layer.num_roundings
    centre, radius = (x.lower + x.upper) / 2, (x.upper - x.lower) / 2
    middle, reach = centre @ weight.T + bias, radius @ rows.T
    # Outward by what float64 may lose in these products themselves.
    reach = reach + _gamma(weight.shape[1] + 4, 2.0**-53) * (x.magnitude @ rows.T + np.abs(bias))
    # No partial sum exceeds it.
    largest = (x.magnitude + x.error) @ rows.T + np.abs(bias) + layer.excess
    error = x.error @ rows.T + _gamma(n, UNIT_ROUNDOFF) * largest + n * _SUBNORMAL
    error = np.where(largest < _OVERFLOW, error, np.inf)
    return _Range(middle - reach, middle + reach, error, largest)


def _activated(
    activation: AnyActivation, x: _Range, tau: float, *, in_one_pass: bool = False
) -> _Range:
    if isinstance(activation, Mixed):
        found = by_part(
            lambda function, *part: (
                _activated(function, _Range(*part), tau, in_one_pass=in_one_pass).stacked
            ),
            activation,
            *x.stacked,
        )
        return _Range(*found)
    if isinstance(activation, RmsNorm):
        return _rms_normalised(activation, x, in_one_pass=in_one_pass)
    if isinstance(activation, Product):
        return _multiplied(x)
    own = _own_error(activation, x.magnitude + x.error, tau)
    lower, upper = activation(x.lower), activation(x.upper)
    if activation is Activation.SILU:  # it falls to -0.27846454... at -1.27846454..., then rises
        turns = (x.lower <= -1.2784645) & (x.upper >= -1.2784646)
        ends = np.minimum(lower, upper), np.maximum(lower, upper)
        lower, upper = np.where(turns, -0.27846455, ends[0]), ends[1]
    # Outward by far more than a float64 library errs in these functions.
    lower, upper = lower - 2.0**-40 * np.abs(lower), upper + 2.0**-40 * np.abs(upper)
    return _Range(lower, upper, _steepest(activation) * x.error + own, x.terms)


def _rms_normalised(norm: RmsNorm, x: _Range, *, in_one_pass: bool) -> _Range:
    """Go through x / sqrt(mean(x^2) + epsilon), whose Jacobian is at most the inverse root.

    Proof: docs/explanation/mathematics.md, 6.7.
    """
    count = x.lower.shape[-1]
    near = np.where((x.lower <= 0) & (x.upper >= 0), 0, np.minimum(abs(x.lower), abs(x.upper)))
    root = np.sqrt(np.square(near).mean(axis=-1, keepdims=True)) * (1 - 2.0**-40)
    length = np.sqrt(np.square(x.error).mean(axis=-1, keepdims=True)) * (1 + 2.0**-40)
    square = np.square(np.maximum(root - length, 0))
    steepest = 1 / np.sqrt(square + norm.epsilon) * (1 + 2.0**-40)
    reach = np.minimum((x.magnitude + x.error) * steepest, np.sqrt(count))
    relative = np.asarray(_gamma(count + _NORM_ROUNDINGS, UNIT_ROUNDOFF))
    if in_one_pass:
        # x itself is at most n / (n - 1) of the terms that centre it.
        terms = np.square(x.terms).sum(axis=-1, keepdims=True) * count / max(count - 1, 1) ** 2
        lost = _ONE_PASS * relative * terms / (square + norm.epsilon)
        relative = relative + np.where(lost <= 0.5, lost, np.inf)
    own = relative * (reach + steepest * x.error) + _SUBNORMAL
    error = steepest * (x.error + reach * length) + own
    error = np.where(np.square(x.terms) * count < _OVERFLOW, error, np.inf)
    # In real arithmetic it is x times an inverse root between those of the box.
    far = np.square(x.magnitude).mean(axis=-1, keepdims=True)
    roots = [1 / np.sqrt(each + norm.epsilon) for each in (far, np.square(root))]
    lower = np.minimum(*(x.lower * each for each in roots)) - 2.0**-40 * reach
    upper = np.maximum(*(x.upper * each for each in roots)) + 2.0**-40 * reach
    return _Range(lower, upper, error, reach)


def _multiplied(x: _Range) -> _Range:
    """Go through (a, b) to (a b, b): a' b' - a b = b (a' - a) + a' (b' - b), and one rounding.

    Proof: docs/explanation/mathematics.md, 6.8.
    """
    a, b = (_Range(*part) for part in zip(*map(halves, x.stacked), strict=True))
    corners = [end * other for end in (a.lower, a.upper) for other in (b.lower, b.upper)]
    lower, upper = np.minimum.reduce(corners), np.maximum.reduce(corners)
    reach = (a.magnitude + a.error) * (b.magnitude + b.error)
    carried = b.magnitude * a.error + (a.magnitude + a.error) * b.error
    error = carried + _gamma(1, UNIT_ROUNDOFF) * reach + _SUBNORMAL
    error = np.where(reach < _OVERFLOW, error, np.inf)
    first = lower - 2.0**-40 * np.abs(lower), upper + 2.0**-40 * np.abs(upper), error, reach
    pairs = zip(first, (b.lower, b.upper, b.error, b.terms), strict=True)
    return _Range(*(np.concatenate(pair, axis=-1) for pair in pairs))


def _own_error(activation: Elementwise, reach: Array, tau: float) -> Array | float:
    """Return the error of an activation itself on inputs of at most ``reach``."""
    match activation:
        case Activation.IDENTITY | Activation.RELU | Clamp():
            return 0.0
        case LeakyRelu(alpha):
            return alpha * UNIT_ROUNDOFF * reach + _SUBNORMAL
        case ScaledElu():
            own = activation.size * tau * np.maximum(1, reach)
            return np.where(activation.size * reach < _OVERFLOW, own, np.inf)
        case _:
            return tau * np.maximum(1, reach) if activation in _GROWING else tau


def _steepest(activation: Elementwise) -> float:
    """Return the largest slope."""
    if isinstance(activation, ScaledElu):
        return activation.size
    return _SLOPE.get(activation, 1.0) if isinstance(activation, Activation) else 1.0


def _scaled(head: GaussianHead, x: _Range, tau: float) -> _Range:
    if head.squash is Squash.TANH:
        x = _activated(Activation.TANH, x, tau)
    elif head.squash is Squash.CLIP:
        x = _Range(np.clip(x.lower, -1, 1), np.clip(x.upper, -1, 1), x.error, x.terms)
    # Fan-in 1 for each actuator: as a vector, not as a matrix of fan-in act_dim.
    half_range, centre = head.half_range.astype(np.float64), head.centre.astype(np.float64)
    largest = half_range * (x.magnitude + x.error) + np.abs(centre) + head.excess
    n = head.num_roundings
    error = half_range * x.error + _gamma(n, UNIT_ROUNDOFF) * largest + n * _SUBNORMAL
    return _Range(-largest, largest, np.where(largest < _OVERFLOW, error, np.inf), largest)


def _gamma(n: int, unit: float) -> float:
    """Return the largest relative error of ``n`` roundings in a row."""
    return n * unit / (1 - n * unit) if n * unit < 1 else np.inf


def _evaluation_error(policy: Policy) -> float:
    """Return the relative error of ``e`` itself: sums of non-negative terms, in float64."""
    depth = sum(layer.weight.shape[1] + 32 for layer in policy.layers) + 64
    return 2 * _gamma(depth, 2.0**-53)
