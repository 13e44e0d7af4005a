"""How far the deployed arithmetic can be from real arithmetic: the term e_rt of every claim.

    |a_rt(z + d) - a_rt(z)| <= |a(z + d) - a(z)| + 2 e_rt

The bound holds for every order of summation, blocking, fused multiply-add and thread count, with
gradual underflow or flush to zero. It does not hold for an arithmetic that is coarser than the one
that is named: TF32 and float16 have their own names here, so they are either off or counted.

A file whose weights were rounded to float16 or 8 bits, and are computed with in float32, holds the
rounded numbers: it is another policy, its arithmetic is ``float32``, and no weight errs.
"""

import math
from dataclasses import dataclass

import numpy as np

from surefoot.activation import (
    Activation,
    AnyActivation,
    Clamp,
    LeakyRelu,
    Mixed,
    OneActivation,
    ScaledElu,
    by_part,
    parts_of,
)
from surefoot.certify.bounds.chain import network_chain
from surefoot.certify.bounds.slopes import slope_range
from surefoot.certify.bounds.upward import Float, matmul_up, up, vector_norm_up
from surefoot.policy import CategoricalHead, GaussianHead, Normaliser, Policy, Squash
from surefoot.runtime.arithmetic import TAU, UNIT_ROUNDOFF
from surefoot.unknown import Unknown

_SMALLEST = 2.0**-126
"""Smallest normal float32: what flush to zero loses."""

_LARGEST = 2.0**127
"""Half the end of float32: ReLU and softplus in C add two numbers of the size of their input."""

_HALF_LARGEST, _HALF_SPACING = 65504.0, 2.0**-24
"""Largest half-precision number, and the distance of its subnormal numbers."""

_EXACT = (Activation.IDENTITY, Activation.RELU)
_GROWING = (Activation.SILU, Activation.SOFTPLUS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Arithmetic:
    """A model of the arithmetic in which a controller runs.

    Attributes:
        name: As certificates and runtimes call it.
        meaning: What it covers, in words.
        storage: Relative rounding of weights and layer inputs before they are multiplied; 0 for
            plain float32. Sums and all else are float32.
        half: Whether everything behind the state is kept in half precision between two operations.
    """

    name: str
    meaning: str
    storage: float = 0.0
    half: bool = False


_ANY_ORDER = "any order of summation, FMA allowed, float32 underflow gradual or flushed to zero"
ARITHMETICS = {
    "float32": Arithmetic(
        name="float32", meaning=f"float32 without TF32 or bfloat16 products, {_ANY_ORDER}"
    ),
    "tf32": Arithmetic(
        name="tf32", storage=2.0**-11, meaning=f"float32 with TF32 products, {_ANY_ORDER}"
    ),
    "float16": Arithmetic(
        name="float16",
        storage=2.0**-11,
        half=True,
        meaning="float16 weights, biases and values from the state on, float32 normaliser, sums "
        f"and activations, {_ANY_ORDER}, float16 underflow gradual",
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RoundingBound:
    """Bounds on |runtime - real arithmetic|, per output.

    Attributes:
        network: Of the raw mean or the logits, shape (num_outputs,).
        action: Of the action (or the logits), action units, shape (num_outputs,).
    """

    network: Float
    action: Float


def rounding_bound(
    policy: Policy, state_bound: Float, arithmetic: Arithmetic
) -> RoundingBound | Unknown:
    """Return e_rt over all states within ``state_bound``, or why there is none.

    Args:
        policy: Its arrays are float32 by value.
        state_bound: Largest |z_k| (perturbed), normalised units, shape (obs_dim,).
        arithmetic: What runs.

    Reference:
        The standard model of rounding errors, layer by layer (Higham 2002, section 3.1); each
        layer's own error is carried to the output by the better of two Lipschitz bounds.
    """
    if not np.isfinite(state_bound).all():
        return Unknown(
            "the state is unbounded: the controller has no clip after its normaliser; say how "
            "large it gets with state_limit = ... under [assume] in a --config file"
        )
    if arithmetic.storage and not policy.rounds_as_canonical:
        return Unknown(
            f"{arithmetic.name} rounds between the steps of this file, which are more than those "
            "of a canonical one: certify the policy that pipeline compress makes of it"
        )
    # A difference o - mean that overflows must still end beyond the clip once it is divided.
    widest = np.full_like(state_bound, state_bound.max())
    if not (policy.normaliser.reach(widest) < _LARGEST).all():
        return Unknown("the normaliser may exceed the largest float32")
    inputs = up(state_bound * (1 + 4 * UNIT_ROUNDOFF), 2)
    error = _normaliser_error(policy.normaliser, inputs)
    sources = [error]
    for layer in policy.layers:
        weight = np.abs(layer.weight.astype(np.float64))
        bias = np.abs(layer.bias.astype(np.float64))
        num_roundings = layer.num_roundings
        if num_roundings * UNIT_ROUNDOFF > 0.01:
            num_terms = layer.weight.shape[1]
            return Unknown(f"a layer sums {num_terms} products, too many for float32")
        relative = 1.02 * num_roundings * UNIT_ROUNDOFF
        seen = up(inputs + error)
        reach = up(matmul_up(weight, seen) + bias + layer.excess, 2)
        slope = slope_range(layer.activation).largest
        if not (reach * max(1.0, slope) < _LARGEST).all():
            return Unknown("a value may exceed the largest float32")
        stored = 2 * arithmetic.storage + arithmetic.storage**2
        flushed = num_roundings * _SMALLEST * (2 + max(float(seen.max()), float(weight.max())))
        if arithmetic.half:  # subnormal weights and inputs are rounded by half their distance
            spread = up(weight.sum(axis=1).max() + seen.sum() + 2, len(seen) + 4)
            flushed += _HALF_SPACING * float(spread)
        local = up(reach * (relative * (1 + stored) + stored) + flushed, 6)
        if arithmetic.half:
            if max(seen.max(), weight.max(initial=0.0), up(reach + local).max()) > _HALF_LARGEST:
                return Unknown("a value may exceed 65504, the largest half-precision number")
            # The sum itself is rounded before the activation; what comes behind that is `stored`.
            local = up(local + arithmetic.storage * up(reach + local) + _HALF_SPACING, 3)
        own_range = up(matmul_up(weight, inputs) + bias)
        carried = up(matmul_up(weight, error) + local, 2)
        phi_error = _activation_error(layer.activation, up(own_range + carried))
        sources.append(up(local * slope + phi_error, 4))
        error = up(carried * slope + phi_error, 4)
        inputs = activation_range(layer.activation, own_range)
    network = np.minimum(error, carried_to_output(policy, sources))
    action = _head_error(policy, network, inputs, arithmetic)
    size = _action_size(policy, up(inputs + network))
    if arithmetic.half and not (size <= _HALF_LARGEST).all():
        return Unknown("an action may exceed 65504, the largest half-precision number")
    if not (size < _LARGEST).all():
        return Unknown("an action may exceed the largest float32")
    return RoundingBound(network=network, action=action)


def smooth_activations(policy: Policy) -> bool:
    """Return whether a bound on the policy rests on ``TAU``, which is measured and not proved."""
    squashed = isinstance(policy.head, GaussianHead) and policy.head.squash is Squash.TANH
    functions = {one for layer in policy.layers for one in parts_of(layer.activation)}
    return squashed or any(_is_smooth(function) for function in functions)


def _is_smooth(function: OneActivation) -> bool:
    return function not in _EXACT and not isinstance(function, (LeakyRelu, Clamp))


def state_bound(policy: Policy, epsilon: float) -> Float:
    """Return the largest |z_k| of a state after the clip, perturbed by up to ``epsilon``."""
    return np.full(policy.obs_dim, float(up(policy.normaliser.clip + epsilon)))


def _normaliser_error(normaliser: Normaliser, inputs: Float) -> Float:
    """Subtraction and division round once each; the clip only shrinks differences."""
    flushed = _SMALLEST * (2 + 1 / normaliser.scale.astype(np.float64))
    relative = normaliser.num_roundings * UNIT_ROUNDOFF
    return up(relative * (inputs + normaliser.excess) + flushed, 7)


def _activation_error(activation: AnyActivation, inputs: Float) -> Float:
    """Return the error of a runtime's activation itself for |x| <= ``inputs``."""
    match activation:
        case Mixed():
            return by_part(_activation_error, activation, inputs)
        case Activation.IDENTITY | Activation.RELU | Clamp():
            return np.zeros_like(inputs)
        case LeakyRelu(alpha):
            return up(alpha * UNIT_ROUNDOFF * inputs + _SMALLEST, 2)
        case ScaledElu():
            return up(activation.size * (TAU * np.maximum(1.0, inputs) + 2 * _SMALLEST), 3)
    growth = np.maximum(1.0, inputs) if activation in _GROWING else np.ones_like(inputs)
    return up(TAU * growth + _SMALLEST, 2)


def activation_range(activation: AnyActivation, inputs: Float) -> Float:
    """Return a bound of |phi(x)| for |x| <= ``inputs``."""
    match activation:
        case Mixed():
            return by_part(activation_range, activation, inputs)
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


def carried_to_output(policy: Policy, sources: list[Float]) -> Float:
    """Return the sum of all layers' own errors, each times what the later layers can make of it.

    Args:
        policy: The network.
        sources: Error of the state, then of each layer (behind its activation), elementwise.
    """
    chain = network_chain(policy)
    total = sources[-1]
    absolute = chain.matrices[-1].magnitude
    rows, below = chain.matrices[-1].row_norms(), 1.0
    for number in range(len(chain.matrices) - 1, -1, -1):
        source = sources[number]
        spectral = up(rows * (below * vector_norm_up(source)), 3)
        total = up(total + np.minimum(spectral, matmul_up(absolute, source)))
        if number > 0:
            slope = chain.slopes[number - 1].largest
            matrix = chain.matrices[number - 1]
            absolute = matmul_up(absolute, up(matrix.magnitude * slope))
            below = float(up(below * slope * matrix.norm(), 2))
    return total


def _head_error(policy: Policy, network: Float, reach: Float, arithmetic: Arithmetic) -> Float:
    """Return the error of centre + half_range * squash(network output)."""
    head = policy.head
    if isinstance(head, CategoricalHead):
        return network
    half_range = head.half_range.astype(np.float64)
    centre = np.abs(head.centre.astype(np.float64))
    # Squash, product and sum are rounded once each; half precision rounds both constants as well.
    unit = UNIT_ROUNDOFF + arithmetic.storage * arithmetic.half
    flushed = _SMALLEST + _HALF_SPACING * arithmetic.half
    error = network
    if head.squash is Squash.TANH:
        error = up(network + TAU + unit + flushed)
    if head.squash is not Squash.IDENTITY:
        reach, error = np.minimum(reach, 1.0), np.minimum(error, 2.0 + 16 * unit + flushed)
    relative = 2 * head.num_roundings * unit
    rounding = relative * (half_range * (reach + error) + centre + head.excess)
    return up(half_range * error + rounding + 4 * flushed * (1 + half_range + reach + error), 10)


def _action_size(policy: Policy, reach: Float) -> Float:
    """Return the largest number that the head may hold, a little enlarged."""
    head = policy.head
    if isinstance(head, CategoricalHead):
        return reach
    squashed = reach if head.squash is Squash.IDENTITY else np.minimum(reach, 1.0)
    half_range = np.abs(head.half_range.astype(np.float64))
    largest = half_range * squashed + np.abs(head.centre) + head.excess
    return np.maximum(half_range, largest * 1.01)
