"""A signed bundle is accepted only whole, fresh, and on the word of keys that are pinned.

Also of ``keys.py``.
"""

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.bundles import bundle_files
from support.certificates import certificate_of
from support.policies import file_of, random_policy
from surefoot.artifact import MANIFEST, Artifact, Json, write_artifact
from surefoot.bundle import (
    BUDGET_FILE,
    CERTIFICATE_FILE,
    open_bundle,
    write_bundle,
    write_signatures,
)
from surefoot.certificate import Verdict
from surefoot.errors import InputError, VerificationError
from surefoot.keys import generate_key, read_private_key, read_public_key
from surefoot.onnx_file import POLICY_FILE
from surefoot.signing import (
    PAYLOAD_TYPE,
    SIGNATURES_FILE,
    Role,
    TrustPolicy,
    pre_authentication,
    read_trust_policy,
    verified_statements,
)

TRIALS = int(os.environ.get("SUREFOOT_TRIALS", "1000"))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return paths of key pairs by name."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        private, public = generate_key()
        (folder / name).write_bytes(private)
        (folder / f"{name}.pub").write_bytes(public)
    return folder


@pytest.fixture(scope="module")
def trust(keys: Path) -> TrustPolicy:
    return TrustPolicy(keys=dict.fromkeys(Role, (read_public_key(keys / "ours.pub"),)))


def write_signed(
    keys: Path,
    folder: Path,
    seed: int = 0,
    key: str = "ours",
    now: datetime | None = None,
    verdict: Verdict = Verdict.PROVED,
) -> Path:
    """Write a signed bundle."""
    policy = random_policy(np.random.default_rng(seed), (3, 4, 1))
    file = file_of(policy, {"env": {"id": "Task-v0"}})
    files = bundle_files(file, certificate_of(file, verdict))
    written = write_bundle(folder, files, allow_uncertified=True)
    by_role = dict.fromkeys(Role, read_private_key(keys / key))
    write_signatures(folder, written, by_role, ["parity/onnx"], now=now)
    return folder


@pytest.fixture
def signed(keys: Path, tmp_path: Path) -> Path:
    return write_signed(keys, tmp_path / "bundle")


def lines_of(folder: Path) -> list[bytes]:
    return (folder / SIGNATURES_FILE).read_bytes().splitlines(keepends=True)


def test_a_signed_bundle_verifies_and_so_does_openssl(
    signed: Path, trust: TrustPolicy, keys: Path, tmp_path: Path
) -> None:
    assert open_bundle(signed, trust=trust).certificate.verdict is Verdict.PROVED
    assert open_bundle(signed).files  # without a trust policy: digests alone
    for line in lines_of(signed):
        envelope = json.loads(line)
        payload = base64.b64decode(envelope["payload"])
        # PAE by hand, as DSSE writes it.
        kind = PAYLOAD_TYPE.encode()
        pae = b"DSSEv1 " + str(len(kind)).encode() + b" " + kind + b" "
        pae += str(len(payload)).encode() + b" " + payload
        assert pae == pre_authentication(payload)
        (tmp_path / "pae").write_bytes(pae)
        (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
        if shutil.which("openssl"):
            command = ["openssl", "pkeyutl", "-verify", "-pubin", "-rawin", "-inkey"]
            command += [str(keys / "ours.pub"), "-in", "pae", "-sigfile", "sig"]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
            assert done.returncode == 0, done.stderr


def mutations(rng: np.random.Generator, data: bytes) -> bytes:
    """Return other content: a byte changed, removed or added, the end cut off, or turned round."""
    place = int(rng.integers(len(data)))
    kind = rng.integers(5)
    if kind == 0:
        return data[:place] + bytes([data[place] ^ (1 << int(rng.integers(8)))]) + data[place + 1 :]
    if kind == 1:
        return data[:place] + data[place + 1 :]
    if kind == 2:
        return data[:place] + bytes(rng.integers(0, 256, 1, dtype=np.uint8)) + data[place:]
    if kind == 3:
        return data[:place]
    return data[place:] + data[:place]


def envelopes(data: bytes) -> list[dict[str, Json]]:
    """Return the envelopes of a signature file as values, or None where a line is none."""
    found = []
    for line in data.split(b"\n"):
        try:
            found.append(json.loads(line))
        except ValueError:
            found.append(None)
    return [entry for entry in found if entry is not None]


@pytest.fixture
def in_memory(keys: Path) -> Iterator[Path]:
    """Return a signed bundle on a file system that is memory, where there is one."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as folder:
        yield write_signed(keys, Path(folder) / "bundle")


def test_none_of_thousands_of_mutations_is_accepted(in_memory: Path, trust: TrustPolicy) -> None:
    signed, rng = in_memory, np.random.default_rng(0)
    originals = {path: path.read_bytes() for path in sorted(signed.iterdir())}
    paths = list(originals)
    signatures = signed / SIGNATURES_FILE
    refused = 0
    while refused < TRIALS:
        path = paths[int(rng.integers(len(paths)))]
        changed = mutations(rng, originals[path])
        if changed == originals[path]:
            continue
        if path == signatures and all(
            entry in envelopes(changed) for entry in envelopes(originals[path])
        ):
            continue  # white space between envelopes, or their order
        path.write_bytes(changed)
        with pytest.raises(VerificationError):
            open_bundle(signed, trust=trust)
        path.write_bytes(originals[path])
        refused += 1
    open_bundle(signed, trust=trust)


def test_files_removed_added_or_swapped_are_refused(signed: Path, trust: TrustPolicy) -> None:
    originals = {path.name: path.read_bytes() for path in signed.iterdir()}
    for name in originals:
        (signed / name).unlink()
        with pytest.raises(VerificationError):
            open_bundle(signed, trust=trust)
        (signed / name).write_bytes(originals[name])
    (signed / "readme.txt").write_bytes(b"")
    with pytest.raises(VerificationError, match=r"readme\.txt is not in the manifest"):
        open_bundle(signed, trust=trust)
    (signed / "readme.txt").unlink()
    first, second = BUDGET_FILE, CERTIFICATE_FILE
    (signed / first).write_bytes(originals[second])
    (signed / second).write_bytes(originals[first])
    with pytest.raises(VerificationError):
        open_bundle(signed, trust=trust)


def test_a_forged_bundle_with_digests_that_fit_is_refused_by_its_signature(
    signed: Path, keys: Path, trust: TrustPolicy
) -> None:
    other = write_signed(keys, signed.parent / "other", seed=1, key="theirs")
    open_bundle(other)  # its digests hold
    with pytest.raises(VerificationError, match="no statement of a trusted certifier"):
        open_bundle(other, trust=trust)
    # Not even with the signatures of a bundle that is ours.
    shutil.copy(signed / SIGNATURES_FILE, other / SIGNATURES_FILE)
    with pytest.raises(VerificationError, match="no statement of a trusted certifier"):
        open_bundle(other, trust=trust)


def test_files_mixed_from_two_signed_bundles_are_refused(
    signed: Path, keys: Path, trust: TrustPolicy
) -> None:
    other = write_signed(keys, signed.parent / "other", seed=1)
    for name in (POLICY_FILE, CERTIFICATE_FILE, MANIFEST):
        kept = (signed / name).read_bytes()
        shutil.copy(other / name, signed / name)
        with pytest.raises(VerificationError):
            open_bundle(signed, trust=trust)
        (signed / name).write_bytes(kept)


def test_an_unsigned_bundle_does_not_verify_where_a_signature_is_required(
    signed: Path, trust: TrustPolicy
) -> None:
    (signed / SIGNATURES_FILE).unlink()
    open_bundle(signed)
    with pytest.raises(VerificationError, match="no such file"):
        open_bundle(signed, trust=trust)


@pytest.mark.parametrize("number", range(3))
def test_every_required_statement_must_be_there(
    signed: Path, trust: TrustPolicy, number: int
) -> None:
    lines = lines_of(signed)
    del lines[number]
    (signed / SIGNATURES_FILE).write_bytes(b"".join(lines))
    with pytest.raises(VerificationError, match="no statement of a trusted"):
        open_bundle(signed, trust=trust)


def test_order_repetition_and_unknown_lines_do_not_matter(signed: Path, trust: TrustPolicy) -> None:
    lines = lines_of(signed)
    noise = [b"{}\n", b"not json\n", b"\n", b"\xff\n"]
    (signed / SIGNATURES_FILE).write_bytes(b"".join([*noise, *reversed(lines), *lines]))
    open_bundle(signed, trust=trust)


def test_the_right_key_in_the_wrong_role_does_not_count(signed: Path, keys: Path) -> None:
    ours, theirs = (read_public_key(keys / f"{name}.pub") for name in ("ours", "theirs"))
    open_bundle(signed, trust=TrustPolicy(keys={Role.CERTIFIER: (theirs, ours)}))
    pinned = TrustPolicy(keys={Role.CERTIFIER: (ours,), Role.GATE: (theirs,)})
    with pytest.raises(VerificationError, match="no statement of a trusted gate"):
        open_bundle(signed, trust=pinned)


def test_each_role_may_have_a_key_of_its_own_and_no_other_key_speaks_for_it(
    signed: Path, keys: Path
) -> None:
    private = {name: read_private_key(keys / name) for name in ("ours", "theirs")}
    public = {name: (read_public_key(keys / f"{name}.pub"),) for name in ("ours", "theirs")}
    bundle = open_bundle(signed)
    signers = {Role.CERTIFIER: "ours", Role.TESTER: "theirs", Role.GATE: "ours"}
    write_signatures(
        signed, bundle, {role: private[name] for role, name in signers.items()}, ["x/y"]
    )
    pinned = {role: public[name] for role, name in signers.items()}
    open_bundle(signed, trust=TrustPolicy(keys=pinned, tests=("x/y",)))
    for role, name in signers.items():
        other = {"ours": "theirs", "theirs": "ours"}[name]
        wrong = TrustPolicy(keys={**pinned, role: public[other]})
        with pytest.raises(VerificationError, match=f"no statement of a trusted {role}"):
            open_bundle(signed, trust=wrong)
    # A role without a key says nothing, and is missed where it is required.
    write_signatures(signed, bundle, {Role.CERTIFIER: private["ours"]}, [])
    assert len(lines_of(signed)) == 1
    with pytest.raises(VerificationError, match="no statement of a trusted tester"):
        open_bundle(signed, trust=TrustPolicy(keys=pinned))


def policy_file(folder: Path, keys: Path, required: str) -> TrustPolicy:
    path = folder / "trust.toml"
    path.write_text(
        f'[keys]\ncertifier = ["{keys}/ours.pub"]\ntester = ["{keys}/ours.pub"]\n'
        f"[require]\n{required}\n"
    )
    return read_trust_policy(path)


@pytest.mark.parametrize(
    ("required", "message"),
    [
        ('env_id = "Other-v0"', "the certifier does not say what is required"),
        ('tests = ["attack/closed-loop"]', "no trusted tester says that 'attack/closed-loop'"),
    ],
)
def test_what_the_trust_policy_requires_must_be_said(
    signed: Path, keys: Path, tmp_path: Path, required: str, message: str
) -> None:
    good = 'env_id = "Task-v0"\nmax_age_days = 1.0\ntests = ["parity/onnx"]'
    open_bundle(signed, trust=policy_file(tmp_path, keys, good))
    with pytest.raises(VerificationError, match=message):
        open_bundle(signed, trust=policy_file(tmp_path, keys, required))


def test_an_expired_or_future_statement_is_refused(
    keys: Path, trust: TrustPolicy, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    limited = policy_file(tmp_path, keys, "max_age_days = 90.0")
    old = write_signed(keys, tmp_path / "old", now=now - timedelta(days=91))
    open_bundle(old, trust=trust)
    with pytest.raises(VerificationError, match=r"older than 90\.0 days"):
        open_bundle(old, trust=limited)
    future = write_signed(keys, tmp_path / "future", now=now + timedelta(days=1))
    with pytest.raises(VerificationError, match=r"later than the clock here says.*: set the clock"):
        open_bundle(future, trust=trust)
    open_bundle(write_signed(keys, tmp_path / "fresh", now=now - timedelta(days=89)), trust=limited)


@pytest.mark.parametrize("required", ["", "max_age_days = 90.0"])
def test_a_clock_that_begins_in_1970_is_named_and_not_the_age(
    signed: Path,
    keys: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    required: str,
) -> None:
    class Unset(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.fromtimestamp(60, tz)

    monkeypatch.setattr("surefoot.signing.datetime", Unset)
    trust = policy_file(tmp_path, keys, required)
    with pytest.raises(VerificationError, match=r"1970-01-01T00:01:00\+00:00\): set the clock"):
        open_bundle(signed, trust=trust)


@pytest.mark.parametrize("age", ["1e12", "inf"])
def test_an_age_beyond_every_calendar_is_an_age(
    signed: Path, keys: Path, tmp_path: Path, age: str
) -> None:
    open_bundle(signed, trust=policy_file(tmp_path, keys, f"max_age_days = {age}"))


def test_what_is_not_proved_is_not_signed(keys: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="an uncertified bundle must not be signed"):
        write_signed(keys, tmp_path / "bundle", verdict=Verdict.UNKNOWN)
    assert not (tmp_path / "bundle" / SIGNATURES_FILE).exists()


def test_a_bundle_that_is_written_again_loses_its_old_signatures(signed: Path, keys: Path) -> None:
    before = (signed / SIGNATURES_FILE).read_bytes()
    bundle = open_bundle(signed)
    write_bundle(signed, bundle.files, allow_uncertified=False)
    assert not (signed / SIGNATURES_FILE).exists()
    assert before


def resign(payload: bytes, key: Ed25519PrivateKey) -> bytes:
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": base64.b64encode(key.sign(pre_authentication(payload))).decode()}],
    }
    return json.dumps(envelope).encode() + b"\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.update(subject=[]),
        lambda table: table.update(subject=table["subject"][:1]),
        lambda table: table.update(predicateType="https://example.org/x"),
        lambda table: table.update(_type="https://in-toto.io/Statement/v0.1"),
        lambda table: table.update(predicate=[]),
        lambda table: table["predicate"].pop("timeCreated"),
        lambda table: table["predicate"].update(timeCreated="2026-01-01"),
        lambda table: table["predicate"].update(timeCreated=5),
        lambda table: table["predicate"].update(
            certificate={}, result="FAILED", properties=["OTHER"]
        ),
    ],
)
def test_a_statement_that_says_less_does_not_count_although_it_is_signed(
    signed: Path, trust: TrustPolicy, keys: Path, change: Callable[[dict[str, Json]], object]
) -> None:
    key = read_private_key(keys / "ours")
    lines = []
    for line in lines_of(signed):
        table = json.loads(base64.b64decode(json.loads(line)["payload"]))
        change(table)
        lines.append(resign(json.dumps(table).encode(), key))
    (signed / SIGNATURES_FILE).write_bytes(b"".join(lines))
    with pytest.raises(VerificationError):
        open_bundle(signed, trust=trust)


def test_duplicate_keys_in_a_signed_statement_do_not_count(
    signed: Path, trust: TrustPolicy, keys: Path
) -> None:
    line = lines_of(signed)[0]
    payload = base64.b64decode(json.loads(line)["payload"])
    twice = payload.replace(b'"_type"', b'"_type": "x", "_type"', 1)
    data = resign(twice, read_private_key(keys / "ours"))
    assert verified_statements(line, trust.keys)
    assert verified_statements(data, trust.keys) == []


def test_a_signature_file_of_any_size_is_bounded(signed: Path, trust: TrustPolicy) -> None:
    with (signed / SIGNATURES_FILE).open("wb") as file:
        file.truncate(1 << 33)  # sparse: it takes no space
    with pytest.raises(VerificationError, match="more than the"):
        open_bundle(signed, trust=trust)


def test_a_manifest_of_a_gigabyte_is_refused_before_it_is_read(signed: Path) -> None:
    with (signed / MANIFEST).open("r+b") as file:
        file.truncate(1 << 30)
    with pytest.raises(VerificationError, match="more than the 1048576 allowed"):
        open_bundle(signed)


@pytest.mark.parametrize("name", ["../policy.onnx", "/etc/passwd", "a/b", "..", "a\\b"])
def test_a_manifest_that_names_a_path_is_refused(signed: Path, name: str) -> None:
    files = {path.name: path.read_bytes() for path in signed.iterdir()}
    manifest = json.loads(files[MANIFEST])
    manifest["files"][name] = manifest["files"].pop(POLICY_FILE)
    (signed / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(VerificationError, match="which is not a file name"):
        open_bundle(signed)


def test_a_link_is_no_file_of_a_bundle(signed: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes((signed / POLICY_FILE).read_bytes())
    (signed / POLICY_FILE).unlink()
    (signed / POLICY_FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(VerificationError, match="is a link"):
        open_bundle(signed)


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PUBLIC KEY-----\nAA==\n"])
def test_what_is_no_key_is_bad_input(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(InputError, match="must be an unencrypted private key"):
        read_private_key(tmp_path / "key")
    with pytest.raises(InputError, match="must be a public key"):
        read_public_key(tmp_path / "key")


def test_a_key_of_another_kind_is_bad_input(tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("not installed: openssl")
    for command in (
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "key"],
        ["openssl", "pkey", "-in", "key", "-pubout", "-out", "key.pub"],
    ):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    for read, name in ((read_private_key, "key"), (read_public_key, "key.pub")):
        with pytest.raises(InputError, match="must be an Ed25519 key, is a"):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"must have a table \[keys\]"),
        ("[keys]\nboss = []", "unknown role 'boss'"),
        ('[keys]\ngate = "x.pub"', "must be a list of files"),
        ('[keys]\ngate = ["absent.pub"]', "no such file"),
        ("[keys]\ngate = []\n[require]\nage = 3", "unknown key"),
        ("[keys]\ngate = []\n[more]\nx = 1", "unknown table 'more'"),
        ("[keys", "not valid TOML"),
    ],
)
def test_a_trust_policy_that_is_none_says_why(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "trust.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_trust_policy(tmp_path / "trust.toml")


def test_a_trust_policy_that_requires_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="keys must name at least one role"):
        TrustPolicy(keys={})


def test_a_role_without_keys_can_never_be_satisfied(signed: Path) -> None:
    with pytest.raises(VerificationError, match="no statement of a trusted gate"):
        open_bundle(signed, trust=TrustPolicy(keys={Role.GATE: ()}))


def test_a_folder_that_holds_a_signature_of_ours_is_replaced_and_one_with_more_is_not(
    signed: Path,
) -> None:
    bundle = open_bundle(signed)
    write_artifact(signed, Artifact(kind="bundle", files=bundle.files), beside={SIGNATURES_FILE})
    (signed / "thesis.tex").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"holds thesis\.tex"):
        write_artifact(
            signed, Artifact(kind="bundle", files=bundle.files), beside={SIGNATURES_FILE}
        )


def test_an_environment_is_never_required_of_nobody(keys: Path) -> None:
    """Only the certifier names it: without one the requirement would be passed over in silence."""
    ours = (read_public_key(keys / "ours.pub"),)
    with pytest.raises(InputError, match="env_id"):
        TrustPolicy(keys={Role.TESTER: ours, Role.GATE: ours}, env_id="another")
    TrustPolicy(keys={Role.CERTIFIER: ours}, env_id="another")


def test_a_key_of_x448_of_the_length_of_another_is_refused_in_one_line(tmp_path: Path) -> None:
    # OpenSSL fails on it with an error of its own; found by fuzzing.
    body = "MC4CAQAwBQYDK2VvBCIEIKfYtz4r0cDhPZAlDxdXAHUQ+cqX5zOxnXLA4W5npdVS"
    path = tmp_path / "key"
    path.write_text(f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
    with pytest.raises(InputError, match="must be an unencrypted private key in PEM form"):
        read_private_key(path)
