"""How far a compressed policy's actions may be from the original's: certified and measured.

|a'(z) - a(z)| in action units (logits of a categorical head), the worst actuator counts; both
controllers run in float32, whose rounding is included. Two domains:

* the recorded states, each by itself, and a ball of perturbations around each if one is asked for:
  close to exact, and about these states only;
* every state that the clip of the normaliser lets through: about everything that can happen, and
  loose, because far from the visited states the weights of both policies differ most.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from surefoot.artifact import Json
from surefoot.ball import Ball, Norm
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.bounds.rounding import state_bound
from surefoot.certify.bounds.upward import Float, up
from surefoot.certify.compression import (
    both_roundings,
    comparable,
    compression_error,
    compression_error_around,
    paper_compression_error,
)
from surefoot.certify.printed import one_layer_constants
from surefoot.config import settle_choices
from surefoot.errors import InputError
from surefoot.policy import Array, CategoricalHead, GaussianHead, Policy
from surefoot.unknown import Unknown

_SEED = 0
_NUM_BOX_STATES = 8192


class Over(StrEnum):
    """Where the control error is bounded."""

    VISITED = "visited"
    BOX = "box"


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlLimit:
    """How far a compressed policy may be from the original.

    Attributes:
        max_control_error: Largest certified change of an action, action units (or logits); None
            for any.
        over: Where it is certified.
        epsilon: Size of an linf ball around each visited state, normalised units.
    """

    max_control_error: float | None = None
    over: Over = Over.VISITED
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        """Check choices and ranges.

        Raises:
            InputError: If one is out of range, or epsilon is not about visited states.
        """
        settle_choices(self)
        if self.max_control_error is not None and not 0 < self.max_control_error < np.inf:
            raise InputError(
                f"max_control_error must be positive and finite, got {self.max_control_error}"
            )
        if not 0 <= self.epsilon < np.inf:
            raise InputError(f"epsilon must be finite and at least 0, got {self.epsilon}")
        if self.epsilon and self.over is Over.BOX:
            raise InputError(
                f"epsilon must be 0 over the box, which holds every state, got {self.epsilon}"
            )

    @property
    def needs_states(self) -> bool:
        """Whether visited states decide."""
        return self.max_control_error is not None and self.over is Over.VISITED


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlError:
    """The worst change of an action, certified and measured, in action units (or logits).

    Attributes:
        certified: No state of the domain has more, rounding included.
        measured: The most that was seen at states of the domain, in float32.
        num_states: How many states were looked at.
        epsilon: Size of the linf perturbation around recorded states, normalised units.
    """

    certified: float
    measured: float
    num_states: int
    epsilon: float = 0.0

    def to_table(self) -> dict[str, Json]:
        """Return it as JSON values."""
        return {
            "certified": self.certified,
            "measured": self.measured,
            "states": self.num_states,
            "epsilon": self.epsilon,
        }


def visited_control_error(
    policy: Policy, original: Policy, states: Array, epsilon: float = 0.0
) -> ControlError:
    """Return the control error over recorded states.

    Args:
        policy: The compressed policy, float32 by value.
        original: Policy from which it was made.
        states: States in deployed arithmetic, normalised units, shape (n, obs_dim), n at least 1.
        epsilon: Size of an linf ball around each, in which both see the same state.

    Raises:
        InputError: If the policies cannot be compared, or float32 may overflow.
    """
    _check_comparable(policy, original)
    largest = np.asarray(up(np.abs(states).max(axis=0).astype(np.float64) + epsilon))
    bound = compression_error_around(policy, original, states, epsilon)
    certified = up(bound + _both_roundings(policy, original, largest))
    return ControlError(
        certified=float(certified.max()),
        measured=measured_control_error(policy, original, _shaken(states, epsilon)),
        num_states=len(states),
        epsilon=epsilon,
    )


def box_control_error(policy: Policy, original: Policy) -> ControlError:
    """Return the control error over every state that the clip lets through.

    Args:
        policy: The compressed policy, float32 by value.
        original: Policy from which it was made.

    Raises:
        InputError: If the policies cannot be compared, nothing clips the states, or float32 may
            overflow.
    """
    _check_comparable(policy, original)
    largest = state_bound(policy, 0.0)
    extra = _both_roundings(policy, original, largest)
    certified = up(compression_error(policy, original, largest) + extra)
    states = box_states(policy)
    return ControlError(
        certified=float(certified.max()),
        measured=measured_control_error(policy, original, states),
        num_states=len(states),
    )


def measured_control_error(policy: Policy, original: Policy, states: Array) -> float:
    """Return the largest change of an action at states, both in float32."""
    seen = states.astype(np.float32)
    ours, theirs = (either.outputs_at(seen).astype(np.float64) for either in (policy, original))
    return float(np.abs(ours - theirs).max())


def changed_choices(policy: Policy, original: Policy, states: Array) -> float | None:
    """Return the share of states at which a policy chooses another action than the original.

    Args:
        policy: The compressed policy.
        original: Policy from which it was made.
        states: Normalised units, shape (n, obs_dim).

    Returns:
        None for Gaussian policies, which choose none.
    """
    if not isinstance(policy.head, CategoricalHead):
        return None
    seen = states.astype(np.float32)
    ours, theirs = (either.head.select(either.outputs_at(seen)) for either in (policy, original))
    return float((ours != theirs).mean())


def box_states(policy: Policy) -> Array:
    """Return states of the clipped box, float32: half of them inside, half of them corners."""
    generator = np.random.default_rng(_SEED)
    shape = (_NUM_BOX_STATES // 2, policy.obs_dim)
    inside, corners = generator.uniform(-1, 1, shape), generator.choice([-1.0, 1.0], shape)
    box = np.concatenate([inside, corners]).astype(np.float32)
    return np.asarray(box * np.float32(policy.normaliser.clip))


def _shaken(states: Array, epsilon: float) -> Array:
    """Return the states and, around each, one random corner of the ball."""
    if epsilon == 0:
        return states
    signs = np.random.default_rng(_SEED).choice([-1.0, 1.0], states.shape)
    ball = Ball(norm=Norm.LINF, epsilon=epsilon)
    corners = ball.perturbed(states.astype(np.float32), epsilon * signs)
    return np.concatenate([states, corners])


def paper_control_error(
    policy: Policy, original: Policy, states: Array, limit: float | None = None
) -> dict[str, Json]:
    """Return the published sum with norms of the original alone, which is no bound, as JSON.

    Beside it, for each layer, the published constant C_k of a change of that layer alone, which is
    one, and the largest change |dW_k| that it admits.

    Args:
        policy: The compressed policy.
        original: Policy from which it was made.
        states: Shape (n, obs_dim), normalised units.
        limit: Allowed change of an action, action units (or logits); None for any.
    """
    half_range = 1.0
    if isinstance(original.head, GaussianHead):
        half_range = float(original.head.half_range.max())
    printed = paper_compression_error(policy, original, states)
    table: dict[str, Json] = {
        "value": half_range * float(printed.max()),
        "flaw": "not a bound where several layers are pruned: the norms behind a layer are those "
        "of the original, and pruning can raise them",
    }
    constants = one_layer_constants(original, states)
    if isinstance(constants, Unknown):
        return table
    largest = constants.norms_and_biases.max(axis=0)
    table["one_layer_constants"] = (half_range * largest).tolist()
    if limit is not None:
        table["admissible_changes"] = constants.admissible(limit / half_range).tolist()
    return table


def units_of(policy: Policy) -> str:
    """Return the unit of a control error, and of which output it is the error."""
    if isinstance(policy.head, CategoricalHead):
        return "logits, the worst choice"
    return "action units, the worst actuator"


def fewest_kept(holds: Callable[[int], bool], least: int, most: int) -> int | None:
    """Return the smallest number of weights that was seen to hold, by bisection; None for none.

    What is returned holds by itself, whether or not fewer weights always err more; if they do, no
    smaller number holds.

    Args:
        holds: Whether a policy of so many weights holds the limit.
        least: Smallest number that is possible.
        most: Number of weights of the original, which is tried first.
    """
    if not holds(most):
        return None
    while least < most:
        middle = (least + most) // 2
        if holds(middle):
            most = middle
        else:
            least = middle + 1
    return most


def _check_comparable(policy: Policy, original: Policy) -> None:
    """Check that two policies can be compared layer by layer.

    Raises:
        InputError: If they cannot.
    """
    if isinstance(found := comparable(policy, original), Unknown):
        rule = "the control error needs the original policy"
        if not policy.is_elementwise:
            rule = "no control error can be certified"
        raise InputError(f"{rule}: {found.reason}")


def _both_roundings(policy: Policy, original: Policy, states: Float) -> Float:
    total = both_roundings(policy, original, states, ARITHMETICS["float32"])
    if isinstance(total, Unknown):
        raise InputError(f"no control error can be certified: {total.reason}")
    return total
