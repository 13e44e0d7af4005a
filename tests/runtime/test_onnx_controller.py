"""ONNX Runtime runs the very file, on the device that was asked for, or says why not."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from support.policies import file_of, random_policy
from surefoot.errors import InputError, MissingLibraryError
from surefoot.installation import how_to_install
from surefoot.onnx_file import ControllerFile, policy_from_onnx, policy_to_onnx
from surefoot.policy import Activation
from surefoot.runtime import cuda
from surefoot.runtime.load import Backend, controller_of
from surefoot.runtime.onnx_controller import (
    CPU_PROVIDER,
    CUDA_PROVIDER,
    OnnxEngine,
    open_session,
)


@pytest.fixture
def file() -> ControllerFile:
    policy = random_policy(np.random.default_rng(0), (4, 8, 2))
    return file_of(policy)


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_bound_memory_gives_the_bits_of_a_plain_run(file: ControllerFile, rows: int) -> None:
    engine = OnnxEngine(file)
    rng = np.random.default_rng(1)
    for _ in range(3):
        obs = rng.normal(0, 3, (rows, 4)).astype(np.float32)
        plain = ort.InferenceSession(file.data, providers=[CPU_PROVIDER]).run(None, {"obs": obs})
        assert np.array_equal(engine.infer(obs), plain[0])


def test_batches_of_different_sizes_may_alternate(file: ControllerFile) -> None:
    engine = OnnxEngine(file)
    obs = np.random.default_rng(2).normal(0, 3, (5, 4)).astype(np.float32)
    ones = [engine.infer(obs[:1]), engine.infer(obs), engine.infer(obs[:1])]
    assert np.array_equal(ones[0], ones[2])


def test_settings_keep_the_arithmetic_and_the_robot_s_cores(file: ControllerFile) -> None:
    options = OnnxEngine(file).session.get_session_options()
    assert options.intra_op_num_threads == 1
    assert options.inter_op_num_threads == 1
    assert options.execution_mode == ort.ExecutionMode.ORT_SEQUENTIAL
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.get_session_config_entry("session.set_denormal_as_zero") == "0"


def test_subnormal_numbers_survive(file: ControllerFile) -> None:
    # Flush to zero would need another rounding term.
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Mul", ["x", "half"], ["y"])],
        "halve",
        [onnx.helper.make_tensor_value_info("x", kind, ["N"])],
        [onnx.helper.make_tensor_value_info("y", kind, ["N"])],
        [onnx.numpy_helper.from_array(np.float32([0.5]), "half")],
    )
    opset = onnx.helper.make_opsetid("", 17)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    session = open_session(model.SerializeToString(), CPU_PROVIDER)
    smallest_normal = np.full(64, 2.0**-126, np.float32)
    assert (session.run(None, {"x": smallest_normal})[0] == 2.0**-127).all()


@pytest.mark.skipif(CUDA_PROVIDER in ort.get_available_providers(), reason="CUDA may be here")
def test_cuda_is_never_replaced_by_the_cpu(file: ControllerFile) -> None:
    with warnings.catch_warnings():  # not even with ONNX Runtime's own warning
        warnings.simplefilter("error")
        with pytest.raises(MissingLibraryError, match="no CUDAExecutionProvider"):
            controller_of(file, Backend.ONNX_CUDA)


def test_a_session_that_fell_back_to_the_cpu_is_refused(
    file: ControllerFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What onnxruntime-gpu does on a machine without a GPU: it lists CUDA and opens a CPU session.
    class Quiet:
        def disable_fallback(self) -> None:
            pass

        def get_providers(self) -> list[str]:
            return [CPU_PROVIDER]

    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA_PROVIDER, CPU_PROVIDER])
    monkeypatch.setattr(cuda, "num_cuda_devices", lambda: 1)
    monkeypatch.setattr(ort, "InferenceSession", lambda *args, **kwargs: Quiet())
    with pytest.raises(MissingLibraryError, match="CUDAExecutionProvider is not usable here"):
        controller_of(file, Backend.ONNX_CUDA)


def test_cuda_is_asked_for_without_fall_back_and_without_tf32(
    file: ControllerFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(
        data: bytes, options: ort.SessionOptions, providers: list[tuple[str, dict[str, str]]]
    ) -> None:
        asked.append((options, providers))
        raise RuntimeError("no device\nsecond line")

    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA_PROVIDER, CPU_PROVIDER])
    monkeypatch.setattr(cuda, "num_cuda_devices", lambda: 1)
    monkeypatch.setattr(ort, "InferenceSession", refuse)
    with pytest.raises(MissingLibraryError, match=r"CUDA cannot be used: no device$"):
        controller_of(file, Backend.ONNX_CUDA)
    [(options, providers)] = asked
    assert providers == [(CUDA_PROVIDER, {"use_tf32": "0"})]
    assert options.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"


BLOCKED = """
import sys
sys.modules["onnxruntime"] = None
import numpy as np
from pathlib import Path
from surefoot.errors import MissingLibraryError
from surefoot.runtime.controller_file import load_controller_file
from surefoot.runtime import Backend, controller_of
file = load_controller_file(Path(sys.argv[1]))
controller_of(file, Backend.NUMPY)(np.zeros((1, 4)))
try:
    controller_of(file, Backend.ONNX)
except MissingLibraryError as error:
    print(error)
loaded = {"torch", "gymnasium", "mujoco"} & set(sys.modules)
assert not loaded, loaded
"""


def test_without_onnx_runtime_numpy_runs_and_onnx_says_what_to_install(
    file: ControllerFile, tmp_path: Path
) -> None:
    path = tmp_path / "policy.onnx"
    path.write_bytes(file.data)
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    advice = f"{how_to_install('cpu')}, or gpu in place of cpu"
    assert done.stdout == f"backend onnx needs onnxruntime: {advice}\n"


def test_a_file_that_onnx_runtime_refuses_is_bad_input_in_one_line(file: ControllerFile) -> None:
    with pytest.raises(InputError, match=r"^ONNX Runtime refuses the file: [^\n]+$"):
        open_session(file.data[:-20], CPU_PROVIDER)


def test_a_foreign_file_has_no_entry_after_the_normaliser() -> None:
    policy = random_policy(np.random.default_rng(3), (4, 8, 2), Activation.RELU)
    model = onnx.load_model_from_string(policy_to_onnx(policy))
    for node in model.graph.node:
        node.input[:] = ["z" if name == "state" else name for name in node.input]
        node.output[:] = ["z" if name == "state" else name for name in node.output]
    file = policy_from_onnx(model.SerializeToString())
    controller = controller_of(file, Backend.ONNX)
    state = np.zeros((1, 4), np.float32)
    assert np.isfinite(controller(state)).all()
    with pytest.raises(InputError, match="no tensor 'state'"):
        controller.from_state(state)
