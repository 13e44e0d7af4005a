"""How far a compressed policy can be from the dense one, without running over all states.

With hidden values h of one network and the norms of the *other* one, telescoping layer by layer,

    |g - g'| <= sum_k (Lipschitz constant of the other network behind layer k) |dW_k h_{k-1} + db_k|

Norms and hidden values of the same network would be wrong: pruning can raise the spectral norm.
Entry by entry the same sum may also stop at what an activation can differ by at all, such as 2 for
tanh, and keep products of matrices together; around single states both networks are relaxed
together as one, so that what they share cancels.
"""

from collections.abc import Iterable

import numpy as np
from scipy.linalg import block_diag

from surefoot.activation import AnyActivation, Mixed
from surefoot.ball import Norm
from surefoot.certify.bounds.arithmetics import Arithmetic
from surefoot.certify.bounds.crown import crown_bounds
from surefoot.certify.bounds.layer_errors import activation_range, carried_anywhere
from surefoot.certify.bounds.local_bounds import action_change, local_region, values_at
from surefoot.certify.bounds.region import Network, network_of
from surefoot.certify.bounds.relaxation import image
from surefoot.certify.bounds.rounding import RoundingBound, rounding_at, rounding_bound
from surefoot.certify.bounds.slopes import slope_range
from surefoot.certify.bounds.upward import Float, IntervalMatrix, matmul_up, up
from surefoot.policy import Activation, Array, CategoricalHead, GaussianHead, Policy, Squash
from surefoot.unknown import Unknown


def comparable(policy: Policy, dense: Policy | None) -> Policy | Unknown:
    """Return the dense policy if the two can be compared layer by layer."""
    if dense is None:
        return Unknown("the dense policy is not given")
    shapes = [
        [(layer.weight.shape, layer.activation) for layer in either.layers]
        for either in (policy, dense)
    ]
    if shapes[0] != shapes[1]:
        return Unknown("the dense policy has other layers")
    if not policy.is_elementwise:
        return Unknown("layers in which neurons depend on each other are not compared")
    ours, theirs = policy.normaliser, dense.normaliser
    same = ours.clip == theirs.clip and np.array_equal(ours.mean, theirs.mean)
    if not same or not np.array_equal(ours.scale, theirs.scale):
        return Unknown("the dense policy has another normaliser")
    if type(policy.head) is not type(dense.head):
        return Unknown("the dense policy has another head")
    if isinstance(policy.head, CategoricalHead) and policy.head != dense.head:
        return Unknown("the dense policy has other actions")
    if isinstance(policy.head, GaussianHead) and isinstance(dense.head, GaussianHead):
        ends = [
            (h.squash, h.centre.tolist(), h.half_range.tolist()) for h in (policy.head, dense.head)
        ]
        if ends[0] != ends[1]:
            return Unknown("the dense policy has another action range")
    return dense


def both_roundings(
    policy: Policy, dense: Policy, state_bound: Float, arithmetic: Arithmetic
) -> Float | Unknown:
    """Bound the rounding of both controllers together, action units, shape (m,).

    Args:
        policy: One controller.
        dense: The other.
        state_bound: Largest |z_k|, normalised units, shape (obs_dim,).
        arithmetic: Arithmetic in which both run.
    """
    return _together(rounding_bound(either, state_bound, arithmetic) for either in (policy, dense))


def both_roundings_at(
    policy: Policy, dense: Policy, states: Array, arithmetic: Arithmetic
) -> Float | Unknown:
    """Bound the rounding of both controllers together at single states, action units, (n, m).

    Args:
        policy: One controller.
        dense: The other.
        states: Normalised units, shape (n, obs_dim).
        arithmetic: Arithmetic in which both run.
    """
    points = states.astype(np.float64)
    return _together(rounding_at(either, points, arithmetic) for either in (policy, dense))


def _together(roundings: Iterable[RoundingBound | Unknown]) -> Float | Unknown:
    """Return the sum of rounding terms, action units, or the first that is not known."""
    total: Float = np.zeros(1)
    for rounding in roundings:
        if isinstance(rounding, Unknown):
            return rounding
        total = up(total + rounding.action)
    return total


def compression_error(policy: Policy, dense: Policy, state_bound: Float) -> Float:
    """Return bounds on the change of each action at all states, action units, shape (m,).

    Args:
        policy: The compressed policy.
        dense: A comparable policy.
        state_bound: Largest |z_k|, normalised units, shape (obs_dim,).
    """
    network = _capped(policy, dense, state_bound)
    for carrier, other in ((policy, dense), (dense, policy)):
        network = np.minimum(network, _telescoped(carrier, other, state_bound))
        network = np.minimum(network, _cut(carrier, other, state_bound))
    return _in_action_units(policy, network)


def compression_error_at(policy: Policy, dense: Policy, states: Array) -> Float:
    """Return the change of each action at given states, rounded up, shape (n, m)."""
    region = local_region(states, 0.0, Norm.LINF)
    here, there = (values_at(network_of(either), region) for either in (policy, dense))
    return action_change(policy.head, here, there)


def compression_error_around(policy: Policy, dense: Policy, states: Array, epsilon: float) -> Float:
    """Return bounds on |a'(z + d) - a(z + d)| for all |d|_inf <= epsilon, shape (n, m).

    Args:
        policy: The compressed policy.
        dense: A comparable policy.
        states: Shape (n, obs_dim), normalised units.
        epsilon: Both policies see the same perturbed state; 0 for the states themselves.
    """
    if epsilon == 0:
        return compression_error_at(policy, dense, states)
    region = local_region(states, epsilon, Norm.LINF)
    together = _in_action_units(
        policy, crown_bounds(_difference_of(policy, dense), region).magnitude
    )
    largest = region.magnitude.max(axis=0)
    return np.minimum(together, compression_error(policy, dense, largest))


def _in_action_units(policy: Policy, network: Float) -> Float:
    """Return the change of actions from one of the network's outputs, which no squash enlarges."""
    head = policy.head
    if not isinstance(head, GaussianHead):
        return network
    if head.squash is not Squash.IDENTITY:
        network = np.minimum(network, 2.0)
    return up(network * head.half_range.astype(np.float64))


def _difference_of(policy: Policy, dense: Policy) -> Network:
    """Return the network g' - g: both side by side on the same state, subtracted at the end."""
    ours, theirs = network_of(policy), network_of(dense)
    pairs = zip(ours.weights[1:], theirs.weights[1:], strict=True)
    one = np.eye(policy.num_outputs)
    return Network(
        weights=(
            np.vstack([ours.weights[0], theirs.weights[0]]),
            *(block_diag(*pair) for pair in pairs),
            np.hstack([one, -one]),
        ),
        biases=(
            *(np.concatenate(pair) for pair in zip(ours.biases, theirs.biases, strict=True)),
            np.zeros(policy.num_outputs),
        ),
        activations=(
            *(
                _side_by_side(activation, len(bias))
                for activation, bias in zip(ours.activations, ours.biases, strict=False)
            ),
            Activation.IDENTITY,
        ),
    )


def _side_by_side(activation: AnyActivation, width: int) -> AnyActivation:
    """Return the activation of a layer of this width and of a second one beside it."""
    parts = activation.parts if isinstance(activation, Mixed) else ((activation, width),)
    return Mixed.of([*parts, *parts])


def _capped(policy: Policy, dense: Policy, state_bound: Float) -> Float:
    """Bound |g - g'| entry by entry by the largest difference that each activation allows."""
    reach = [state_bound, state_bound]
    change = np.zeros_like(state_bound)
    for pair in zip(policy.layers, dense.layers, strict=True):
        weights = [layer.weight.astype(np.float64) for layer in pair]
        biases = [layer.bias.astype(np.float64) for layer in pair]
        step, shift = up(np.abs(weights[0] - weights[1])), up(np.abs(biases[0] - biases[1]))
        # W'h' - W h = W'(h' - h) + (W' - W) h = W (h' - h) + (W' - W) h'
        both = [
            up(matmul_up(np.abs(weights[own]), change) + matmul_up(step, reach[1 - own]) + shift, 2)
            for own in (0, 1)
        ]
        before = [
            up(matmul_up(np.abs(weights[own]), reach[own]) + np.abs(biases[own])) for own in (0, 1)
        ]
        activation = pair[0].activation
        low, high = image(activation, -np.maximum(*before), np.maximum(*before))
        change = up(np.minimum(*both) * slope_range(activation).largest)
        change = np.minimum(change, up(high - low))
        reach = [activation_range(activation, size) for size in before]
    return change


def _telescoped(carrier: Policy, other: Policy, state_bound: Float) -> Float:
    """Bound |g - g'| by the constants of one network and the hidden values of the other."""
    reach = state_bound
    sources = [np.zeros_like(state_bound)]
    for ours, theirs in zip(carrier.layers, other.layers, strict=True):
        weight, bias = theirs.weight.astype(np.float64), theirs.bias.astype(np.float64)
        change = up(np.abs(ours.weight.astype(np.float64) - weight))
        shift = up(np.abs(ours.bias.astype(np.float64) - bias))
        slope = slope_range(ours.activation).largest
        sources.append(up((matmul_up(change, reach) + shift) * slope, 2))
        before = up(matmul_up(np.abs(weight), reach) + np.abs(bias))
        reach = activation_range(ours.activation, before)
    return carried_anywhere(carrier, sources)


def _cut(carrier: Policy, other: Policy, state_bound: Float) -> Float:
    """Bound |g - g'| entry by entry, by the same sum, with products of matrices kept together.

    A slope in [a, b] is its middle plus a rest of at most half the width. The middle lets the
    matrices on both sides be multiplied, signs and all, before absolute values are taken; the rest
    cuts the product and starts a new one.

    Reference:
        Combettes and Pesquet (arXiv 1903.01014), with absolute values for norms, on every term of
        the telescoped sum.
    """
    reach = state_bound
    total = np.zeros(carrier.num_outputs)
    products: list[tuple[IntervalMatrix, Float]] = []
    for ours, theirs in zip(carrier.layers, other.layers, strict=True):
        weight, bias = theirs.weight.astype(np.float64), theirs.bias.astype(np.float64)
        own = ours.weight.astype(np.float64)
        change = np.column_stack([own - weight, ours.bias.astype(np.float64) - bias])
        products = [(IntervalMatrix.exact(own) @ product, size) for product, size in products]
        products.append((IntervalMatrix(change, np.abs(change) * 2.0**-52), np.append(reach, 1.0)))
        terms = [matmul_up(product.magnitude, size) for product, size in products]
        total = up(np.sum(terms, axis=0), len(terms))
        slope = slope_range(ours.activation)
        # The middle and half the width may be rounded themselves.
        rest = slope.radius + slope.largest * 2.0**-50
        kept = IntervalMatrix.exact(slope.middle * np.eye(len(own)))
        products = [(kept @ product, size) for product, size in products]
        products.append((IntervalMatrix.exact(np.eye(len(own))), up(total * rest)))
        before = up(matmul_up(np.abs(weight), reach) + np.abs(bias))
        reach = activation_range(theirs.activation, before)
    return total


def paper_compression_error(policy: Policy, dense: Policy, states: Array) -> Float:
    """Return the sum of one-layer bounds with norms and hidden values of the dense policy alone.

    sum_k (prod_{j>k} |W_j|) |dW_k| |h_{k-1}| in raw units of the network output, l2, shape (n,).
    For one changed layer it is a bound; for several it is none: see the counterexamples in the
    tests.

    Args:
        policy: The compressed policy; biases are the same.
        dense: A comparable policy.
        states: Shape (n, obs_dim), normalised units.

    Reference:
        arXiv 2507.02953, its forward-pass form, added up over layers.
    """
    hidden = states.astype(np.float64)
    total = np.zeros(len(states))
    weights = [layer.weight.astype(np.float64) for layer in dense.layers]
    for number, (layer, theirs) in enumerate(zip(dense.layers, policy.layers, strict=True)):
        behind = [float(np.linalg.norm(weight, 2)) for weight in weights[number + 1 :]]
        change = np.linalg.norm(weights[number] - theirs.weight.astype(np.float64), 2)
        total += float(np.prod(behind)) * change * np.linalg.norm(hidden, axis=1)
        hidden = layer.activation(hidden @ weights[number].T + layer.bias)
    return total
