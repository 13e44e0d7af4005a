"""The controller as the robot runs it, held against a twin that is rebuilt from its own file.

N = batch, O = obs_dim, M = num_outputs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from surefoot.ball import States
from surefoot.errors import CheckError, InputError
from surefoot.policy import Array, Policy
from surefoot.runtime.arithmetic import runtime_error, runtime_error_at
from surefoot.runtime.controller import Controller

Outputs = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DeployedController:
    """A controller and the policy that was read back from the same file.

    Every output is compared with the policy in float64. Observations enter one per call, as on the
    robot: backends may round differently at other batch sizes.

    Attributes:
        controller: Controller that acts.
        policy: Its twin.
    """

    controller: Controller
    policy: Policy
    _error_bounds: dict[float, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the two have the same sizes.

        Raises:
            InputError: If they have not.
        """
        sizes = (self.controller.obs_dim, self.controller.num_outputs)
        if sizes != (self.policy.obs_dim, self.policy.num_outputs):
            raise InputError(
                f"the controller has (obs_dim, num_outputs) {sizes}, its policy has "
                f"{(self.policy.obs_dim, self.policy.num_outputs)}"
            )

    def states(self, obs_NO: Array) -> States:
        """Return the states that the controller computes from observations, bit for bit."""
        state_NO: States = self.policy.state(obs_NO, np.float32)
        return state_NO

    def at_observations(self, obs_NO: Array) -> Outputs:
        """Return the outputs at raw observations, (N, M); NaN in the rows of a failed inference.

        Raises:
            CheckError: If an output is not the twin's, up to the rounding of float32.
        """
        return self._checked(self.controller, obs_NO, self.states(obs_NO))

    def at_states(self, state_NO: States) -> Outputs:
        """Return the outputs at states, (N, M); NaN in the rows of a failed inference.

        Raises:
            CheckError: If an output is not the twin's, up to the rounding of float32.
        """
        return self._checked(self.controller.from_state, state_NO, state_NO)

    def query(self, state_NO: States) -> Outputs:
        """Return the outputs at states as one batch; NaN in the rows of a failed inference.

        For searches, which ask far more than they play; what is played is checked.
        """
        try:
            return np.asarray(self.controller.from_state(state_NO), np.float32)
        except CheckError:  # some row overflowed: which one shows when they are asked one by one
            return self._one_by_one(self.controller.from_state, state_NO)

    def _checked(self, infer: Callable[[Array], Array], inputs: Array, state_NO: States) -> Outputs:
        outputs = self._one_by_one(infer, inputs)
        outputs[self._overflows(state_NO)] = np.nan
        self._check_drift(outputs, state_NO)
        return outputs

    def _one_by_one(self, infer: Callable[[Array], Array], inputs: Array) -> Outputs:
        outputs = np.empty((len(inputs), self.policy.num_outputs), np.float32)
        for number in range(len(inputs)):
            try:
                outputs[number] = infer(inputs[number : number + 1])[0]
            except CheckError:  # how a controller says that its arithmetic overflowed
                outputs[number] = np.nan
        return outputs

    def _overflows(self, state_NO: States) -> NDArray[np.bool_]:
        """Mark the states at which float32 overflows on the way to an output, shape (N,).

        Nothing bounds the rounding there, and a backend may make an action of NaN: a Clip of ONNX
        makes its limit of it.
        """
        if np.isfinite(self._error_bound(state_NO)).all():
            return np.zeros(len(state_NO), np.bool_)
        with np.errstate(over="ignore", invalid="ignore"):
            network_NM = self.policy.network(state_NO)
        sound_N: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(network_NM), axis=1)
        return ~sound_N

    def _check_drift(self, outputs_NM: Outputs, state_NO: States) -> None:
        """Compare with the twin where the outputs are finite.

        Raises:
            CheckError: If the difference is more than rounding can explain.
        """
        finite_N = np.isfinite(outputs_NM).all(axis=1)
        twin_NM = self.policy.outputs_at(state_NO.astype(np.float64))
        drift_NM = np.abs(outputs_NM.astype(np.float64) - twin_NM)[finite_N]
        bound_NM = np.broadcast_to(self._error_bound(state_NO), outputs_NM.shape)
        if not self.policy.is_elementwise:  # that of a box around zero is about tiny variances
            # Twice, since the state may have been rounded otherwise than by the backend.
            at_NM = runtime_error_at(self.policy, state_NO.astype(np.float64))
            bound_NM = np.minimum(bound_NM, 2 * at_NM)
        bound_NM = bound_NM[finite_N]
        if (drift_NM > bound_NM).any():
            row, column = np.argwhere(drift_NM > bound_NM)[0]
            raise CheckError(
                f"output {column} of backend {self.controller.name} is "
                f"{drift_NM[row, column]:.3g} away from its own file's; rounding explains "
                f"{bound_NM[row, column]:.3g}: this is not the controller that the file describes"
            )

    def _error_bound(self, state_NO: States) -> Array:
        """Return the bound on rounding over the smallest box of whole size with these states."""
        # The exact state of an observation may lie a few roundings beyond its float32 state.
        limit = float(max(1, math.ceil(np.abs(state_NO).max() * (1 + 2.0**-20))))
        if limit not in self._error_bounds:
            self._error_bounds[limit] = runtime_error(self.policy, state_limit=limit)
        return self._error_bounds[limit]
