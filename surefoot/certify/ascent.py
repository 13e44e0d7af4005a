"""Gradient ascent inside a perturbation set: sign gradients for linf, normalised ones for l2.

Nothing here proves anything.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.special import softmax

from surefoot.ball import Ball
from surefoot.certify.bounds.slopes import times_jacobian
from surefoot.certify.bounds.upward import Float
from surefoot.policy import Array, CategoricalHead, Policy

Objective = Callable[[Array, Array], Array]
"""(network output at z + d, network output at z) -> gradient with respect to the former."""


def network_and_gradient(
    policy: Policy, states: Array, cotangent: Callable[[Array], Array]
) -> tuple[Array, Array]:
    """Return network outputs and the gradient of <cotangent, output> with respect to the state.

    Args:
        policy: The network.
        states: Shape (n, obs_dim); their dtype is that of the arithmetic.
        cotangent: Outputs (n, num_outputs) to the gradient of the objective, same shape.
    """
    outputs, before = network_and_inputs(policy, states)
    return outputs, pulled_back(policy, before, cotangent(outputs))


def network_and_inputs(policy: Policy, states: Array) -> tuple[Array, list[Array]]:
    """Return network outputs, and the inputs of each activation on the way.

    Args:
        policy: The network.
        states: Shape (n, obs_dim); their dtype is that of the arithmetic.
    """
    hidden, before = states, []
    for layer in policy.layers:
        weight = layer.weight.astype(states.dtype, copy=False)
        before.append(hidden @ weight.T + layer.bias.astype(states.dtype, copy=False))
        hidden = layer.activation(before[-1])
    return hidden, before


def pulled_back(policy: Policy, before: list[Array], cotangent: Array) -> Array:
    """Return the gradient of <cotangent, output> with respect to the state.

    Args:
        policy: The network.
        before: Inputs of each activation, as :func:`network_and_inputs` returns them.
        cotangent: Gradient of the objective with respect to the outputs, shape (n, num_outputs).
    """
    gradient = cotangent
    for layer, pre in zip(policy.layers[::-1], before[::-1], strict=True):
        before_activation = times_jacobian(layer.activation, pre, gradient)
        gradient = before_activation @ layer.weight.astype(cotangent.dtype, copy=False)
    return gradient


def climb(
    policy: Policy,
    states: Array,
    ball: Ball,
    objective: Objective,
    *,
    steps: int,
    rng: np.random.Generator | None = None,
) -> Array:
    """Return the perturbations at the end of an ascent, shape (n, obs_dim).

    Args:
        policy: The network.
        states: Where to start, shape (n, obs_dim), normalised units; their dtype is that of the
            arithmetic.
        ball: The perturbations that are allowed.
        objective: Objective to climb.
        steps: Number of gradient steps.
        rng: Draws a corner of the ball to start from; without it the start is 0, whose first step
            is the corner of the gradient's signs.
    """
    delta = np.zeros_like(states)
    if rng is not None:
        noise = rng.standard_normal(states.shape).astype(states.dtype)
        # Behind a kink the gradient at the state itself may be 0.
        delta = ball.project(ball.outermost(noise)).astype(states.dtype)
    base = policy.network(states)
    for number in range(steps):
        _, gradient = network_and_gradient(
            policy, states + delta, partial(second_fixed, objective, base)
        )
        size = max(1.0 - number / steps, 0.1)
        delta = ball.project(delta + ball.outermost(gradient) * size).astype(states.dtype)
    return delta


def second_fixed(objective: Objective, base: Array, outputs: Array) -> Array:
    """Return the gradient of an objective whose second argument comes first."""
    return objective(outputs, base)


def along(output: int, sign: float) -> Objective:
    """Return the objective sign * output_j."""

    def gradient(outputs: Array, base: Array) -> Array:
        direction = np.zeros_like(outputs)
        direction[:, output] = sign
        return direction

    return gradient


def far_in(weights: Float) -> Objective:
    """Return the objective |weights * (outputs - base)|^2 / 2."""
    return lambda outputs, base: (outputs - base) * (weights**2).astype(outputs.dtype)


def far_in_probability(outputs: Array, base: Array) -> Array:
    """Return the gradient of the total variation between two softmax distributions."""
    moved = softmax(outputs, axis=1)
    direction = np.sign(moved - softmax(base, axis=1))
    return np.asarray(moved * (direction - (moved * direction).sum(axis=1, keepdims=True)))


def overtaking(outputs: Array, base: Array) -> Array:
    """Return the gradient of the lead of the best other choice over the one of ``base``."""
    rows = np.arange(len(base))
    made, others = base.argmax(axis=1), outputs.copy()
    others[rows, made] = -np.inf
    direction = np.zeros_like(outputs)
    direction[rows, others.argmax(axis=1)] = 1.0
    direction[rows, made] = -1.0
    return direction


def leads(outputs: Array, base: Array) -> Array:
    """Return the lead of the best other choice over that of ``base``, shape (n,), logits.

    Args:
        outputs: Logits at perturbed states, shape (n, m).
        base: Logits at the states themselves, of the same shape.
    """
    rows = np.arange(len(base))
    made, others = base.argmax(axis=1), outputs.copy()
    others[rows, made] = -np.inf
    return np.asarray(others.max(axis=1) - outputs[rows, made])


def objectives(policy: Policy, *, distribution: bool) -> list[Objective]:
    """Return the objectives of a search: each actuator's deviation, and the distribution's."""
    head = policy.head
    each = [along(j, sign) for j in range(policy.num_outputs) for sign in (1.0, -1.0)]
    if isinstance(head, CategoricalHead):
        return [*each, far_in_probability, overtaking] if distribution else [*each, overtaking]
    return [*each, far_in(1 / head.noise.astype(np.float64))] if distribution else each
