"""Exporting: a policy whose certificate is proved again becomes a bundle; no other does."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from surefoot.artifact import Artifact, Json, check_artifact_place, from_json
from surefoot.bundle import Bundle, sign_bundle
from surefoot.certificate import Certificate
from surefoot.config import REST, build
from surefoot.errors import InputError, IntegrityError, OtherEvidenceError, VerificationError
from surefoot.export import ExportConfig, Target, build_form, export_bundle
from surefoot.export.exporter import PARITY_FILE
from surefoot.export.forms import C_FOOTPRINT_FILE, C_REPORT_FILE
from surefoot.onnx_file import ControllerFile, load_policy
from surefoot.output_path import check_artifact_folder
from surefoot.policy import weights_sha256
from surefoot.run_folder import RunFolder
from surefoot.runtime import CConfig
from surefoot.runtime.controller_file import load_controller_file
from surefoot.runtime.load import require_arithmetic
from surefoot.signing import SIGNATURES_FILE, Role
from surefoot.visited import VISITED_FILE
from surefoot.workflow.listener import SILENCE, Listener
from surefoot.workflow.verifying import prove_again, require_proved, unproved_claims


@dataclass(frozen=True, kw_only=True, slots=True)
class CSize:
    """What the C of a bundle takes.

    Attributes:
        flash_bytes: Constants.
        ram_bytes: Buffers.
        multiply_adds: Multiply-adds of one action.
        stack_bytes: Bound on the stack of a call, by machine; None where it cannot be told.
    """

    flash_bytes: int
    ram_bytes: int
    multiply_adds: int
    stack_bytes: Mapping[str, int | None]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ExportedBundle:
    """A bundle that was written.

    Attributes:
        path: Its folder.
        bundle: The bundle, as read back.
        signed: Whether it is signed.
        c: Memory that its C code takes; None without C.
    """

    path: Path
    bundle: Bundle
    signed: bool
    c: CSize | None


def export_controller(
    policy: Path,
    certificate: Certificate,
    out: Path,
    *,
    config: ExportConfig | None = None,
    every_target: bool = False,
    keys: Mapping[Role, Ed25519PrivateKey] | None = None,
    dense: Path | None = None,
    allow_uncertified: bool = False,
    listener: Listener = SILENCE,
) -> ExportedBundle:
    """Write the bundle of a run or policy folder, and sign it if there are keys.

    The certificate is proved again first, from the file and the states that the bundle will hold.

    Args:
        policy: A run or a policy folder.
        certificate: Certificate of its controller.
        out: The bundle; replaced only if it is one.
        config: Which forms it holds.
        every_target: Hold every form that this machine can build, and that pays, instead.
        keys: Private key of each role that signs.
        dense: Policy from which the controller was compressed, for claims about compression.
        allow_uncertified: Write it even when the verdict is not PROVED, marked as such.
        listener: Is told which forms cannot be built, of a bundle without a proof, and on which
            sensors epsilon says little.

    Raises:
        InputError: If the policy folder or a target is not what it should be, or ``out`` is not
            ours.
        IntegrityError: If the certificate is about another file.
        VerificationError: If the certificate says what is not proved, or rests on other states.
        UnprovedError: If what a claim rests on is missing.
        CheckError: If the certificate does not prove the budget, or an exported form differs.
    """
    check_artifact_folder(out, (policy,))
    check_artifact_place(out, "bundle", {SIGNATURES_FILE})
    place = RunFolder(policy).policy
    folder = place if place.is_dir() else policy
    if not folder.is_dir():
        raise InputError(f"no such folder: {policy}")
    file, artifact = load_policy(folder)
    original = None if dense is None else load_controller_file(dense)
    _prove_again(certificate, file, artifact, original)
    if allow_uncertified and certificate.verdict.exit_code:
        listener.remark(
            f"WARNING: exporting without a proof ({certificate.verdict}); the bundle says so"
        )
    for words in certificate.sensor_warnings:
        listener.remark(f"WARNING: {words}")
    config = config or ExportConfig()
    if every_target:
        config = replace(config, targets=_buildable(file, config.c, listener))
    bundle = export_bundle(
        out, file, artifact, certificate, config, allow_uncertified=allow_uncertified
    )
    if keys:
        parity = from_json(bundle.files[PARITY_FILE], PARITY_FILE)
        sign_bundle(out, bundle, keys, [f"parity/{name}" for name in parity])
    return ExportedBundle(path=out, bundle=bundle, signed=bool(keys), c=_size_of_c(bundle))


def _prove_again(
    certificate: Certificate, file: ControllerFile, origin: Artifact, dense: ControllerFile | None
) -> None:
    """Prove a certificate again before anything is written on its word.

    Raises:
        IntegrityError: If it is about another file.
        VerificationError: If something is not as it says.
        UnprovedError: If what a claim rests on is missing.
    """
    certificate.check_is_about(
        weights_sha256=weights_sha256(file.policy),
        onnx_sha256=file.sha256,
        budget=certificate.budget,
    )
    require_arithmetic(certificate)
    states, what = origin.files.get(VISITED_FILE), "the certificate is not proved again"
    try:
        report = prove_again(certificate, file, states, dense)
    except OtherEvidenceError as error:
        raise VerificationError(
            f"{what}: {error}; store its own by pipeline adopt --states"
        ) from error
    except (InputError, IntegrityError) as error:
        raise VerificationError(f"{what}: {error}") from error
    require_proved(unproved_claims(certificate, report), what)


def _buildable(file: ControllerFile, config: CConfig, listener: Listener) -> tuple[Target, ...]:
    """Return every target that this machine can build and that pays; say why of the others."""
    targets = []
    for target in Target:
        try:
            build_form(file, target, config)
            targets.append(target)
        except InputError as error:  # what is missing, or why it would not pay
            listener.remark(f"no {target}: {error}")
    return tuple(targets)


@dataclass(frozen=True, kw_only=True, slots=True)
class _CReport:
    flash_bytes: int
    ram_bytes: int
    multiply_adds: int
    more: Mapping[str, Json] = field(default_factory=dict, metadata=REST)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Footprint:
    stack_bytes: int
    more: Mapping[str, Json] = field(default_factory=dict, metadata=REST)


def _size_of_c(bundle: Bundle) -> CSize | None:
    if C_REPORT_FILE not in bundle.files or C_FOOTPRINT_FILE not in bundle.files:
        return None
    tables = {
        name: from_json(bundle.files[name], name) for name in (C_REPORT_FILE, C_FOOTPRINT_FILE)
    }
    report = build(_CReport, tables[C_REPORT_FILE], C_REPORT_FILE)
    stacks = {
        machine: None
        if table is None
        else build(_Footprint, table, f"{C_FOOTPRINT_FILE}.{machine}").stack_bytes
        for machine, table in tables[C_FOOTPRINT_FILE].items()
    }
    return CSize(
        flash_bytes=report.flash_bytes,
        ram_bytes=report.ram_bytes,
        multiply_adds=report.multiply_adds,
        stack_bytes=stacks,
    )
