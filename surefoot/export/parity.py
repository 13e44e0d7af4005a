"""Parity: an exported form computes what the policy says, within the bound on its rounding.

The reference is the policy in float64 NumPy. The bound is the runtime error that the certificate
counts on, so that a form which breaks it would make the certificate's claims false.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from surefoot.artifact import Json
from surefoot.errors import CheckError, InputError
from surefoot.policy import Array, Normaliser, Policy
from surefoot.runtime.arithmetic import TAU, runtime_error_at
from surefoot.runtime.controller import Controller

UNCLIPPED_LIMIT = 10.0
"""States on which parity is checked where no clip bounds them, normalised units."""

_SINGLES = 128


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Parity:
    """What was compared, and the worst that was found.

    Attributes:
        backend: The form that was compared.
        num_inputs: Observations and states, each counted once per batch size.
        bound: Allowed |backend - reference|, shape (num_outputs,), action units.
        worst: Largest that was found, shape (num_outputs,), action units.
    """

    backend: str
    num_inputs: int
    bound: Array
    worst: Array

    def to_table(self) -> dict[str, Json]:
        """Return it as JSON values."""
        return {
            "backend": self.backend,
            "num_inputs": self.num_inputs,
            "bound": self.bound.tolist(),
            "worst": self.worst.tolist(),
        }


def state_limit(policy: Policy) -> float:
    """Return the largest magnitude of a state on which parity is checked, normalised units."""
    clip = policy.normaliser.clip
    return clip if math.isfinite(clip) else UNCLIPPED_LIMIT


def check_parity(
    controller: Controller,
    policy: Policy,
    observations: Array,
    states: Array,
    bound: Array,
    *,
    tau: float = TAU,
) -> Parity:
    """Compare a controller with its policy at observations and at states, alone and in batches.

    Where neurons are normalised together the bound at each state counts as well: that of all states
    is about variances near zero, and far larger.

    Args:
        controller: The exported form.
        policy: Its reference.
        observations: Shape (n, obs_dim), raw units.
        states: Shape (m, obs_dim), normalised units.
        bound: Allowed difference per output, action units, shape (num_outputs,).
        tau: Error of the smooth activations of the form.

    Raises:
        CheckError: If an output differs by more; the message names the first one.
        InputError: If the bound does not have one finite number per output.
    """
    if bound.shape != (policy.num_outputs,) or not np.isfinite(bound).all():
        raise InputError(f"bound must hold {policy.num_outputs} finite numbers, got {bound}")
    comparisons: list[tuple[str, Callable[[Array], Array], Array, Array]] = [
        ("observation", controller, observations, policy.outputs(observations)),
        ("state", controller.from_state, states, policy.outputs_at(states.astype(np.float64))),
    ]
    worst, num_inputs = np.zeros(policy.num_outputs), 0
    for kind, function, inputs, reference in comparisons:
        exact = policy.state(inputs) if kind == "observation" else inputs.astype(np.float64)
        allowed = np.broadcast_to(bound, reference.shape)
        if not policy.is_elementwise:
            allowed = np.minimum(allowed, runtime_error_at(policy, exact, tau=tau) * (1 + 1e-6))
        for rows in _batches(len(inputs)):
            outputs = function(inputs[rows]).astype(np.float64)
            error = np.abs(outputs - reference[rows])
            if not (error <= allowed[rows]).all():
                row, column = np.argwhere(~(error <= allowed[rows]))[0]
                raise CheckError(
                    f"{controller.name} is not the policy: at {kind} {inputs[rows][row].tolist()} "
                    f"(batch of {len(error)}) output {column} is {outputs[row, column]:.9g}, "
                    f"its float64 reference {reference[rows][row, column]:.9g}, "
                    f"allowed difference {allowed[rows][row, column]:.3g}"
                )
            worst = np.maximum(worst, error.max(axis=0))
            num_inputs += len(error)
    return Parity(backend=controller.name, num_inputs=num_inputs, bound=bound, worst=worst)


def parity_observations(policy: Policy, rng: np.random.Generator, num_random: int) -> Array:
    """Return extreme and random observations, shape (n, obs_dim), float32, raw units.

    Far beyond any range, zeros of both signs, subnormal numbers, the mean, and the states of
    :func:`parity_states` with, at the ends, their neighbours in float32; then random ones beyond.
    """
    width, limit = policy.obs_dim, state_limit(policy)
    ends = _ends(width, rng)
    at_end = _raw(policy.normaliser, limit * ends)
    parts = [
        *(size * ends[: 2 * width] for size in (1e6, 1e30, float(np.finfo(np.float32).max))),
        _tiny(width),
        _raw(policy.normaliser, np.zeros((1, width))),
        at_end,
        np.nextafter(at_end, np.float32(np.inf)),
        np.nextafter(at_end, np.float32(-np.inf)),
        _raw(policy.normaliser, _random(rng, num_random, width, 1.1 * limit)),
    ]
    return np.concatenate([part.astype(np.float32) for part in parts])


def parity_states(policy: Policy, rng: np.random.Generator, num_random: int) -> Array:
    """Return extreme and random states within the limit, shape (n, obs_dim), float32.

    Zeros of both signs, subnormal numbers, ends of the clip, corners; normal and uniform ones.
    """
    width, limit = policy.obs_dim, state_limit(policy)
    parts = [_tiny(width), limit * _ends(width, rng), _random(rng, num_random, width, limit)]
    return np.concatenate([part.astype(np.float32) for part in parts])


def _ends(width: int, rng: np.random.Generator) -> Array:
    """Return each end of each axis of the unit cube, then 64 corners, shape (2 width + 64, width).

    The limit is a float32 by value, so that its products with these are exact.
    """
    corners = rng.choice([-1.0, 1.0], (64, width))
    return np.concatenate([np.eye(width), -np.eye(width), corners])


def _random(rng: np.random.Generator, num: int, width: int, limit: float) -> Array:
    """Return half normal, half uniform vectors within the limit, shape (num, width)."""
    normal = np.clip(rng.normal(0, limit / 4, (num // 2, width)), -limit, limit)
    return np.concatenate([normal, rng.uniform(-limit, limit, (num - num // 2, width))])


def _tiny(width: int) -> Array:
    """Return zeros of both signs and subnormal numbers, shape (6, width)."""
    values = np.array([0.0, -0.0, 2.0**-149, -(2.0**-149), 2.0**-127, -(2.0**-127)])
    return np.repeat(values[:, None], width, axis=1)


def _raw(normaliser: Normaliser, state: Array) -> Array:
    """Return the float32 observations nearest to those of these states."""
    raw = normaliser.mean.astype(np.float64) + normaliser.scale.astype(np.float64) * state
    return raw.astype(np.float32)


def _batches(num_rows: int) -> Iterator[slice]:
    """Yield the first rows one by one, as on a robot, then all of them in blocks of odd size."""
    yield from (slice(row, row + 1) for row in range(min(_SINGLES, num_rows)))
    yield from (slice(row, row + 1021) for row in range(0, num_rows, 1021))
