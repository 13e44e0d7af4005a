"""The forms of one policy that a bundle may hold beside its canonical file, and what each errs by.

Every form is derived from the canonical file, so that :func:`check_forms` can derive it again and
compare bytes: nothing in a bundle but ``policy.onnx`` decides what a controller computes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from surefoot.artifact import Json, from_untrusted_json, to_json
from surefoot.bundle import Bundle
from surefoot.certificate import Certificate
from surefoot.config import build, to_table
from surefoot.errors import InputError, IntegrityError, VerificationError
from surefoot.export.footprint import footprint
from surefoot.gate import GATE_FILE, GateFile
from surefoot.onnx_file import POLICY_FILE, SPARSE_FILE, ControllerFile, sparse_onnx
from surefoot.robot import ROBOT_FILE, Robot
from surefoot.runtime.arithmetic import ARITHMETIC_TAU, TAU, Grade
from surefoot.runtime.c_activations import c_tau
from surefoot.runtime.c_controller import CEngine
from surefoot.runtime.c_gate import GATE_HEADER_FILE, GATE_SOURCE_FILE, c_gate_source
from surefoot.runtime.c_gated import CGate
from surefoot.runtime.c_names import NAMES_FILE, c_names
from surefoot.runtime.c_source import HEADER_FILE, MAIN_FILE, SOURCE_FILE, CConfig, c_source
from surefoot.runtime.controller import CheckedController
from surefoot.runtime.load import Backend, controller_of
from surefoot.version import __version__

C_REPORT_FILE = "policy.c.json"
C_FOOTPRINT_FILE = "policy.c.footprint.json"
_C_FILES = (SOURCE_FILE, HEADER_FILE, MAIN_FILE, C_REPORT_FILE)
_C_GATE_FILES = (GATE_SOURCE_FILE, GATE_HEADER_FILE)
_ORIGINS = {
    **dict.fromkeys(_C_GATE_FILES, f"{GATE_FILE} and {POLICY_FILE}"),
    NAMES_FILE: ROBOT_FILE,
}


class Target(StrEnum):
    """A form that is exported."""

    ONNX = "onnx"
    """The canonical file, which is in every bundle."""
    SPARSE_ONNX = "sparse-onnx"
    """The same with sparse weights: fewer bytes on disk, no speed."""
    C = "c"
    """C99 for microcontrollers and PCs."""
    TENSORRT = "tensorrt"
    """An engine for this machine's GPU: kept in its cache, compared, and never in the bundle."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """One form, built.

    Attributes:
        files: What it adds to the bundle, by name.
        controller: It, running on this machine.
        tau: Bound on the error of its smooth activations.
    """

    files: Mapping[str, bytes]
    controller: CheckedController
    tau: float


def build_form(
    file: ControllerFile,
    target: Target,
    config: CConfig,
    gate: GateFile | None = None,
    robot: Robot | None = None,
) -> Form:
    """Build one form of a canonical file.

    Args:
        file: The canonical file.
        target: Form to build.
        config: How C is laid out.
        gate: Gate to which the controller is held, for the forms that can hold one.
        robot: Robot whose sensors and actuators C names; None for no names.

    Raises:
        MissingLibraryError: If this machine lacks what builds or runs it.
        InputError: If it would not pay.
    """
    match target:
        case Target.ONNX:
            return Form(files={}, controller=controller_of(file, Backend.ONNX), tau=TAU)
        case Target.SPARSE_ONNX:
            files = {SPARSE_FILE: sparse_onnx(file.data)}
            return Form(files=files, controller=controller_of(file, Backend.ONNX_SPARSE), tau=TAU)
        case Target.TENSORRT:
            return Form(files={}, controller=controller_of(file, Backend.TENSORRT), tau=TAU)
        case Target.C:
            controller = CheckedController(CEngine(file, config))
            files = _c_files(file, config, gate, robot)
            if gate is not None:
                CGate(file, gate, config)  # compiled, and its self-test passed
            files[C_FOOTPRINT_FILE] = to_json(footprint(files))
            return Form(files=files, controller=controller, tau=c_tau(config.activations))


def require_grade(certificate: Certificate, config: CConfig, gate: GateFile | None) -> None:
    """Refuse C whose activations err by more than its certificate or its gate counts on.

    Raises:
        InputError: If they do.
    """
    grade = config.activations
    if c_tau(grade) > ARITHMETIC_TAU.get(certificate.arithmetic, 0.0):
        raise InputError(
            f"activations of C must be full under a certificate of arithmetic "
            f"{certificate.arithmetic}, got {grade}: certify with arithmetic float32-{grade}"
        )
    if gate is not None and grade is not Grade.FULL:
        raise InputError(f"activations of C must be full behind a gate, got {grade}")


def check_forms(bundle: Bundle) -> list[str]:
    """Derive every form of a bundle again, compare it byte for byte, and return their names.

    Raises:
        VerificationError: If a file is not what the canonical file leads to, or cannot be derived
            again because another version of surefoot wrote it.
    """
    names = []
    try:
        if SPARSE_FILE in bundle.files:
            _compare(bundle, {SPARSE_FILE: sparse_onnx(bundle.controller.data)})
            names.append(SPARSE_FILE)
        robot = bundle.certificate.robot
        c_files = (
            *_C_FILES,
            *(_C_GATE_FILES if bundle.gate is not None else ()),
            *((NAMES_FILE,) if robot is not None else ()),
        )
        if any(name in bundle.files for name in (*_C_FILES, *_C_GATE_FILES, NAMES_FILE)):
            config = _c_config(bundle)
            require_grade(bundle.certificate, config, bundle.gate)
            _compare(bundle, _c_files(bundle.controller, config, bundle.gate, robot))
            _refuse_more_c(bundle, c_files)
            names += c_files
    except (InputError, IntegrityError) as error:
        raise VerificationError(f"a form does not verify: {error}") from error
    return names


def _c_files(
    file: ControllerFile, config: CConfig, gate: GateFile | None, robot: Robot | None
) -> dict[str, bytes]:
    source = c_source(file.policy, config)
    takes = to_table(source.report, nulls=True)
    report = {"generator": __version__, "config": to_table(config), **takes}
    gated = {} if gate is None else c_gate_source(file.policy, gate)
    names = {} if robot is None else {NAMES_FILE: c_names(robot)}
    return {**source.files, **gated, **names, C_REPORT_FILE: to_json(report)}


def _refuse_more_c(bundle: Bundle, expected: Sequence[str]) -> None:
    """Refuse the C of a gate, or the names of a robot, that the bundle does not have.

    Raises:
        IntegrityError: If there is some.
    """
    for name in _C_GATE_FILES:
        if name in bundle.files and name not in expected:
            raise IntegrityError(f"{name} holds a gate, and the bundle has no {GATE_FILE}")
    if NAMES_FILE in bundle.files and NAMES_FILE not in expected:
        raise IntegrityError(f"{NAMES_FILE} names a robot, and the bundle has no {ROBOT_FILE}")


def _c_config(bundle: Bundle) -> CConfig:
    """Return the layout of the C of a bundle.

    Raises:
        IntegrityError: If the report does not say it, or another generator wrote it.
    """
    report: Json = from_untrusted_json(bundle.files.get(C_REPORT_FILE, b"{}"), C_REPORT_FILE)
    if not isinstance(report, dict) or not isinstance(report.get("config"), dict):
        raise IntegrityError(f"{C_REPORT_FILE} does not say how the C was laid out")
    if report.get("generator") != __version__:
        raise IntegrityError(
            f"{SOURCE_FILE} was written by surefoot {report.get('generator')}, this is "
            f"{__version__}, which cannot derive it again: export again"
        )
    return build(CConfig, report["config"], C_REPORT_FILE)


def _compare(bundle: Bundle, derived: Mapping[str, bytes]) -> None:
    for name, data in derived.items():
        if bundle.files.get(name) != data:
            origin = _ORIGINS.get(name, POLICY_FILE)
            raise IntegrityError(f"{name} is not what {origin} generates")
