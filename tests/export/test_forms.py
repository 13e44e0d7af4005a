"""Every form in a bundle is what its canonical file leads to, byte for byte, or it is refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from support.certificates import certificate_of
from support.gates import small_gate
from support.policies import random_policy
from surefoot.artifact import Artifact, read_artifact, write_artifact
from surefoot.bundle import CERTIFICATE_FILE, open_bundle, write_bundle
from surefoot.errors import CheckError, InputError, VerificationError
from surefoot.export import ExportConfig, Target, assemble_bundle, check_forms
from surefoot.export.forms import C_REPORT_FILE, require_grade
from surefoot.gate import FalseAlarms, GateFile, GateRule
from surefoot.onnx_file import SPARSE_FILE, ControllerFile, load_policy, save_policy
from surefoot.policy import Activation, Policy
from surefoot.robot import Robot
from surefoot.runtime import Backend, CConfig, load_controller
from surefoot.runtime.arithmetic import Grade
from surefoot.runtime.c_layers import Layout
from surefoot.runtime.c_names import NAMES_FILE, c_names

CONFIG = ExportConfig(targets=(Target.SPARSE_ONNX, Target.C), num_random=200)


def thinned(policy: Policy, rng: np.random.Generator, density: float) -> Policy:
    """Keep this share of the weights."""
    for layer in policy.layers:
        layer.weight[rng.random(layer.weight.shape) >= density] = 0
    return policy


def saved_policy(tmp_path: Path, density: float = 0.1) -> tuple[ControllerFile, Artifact]:
    rng = np.random.default_rng(0)
    policy = thinned(random_policy(rng, (6, 40, 40, 2), Activation.RELU), rng, density)
    save_policy(tmp_path / "policy", policy)
    return load_policy(tmp_path / "policy")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    file, origin = saved_policy(tmp_path)
    assemble_bundle(tmp_path / "bundle", file, origin, certificate_of(file), CONFIG)
    return tmp_path / "bundle"


def test_all_forms_of_a_bundle_give_the_same_actions_within_their_own_bounds(folder: Path) -> None:
    bundle = open_bundle(folder)
    table = json.loads(bundle.files["parity.json"])
    assert set(table) == {"numpy", "onnx", "onnx-sparse", "c"}
    assert all(entry["worst"] <= entry["bound"] for entry in table.values())
    obs = np.random.default_rng(1).normal(0, 3, (50, 6)).astype(np.float32)
    reference = bundle.controller.policy.outputs(obs)
    for backend in (Backend.NUMPY, Backend.ONNX, Backend.ONNX_SPARSE, Backend.C):
        error = np.abs(load_controller(bundle, backend)(obs) - reference)
        assert (error <= table[backend]["bound"]).all()


def test_the_forms_of_a_bundle_are_derived_again_and_hold(folder: Path) -> None:
    names = check_forms(open_bundle(folder))
    assert set(names) == {
        SPARSE_FILE,
        "policy.c",
        "policy.h",
        "policy_main.c",
        C_REPORT_FILE,
    }


def forge(folder: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Rewrite one file of a bundle with a manifest that fits, as whoever has no key could."""
    artifact = read_artifact(folder, "bundle")
    files = {**artifact.files, name: change(artifact.files[name])}
    shutil.rmtree(folder)
    write_artifact(folder, Artifact(kind="bundle", files=files, facts=artifact.facts))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("policy.c", lambda data: data.replace(b"0.5f", b"0.25f", 1), "policy.c is not what"),
        ("policy.h", lambda data: data + b"\n", "policy.h is not what"),
        (SPARSE_FILE, lambda data: data[:-1], "policy.sparse.onnx is not what"),
        (C_REPORT_FILE, lambda data: b"[]", "does not say how the C was laid out"),
        (
            C_REPORT_FILE,
            lambda data: data.replace(b'"generator": "0', b'"generator": "9'),
            "export again",
        ),
        (C_REPORT_FILE, lambda data: data.replace(b'"microcontroller"', b'"x"'), "machine"),
    ],
)
def test_a_form_that_its_canonical_file_does_not_lead_to_is_refused(
    folder: Path, name: str, change: Callable[[bytes], bytes], message: str
) -> None:
    before = (folder / name).read_bytes()
    forge(folder, name, change)
    assert (folder / name).read_bytes() != before
    bundle = open_bundle(folder)  # its digests hold
    with pytest.raises(VerificationError, match=message):
        check_forms(bundle)


ROBOT = Robot.parse("""
sensor = [{ name = "state", unit = "1", count = 6 }]
actuator = [{ name = "hip", unit = "rad" }, { name = "knee", unit = "rad" }]
""")


@pytest.mark.parametrize(
    ("robot", "names", "message"),
    [
        (ROBOT, c_names(ROBOT), None),
        (ROBOT, c_names(ROBOT).replace(b"KNEE = 1", b"KNEE = 0"), "is not what robot"),
        (ROBOT, None, r"policy_names\.h is not what robot\.toml generates"),
        (None, None, None),
        (None, c_names(ROBOT), r"names a robot, and the bundle has no robot\.toml"),
    ],
)
def test_the_names_in_c_are_those_of_the_robot_that_the_certificate_is_about(
    folder: Path, robot: Robot | None, names: bytes | None, message: str | None
) -> None:
    bundle = open_bundle(folder)
    more = {} if names is None else {NAMES_FILE: names}
    bundle = replace(
        bundle,
        certificate=replace(bundle.certificate, robot=robot),
        files={**bundle.files, **more},
    )
    if message is None:
        assert (NAMES_FILE in check_forms(bundle)) is (robot is not None)
    else:
        with pytest.raises(VerificationError, match=message):
            check_forms(bundle)


def test_a_missing_header_is_refused(folder: Path) -> None:
    artifact = read_artifact(folder, "bundle")
    files = {name: data for name, data in artifact.files.items() if name != "policy.h"}
    shutil.rmtree(folder)
    write_artifact(folder, Artifact(kind="bundle", files=files, facts=artifact.facts))
    with pytest.raises(VerificationError, match=r"policy\.h is not what"):
        check_forms(open_bundle(folder))


def test_a_form_that_cannot_be_built_leaves_no_bundle(tmp_path: Path) -> None:
    file, origin = saved_policy(tmp_path, density=0.5)
    with pytest.raises(InputError, match="must be smaller than the dense one"):
        assemble_bundle(tmp_path / "bundle", file, origin, certificate_of(file), CONFIG)
    assert not (tmp_path / "bundle").exists()


def test_a_certificate_that_counts_on_less_than_the_c_errs_by_is_refused(tmp_path: Path) -> None:
    file, origin = saved_policy(tmp_path)
    config = ExportConfig(targets=(Target.C,), num_random=50)
    certificate = certificate_of(file, runtime_error=(1e-12, 1e-12))
    with pytest.raises(CheckError, match="is not the policy"):
        assemble_bundle(tmp_path / "bundle", file, origin, certificate, config)


COARSE = ExportConfig(targets=(Target.C,), c=CConfig(activations=Grade.COARSE), num_random=50)


def test_c_of_a_lower_grade_needs_a_certificate_that_counts_on_it(tmp_path: Path) -> None:
    file, origin = saved_policy(tmp_path)
    with pytest.raises(InputError, match="certify with arithmetic float32-coarse"):
        assemble_bundle(tmp_path / "bundle", file, origin, certificate_of(file), COARSE)
    assert not (tmp_path / "bundle").exists()
    counted = certificate_of(file, arithmetic="float32-coarse", runtime_error=(1.0, 1.0))
    bundle = assemble_bundle(tmp_path / "bundle", file, origin, counted, COARSE)
    assert json.loads(bundle.files[C_REPORT_FILE])["config"]["activations"] == "coarse"
    check_forms(bundle)


def test_c_of_a_lower_grade_beside_another_certificate_does_not_verify(tmp_path: Path) -> None:
    file, origin = saved_policy(tmp_path)
    counted = certificate_of(file, arithmetic="float32-coarse", runtime_error=(1.0, 1.0))
    bundle = assemble_bundle(tmp_path / "bundle", file, origin, counted, COARSE)
    files = {**bundle.files, CERTIFICATE_FILE: certificate_of(file).to_json()}
    other = write_bundle(tmp_path / "other", files, allow_uncertified=False)
    with pytest.raises(VerificationError, match="activations of C must be full under a certif"):
        check_forms(other)


@pytest.mark.parametrize("arithmetic", ["float32-coarse", "float32-fine"])
def test_c_behind_a_gate_is_of_full_grade(tmp_path: Path, arithmetic: str) -> None:
    file, _ = saved_policy(tmp_path)
    certificate = certificate_of(file, arithmetic=arithmetic)
    config = CConfig(activations=Grade(arithmetic.removeprefix("float32-")))
    alarms = FalseAlarms(recorded=0, rejected=0)
    gate = GateFile(gate=small_gate(), rule=GateRule(), alarms=alarms)
    with pytest.raises(InputError, match="activations of C must be full behind a gate, got"):
        require_grade(certificate, config, gate)
    require_grade(certificate, config, None)
    require_grade(certificate, CConfig(), gate)


def test_the_layout_that_was_asked_for_is_exported(tmp_path: Path) -> None:
    file, origin = saved_policy(tmp_path)
    config = ExportConfig(
        targets=(Target.C,), c=CConfig(layout=Layout.CSR, constant_time=True), num_random=50
    )
    bundle = assemble_bundle(tmp_path / "bundle", file, origin, certificate_of(file), config)
    report = json.loads(bundle.files[C_REPORT_FILE])
    assert {layer["layout"] for layer in report["layers"]} == {"csr"}
    assert report["constant_time"] is True
    check_forms(bundle)
