"""Signatures of a bundle: DSSE envelopes with in-toto statements, Ed25519, checked offline.

``controller.intoto.jsonl`` stands beside the manifest, one envelope a line. Each holds a statement
about the same subjects, the digests of the manifest and of every file, and is signed for one role:

    certifier  .../certificate/v1                           what is proved
    tester     https://in-toto.io/attestation/test-result   what was compared and measured
    gate       https://in-toto.io/attestation/svr           that all of it may be deployed

The file itself is not authenticated: lines may be deleted, repeated, reordered or added. So only
what is present, signed by a key that is pinned for its role, about exactly these files, and fresh
counts; a deleted line can only lead to a refusal.

Reference:
    DSSE v1 (secure-systems-lab), in-toto Attestation Framework v1 (Statement, bundle).
"""

import base64
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from surefoot.artifact import Json, from_json, to_json
from surefoot.config import build, read_toml
from surefoot.errors import InputError, IntegrityError, VerificationError
from surefoot.keys import read_public_key
from surefoot.limits import MAX_VALUES_OF_BUNDLE

SIGNATURES_FILE = "controller.intoto.jsonl"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
WEIGHTS = "weights"
"""The subject beside the files: what the controller computes."""
VERIFIED = "SUREFOOT_VERIFIED"
"""What the gate's statement says of a bundle of which everything held."""
_MAX_LINES = 64
_MAX_SIGNATURES = 8
"""Largest number of signatures of one envelope that are tried."""
_MAX_OPENED = 32
"""Brackets of an envelope, whose payload is text."""
_WIDE = b"\\u"
"""What an envelope of base64 needs not: it may make four bytes of every other letter."""
_SKEW = timedelta(minutes=5)


class Role(StrEnum):
    """On whose word something counts."""

    CERTIFIER = "certifier"
    TESTER = "tester"
    GATE = "gate"


PREDICATE_TYPES = {
    Role.CERTIFIER: "https://surefoot.dev/certificate/v1",
    Role.TESTER: "https://in-toto.io/attestation/test-result/v0.1",
    Role.GATE: "https://in-toto.io/attestation/svr/v0.2",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """What one role says about the files of a bundle.

    Attributes:
        role: Role on whose word it counts.
        subjects: Name to SHA-256.
        predicate: The statement itself.
    """

    role: Role
    subjects: Mapping[str, str]
    predicate: Mapping[str, Json]

    def to_json(self) -> bytes:
        """Return the in-toto statement."""
        return to_json(
            {
                "_type": STATEMENT_TYPE,
                "subject": [
                    {"name": name, "digest": {"sha256": digest}}
                    for name, digest in sorted(self.subjects.items())
                ],
                "predicateType": PREDICATE_TYPES[self.role],
                "predicate": dict(self.predicate),
            }
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrustPolicy:
    """Whose signatures count, and what they must say.

    Attributes:
        keys: Pinned public keys by role.
        env_id: The environment that the policy must be for; None for any.
        max_age_days: Age that no statement may exceed; None for no limit.
        tests: Names of tests that must have passed, on the tester's word.
    """

    keys: Mapping[Role, Sequence[Ed25519PublicKey]]
    env_id: str | None = None
    max_age_days: float | None = None
    tests: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that something is required.

        Raises:
            InputError: If no role is named, the age is not positive, or nobody is trusted to tell
                the environment.
        """
        if not self.keys:
            raise InputError("keys must name at least one role")
        if self.max_age_days is not None and not self.max_age_days > 0:
            raise InputError(f"max_age_days must be positive, got {self.max_age_days}")
        if self.env_id is not None and Role.CERTIFIER not in self.keys:
            raise InputError(
                f"env_id = {self.env_id!r} needs a key of the certifier, whose statement names it"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Required:
    """The table ``[require]`` of a trust policy."""

    env_id: str | None = None
    max_age_days: float | None = None
    tests: tuple[str, ...] = ()


def read_trust_policy(path: Path) -> TrustPolicy:
    """Read a trust policy: a table ``[keys]`` of lists of files by role, and ``[require]``.

    Paths of keys are relative to the policy.

    Raises:
        InputError: If it is not such a file, or a key cannot be read.
    """
    tables = read_toml(path)
    if unknown := set(tables) - {"keys", "require"}:
        raise InputError(f"{path}: unknown table {min(unknown)!r}; known are keys and require")
    named = tables.get("keys")
    if not isinstance(named, dict) or not named:
        raise InputError(f"{path} must have a table [keys] with a list of files for each role")
    keys: dict[Role, tuple[Ed25519PublicKey, ...]] = {}
    for role, files in named.items():
        if role not in set(Role):
            raise InputError(f"{path}: unknown role {role!r}; known are {', '.join(Role)}")
        if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
            raise InputError(f"{path}: keys.{role} must be a list of files, got {files!r}")
        keys[Role(role)] = tuple(read_public_key(path.parent / file) for file in files)
    required = build(_Required, tables.get("require", {}), f"{path}: require")
    return TrustPolicy(
        keys=keys,
        env_id=required.env_id,
        max_age_days=required.max_age_days,
        tests=required.tests,
    )


def sign(statements: Sequence[Statement], keys: Mapping[Role, Ed25519PrivateKey]) -> bytes:
    """Return one DSSE envelope for each statement, a line each, signed by the key of its role."""
    lines = []
    for statement in statements:
        payload, key = statement.to_json(), keys[statement.role]
        envelope = {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            # No keyid: it is only a hint, and nothing here must stand unsigned.
            "signatures": [
                {"sig": base64.b64encode(key.sign(pre_authentication(payload))).decode()}
            ],
        }
        lines.append(json.dumps(envelope, sort_keys=True, separators=(",", ":")) + "\n")
    return "".join(lines).encode()


def pre_authentication(payload: bytes) -> bytes:
    """Return the bytes that are signed: the DSSE pre-authentication encoding of a payload."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def verified_statements(
    data: bytes, keys: Mapping[Role, Sequence[Ed25519PublicKey]]
) -> list[Statement]:
    """Return the statements that are signed by a key which is pinned for their role.

    What was received is what was signed, so a payload is parsed only behind its signature. Lines
    that are damaged, unknown, or signed by others do not count; they are no error.
    """
    found = []
    for line in data.split(b"\n", _MAX_LINES)[:_MAX_LINES]:
        if (envelope := _envelope(line)) is None:
            continue
        for role in Role:
            if envelope.is_signed_by(keys.get(role, ())):
                statement = _statement(envelope.payload, role)
                found += [] if statement is None else [statement]
    return found


def require_signed(
    statements: Sequence[Statement], policy: TrustPolicy, digests: Mapping[str, str]
) -> None:
    """Check that every role signed a statement about exactly these files, of any content.

    Args:
        statements: Statements that :func:`verified_statements` accepted.
        policy: The roles that must have signed, and their keys.
        digests: Name to SHA-256 of the manifest and every file here.

    Raises:
        VerificationError: If one did not.
    """
    for role in policy.keys:
        named = (dict(entry.subjects) for entry in statements if entry.role is role)
        if not any(subjects.pop(WEIGHTS, None) and subjects == dict(digests) for subjects in named):
            raise VerificationError(f"no statement of a trusted {role} is about these files")


def require_evidence(
    statements: Sequence[Statement],
    policy: TrustPolicy,
    subjects: Mapping[str, str],
    certificate: Json,
    *,
    now: datetime | None = None,
) -> None:
    """Check that the signed statements allow exactly these files to be deployed.

    Args:
        statements: Statements as :func:`verified_statements` accepted them.
        policy: The roles that must have signed, and their keys.
        subjects: Name to SHA-256 of the manifest and every file here.
        certificate: The content of ``certificate.json`` here.
        now: Time of the check; None for the clock's.

    Raises:
        VerificationError: If something is missing; the message says what.
    """
    now = now or datetime.now(UTC)
    about_these = [entry for entry in statements if dict(entry.subjects) == dict(subjects)]
    for role in policy.keys:
        entries = [entry for entry in about_these if entry.role is role]
        if not entries:
            raise VerificationError(f"no statement of a trusted {role} is about these files")
        fresh = [entry for entry in entries if _staleness(entry, policy, now) is None]
        if not fresh:
            reason = _staleness(entries[-1], policy, now)
            raise VerificationError(f"the statement of the {role} {reason}")
        if not any(_holds(entry, policy, certificate) for entry in fresh):
            raise VerificationError(f"the statement of the {role} does not say what is required")
    for name in policy.tests:
        if not any(
            _names(entry, "passedTests", name)
            for entry in about_these
            if entry.role is Role.TESTER and _staleness(entry, policy, now) is None
        ):
            raise VerificationError(f"no trusted tester says that {name!r} passed")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Envelope:
    """A DSSE envelope.

    Attributes:
        payload: The signed bytes.
        signatures: Signatures, not yet checked.
    """

    payload: bytes
    signatures: Sequence[bytes]

    def is_signed_by(self, keys: Sequence[Ed25519PublicKey]) -> bool:
        """Return True if one of the keys signed it."""
        encoded = pre_authentication(self.payload)
        for key in keys:
            for signature in self.signatures:
                with suppress(InvalidSignature):
                    key.verify(signature, encoded)
                    return True
        return False


def _envelope(line: bytes) -> _Envelope | None:
    """Return the envelope of a line; None if it is none of an in-toto statement."""
    if line.count(b"[") + line.count(b"{") > _MAX_OPENED or _WIDE in line or not line.isascii():
        return None
    try:
        table = from_json(line, "envelope", max_values=MAX_VALUES_OF_BUNDLE)
        if table["payloadType"] != PAYLOAD_TYPE:
            return None
        signatures = [_from_base64(entry["sig"]) for entry in table["signatures"]]
        payload = _from_base64(table["payload"])
    except (IntegrityError, KeyError, TypeError, ValueError):
        return None
    return _Envelope(payload=payload, signatures=signatures[:_MAX_SIGNATURES])


def _from_base64(text: str) -> bytes:
    """Decode base64 in its one canonical form.

    Raises:
        ValueError: If it is not.
    """
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:  # unused bits of the last digit
        raise ValueError("not canonical base64")
    return data


def _statement(payload: bytes, role: Role) -> Statement | None:
    """Return a signed statement if it is one that this role makes."""
    try:
        table = from_json(payload, "statement")
        if (table["_type"], table["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPES[role]):
            return None
        subjects = {entry["name"]: entry["digest"]["sha256"] for entry in table["subject"]}
        predicate = table["predicate"]
    except (IntegrityError, KeyError, TypeError):
        return None
    if not subjects or not isinstance(predicate, dict) or len(subjects) != len(table["subject"]):
        return None
    return Statement(role=role, subjects=subjects, predicate=predicate)


def _staleness(statement: Statement, policy: TrustPolicy, now: datetime) -> str | None:
    """Return the reason why the time of a statement does not count, or None if it does."""
    try:
        made = datetime.fromisoformat(statement.predicate["timeCreated"])
    except (KeyError, TypeError, ValueError):
        return "names no valid time"
    if made.tzinfo is None:
        return "names a time without its zone"
    if made > now + _SKEW:  # as on a robot without a battery for its clock, which begins in 1970
        return (
            f"is of {made.isoformat(timespec='seconds')}, later than the clock here says"
            f" ({now.isoformat(timespec='seconds')}): set the clock"
        )
    age_days = (now - made) / timedelta(days=1)
    if policy.max_age_days is not None and age_days > policy.max_age_days:
        return f"is older than {policy.max_age_days} days"
    return None


def _holds(statement: Statement, policy: TrustPolicy, certificate: Json) -> bool:
    """Whether a statement says what its role must say."""
    said = statement.predicate
    match statement.role:
        case Role.CERTIFIER:
            return said.get("certificate") == certificate and (
                policy.env_id is None or said.get("env_id") == policy.env_id
            )
        case Role.TESTER:
            return said.get("result") == "PASSED"
        case Role.GATE:
            return _names(statement, "properties", VERIFIED)


def _names(statement: Statement, key: str, name: str) -> bool:
    """Whether a list of the predicate holds a name."""
    entries = statement.predicate.get(key)
    return isinstance(entries, list) and name in entries
