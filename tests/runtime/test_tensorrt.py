"""TensorRT without TensorRT: one-line errors here, and the right calls on a module that fakes it.

What needs a GPU is run by ``make test-gpu``; docs/hardware.md tells how.
"""

import json
import os
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest

from support.policies import file_of, random_policy
from surefoot.errors import CheckError, InputError, MissingLibraryError, VerificationError
from surefoot.export.parity import parity_observations
from surefoot.runtime import cuda, tensorrt_controller
from surefoot.runtime.arithmetic import runtime_error
from surefoot.runtime.load import Backend, controller_of
from surefoot.runtime.onnx_controller import CPU_PROVIDER, TENSORRT_PROVIDER
from surefoot.runtime.tensorrt_controller import TensorRtEngine

GPU_BACKENDS = (Backend.TENSORRT, Backend.ONNX_CUDA, Backend.ONNX_TENSORRT)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "surefoot"


@pytest.fixture
def file():
    return file_of(random_policy(np.random.default_rng(0), (5, 16, 3)))


@pytest.mark.skipif(cuda.num_cuda_devices() > 0, reason="there is a GPU here")
@pytest.mark.parametrize("backend", GPU_BACKENDS)
def test_without_a_gpu_every_gpu_backend_is_an_error_of_one_line(file, backend, monkeypatch):
    # As onnxruntime-gpu lists its providers on a machine without GPU, too.
    listed = [TENSORRT_PROVIDER, "CUDAExecutionProvider", CPU_PROVIDER]
    monkeypatch.setattr(ort, "get_available_providers", lambda: listed)
    with pytest.raises(MissingLibraryError, match=rf"^backend {backend} needs an NVIDIA GPU .*"):
        controller_of(file, backend)
    assert "tensorrt" not in sys.modules


def test_a_probe_that_crashes_or_hangs_counts_no_device(monkeypatch):
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


def test_a_gpu_without_tensorrt_says_what_to_install(file, monkeypatch):
    monkeypatch.setattr(cuda, "num_cuda_devices", lambda: 1)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingLibraryError, match=r"10\.12 or newer: install surefoot\[tensorrt\]"):
        controller_of(file, Backend.TENSORRT)


def test_the_tensorrt_provider_is_refused_while_tf32_is_on(file, monkeypatch):
    monkeypatch.setattr(cuda, "num_cuda_devices", lambda: 1)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [TENSORRT_PROVIDER, CPU_PROVIDER])
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    with pytest.raises(InputError, match="needs NVIDIA_TF32_OVERRIDE=0"):
        controller_of(file, Backend.ONNX_TENSORRT)
    asked = []

    def refuse(data, options, providers):
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


class FakeDevice:
    """Memory of a device that does not exist; a graph replays its work."""

    name, stream = "Fake GPU sm_90", 7

    def __init__(self):
        self.memory, self.captured = {}, 0

    def allocate(self, num_bytes):
        self.memory[len(self.memory) + 1] = None
        return len(self.memory)

    def to_device(self, address, array):
        self.memory[address] = array.copy()

    def from_device(self, array, address):
        np.copyto(array, self.memory[address])

    def synchronise(self):
        pass

    def capture(self, work):
        self.captured += 1
        work()
        return work


def make_fake(device, **changes):
    """Return a module that answers as TensorRT 10.13 would, and what was asked of it."""
    asked = SimpleNamespace(cleared=[], flags=[], network=None, profile=None, loaded=[])
    options = {"version": "10.13.2", "parses": True, "builds": True, "loads": True, "runs": True}
    options |= changes
    trt = ModuleType("tensorrt")
    trt.__version__ = options["version"]

    class ILogger:
        Severity = SimpleNamespace(ERROR=1, INTERNAL_ERROR=0, INFO=3)

    class Config:
        def clear_flag(self, flag):
            asked.cleared.append(flag)

        def set_flag(self, flag):
            asked.flags.append(flag)

        def add_optimization_profile(self, profile):
            pass

    class Builder:
        def __init__(self, log):
            self.log = log

        def create_network(self, flags):
            asked.network = flags
            return SimpleNamespace(get_input=lambda number: SimpleNamespace(name="obs"))

        def create_builder_config(self):
            return Config()

        def create_optimization_profile(self):
            def set_shape(*shape):
                asked.profile = shape

            return SimpleNamespace(set_shape=set_shape)

        def build_serialized_network(self, network, config):
            self.log.log(3, "(Sparsity) Layers eligible for sparse math: Gemm_1")
            if not options["builds"]:
                self.log.log(1, "out of memory")
                return None
            return b"plan of " + asked.onnx[:8]

    class OnnxParser:
        num_errors = 1

        def __init__(self, network, log):
            pass

        def parse(self, data):
            asked.onnx = data
            return options["parses"]

        def get_error(self, number):
            return "unsupported operator"

    class Context:
        def __init__(self):
            self.addresses = {}

        def set_input_shape(self, name, shape):
            assert shape == (1, 5)

        def set_tensor_address(self, name, address):
            self.addresses[name] = address

        def execute_async_v3(self, stream):
            assert stream == device.stream
            first = device.memory[next(iter(self.addresses.values()))]
            device.memory[self.addresses["actions"]] = 2 * first[:, :3]
            return options["runs"]

    class Runtime:
        def __init__(self, log):
            pass

        def deserialize_cuda_engine(self, data):
            asked.loaded.append(data)
            return SimpleNamespace(create_execution_context=Context) if options["loads"] else None

    trt.ILogger, trt.Builder, trt.OnnxParser, trt.Runtime = ILogger, Builder, OnnxParser, Runtime
    trt.BuilderFlag = SimpleNamespace(TF32="tf32", SPARSE_WEIGHTS="2:4", STRICT_NANS="nans")
    trt.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=3)
    return trt, asked


@pytest.fixture
def fake(monkeypatch):
    def install(**changes):
        device = FakeDevice()
        trt, asked = make_fake(device, **changes)
        monkeypatch.setitem(sys.modules, "tensorrt", trt)
        monkeypatch.setattr(cuda, "num_cuda_devices", lambda: 1)
        monkeypatch.setattr(tensorrt_controller, "_open_device", lambda: device)
        asked.device = device
        return asked

    return install


def test_an_engine_is_strongly_typed_without_tf32_for_batch_1_and_replayed_as_a_graph(file, fake):
    asked = fake()
    engine = TensorRtEngine(file)
    obs = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    assert (engine.infer(obs) == 2 * obs[:, :3]).all()
    assert (engine.infer_from_state(obs) == 2 * obs[:, :3]).all()
    assert asked.network == 1 << 3
    assert asked.cleared == ["tf32", "tf32"]
    assert asked.flags == []
    assert asked.profile == ("obs", (1, 5), (1, 5), (1, 5))
    assert asked.device.captured == 2


def test_2_4_sparsity_comes_with_strict_nans_and_a_report(file, fake):
    asked = fake()
    engine = TensorRtEngine(file, sparse=True)
    assert asked.flags == ["2:4", "nans"]
    assert engine.plan.sparse_report == ("(Sparsity) Layers eligible for sparse math: Gemm_1",)


def test_tensorrt_11_has_no_flag_for_strong_typing(file, fake, monkeypatch):
    asked = fake(version="11.0.0")
    monkeypatch.setattr(sys.modules["tensorrt"], "NetworkDefinitionCreationFlag", SimpleNamespace())
    TensorRtEngine(file)
    assert asked.network == 0


def test_an_engine_is_built_once_for_a_file_version_and_gpu(file, fake, cache):
    fake()
    TensorRtEngine(file)
    asked = fake(builds=False)
    TensorRtEngine(file)  # from the cache
    assert len(list(cache.glob("*.plan"))) == 1
    assert asked.network is None
    fake(version="10.14.0")
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
def test_an_engine_of_another_version_gpu_or_file_is_not_loaded(file, fake, cache, change, message):
    fake()
    TensorRtEngine(file)
    [path] = cache.glob("*.json")
    table = json.loads(path.read_text())
    table["facts"] |= change
    path.write_text(json.dumps(table))
    asked = fake()
    with pytest.raises(VerificationError, match=message):
        TensorRtEngine(file)
    assert asked.loaded == []


def test_a_plan_that_was_changed_is_not_loaded(file, fake, cache):
    fake()
    TensorRtEngine(file)
    [path] = cache.glob("*.plan")
    path.write_bytes(path.read_bytes() + b"!")
    asked = fake()
    with pytest.raises(VerificationError, match="was changed after it was built"):
        TensorRtEngine(file)
    assert asked.loaded == []
    next(cache.glob("*.json")).write_text("{}")
    with pytest.raises(VerificationError, match="is no TensorRT engine of ours"):
        TensorRtEngine(file)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"version": "10.9.0"}, MissingLibraryError, "needs TensorRT 10.12 or newer, this is 10.9"),
        ({"parses": False}, CheckError, "does not read the file: unsupported operator"),
        ({"builds": False}, CheckError, "does not build the engine: out of memory"),
        ({"loads": False}, CheckError, "does not load the engine"),
        ({"runs": False}, CheckError, "does not run the engine"),
    ],
)
def test_what_tensorrt_refuses_by_none_and_false_is_an_error(file, fake, changes, error, message):
    fake(**changes)
    with pytest.raises(error, match=message):
        TensorRtEngine(file)


@pytest.mark.skipif(os.environ.get("SUREFOOT_TEST_GPU") != "1", reason="make test-gpu runs it")
@pytest.mark.parametrize("backend", GPU_BACKENDS)
def test_a_gpu_computes_the_policy_within_the_rounding_term(file, backend):
    controller = controller_of(file, backend)
    obs = parity_observations(file.policy, np.random.default_rng(1), 1000)
    bound = runtime_error(file.policy, state_limit=10.0)
    assert (np.abs(controller(obs) - file.policy.outputs(obs)) <= bound).all()
    state = np.clip(obs, -10, 10)
    reference = file.policy.outputs_at(state.astype(np.float64))
    assert (np.abs(controller.from_state(state) - reference) <= bound).all()
