"""One seed, one policy: what the environment says of kernels changes no bit of a result."""

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import surefoot
from surefoot import kernels
from surefoot.cpuid import Cpuid
from surefoot.errors import InputError
from surefoot.kernels import CHOICE_VARIABLE, SWITCHES, can_pin, pin_kernels

needs_avx2 = pytest.mark.skipif(not can_pin(), reason="needs AVX2 and FMA")

RESULTS = """
import json

import surefoot

surefoot.pin_kernels()

from surefoot.artifact import sha256_hex, to_json
from surefoot.compress import calibration_states
from surefoot.onnx_file import policy_from_onnx, policy_to_onnx
from surefoot.policy import weights_sha256
from surefoot.train.defence_config import StateAdversarial

BUDGET = '''[[require]]
quantity = "action_deviation"
epsilon = 0.05
norm = "linf"
scope = "everywhere"
at_most = 0.5
'''

result = surefoot.train_policy(
    surefoot.TrainConfig(
        env_id="Hopper-v5",
        total_steps=1024,
        num_envs=4,
        rollout_steps=64,
        num_threads=1,
        device="cpu",
        hidden=(32, 32),
        critic_hidden=(32, 32),
        epochs=2,
        minibatch_size=64,
        defence=StateAdversarial(epsilon=0.1, kappa=0.1, inner_steps=3),
        num_evaluations=1,
        evaluation_episodes=2,
        visited_states=32,
    )
)
dense = result.policy
states = calibration_states(dense, result.visited.independent)
small = surefoot.compress_policy(dense, states, 700, surefoot.OneShotConfig(method="obs"))
config = surefoot.CertifyConfig(search_states=4, search_steps=2, lipsdp_iterations=5)
evidence = surefoot.Evidence(observations=result.visited.independent)
file = policy_from_onnx(policy_to_onnx(dense))
certificate = surefoot.certify_policy(file, surefoot.Budget.parse(BUDGET), evidence, config)
attack = surefoot.AttackConfig(
    env_id="Hopper-v5",
    attacks=("critic", "mad"),
    epsilon=0.05,
    episodes=1,
    selection_episodes=1,
    critic_steps=1024,
    num_threads=1,
)
report = surefoot.run_suite(file, certificate, attack).to_table()
results = {
    "policy": weights_sha256(dense),
    "visited": sha256_hex(result.visited.to_bytes()),
    "compressed": weights_sha256(small),
    "certificate": sha256_hex(certificate.to_json()),
    "attacks": sha256_hex(to_json(report["attacks"])),
}
print(json.dumps({"results": results, "unpinned": surefoot.running_kernels().unpinned}))
"""


def output_of(code: str, **hints: str) -> str:
    """Run code in a process whose environment says this of kernels; return what it prints."""
    silent = (*SWITCHES, "NPY_ENABLE_CPU_FEATURES", CHOICE_VARIABLE)
    inherited = {name: value for name, value in os.environ.items() if name not in silent}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, **hints},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def results_under(*begin: str, **hints: str) -> dict[str, Any]:
    """Train, compress, certify and attack in a process whose environment says this of kernels.

    Args:
        begin: Lines of code before everything else.
        hints: Variables of the environment.
    """
    return dict(json.loads(output_of("\n".join([*begin, RESULTS]), **hints)))


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """Return the results under an environment that says nothing."""
    return results_under()


@needs_avx2
@pytest.mark.parametrize(
    "hints",
    [
        {
            "ATEN_CPU_CAPABILITY": "default",
            "NPY_DISABLE_CPU_FEATURES": "X86_V3",
            "OMP_NUM_THREADS": "2",
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "OPENBLAS_CORETYPE": "Nehalem",
            "OPENBLAS_NUM_THREADS": "2",
        },
        {
            "ATEN_CPU_CAPABILITY": "avx512",
            "MKL_CBWR": "AUTO",
            "MKL_NUM_THREADS": "2",
            "OPENBLAS_CORETYPE": "SkylakeX",
            "OPENBLAS_L2_SIZE": "256",
        },
    ],
    ids=["older", "newer"],
)
def test_no_hint_of_the_environment_changes_a_result(
    results: dict[str, Any], hints: dict[str, str]
) -> None:
    assert results["unpinned"] is None
    assert results_under(**hints) == results


@needs_avx2
def test_without_the_pin_the_kernels_do_change_results(results: dict[str, Any]) -> None:
    """What the test above would see."""
    other = results_under(SUREFOOT_KERNELS="native", OPENBLAS_CORETYPE="Nehalem")
    assert other["unpinned"] == "SUREFOOT_KERNELS is native"
    assert other["results"]["policy"] != results["results"]["policy"]


@needs_avx2
def test_a_library_that_was_loaded_before_the_pin_is_named() -> None:
    code = (
        "import numpy, surefoot; surefoot.pin_kernels(); print(surefoot.running_kernels().unpinned)"
    )
    said = output_of(code, OPENBLAS_CORETYPE="Nehalem")
    assert "openblas Nehalem" in said
    assert said.endswith("loaded before they were pinned: numpy")


@needs_avx2
def test_functions_of_the_c_library_that_a_variable_chooses_are_named() -> None:
    code = "import surefoot; surefoot.pin_kernels(); print(surefoot.running_kernels().unpinned)"
    assert output_of(code) == "None"
    said = output_of(code, GLIBC_TUNABLES="glibc.cpu.hwcaps=-AVX2,-FMA")
    assert said == "GLIBC_TUNABLES chooses other functions of the C library"


@pytest.mark.parametrize("given", [{}, {"OPENBLAS_NUM_THREADS": "2"}], ids=["silent", "told"])
def test_native_kernels_have_one_thread_unless_told_otherwise(given: dict[str, str]) -> None:
    code = "import os, surefoot; surefoot.pin_kernels(); print(os.environ['OPENBLAS_NUM_THREADS'])"
    told = given.get("OPENBLAS_NUM_THREADS", "1")
    assert output_of(code, SUREFOOT_KERNELS="native", **given) == told


def test_an_unknown_choice_of_kernels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    line = f"{CHOICE_VARIABLE} is one of pinned, native, not 'natve'"
    monkeypatch.setenv(CHOICE_VARIABLE, "natve")
    for use in (pin_kernels, surefoot.running_kernels):
        with pytest.raises(InputError, match=f"^{line}$"):
            use()
    program = [sys.executable, "-m", "surefoot", "--version"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {line}\n")


@needs_avx2
def test_kernels_that_a_parent_process_has_pinned_stay_pinned(results: dict[str, Any]) -> None:
    inherited = {**SWITCHES, "NPY_ENABLE_CPU_FEATURES": kernels.numpy_features()}
    assert results_under("import numpy, torch", **inherited) == results


@pytest.mark.parametrize("flags", ["sse4_2 avx", "avx2", "fma"])
def test_a_processor_without_avx2_and_fma_keeps_its_kernels_and_says_so(
    monkeypatch: pytest.MonkeyPatch, flags: str
) -> None:
    monkeypatch.setattr(kernels, "_cpuinfo", lambda: [("model name", "Old"), ("flags", flags)])
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Nehalem")
    pin_kernels()
    assert os.environ["OPENBLAS_CORETYPE"] == "Nehalem"
    running = surefoot.running_kernels()
    assert running.processor.startswith("Old, ")
    assert running.unpinned is not None
    assert "without AVX2 and FMA" in running.unpinned


@pytest.mark.parametrize("answers", [False, True], ids=["older C library", "CPUID"])
def test_a_processor_that_cpuid_does_not_show_is_not_counted_on(
    monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    """Under an emulator ``/proc/cpuinfo`` is of another processor."""
    account = {"model name": "New", "cpu family": "26", "model": "2", "flags": "avx2 fma"}
    monkeypatch.setattr(kernels, "_cpuinfo", lambda: list(account.items()))
    answer = Cpuid(family=6, model=26, has_avx2_and_fma=False) if answers else None
    monkeypatch.setattr(kernels, "cpuid", lambda: answer)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert can_pin() is not answers
    shown = "; by CPUID family 6 model 26" if answers else ""
    assert kernels.processor() == f"New, family 26 model 2{shown}"


def test_the_command_line_pins_before_it_loads_anything_that_computes() -> None:
    code = (
        "import sys, surefoot.cli, os\n"
        "assert not {'numpy', 'torch', 'scipy'} & sys.modules.keys()\n"
        "print(os.environ.get('OPENBLAS_CORETYPE'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (SWITCHES["OPENBLAS_CORETYPE"] if can_pin() else "None")


def test_names_of_kernels_are_those_that_numpy_gives() -> None:
    """The features that are asked for are among those of the installed NumPy."""
    told = np.lib.introspect.opt_func_info(func_name="^tanh$")["tanh"]["ff"]["available"]
    assert kernels.numpy_features() in told.split() or np.__version__ < "2.4"
