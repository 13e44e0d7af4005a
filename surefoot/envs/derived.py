"""What MuJoCo derives from the state, computed for episodes that just began only if it is read."""

from collections.abc import Callable, Mapping

import mujoco
import numpy as np
from mujoco.batch import Batch
from numpy.typing import NDArray

from surefoot.envs.vector import Floats

_POSITIONS = int(mujoco.mjtStage.mjSTAGE_POS)
_FORCES = int(mujoco.mjtStage.mjSTAGE_ACC)

STAGES = {
    "xpos": _POSITIONS,
    "xmat": _POSITIONS,
    "site_xpos": _POSITIONS,
    "site_xmat": _POSITIONS,
    "sensordata": _FORCES,
    "actuator_force": _FORCES,
}
"""Fields that `mj_step` computes in every substep, by the stage after which they are there."""


class Derived:
    """Derived fields of all simulations: those of `mj_step`, or of `mj_forward` at a reset."""

    def __init__(self, batch: Batch, forward: Callable[[NDArray[np.int32], int], None]) -> None:
        """Bind the fields.

        Args:
            batch: The simulations.
            forward: Computes stages up to the second argument in the simulations of the first.
        """
        data = mujoco.MjData(batch.model)
        self._bound = {name: _bind(batch, name, getattr(data, name)) for name in STAGES}
        self._fields = self._bound
        self._forward = forward
        self._begun: list[NDArray[np.int32]] = []
        self._stage = 0

    def read(self, name: str) -> Floats:
        """Return a field of all simulations, (N, ...).

        Raises:
            DivergenceError: If an episode begins in a state that MuJoCo cannot compute with.
        """
        self._settle(STAGES[name])
        return self._fields[name]

    def begin(self, ids: NDArray[np.int32]) -> None:
        """Note that episodes began in these simulations, everywhere at first."""
        self._begun.append(ids)
        self._stage = 0

    def step(self) -> None:
        """Note that all simulations were stepped."""
        self._begun.clear()
        self._fields = self._bound

    def copies(self) -> dict[str, Floats]:
        """Return all fields as copies."""
        return {name: self.read(name).copy() for name in STAGES}

    def load(self, stored: Mapping[str, Floats]) -> None:
        """Show what `copies` gave until the next step: it is no part of MuJoCo's state."""
        self._begun.clear()
        self._fields = {name: stored[name].copy() for name in STAGES}

    def _settle(self, stage: int) -> None:
        if not self._begun or stage <= self._stage:
            return
        self._stage = stage
        self._forward(np.unique(np.concatenate(self._begun)), stage)
        self._fields = self._bound


def _bind(batch: Batch, name: str, of_one: Floats) -> Floats:
    """Return a field of all simulations, empty if the model has nothing of it."""
    if of_one.size == 0:
        return np.zeros((batch.nsim, *of_one.shape))
    bound: Floats = batch.bind(name)
    return bound
