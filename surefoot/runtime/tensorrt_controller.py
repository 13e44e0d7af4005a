"""Native TensorRT as a backend: one observation a call, replayed as a CUDA graph."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from surefoot.artifact import sha256_hex
from surefoot.errors import CheckError, InputError, MissingLibraryError
from surefoot.installation import how_to_install
from surefoot.onnx_file import INPUT, OUTPUT, STATE, ControllerFile, cut_at_state
from surefoot.policy import Array
from surefoot.runtime.c_compiler import cache_folder
from surefoot.runtime.cuda import CudaDevice, Device, require_device
from surefoot.runtime.tensorrt_plan import (
    Plan,
    PlanKey,
    build_plan,
    make_log,
    read_plan,
    save_plan,
)

_OLDEST = (10, 12)


class TensorRtEngine:
    """Computes a controller file with TensorRT; batches are computed row by row."""

    name = "tensorrt"

    def __init__(self, file: ControllerFile, *, sparse: bool = False) -> None:
        """Build the engine or take it from the cache.

        Args:
            file: A controller file.
            sparse: Allow 2:4 sparsity; see ``plan.sparse_report`` for whether it was used.

        Raises:
            InputError: If the controller has a memory, which the engine would not give.
            MissingLibraryError: If there is no GPU, no driver or no fit TensorRT.
            CheckError: If TensorRT does not build or run the file.
            VerificationError: If the engine in the cache is for another version or GPU.
        """
        if file.policy.memory is not None:
            raise InputError("tensorrt gives actions alone, and the controller has a memory")
        require_device(self.name)
        self._trt = _import_tensorrt()
        self._device: Device = _open_device()
        self._sparse = sparse
        self._data = file.data
        self.obs_dim = file.policy.obs_dim
        self.num_outputs = file.policy.num_outputs
        self.plan = self._plan(file.data)
        self.size_bytes = len(self.plan.data)
        self._at_obs = self._call(self.plan, INPUT)

    def infer(self, obs: Array) -> Array:
        """Return outputs, shape (batch, num_outputs), for C-contiguous float32 observations."""
        return np.concatenate([self._at_obs(row) for row in obs[:, None]])

    def infer_from_state(self, state: Array) -> Array:
        """Return outputs, shape (batch, num_outputs), for C-contiguous float32 states."""
        return np.concatenate([self._at_state(row) for row in state[:, None]])

    @cached_property
    def _at_state(self) -> Callable[[Array], Array]:
        return self._call(self._plan(cut_at_state(self._data)), STATE)

    def _plan(self, onnx: bytes) -> Plan:
        key = PlanKey(
            onnx_sha256=sha256_hex(onnx),
            tensorrt=str(self._trt.__version__),
            device=self._device.name,
            sparse=self._sparse,
        )
        folder = cache_folder()
        plan = read_plan(folder, key)
        if plan is None:
            plan = build_plan(self._trt, onnx, key, self.obs_dim)
            save_plan(folder, plan)
        return plan

    def _call(self, plan: Plan, input_name: str) -> Callable[[Array], Array]:
        """Return the function that runs a plan on one row.

        Raises:
            CheckError: If TensorRT does not load or run it.
        """
        runtime = self._trt.Runtime(make_log(self._trt))
        engine = runtime.deserialize_cuda_engine(plan.data)
        if engine is None:
            raise CheckError("TensorRT cannot load the engine that it built")
        context = engine.create_execution_context()
        inputs = np.zeros((1, self.obs_dim), np.float32)
        outputs = np.zeros((1, self.num_outputs), np.float32)
        device = self._device
        addresses = device.allocate(inputs.nbytes), device.allocate(outputs.nbytes)
        context.set_input_shape(input_name, inputs.shape)
        context.set_tensor_address(input_name, addresses[0])
        context.set_tensor_address(OUTPUT, addresses[1])

        def enqueue() -> None:
            device.to_device(addresses[0], inputs)
            if not context.execute_async_v3(device.stream):
                raise CheckError("TensorRT cannot run the engine")
            device.from_device(outputs, addresses[1])

        enqueue()  # the first call may allocate, which a graph must not
        device.synchronise()
        launch = device.capture(enqueue)

        def run(row: Array, _keep: tuple[Any, ...] = (runtime, engine, context)) -> Array:
            np.copyto(inputs, row)
            launch()
            device.synchronise()
            return outputs.copy()

        return run


def _import_tensorrt() -> Any:  # noqa: ANN401 - a module
    """Return the module ``tensorrt``.

    Raises:
        MissingLibraryError: If it is not installed, or too old.
    """
    try:
        import tensorrt as trt  # optional, and only behind the probe for a device
    except ImportError as error:
        raise MissingLibraryError(
            f"backend tensorrt needs TensorRT 10.12 or newer: {how_to_install('tensorrt')}"
        ) from error
    version = tuple(int(part) for part in str(trt.__version__).split(".")[:2])
    if version < _OLDEST:
        raise MissingLibraryError(
            f"backend tensorrt needs TensorRT 10.12 or newer, this is {trt.__version__}"
        )
    return trt


def _open_device() -> Device:
    return CudaDevice()
