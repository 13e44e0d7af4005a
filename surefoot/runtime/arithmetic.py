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

import numpy as np

from surefoot.activation import (
    Activation,
    AnyActivation,
    Array,
    Clamp,
    LeakyRelu,
    Mixed,
    OneActivation,
    ScaledElu,
    by_part,
)
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

_SUBNORMAL = 2.0**-149
_OVERFLOW = 2.0**127
_SLOPE = {Activation.SIGMOID: 0.25, Activation.SILU: 1.0998395}  # the others have slope 1
_GROWING = (Activation.SILU, Activation.SOFTPLUS)


@dataclass(frozen=True, slots=True)
class _Range:
    """What a runtime may hold at one place of the network, each of shape (width,).

    Attributes:
        lower: Least value in real arithmetic.
        upper: Greatest value in real arithmetic.
        error: Bound on the distance of the runtime's value from it.
    """

    lower: Array
    upper: Array
    error: Array

    @property
    def magnitude(self) -> Array:
        return np.maximum(np.abs(self.lower), np.abs(self.upper))

    @property
    def stacked(self) -> Array:
        """Its fields in their order, shape (3, width)."""
        return np.stack([self.lower, self.upper, self.error])


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
    # An infinite intermediate only ever makes the bound infinite or NaN; both end as infinity.
    with np.errstate(over="ignore", invalid="ignore"):
        here = _normalised(policy, state_limit)
        for layer in policy.layers:
            here = _activated(layer.activation, _affine(layer, here), tau)
        if isinstance(policy.head, GaussianHead):
            here = _scaled(policy.head, here, tau)
    error = here.error * (1 + _evaluation_error(policy))
    return np.where(np.isfinite(error), error, np.inf)


def _normalised(policy: Policy, limit: float) -> _Range:
    """Start at the state: (o - mean) / scale is at most three roundings from exact, clip exact.

    Beyond the clip by more than the rounding both values are the limit itself, so that the largest
    error is made at the limit, whatever the observation.
    """
    box = np.full(policy.obs_dim, float(limit))
    # A difference that overflows must still end beyond the clip once it is divided.
    far = policy.normaliser.reach(box)
    n = policy.normaliser.num_roundings
    error = _gamma(n, UNIT_ROUNDOFF) * (box + policy.normaliser.excess) + n * _SUBNORMAL
    return _Range(-box, box, np.where(far < _OVERFLOW, error, np.inf))


def _affine(layer: Layer, x: _Range) -> _Range:
    weight, bias = layer.weight.astype(np.float64), layer.bias.astype(np.float64)
    rows, n = np.abs(weight), layer.num_roundings
    centre, radius = (x.lower + x.upper) / 2, (x.upper - x.lower) / 2
    middle, reach = weight @ centre + bias, rows @ radius
    # Outward by what float64 may lose in these products themselves.
    reach = reach + _gamma(weight.shape[1] + 4, 2.0**-53) * (rows @ x.magnitude + np.abs(bias))
    # No partial sum exceeds it.
    largest = rows @ (x.magnitude + x.error) + np.abs(bias) + layer.excess
    error = rows @ x.error + _gamma(n, UNIT_ROUNDOFF) * largest + n * _SUBNORMAL
    return _Range(middle - reach, middle + reach, np.where(largest < _OVERFLOW, error, np.inf))


def _activated(activation: AnyActivation, x: _Range, tau: float) -> _Range:
    if isinstance(activation, Mixed):
        found = by_part(
            lambda function, *part: _activated(function, _Range(*part), tau).stacked,
            activation,
            x.lower,
            x.upper,
            x.error,
        )
        return _Range(*found)
    own = _own_error(activation, x.magnitude + x.error, tau)
    lower, upper = activation(x.lower), activation(x.upper)
    if activation is Activation.SILU:  # not monotone: its least value is -0.27846454...
        lower, upper = np.full_like(lower, -0.27846455), np.maximum(x.upper, 0)
    # Outward by far more than a float64 library errs in these functions.
    lower, upper = lower - 2.0**-40 * np.abs(lower), upper + 2.0**-40 * np.abs(upper)
    return _Range(lower, upper, _steepest(activation) * x.error + own)


def _own_error(activation: OneActivation, reach: Array, tau: float) -> Array | float:
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


def _steepest(activation: OneActivation) -> float:
    """Return the largest slope."""
    if isinstance(activation, ScaledElu):
        return activation.size
    return _SLOPE.get(activation, 1.0) if isinstance(activation, Activation) else 1.0


def _scaled(head: GaussianHead, x: _Range, tau: float) -> _Range:
    if head.squash is Squash.TANH:
        x = _activated(Activation.TANH, x, tau)
    elif head.squash is Squash.CLIP:
        x = _Range(np.clip(x.lower, -1, 1), np.clip(x.upper, -1, 1), x.error)
    # Fan-in 1 for each actuator: as a vector, not as a matrix of fan-in act_dim.
    half_range, centre = head.half_range.astype(np.float64), head.centre.astype(np.float64)
    largest = half_range * (x.magnitude + x.error) + np.abs(centre) + head.excess
    n = head.num_roundings
    error = half_range * x.error + _gamma(n, UNIT_ROUNDOFF) * largest + n * _SUBNORMAL
    return _Range(-largest, largest, np.where(largest < _OVERFLOW, error, np.inf))


def _gamma(n: int, unit: float) -> float:
    """Return the largest relative error of ``n`` roundings in a row."""
    return n * unit / (1 - n * unit) if n * unit < 1 else np.inf


def _evaluation_error(policy: Policy) -> float:
    """Return the relative error of ``e`` itself: sums of non-negative terms, in float64."""
    depth = sum(layer.weight.shape[1] + 32 for layer in policy.layers) + 64
    return 2 * _gamma(depth, 2.0**-53)
