"""How far a compressed policy can be from the dense one, without running over all states.

With hidden values h of one network and the norms of the *other* one, telescoping layer by layer,

    |g - g'| <= sum_k (Lipschitz constant of the other network behind layer k) |dW_k h_{k-1} + db_k|

Norms and hidden values of the same network would be wrong: pruning can raise the spectral norm.
"""

import numpy as np

from surefoot.budget import Norm
from surefoot.certify.crown import network_of
from surefoot.certify.local_bounds import action_change, local_region, values_at
from surefoot.certify.rounding import activation_range, carried_to_output
from surefoot.certify.slopes import slope_range
from surefoot.certify.upward import Ball, Float, matmul_up, up
from surefoot.policy import Array, GaussianHead, Policy, Squash


def comparable(policy: Policy, dense: Policy) -> str | None:
    """Return why two policies cannot be compared layer by layer, or None if they can."""
    shapes = [
        [(layer.weight.shape, layer.activation) for layer in either.layers]
        for either in (policy, dense)
    ]
    if shapes[0] != shapes[1]:
        return "the dense policy has other layers"
    ours, theirs = policy.normaliser, dense.normaliser
    same = ours.clip == theirs.clip and np.array_equal(ours.mean, theirs.mean)
    if not same or not np.array_equal(ours.scale, theirs.scale):
        return "the dense policy has another normaliser"
    if type(policy.head) is not type(dense.head):
        return "the dense policy has another head"
    if isinstance(policy.head, GaussianHead) and isinstance(dense.head, GaussianHead):
        ends = [
            (h.squash, h.centre.tolist(), h.half_range.tolist()) for h in (policy.head, dense.head)
        ]
        if ends[0] != ends[1]:
            return "the dense policy has another action range"
    return None


def compression_error(policy: Policy, dense: Policy, state_bound: Float) -> Float:
    """Return bounds on the change of each action at all states, action units, shape (m,).

    Args:
        policy: The compressed policy.
        dense: A comparable policy.
        state_bound: Largest |z_k|, normalised units, shape (obs_dim,).
    """
    network = np.minimum(
        _telescoped(policy, dense, state_bound), _telescoped(dense, policy, state_bound)
    )
    head = policy.head
    if not isinstance(head, GaussianHead):
        return network
    if head.squash is not Squash.IDENTITY:
        network = np.minimum(network, 2.0)
    return up(network * head.half_range.astype(np.float64))


def compression_error_at(policy: Policy, dense: Policy, states: Array) -> Float:
    """Return the change of each action at given states, rounded up, shape (n, m)."""
    region = local_region(states, 0.0, Norm.LINF)
    here, there = (values_at(network_of(either), region) for either in (policy, dense))
    return action_change(policy.head, here, there)


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
    return carried_to_output(carrier, sources)


def admissible_pruning(policy: Policy, layer: int, state: Float, tolerance: float) -> float:
    """Return how large |dW_k| may be so that no raw mean moves more than ``tolerance`` (l2).

    Args:
        policy: The dense policy; its activations are 1-Lipschitz with phi(0) = 0.
        layer: k, counted from 0; the only layer that changes.
        state: Normalised units, shape (obs_dim,).
        tolerance: Raw units of the network output.

    Reference:
        arXiv 2507.02953 (its forward-pass form): |g - g'| <= prod_{j>k} |W_j| |h_{k-1}| |dW_k|.
    """
    hidden = state[None].astype(np.float64)
    for earlier in policy.layers[:layer]:
        hidden = earlier.activation(hidden @ earlier.weight.T.astype(np.float64) + earlier.bias)
    norms = [
        Ball.exact(later.weight.astype(np.float64)).norm() for later in policy.layers[layer + 1 :]
    ]
    reach = float(np.prod(norms)) * float(np.linalg.norm(hidden)) * (1 + 1e-9)
    return tolerance / reach if reach > 0 else np.inf
