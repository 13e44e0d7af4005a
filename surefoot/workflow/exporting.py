"""Exporting: a policy whose certificate is proved again becomes a bundle; no other does."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from surefoot.artifact import (
    Artifact,
    Json,
    check_artifact_place,
    from_json,
    from_untrusted_json,
)
from surefoot.bundle import Bundle, write_signatures
from surefoot.certificate import Certificate
from surefoot.config import REST, build
from surefoot.errors import InputError, IntegrityError, OtherEvidenceError, VerificationError
from surefoot.export import ExportConfig, Target, assemble_bundle, build_form
from surefoot.export.exporter import PARITY_FILE
from surefoot.export.forms import C_FOOTPRINT_FILE, C_REPORT_FILE
from surefoot.gate import GateRule
from surefoot.onnx_file import ControllerFile, load_policy
from surefoot.output_path import check_artifact_folder
from surefoot.policy import weights_sha256
from surefoot.run_folder import RunFolder
from surefoot.runtime import CConfig
from surefoot.runtime.controller_file import load_controller_file
from surefoot.runtime.load import require_arithmetic
from surefoot.signing import SIGNATURES_FILE, Role
from surefoot.visited import VISITED_FILE
from surefoot.workflow.gating import gate_for
from surefoot.workflow.listener import SILENCE, Listener
from surefoot.workflow.verifying import (
    prove_again,
    require_proved,
    unproved_claims,
    verify_bundle,
)


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
    gate: GateRule | None = None,
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
        gate: How the limits are made to which the controller is held at run time, from the states
            of the policy folder; None for the gate of the certificate, or none.
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
        out,
        file,
        artifact,
        certificate,
        config,
        dense=original,
        allow_uncertified=allow_uncertified,
        gate=gate,
    )
    if keys:
        _sign(out, bundle, keys)
    return ExportedBundle(path=out, bundle=bundle, signed=bool(keys), c=_size_of_c(bundle))


def export_bundle(
    folder: Path,
    file: ControllerFile,
    origin: Artifact,
    certificate: Certificate,
    config: ExportConfig | None = None,
    *,
    dense: ControllerFile | None = None,
    allow_uncertified: bool = False,
    gate: GateRule | None = None,
) -> Bundle:
    """Prove a certificate again and write the bundle of its policy, whole or not at all.

    Args:
        folder: Where the bundle goes; replaced only if it is one.
        file: The canonical file, as read back from the policy folder; shipped byte for byte.
        origin: That policy folder. Its manifest is shipped too; its visited observations, if there
            are any, are part of the parity check.
        certificate: What is proved about the file.
        config: What is exported, and how it is checked; None for the canonical file alone.
        dense: Controller from which the file was compressed, for claims about compression.
        allow_uncertified: Export even when the verdict is not PROVED, marked as such.
        gate: How the limits are made to which the controller is held at run time, from the visited
            observations of the folder; None for the gate of the certificate, or none.

    Raises:
        InputError: If the folder is not ours or cannot be written.
        IntegrityError: If the certificate or the policy folder is about another file.
        VerificationError: If the certificate says what is not proved, or is about another
            arithmetic than the forms have.
        UnprovedError: If what a claim rests on is missing.
        CheckError: If the verdict is not PROVED and that is not allowed, or a form that was
            exported does not compute the policy.
        MissingLibraryError: If this machine lacks what builds or runs a form.
    """
    _prove_again(certificate, file, origin, dense)
    return assemble_bundle(
        folder,
        file,
        origin,
        certificate,
        config or ExportConfig(),
        allow_uncertified=allow_uncertified,
        gate=gate_for(certificate, file, origin.files.get(VISITED_FILE), gate),
    )


def sign_bundle(
    folder: Path, keys: Mapping[Role, Ed25519PrivateKey], *, dense: Path | None = None
) -> Bundle:
    """Prove every claim of a bundle again and sign it: each role's statement by its key.

    Args:
        folder: The bundle; an older signature file is replaced.
        keys: Key of each role that makes a statement; a role without a key makes none. They stay
            outside of the bundle.
        dense: Policy from which its controller was compressed, for claims about compression.

    Raises:
        InputError: If there is no such folder, or the file cannot be written.
        VerificationError: If anything of it does not hold, or it is uncertified.
        UnprovedError: If what a claim rests on is missing.
    """
    bundle = verify_bundle(folder, dense=dense).bundle
    _sign(folder, bundle, keys)
    return bundle


@dataclass(frozen=True, kw_only=True, slots=True)
class _Comparisons:
    by_backend: Mapping[str, Json]


def _sign(folder: Path, bundle: Bundle, keys: Mapping[Role, Ed25519PrivateKey]) -> None:
    """Sign a bundle that was just proved, with the comparisons that its export made.

    Raises:
        VerificationError: If it does not hold them.
        InputError: If the file cannot be written.
    """
    try:
        parity = from_untrusted_json(bundle.files.get(PARITY_FILE, b""), PARITY_FILE)
        passed = build(_Comparisons, {"by_backend": parity}, PARITY_FILE).by_backend
    except (InputError, IntegrityError) as error:
        raise VerificationError(f"{folder} does not verify: {error}") from error
    write_signatures(folder, bundle, keys, [f"parity/{name}" for name in passed])


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
