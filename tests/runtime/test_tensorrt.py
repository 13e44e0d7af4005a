"""TensorRT without TensorRT: one-line errors here, and the right calls on a module that fakes it.

What needs a GPU is run by ``make test-gpu``; docs/hardware.md tells how.

Also of ``runtime/cuda.py``, ``runtime/tensorrt_controller.py`` and ``runtime/tensorrt_plan.py``.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from support.policies import file_of, random_policy
from surefoot.errors import CheckError, InputError, MissingLibraryError, VerificationError
from surefoot.export.parity import parity_observations
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Array
from surefoot.runtime import cuda, tensorrt_controller
from surefoot.runtime.arithmetic import runtime_error
from surefoot.runtime.load import Backend, controller_of
from surefoot.runtime.onnx_controller import CPU_PROVIDER, TENSORRT_PROVIDER
from surefoot.runtime.tensorrt_controller import TensorRtEngine

GPU_BACKENDS = (Backend.TENSORRT, Backend.ONNX_CUDA, Backend.ONNX_TENSORRT)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "surefoot"


@pytest.fixture
def file() -> ControllerFile:
    return file_of(random_policy(np.random.default_rng(0), (5, 16, 3)))


@pytest.mark.skipif(cuda.num_cuda_devices() > 0, reason="there is a GPU here")
@pytest.mark.parametrize("backend", GPU_BACKENDS)
def test_without_a_gpu_every_gpu_backend_is_an_error_of_one_line(
    file: ControllerFile, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As onnxruntime-gpu lists its providers on a machine without GPU, too.
    listed = [TENSORRT_PROVIDER, "CUDAExecutionProvider", CPU_PROVIDER]
    monkeypatch.setattr(ort, "get_available_providers", lambda: listed)
    with pytest.raises(MissingLibraryError, match=rf"^backend {backend} needs an NVIDIA GPU .*"):
        controller_of(file, backend)
    assert "tensorrt" not in sys.modules


def test_a_probe_that_crashes_or_hangs_counts_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for probe in (
        "import os; os.abort()",
        "print('x')",
        "raise SystemExit(3)",
        "import time; time.sleep(60)",
    ):
        cuda.num_cuda_devices.cache_clear()
        monkeypatch.setattr(cuda, "_PROBE", probe)
        monkeypatch.setattr(cuda, "_PROBE_TIMEOUT_S", 1)
        assert cuda.num_cuda_devices() == 0
    cuda.num_cuda_devices.cache_clear()


def test_a_gpu_without_tensorrt_says_what_to_install(
    file: ControllerFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "num_cuda_devices", lambda: 1)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingLibraryError, match=r"10\.12 or newer: pip install .*\[tensorrt\]"):
        controller_of(file, Backend.TENSORRT)


def test_the_tensorrt_provider_is_refused_while_tf32_is_on(
    file: ControllerFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "num_cuda_devices", lambda: 1)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [TENSORRT_PROVIDER, CPU_PROVIDER])
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    with pytest.raises(InputError, match="needs NVIDIA_TF32_OVERRIDE=0"):
        controller_of(file, Backend.ONNX_TENSORRT)
    asked = []

    def refuse(
        data: bytes, options: ort.SessionOptions, providers: list[tuple[str, dict[str, bool]]]
    ) -> None:
        asked.append((options, providers))
        raise RuntimeError("no libnvinfer.so.10\nsecond line")

    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    monkeypatch.setattr(ort, "InferenceSession", refuse)
    with pytest.raises(
        MissingLibraryError, match=r"TensorRT cannot be used: no libnvinfer\.so\.10$"
    ):
        controller_of(file, Backend.ONNX_TENSORRT)
    [(options, [(provider, settings)])] = asked
    assert provider == TENSORRT_PROVIDER
    assert not settings["trt_fp16_enable"]
    assert options.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"


Work = Callable[[], None]


class FakeDevice:
    """Memory of a device that does not exist; a graph replays its work."""

    name, stream = "Fake GPU sm_90", 7

    def __init__(self) -> None:
        self.memory: dict[int, Array] = {}
        self.captured = 0

    def allocate(self, num_bytes: int) -> int:
        self.memory[len(self.memory) + 1] = np.empty(0)
        return len(self.memory)

    def to_device(self, address: int, array: NDArray[np.float32]) -> None:
        self.memory[address] = array.copy()

    def from_device(self, array: NDArray[np.float32], address: int) -> None:
        np.copyto(array, self.memory[address])

    def synchronise(self) -> None:
        pass

    def capture(self, work: Work) -> Work:
        self.captured += 1
        work()
        return work


def make_fake(device: FakeDevice, **changes: bool | str) -> tuple[ModuleType, SimpleNamespace]:
    """Return a module that answers as TensorRT 10.13 would, and what was asked of it."""
    asked = SimpleNamespace(cleared=[], flags=[], network=None, profile=None, loaded=[])
    options = {"version": "10.13.2", "parses": True, "builds": True, "loads": True, "runs": True}
    options |= changes
    trt = ModuleType("tensorrt")
    trt.__version__ = options["version"]

    class ILogger:
        Severity = SimpleNamespace(ERROR=1, INTERNAL_ERROR=0, INFO=3)
        log: Callable[[int, str], None]

    class Config:
        def clear_flag(self, flag: str) -> None:
            asked.cleared.append(flag)

        def set_flag(self, flag: str) -> None:
            asked.flags.append(flag)

        def add_optimization_profile(self, profile: SimpleNamespace) -> None:
            pass

    class Builder:
        def __init__(self, log: ILogger) -> None:
            self.log = log

        def create_network(self, flags: int) -> SimpleNamespace:
            asked.network = flags
            return SimpleNamespace(get_input=lambda number: SimpleNamespace(name="obs"))

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> SimpleNamespace:
            def set_shape(*shape: str | tuple[int, int]) -> None:
                asked.profile = shape

            return SimpleNamespace(set_shape=set_shape)

        def build_serialized_network(
            self, network: SimpleNamespace, config: Config
        ) -> bytes | None:
            self.log.log(3, "(Sparsity) Layers eligible for sparse math: Gemm_1")
            if not options["builds"]:
                self.log.log(1, "out of memory")
                return None
            return b"plan of " + asked.onnx[:8]

    class OnnxParser:
        num_errors = 1

        def __init__(self, network: SimpleNamespace, log: ILogger) -> None:
            pass

        def parse(self, data: bytes) -> bool:
            asked.onnx = data
            return options["parses"]

        def get_error(self, number: int) -> str:
            return "unsupported operator"

    class Context:
        def __init__(self) -> None:
            self.addresses: dict[str, int] = {}

        def set_input_shape(self, name: str, shape: tuple[int, int]) -> None:
            assert shape == (1, 5)

        def set_tensor_address(self, name: str, address: int) -> None:
            self.addresses[name] = address

        def execute_async_v3(self, stream: int) -> bool:
            assert stream == device.stream
            first = device.memory[next(iter(self.addresses.values()))]
            device.memory[self.addresses["actions"]] = 2 * first[:, :3]
            return options["runs"]

    class Runtime:
        def __init__(self, log: ILogger) -> None:
            pass

        def deserialize_cuda_engine(self, data: bytes) -> SimpleNamespace | None:
            asked.loaded.append(data)
            return SimpleNamespace(create_execution_context=Context) if options["loads"] else None

    trt.ILogger, trt.Builder, trt.OnnxParser, trt.Runtime = ILogger, Builder, OnnxParser, Runtime
    trt.BuilderFlag = SimpleNamespace(TF32="tf32", SPARSE_WEIGHTS="2:4", STRICT_NANS="nans")
    trt.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=3)
    return trt, asked


def install_fake(monkeypatch: pytest.MonkeyPatch, **changes: bool | str) -> SimpleNamespace:
    device = FakeDevice()
    trt, asked = make_fake(device, **changes)
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setattr(cuda, "num_cuda_devices", lambda: 1)
    monkeypatch.setattr(tensorrt_controller, "_open_device", lambda: device)
    asked.device = device
    return asked


def test_an_engine_is_strongly_typed_without_tf32_for_batch_1_and_replayed_as_a_graph(
    file: ControllerFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = install_fake(monkeypatch)
    engine = TensorRtEngine(file)
    obs = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    assert (engine.infer(obs) == 2 * obs[:, :3]).all()
    assert (engine.infer_from_state(obs) == 2 * obs[:, :3]).all()
    assert asked.network == 1 << 3
    assert asked.cleared == ["tf32", "tf32"]
    assert asked.flags == []
    assert asked.profile == ("obs", (1, 5), (1, 5), (1, 5))
    assert asked.device.captured == 2


def test_2_4_sparsity_comes_with_strict_nans_and_a_report(
    file: ControllerFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = install_fake(monkeypatch)
    engine = TensorRtEngine(file, sparse=True)
    assert asked.flags == ["2:4", "nans"]
    assert engine.plan.sparse_report == ("(Sparsity) Layers eligible for sparse math: Gemm_1",)


def test_tensorrt_11_has_no_flag_for_strong_typing(
    file: ControllerFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = install_fake(monkeypatch, version="11.0.0")
    monkeypatch.setattr(sys.modules["tensorrt"], "NetworkDefinitionCreationFlag", SimpleNamespace())
    TensorRtEngine(file)
    assert asked.network == 0


def test_an_engine_is_built_once_for_a_file_version_and_gpu(
    file: ControllerFile, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    install_fake(monkeypatch)
    TensorRtEngine(file)
    asked = install_fake(monkeypatch, builds=False)
    TensorRtEngine(file)  # from the cache
    assert len(list(cache.glob("*.plan"))) == 1
    assert asked.network is None
    install_fake(monkeypatch, version="10.14.0")
    TensorRtEngine(file)
    assert len(list(cache.glob("*.plan"))) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tensorrt": "10.12.0"}, "is for tensorrt '10.12.0', this is '10.13.2'"),
        ({"device": "Other GPU sm_80"}, "is for device 'Other GPU sm_80'"),
        ({"onnx_sha256": "0" * 64}, "is for onnx_sha256"),
    ],
)
def test_an_engine_of_another_version_gpu_or_file_is_not_loaded(
    file: ControllerFile,
    monkeypatch: pytest.MonkeyPatch,
    cache: Path,
    change: dict[str, str],
    message: str,
) -> None:
    install_fake(monkeypatch)
    TensorRtEngine(file)
    [path] = cache.glob("*.json")
    table = json.loads(path.read_text())
    table["facts"] |= change
    path.write_text(json.dumps(table))
    asked = install_fake(monkeypatch)
    with pytest.raises(VerificationError, match=message):
        TensorRtEngine(file)
    assert asked.loaded == []


def test_a_plan_that_was_changed_is_not_loaded(
    file: ControllerFile, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    install_fake(monkeypatch)
    TensorRtEngine(file)
    [path] = cache.glob("*.plan")
    path.write_bytes(path.read_bytes() + b"!")
    asked = install_fake(monkeypatch)
    with pytest.raises(VerificationError, match="was changed after it was built"):
        TensorRtEngine(file)
    assert asked.loaded == []
    next(cache.glob("*.json")).write_text("{}")
    with pytest.raises(VerificationError, match="is not a TensorRT engine of surefoot"):
        TensorRtEngine(file)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"version": "10.9.0"}, MissingLibraryError, "needs TensorRT 10.12 or newer, this is 10.9"),
        ({"parses": False}, CheckError, "cannot read the file: unsupported operator"),
        ({"builds": False}, CheckError, "cannot build the engine: out of memory"),
        ({"loads": False}, CheckError, "cannot load the engine"),
        ({"runs": False}, CheckError, "cannot run the engine"),
    ],
)
def test_what_tensorrt_refuses_by_none_and_false_is_an_error(
    file: ControllerFile,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, bool | str],
    error: type[CheckError] | type[MissingLibraryError],
    message: str,
) -> None:
    install_fake(monkeypatch, **changes)
    with pytest.raises(error, match=message):
        TensorRtEngine(file)


@pytest.mark.skipif(os.environ.get("SUREFOOT_TEST_GPU") != "1", reason="make test-gpu runs it")
@pytest.mark.parametrize("backend", GPU_BACKENDS)
def test_a_gpu_computes_the_policy_within_the_rounding_term(
    file: ControllerFile, backend: Backend
) -> None:
    controller = controller_of(file, backend)
    obs = parity_observations(file.policy, np.random.default_rng(1), 1000)
    bound = runtime_error(file.policy, state_limit=10.0)
    assert (np.abs(controller(obs) - file.policy.outputs(obs)) <= bound).all()
    state = np.clip(obs, -10, 10)
    reference = file.policy.outputs_at(state.astype(np.float64))
    assert (np.abs(controller.from_state(state) - reference) <= bound).all()
