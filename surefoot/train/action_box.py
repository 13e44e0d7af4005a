"""Moves of the actions themselves, each within a limit of its own.

    a' = clip(a + d_j u_j),   u_j in [-1, 1]

If no reading of a ball moves actuator j by more than d_j, every attack on the observations is one
of these: whoever plays them has at least as much power.

N = batch, D = obs_dim, M = num_outputs.
"""

import math
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from surefoot.ball import Ball, Norm, States
from surefoot.envs.vector import Actions, BoxActions
from surefoot.errors import InputError
from surefoot.policy import Array, CategoricalHead, Policy

Outputs = NDArray[np.float32]


class ActionBox:
    """How far each action may be moved.

    Attributes:
        limits: Largest change of each action, action units, M of them.
    """

    gradients = 0

    def __init__(self, policy: Policy, limits: tuple[float, ...]) -> None:
        """Build the box.

        Args:
            policy: The controller's policy, whose range of actions the moved ones keep.
            limits: Largest change of each action, action units.

        Raises:
            InputError: If the controller chooses among discrete actions, or a limit is none.
        """
        if isinstance(policy.head, CategoricalHead):
            raise InputError("a box of actions needs continuous actions, got discrete ones")
        if len(limits) != policy.num_outputs or not all(0 <= one < math.inf for one in limits):
            raise InputError(
                f"limits must be {policy.num_outputs} numbers of at least 0 and finite, "
                f"got {limits}"
            )
        self.limits = limits
        ends_2M = np.array([[-np.inf], [np.inf]], np.float32).repeat(policy.num_outputs, axis=1)
        self._low_M, self._high_M = policy.head.outputs(ends_2M)
        one = np.ones(policy.num_outputs, np.float32)
        self.moves: Actions = BoxActions(-one, one)

    @cached_property
    def _ball(self) -> Ball:
        """The box as a ball of actions; a power of two as its radius makes every share exact."""
        radius = 2.0 ** math.ceil(math.log2(max(*self.limits, 2.0**-100)))
        shares = tuple(limit / radius for limit in self.limits)
        return Ball(norm=Norm.LINF, epsilon=radius, sensors=shares)

    def moved(self, outputs_NM: Outputs, moves_NM: Array) -> Outputs:
        """Return the moved actions, (N, M), in the range of the actuators.

        Args:
            outputs_NM: The actions of the controller, action units.
            moves_NM: Moves in units of the limits, in [-1, 1].
        """
        moves_NM = np.clip(moves_NM.astype(np.float64), -1, 1)
        moved_NM = self._ball.perturbed(outputs_NM, np.array(self.limits) * moves_NM)
        return np.clip(moved_NM, self._low_M, self._high_M)

    def contains(self, outputs_NM: Outputs, moved_NM: Outputs) -> NDArray[np.bool_]:
        """Return for each row whether the moved actions lie in the box, without tolerance."""
        return self._ball.contains(outputs_NM, moved_NM)

    def outputs(self, policy: Policy, state_ND: States, moves: Array) -> Array:
        """Return what the actuators are told under the moves, see `game.Moves`."""
        return self.moved(policy.outputs_at(state_ND), moves)
