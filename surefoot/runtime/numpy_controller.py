"""The policy's own formula in float32: the backend that needs nothing but NumPy."""

import numpy as np

from surefoot.onnx_file import ControllerFile
from surefoot.policy import Array


class NumpyEngine:
    """Computes a controller file with NumPy, in float32."""

    name = "numpy"

    def __init__(self, file: ControllerFile) -> None:
        self._policy = file.policy
        self.obs_dim = file.policy.obs_dim
        self.num_outputs = file.policy.num_outputs
        self.size_bytes = len(file.data)

    def infer(self, obs: Array) -> Array:
        """Return outputs, shape (batch, num_outputs), for float32 observations."""
        # Far outside of its range an observation overflows to infinity, which the clip takes back.
        with np.errstate(over="ignore", invalid="ignore"):
            return self._policy.outputs(obs, np.float32)

    def infer_from_state(self, state: Array) -> Array:
        """Return outputs, shape (batch, num_outputs), for float32 states."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self._policy.outputs_at(state)
