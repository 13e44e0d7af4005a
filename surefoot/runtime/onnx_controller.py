"""ONNX Runtime, on the CPU or on CUDA: never on another device than the one asked for."""

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from surefoot.errors import InputError, MissingLibraryError
from surefoot.installation import how_to_install
from surefoot.onnx_file import ControllerFile, cut_at_state, sparse_onnx
from surefoot.policy import Array
from surefoot.runtime.cuda import require_device

if TYPE_CHECKING:
    import onnxruntime as ort

CPU_PROVIDER, CUDA_PROVIDER = "CPUExecutionProvider", "CUDAExecutionProvider"
TENSORRT_PROVIDER = "TensorrtExecutionProvider"
_GPU_BACKENDS = {CUDA_PROVIDER: "onnx-cuda", TENSORRT_PROVIDER: "onnx-tensorrt"}


class OnnxEngine:
    """Computes a controller file with ONNX Runtime."""

    def __init__(
        self, file: ControllerFile, name: str = "onnx", provider: str = CPU_PROVIDER
    ) -> None:
        """Load the file.

        Args:
            file: A controller file; its own bytes are what runs.
            name: Name of the backend; ``onnx-sparse`` runs the sparse form of the file.
            provider: ``CPU_PROVIDER``, ``CUDA_PROVIDER`` or ``TENSORRT_PROVIDER``.

        Raises:
            MissingLibraryError: If ONNX Runtime, the provider or its device is not there.
            InputError: If ONNX Runtime refuses the file, or it has no sparse form.
        """
        if file.origin is not None and not file.origin.interface.is_plain:
            raise InputError(
                f"backend {name} feeds one float32 input [N, {file.policy.obs_dim}], which this "
                "file of others does not have: give --backend numpy, or write a canonical file of "
                "it first (pipeline quantise, pipeline compress)"
            )
        self.name = name
        self.obs_dim = file.policy.obs_dim
        self.num_outputs = file.policy.num_outputs
        runs = sparse_onnx(file.data) if name == "onnx-sparse" else file.data
        self.size_bytes = len(runs)
        self._data = runs
        self._provider = provider
        self.session = open_session(runs, provider)
        self._bound: _BoundBatch | None = None
        self._bound_state: _BoundBatch | None = None

    @cached_property
    def state_session(self) -> "ort.InferenceSession":
        """The same file from its tensor `state` on; opened when first asked for."""
        return open_session(cut_at_state(self._data), self._provider)

    def infer(self, obs: Array) -> Array:
        """Return outputs, shape (batch, num_outputs), for C-contiguous float32 observations."""
        if self._bound is None or self._bound.rows != len(obs):
            self._bound = _BoundBatch(self.session, len(obs), self.obs_dim, self.num_outputs)
        return self._bound(obs)

    def infer_from_state(self, state: Array) -> Array:
        """Return outputs, shape (batch, num_outputs), for C-contiguous float32 states."""
        if self._bound_state is None or self._bound_state.rows != len(state):
            session = self.state_session
            self._bound_state = _BoundBatch(session, len(state), self.obs_dim, self.num_outputs)
        return self._bound_state(state)


class _BoundBatch:
    """Input and output memory of one batch size, bound once, so that a call allocates nothing."""

    def __init__(
        self, session: "ort.InferenceSession", rows: int, obs_dim: int, num_outputs: int
    ) -> None:
        self.rows = rows
        self._session = session
        self._inputs = np.zeros((rows, obs_dim), dtype=np.float32)
        self._outputs = np.zeros((rows, num_outputs), dtype=np.float32)
        self._binding = session.io_binding()
        for bind, meta, array in (
            (self._binding.bind_input, session.get_inputs()[0], self._inputs),
            (self._binding.bind_output, session.get_outputs()[0], self._outputs),
        ):
            # ONNX Runtime copies between this memory and another device by itself.
            bind(meta.name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    def __call__(self, inputs: Array) -> Array:
        np.copyto(self._inputs, inputs)
        self._session.run_with_iobinding(self._binding)
        return self._outputs.copy()


def open_session(data: bytes, provider: str) -> "ort.InferenceSession":
    """Open an ONNX Runtime session on exactly one provider, with reproducible settings.

    Args:
        data: An ONNX file.
        provider: ``CPU_PROVIDER``, ``CUDA_PROVIDER`` or ``TENSORRT_PROVIDER``.

    Raises:
        MissingLibraryError: If ONNX Runtime, the provider or its device is not there.
        InputError: If ONNX Runtime refuses the file.
    """
    try:
        import onnxruntime as ort  # optional: the NumPy backend runs without
    except ImportError as error:
        raise MissingLibraryError(
            f"backend onnx needs onnxruntime: {how_to_install('cpu')}, or gpu in place of cpu"
        ) from error
    if provider not in ort.get_available_providers():
        raise MissingLibraryError(
            f"this onnxruntime has no {provider}: {how_to_install('gpu')} for backend "
            f"{_GPU_BACKENDS.get(provider, 'onnx')}"
        )
    settings = _provider_settings(provider)
    try:
        session = ort.InferenceSession(
            data, _options(ort, provider), providers=[(provider, settings)]
        )
    except Exception as error:  # its errors have no base class of their own
        if provider in _GPU_BACKENDS:
            device = "CUDA" if provider == CUDA_PROVIDER else "TensorRT"
            raise MissingLibraryError(f"{device} cannot be used: {_first_line(error)}") from error
        raise InputError(f"ONNX Runtime refuses the file: {_first_line(error)}") from error
    session.disable_fallback()
    # Asked for CUDA alone on a machine without it, ONNX Runtime may quietly use the CPU.
    if session.get_providers()[0] != provider:
        raise MissingLibraryError(f"{provider} is not usable here; got {session.get_providers()}")
    return session


def _provider_settings(provider: str) -> dict[str, Any]:
    """Return a provider's settings: float32 products, because TF32 has ten bits of mantissa.

    Raises:
        MissingLibraryError: If there is no device.
        InputError: If TF32 cannot be switched off.
    """
    if provider not in _GPU_BACKENDS:
        return {}
    require_device(_GPU_BACKENDS[provider])
    if provider == CUDA_PROVIDER:
        return {"use_tf32": "0"}
    # The TensorRT provider has no setting for it (microsoft/onnxruntime #26029), and a process
    # keeps the variable's value from its first session on.
    if os.environ.get("NVIDIA_TF32_OVERRIDE") != "0":
        raise InputError(
            "backend onnx-tensorrt needs NVIDIA_TF32_OVERRIDE=0 in the environment: TF32 is on "
            "by default and would void the certificate"
        )
    return {"trt_fp16_enable": False, "trt_int8_enable": False, "trt_engine_cache_enable": False}


def _options(ort: Any, provider: str) -> "ort.SessionOptions":  # noqa: ANN401 - a module
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4  # what fails is raised, and said once
    entries = {
        "session.intra_op.allow_spinning": "0",
        # The rounding term counts on gradual underflow and on float32 products.
        "session.set_denormal_as_zero": "0",
        "mlas.enable_gemm_fastmath_arm64_bfloat16": "0",
    }
    if provider in _GPU_BACKENDS:
        entries["session.disable_cpu_ep_fallback"] = "1"
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    return options


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
