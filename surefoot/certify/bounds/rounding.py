"""How far the deployed arithmetic can be from real arithmetic: the term e_rt of every claim.

    |a_rt(z + d) - a_rt(z)| <= |a(z + d) - a(z)| + e_rt(z + d) + e_rt(z)

The bound holds for every order of summation, blocking, fused multiply-add and thread count, with
gradual underflow or flush to zero. It does not hold for an arithmetic that is coarser than the one
that is named: TF32 and float16 have their own names here, so they are either off or counted.

Each layer errs by itself (``summation``, and the error of an activation). Such an error is carried
to the outputs by the slopes of the layers behind it: anywhere by their slope ranges, on a region by
the slopes that the region reaches. Statements and proofs: docs/explanation/mathematics.md, 6.1 to
6.6.

A file whose weights were rounded to float16 or 8 bits, and are computed with in float32, holds the
rounded numbers: it is another policy, its arithmetic is ``float32``, and no weight errs.

Shape legend: B regions, d sensors, n widths, m outputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surefoot.activation import (
    Activation,
    Clamp,
    LeakyRelu,
    OneActivation,
    is_elementwise,
    parts_of,
)
from surefoot.ball import Norm
from surefoot.certify.bounds.arithmetics import (
    HALF_LARGEST,
    HALF_SPACING,
    LARGEST,
    SMALLEST,
    Arithmetic,
)
from surefoot.certify.bounds.crown import interval_layers
from surefoot.certify.bounds.layer_errors import carried, through
from surefoot.certify.bounds.region import Bounds, Region, network_of
from surefoot.certify.bounds.slopes import slope_range_on
from surefoot.certify.bounds.summation import AffineSum, Error, Values, lengths
from surefoot.certify.bounds.upward import Float, up
from surefoot.coupled_activation import Coupled
from surefoot.policy import CategoricalHead, GaussianHead, Normaliser, Policy, Squash
from surefoot.runtime.arithmetic import UNIT_ROUNDOFF
from surefoot.unknown import Unknown

_EXACT = (Activation.IDENTITY, Activation.RELU)
_CHUNK = 64
"""Regions handled together, as many as their bounds are computed for."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RoundingBound:
    """Bounds on |runtime - real arithmetic|, or on what rounding adds to a change.

    Attributes:
        network: Bound for the raw mean or the logits, shape (m,), or (B, m) for B regions.
        action: Bound for the action (or the logits), action units, of the same shape.
    """

    network: Float
    action: Float


def rounding_bound(
    policy: Policy, state_bound: Float, arithmetic: Arithmetic
) -> RoundingBound | Unknown:
    """Return e_rt over all states within ``state_bound``, or why there is none.

    Where the states grow by a factor, the bound grows by no more, unless neurons of a layer depend
    on each other: it is made of magnitudes and of slope ranges over all numbers.

    Args:
        policy: Its arrays are float32 by value.
        state_bound: Largest |z_k| (perturbed), normalised units, shape (obs_dim,).
        arithmetic: Deployed arithmetic.

    Reference:
        The standard model of rounding errors, layer by layer (Higham 2002, sections 3.1 and 4.2).
    """
    if not np.isfinite(state_bound).all():
        return Unknown(
            "the state is unbounded: the controller has no clip after its normaliser; say how "
            "large it gets with state_limit = ... under [assume] in a --config file"
        )
    box = np.asarray(up(state_bound * (1 + 4 * UNIT_ROUNDOFF), 2))[None]
    found = _bound(policy, affines_of(policy), Values(-box, box, lengths(box)), None, arithmetic)
    if isinstance(found, Unknown):
        return found
    return RoundingBound(network=found.network[0], action=found.action[0])


def rounding_around(
    policy: Policy,
    region: Region,
    before: Sequence[Bounds],
    arithmetic: Arithmetic,
    affines: Sequence[AffineSum] | None = None,
) -> RoundingBound | Unknown:
    """Return e_rt over each ball, or why there is none.

    Args:
        policy: Its arrays are float32 by value.
        region: Balls of states.
        before: Bounds of the network before each activation and of its output, on these balls.
        arithmetic: Deployed arithmetic.
        affines: Affine parts of the layers, whose norms cost most; None to take them anew.
    """
    affines, parts = affines or affines_of(policy), []
    for start in range(0, len(region.centres), _CHUNK):
        rows = slice(start, start + _CHUNK)
        ranges = [bounds.part(rows) for bounds in before]
        part = _bound(policy, affines, _values_of(region.part(rows)), ranges, arithmetic)
        if isinstance(part, Unknown):
            return part
        parts.append(part)
    return RoundingBound(
        network=np.concatenate([part.network for part in parts]),
        action=np.concatenate([part.action for part in parts]),
    )


def rounding_of_change(
    policy: Policy, region: Region, before: Sequence[Bounds], arithmetic: Arithmetic
) -> RoundingBound | Unknown:
    """Bound what rounding adds to the change of outputs from a ball's state to any point of it.

    Args:
        policy: Its arrays are float32 by value.
        region: Balls of states.
        before: Bounds of the network before each activation and of its output, on these balls.
        arithmetic: Deployed arithmetic.
    """
    affines = affines_of(policy)
    around = rounding_around(policy, region, before, arithmetic, affines)
    here = rounding_at(policy, region.origins, arithmetic, affines)
    if isinstance(around, Unknown) or isinstance(here, Unknown):
        return around if isinstance(around, Unknown) else here
    return RoundingBound(
        network=up(around.network + here.network), action=up(around.action + here.action)
    )


def rounding_at(
    policy: Policy,
    states: Float,
    arithmetic: Arithmetic,
    affines: Sequence[AffineSum] | None = None,
) -> RoundingBound | Unknown:
    """Return e_rt at single states, normalised units, shape (B, d), or why there is none."""
    points = Region(centres=states, radius=np.zeros(len(states)), norm=Norm.LINF)
    before = interval_layers(network_of(policy), points)
    return rounding_around(policy, points, before, arithmetic, affines)


def affines_of(policy: Policy) -> list[AffineSum]:
    """Return the affine part of each layer, with the norms that its sums are bounded by."""
    return [AffineSum.of(layer) for layer in policy.layers]


def _values_of(region: Region) -> Values:
    """Bound the states of each ball."""
    sides = region.radius[:, None] if region.sides is None else region.sides
    slack = region.magnitude * 2.0**-52
    length = lengths(region.magnitude)
    if region.norm is Norm.L2:
        length = np.minimum(length, up(lengths(region.centres) + region.radius))
    return Values(region.centres - sides - slack, region.centres + sides + slack, length)


def _bound(
    policy: Policy,
    affines: Sequence[AffineSum],
    states: Values,
    before: Sequence[Bounds] | None,
    arithmetic: Arithmetic,
) -> RoundingBound | Unknown:
    """Return e_rt for states within a box and a ball.

    Args:
        policy: The policy.
        affines: Affine parts of its layers.
        states: Where the exact states lie.
        before: Bounds before each activation and of the output on each region; None for bounds
            that hold anywhere and grow no faster than the states.
        arithmetic: Deployed arithmetic.
    """
    if arithmetic.storage and not policy.rounds_as_canonical:
        return Unknown(
            f"{arithmetic.name} rounds between the steps of this file, which are more than those "
            "of a canonical one: certify the policy that pipeline compress makes of it"
        )
    # A difference o - mean that overflows must still end beyond the clip once it is divided.
    widest = np.full(policy.obs_dim, states.magnitude.max())
    if not (policy.normaliser.reach(widest) < LARGEST).all():
        return Unknown("the normaliser may exceed the largest float32")
    entries = _normaliser_error(policy.normaliser, states.magnitude)
    error = Error(entries, lengths(entries))
    values, owns, slopes, start = states, [error], [], 0
    for number, (affine, layer) in enumerate(zip(affines, policy.layers, strict=True)):
        here = None if before is None else before[number]
        step = through(affine, layer.activation, values, error, here, arithmetic)
        if isinstance(step, Unknown):
            return step
        values, error = step.values, step.total
        owns.append(step.own)
        slopes.append((step.low, step.high))
        if not is_elementwise(layer.activation):
            # No slopes of single neurons carry errors through it: they are carried from here.
            start, owns[number + 1] = number + 1, step.total
    later = carried(affines[start:], owns[start:], slopes[start:])
    network = np.minimum(error.entries, later)
    seen = values.widened(Error(network, lengths(network)))
    action = _head_error(policy, network, seen, arithmetic, local=before is not None)
    size = _action_size(policy, seen.magnitude)
    if arithmetic.half and not (size <= HALF_LARGEST).all():
        return Unknown("an action may exceed 65504, the largest half-precision number")
    if not (size < LARGEST).all():
        return Unknown("an action may exceed the largest float32")
    return RoundingBound(network=network, action=action)


def _head_error(
    policy: Policy, network: Float, seen: Values, arithmetic: Arithmetic, *, local: bool
) -> Float:
    """Return the error of centre + half_range * squash(network output).

    Args:
        policy: The policy.
        network: Error of the network's output, shape (B, m).
        seen: Where exact and deployed outputs of the network lie.
        arithmetic: Deployed arithmetic.
        local: Whether the slope of the squash is taken where these lie.
    """
    head = policy.head
    if isinstance(head, CategoricalHead):
        return network
    half_range = head.half_range.astype(np.float64)
    centre = np.abs(head.centre.astype(np.float64))
    # Squash, product and sum are rounded once each; half precision rounds both constants as well.
    unit = UNIT_ROUNDOFF + arithmetic.storage * arithmetic.half
    flushed = SMALLEST + HALF_SPACING * arithmetic.half
    error, reach = network, seen.magnitude
    if local and head.squash is not Squash.IDENTITY:
        squash = Activation.TANH if head.squash is Squash.TANH else Clamp(-1.0, 1.0)
        error = up(error * slope_range_on(squash, seen.low, seen.high)[1])
    if head.squash is Squash.TANH:
        error = up(error + arithmetic.tau + unit + flushed)
    if head.squash is not Squash.IDENTITY:
        reach, error = np.minimum(reach, 1.0), np.minimum(error, 2.0 + 16 * unit + flushed)
    relative = 2 * head.num_roundings * unit
    rounding = relative * (half_range * (reach + error) + centre + head.excess)
    return up(half_range * error + rounding + 4 * flushed * (1 + half_range + reach + error), 10)


def deployed_range(policy: Policy, arithmetic: Arithmetic) -> Float | None:
    """Return the largest change of each action of the runtime over all inputs, shape (m,).

    Twice the half range, and what rounding adds: a clip ends at 1 exactly, a runtime's tanh within
    ``arithmetic.tau`` of 1 (that of ONNX Runtime reaches 1 + 2^-22); product and sum are monotone.

    Returns:
        Action units; None where no squash ends the actions.
    """
    head = policy.head
    if isinstance(head, CategoricalHead) or head.squash is Squash.IDENTITY:
        return None
    half_range = head.half_range.astype(np.float64)
    centre = np.abs(head.centre.astype(np.float64))
    reach = half_range
    if head.squash is Squash.TANH:
        reach = up(half_range * (1 + arithmetic.tau + 4 * UNIT_ROUNDOFF) + SMALLEST, 3)
    if arithmetic.half:
        reach = up(reach * (1 + 4 * arithmetic.storage) + HALF_SPACING, 3)
        return up(2 * reach + 8 * arithmetic.storage * (reach + centre) + 8 * HALF_SPACING, 6)
    # Nothing is rounded where nothing is added, unless a file of others takes other steps.
    added = 4 * head.num_roundings * UNIT_ROUNDOFF * (reach + centre + head.excess) + 4 * SMALLEST
    added = np.where((centre > 0) | (head.rounding is not None), added, 0.0)
    return np.asarray(2 * reach + up(added, 4))


def _action_size(policy: Policy, reach: Float) -> Float:
    """Return the largest number that the head may hold, a little enlarged."""
    head = policy.head
    if isinstance(head, CategoricalHead):
        return reach
    squashed = reach if head.squash is Squash.IDENTITY else np.minimum(reach, 1.0)
    half_range = np.abs(head.half_range.astype(np.float64))
    largest = half_range * squashed + np.abs(head.centre) + head.excess
    return np.maximum(half_range, largest * 1.01)


def smooth_activations(policy: Policy) -> bool:
    """Return True if bounds on the policy rest on an error that is measured and not proved."""
    squashed = isinstance(policy.head, GaussianHead) and policy.head.squash is Squash.TANH
    functions = {one for layer in policy.layers for one in parts_of(layer.activation)}
    return squashed or any(_is_smooth(function) for function in functions)


def _is_smooth(function: OneActivation) -> bool:
    return function not in _EXACT and not isinstance(function, (LeakyRelu, Clamp, Coupled))


def state_bound(policy: Policy, epsilon: float) -> Float:
    """Return the largest |z_k| of a state after the clip, perturbed by up to ``epsilon``."""
    return np.full(policy.obs_dim, float(up(policy.normaliser.clip + epsilon)))


def _normaliser_error(normaliser: Normaliser, inputs: Float) -> Float:
    """Subtraction and division round once each; the clip only shrinks differences."""
    flushed = SMALLEST * (2 + 1 / normaliser.scale.astype(np.float64))
    relative = normaliser.num_roundings * UNIT_ROUNDOFF
    return up(relative * (inputs + normaliser.excess) + flushed, 7)
