"""The deployed folder: which files it holds, and the gate that every reader goes through.

    policy.onnx       the canonical file, byte for byte the one that was certified
    policy.json       where it comes from: the manifest of the policy folder
    certificate.json  what is proved about it
    budget.toml       what was required
    gate.json         limits that the controller is held to at run time, if it has a gate
    robot.toml        the robot in whose words it speaks, if one is described
    manifest.json     SHA-256 of each
    controller.intoto.jsonl   signatures, if it is signed; the one file beside the manifest

Whatever reads a bundle (runtime, attack, bench, ``verify``) goes through :func:`open_bundle`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from surefoot.artifact import (
    MANIFEST,
    Artifact,
    Json,
    from_untrusted_json,
    read_artifact,
    read_file,
    sha256_hex,
    to_json,
    write_artifact,
    write_file,
)
from surefoot.budget import Budget
from surefoot.certificate import Certificate, Verdict
from surefoot.errors import CheckError, InputError, IntegrityError, VerificationError
from surefoot.gate import GATE_FILE, GateFile
from surefoot.limits import MAX_BUNDLE_BYTES, MAX_POLICY_BYTES, MAX_SIGNATURE_BYTES
from surefoot.onnx_file import POLICY_FILE, ControllerFile, policy_from_onnx
from surefoot.policy import weights_sha256
from surefoot.robot import ROBOT_FILE
from surefoot.signing import (
    SIGNATURES_FILE,
    VERIFIED,
    WEIGHTS,
    Role,
    Statement,
    TrustPolicy,
    require_evidence,
    require_signed,
    sign,
    verified_statements,
)
from surefoot.version import __version__

CERTIFICATE_FILE, BUDGET_FILE, ORIGIN_FILE = "certificate.json", "budget.toml", "policy.json"
REQUIRED_FILES = (POLICY_FILE, CERTIFICATE_FILE, BUDGET_FILE, ORIGIN_FILE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """A bundle whose digests, certificate and verdict hold.

    Attributes:
        controller: The canonical file and what it computes.
        certificate: Certificate of its controller.
        budget: The requirements.
        gate: Limits to which the controller is held at run time, and how they were made; None for
            a controller without a gate.
        files: Every file by name, the manifest not among them.
        uncertified: Whether it was exported without a proof, on demand.
        manifest_sha256: Digest of the manifest, which names the bundle as a whole.
    """

    controller: ControllerFile
    certificate: Certificate
    budget: Budget
    gate: GateFile | None
    files: Mapping[str, bytes]
    uncertified: bool
    manifest_sha256: str


def write_bundle(folder: Path, files: Mapping[str, bytes], *, allow_uncertified: bool) -> Bundle:
    """Write a bundle whole, after every check that a reader makes.

    Args:
        folder: Where it goes; replaced only if it is a bundle.
        files: Files by name, ``REQUIRED_FILES`` among them.
        allow_uncertified: Write it even when the verdict is not PROVED, marked as such.

    Raises:
        InputError: If a file is missing, or the folder is not ours or cannot be written.
        IntegrityError: If the certificate or the origin is about another file or budget.
        CheckError: If the verdict is not PROVED and ``allow_uncertified`` is not set.
    """
    draft = Artifact(kind="bundle", files=files)
    bundle = _check(draft, allow_uncertified=allow_uncertified)
    artifact = Artifact(kind="bundle", files=files, facts=_facts(bundle))
    write_artifact(folder, artifact, beside={SIGNATURES_FILE})
    return open_bundle(folder, allow_uncertified=allow_uncertified)


def open_bundle(
    folder: Path, *, allow_uncertified: bool = False, trust: TrustPolicy | None = None
) -> Bundle:
    """Read a bundle and check what it says: files, digests, certificate, budget and verdict.

    Nothing is proved again here: a robot that starts trusts who signed the bundle. What was
    claimed is proved again by ``export`` before it signs, and by ``verify``.

    Args:
        folder: The bundle.
        allow_uncertified: Accept a bundle that says itself that it is not proved.
        trust: Signatures that it must carry; None for no signature. Digests alone show damage,
            not who made them.

    Raises:
        InputError: If there is no such folder.
        VerificationError: If anything does not hold, it is uncertified and that is not allowed, or
            a signature is missing.
    """
    if not folder.is_dir():
        raise InputError(f"no such bundle: {folder}")
    try:
        artifact = read_artifact(
            folder, "bundle", beside={SIGNATURES_FILE}, max_bytes=MAX_BUNDLE_BYTES
        )
        # Whose bytes they are comes before what they say.
        statements = [] if trust is None else _signed_by(folder / SIGNATURES_FILE, artifact, trust)
        bundle = _check(artifact, allow_uncertified=allow_uncertified)
        _check_facts(artifact, bundle)
        if trust is not None:
            require_evidence(statements, trust, _subjects(bundle), _certificate_table(bundle))
    except (InputError, IntegrityError, CheckError) as error:
        raise VerificationError(f"{folder} does not verify: {error}") from error
    return bundle


def write_signatures(
    folder: Path,
    bundle: Bundle,
    keys: Mapping[Role, Ed25519PrivateKey],
    passed_tests: Sequence[str],
    *,
    now: datetime | None = None,
) -> None:
    """Sign what was just proved: certificate, tests and the gate's word, each by its key.

    Nothing is proved here: `surefoot.sign_bundle` does that before.

    Args:
        folder: Where it is; an older signature file is replaced.
        bundle: Bundle as read.
        keys: Key of each role that makes a statement; a role without a key makes none. They stay
            outside of the bundle.
        passed_tests: Names of the comparisons that were made here, for example ``parity/c``.
        now: The time that the statements name; None for the clock's.

    Raises:
        InputError: If the bundle is uncertified, or the file cannot be written.
    """
    if bundle.uncertified:
        raise InputError("an uncertified bundle must not be signed")
    time = {"timeCreated": (now or datetime.now(UTC)).isoformat(timespec="seconds")}
    predicates: dict[Role, dict[str, Json]] = {
        Role.CERTIFIER: {
            "certificate": _certificate_table(bundle),
            "env_id": bundle.controller.env_id,
        },
        Role.TESTER: {
            "result": "PASSED",
            "configuration": [{"name": "surefoot", "version": __version__}],
            "passedTests": sorted(passed_tests),
            "warnedTests": [],
            "failedTests": [],
        },
        Role.GATE: {
            "verifier": {"id": "https://surefoot.dev/verify", "version": {"surefoot": __version__}},
            "verifier.policies": [],
            "properties": [VERIFIED],
        },
    }
    statements = [
        Statement(role=role, subjects=_subjects(bundle), predicate={**time, **predicate})
        for role, predicate in predicates.items()
        if role in keys
    ]
    # Beside the bundle, so that no unfinished file is ever inside of it.
    write_file(folder / SIGNATURES_FILE, sign(statements, keys), beside=folder.resolve())


def _check_facts(artifact: Artifact, bundle: Bundle) -> None:
    """Check the facts that the manifest repeats.

    Raises:
        IntegrityError: If something of it is not so.
    """
    for name, value in _facts(bundle).items():
        if to_json(artifact.facts.get(name)) != to_json(value):  # 0 == False
            raise IntegrityError(f"its manifest's {name} is wrong")


def _signed_by(path: Path, artifact: Artifact, trust: TrustPolicy) -> list[Statement]:
    """Return the statements that trusted roles signed, checked to be about exactly these files.

    Raises:
        InputError: If there are no signatures.
        IntegrityError: If the file is too large.
        VerificationError: If no statement of a trusted role is about these files.
    """
    statements = verified_statements(read_file(path, max_bytes=MAX_SIGNATURE_BYTES), trust.keys)
    require_signed(statements, trust, _digests(artifact))
    return statements


def _digests(artifact: Artifact) -> dict[str, str]:
    """Return the SHA-256 of the manifest and of every file, by name."""
    files = {MANIFEST: artifact.manifest(), **artifact.files}
    return {name: sha256_hex(data) for name, data in files.items()}


def _subjects(bundle: Bundle) -> dict[str, str]:
    """Return the subjects of a signature: the manifest, every file, and the policy itself."""
    return {
        MANIFEST: bundle.manifest_sha256,
        WEIGHTS: bundle.certificate.weights_sha256,
        **{name: sha256_hex(data) for name, data in bundle.files.items()},
    }


def _certificate_table(bundle: Bundle) -> Json:
    return from_untrusted_json(bundle.files[CERTIFICATE_FILE], CERTIFICATE_FILE)


def _facts(bundle: Bundle) -> dict[str, Json]:
    """Return the facts that the manifest repeats for readers without an ONNX parser."""
    return {
        "uncertified": bundle.uncertified,
        "verdict": bundle.certificate.verdict.value,
        "weights_sha256": bundle.certificate.weights_sha256,
        "metadata": dict(bundle.controller.metadata),
    }


def _check(artifact: Artifact, *, allow_uncertified: bool) -> Bundle:
    files = artifact.files
    for name in REQUIRED_FILES:
        if name not in files:
            raise InputError(f"a bundle needs {name}")
    if (size := len(files[POLICY_FILE])) > MAX_POLICY_BYTES:
        raise IntegrityError(
            f"{POLICY_FILE} has {size} bytes, more than the {MAX_POLICY_BYTES} allowed in a bundle"
        )
    controller = policy_from_onnx(files[POLICY_FILE])
    certificate = Certificate.parse(files[CERTIFICATE_FILE])
    if files[BUDGET_FILE] != certificate.budget.text.encode():
        raise IntegrityError(f"the certificate is about another {BUDGET_FILE}")
    certificate.check_is_about(
        weights_sha256=weights_sha256(controller.policy),
        onnx_sha256=sha256_hex(files[POLICY_FILE]),
        budget=certificate.budget,
    )
    robot = certificate.robot
    if files.get(ROBOT_FILE) != (None if robot is None else robot.text.encode()):
        raise IntegrityError(f"the certificate is about another {ROBOT_FILE}")
    _check_origin(files[ORIGIN_FILE], sha256_hex(files[POLICY_FILE]))
    uncertified = certificate.verdict is not Verdict.PROVED
    if uncertified and not allow_uncertified:
        unproved = [f for f in certificate.findings if f.verdict is not Verdict.PROVED]
        raise CheckError(
            f"the certificate's verdict is {certificate.verdict}: "
            f"{unproved[0].requirement.describe()}: {unproved[0].reason}"
        )
    return Bundle(
        controller=controller,
        certificate=certificate,
        budget=certificate.budget,
        gate=_gate(files, controller, certificate),
        files=files,
        uncertified=uncertified,
        manifest_sha256=sha256_hex(artifact.manifest()),
    )


def _gate(
    files: Mapping[str, bytes], controller: ControllerFile, certificate: Certificate
) -> GateFile | None:
    """Return the gate of a bundle, None for none.

    Raises:
        IntegrityError: If its file is none, the gate is another controller's, or not the one on
            which the certificate rests.
    """
    if certificate.gate is not None and files.get(GATE_FILE) != certificate.gate.to_bytes():
        what = "has another" if GATE_FILE in files else "has no"
        raise IntegrityError(f"the certificate rests on a gate, and the bundle {what} {GATE_FILE}")
    if GATE_FILE not in files:
        return None
    file = GateFile.parse(files[GATE_FILE], GATE_FILE)
    if controller.policy.memory is not None:
        raise IntegrityError(f"{GATE_FILE} is for controllers without a memory")
    try:
        file.gate.check_fits(controller.policy.obs_dim, controller.policy.num_outputs)
    except InputError as error:
        raise IntegrityError(f"{GATE_FILE}: {error}") from error
    return file


def _check_origin(data: bytes, onnx_sha256: str) -> None:
    """Check that the policy folder's manifest is about this file.

    Raises:
        IntegrityError: If it is not.
    """
    manifest = from_untrusted_json(data, ORIGIN_FILE)
    try:
        named = manifest["files"][POLICY_FILE]["sha256"]
    except (KeyError, TypeError) as error:
        raise IntegrityError(f"{ORIGIN_FILE} is not the manifest of a policy folder") from error
    if named != onnx_sha256:
        raise IntegrityError(f"{ORIGIN_FILE} is about another {POLICY_FILE}")
