"""Whatever a bundle holds is refused by a limit with a name, before it takes time or memory.

Also of ``onnx_file/wire.py``.
"""

import io
import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.bundles import bundle_files
from support.certificates import certificate_of
from support.hostile import (
    HOSTILE_NPZ,
    HOSTILE_ONNX,
    LINES,
    LONG_KEY,
    NUMBERS,
    SLOW_TOML,
    VISITED,
    forge,
    mutate,
    npz,
    wide_text,
)
from support.policies import random_policy
from support.small_bundle import small_bundle
from surefoot.artifact import MANIFEST, Artifact, from_json, read_artifact, to_json
from surefoot.budget import Budget
from surefoot.bundle import BUDGET_FILE, CERTIFICATE_FILE, ORIGIN_FILE, open_bundle, write_bundle
from surefoot.certificate import Certificate
from surefoot.config import parse_toml
from surefoot.errors import InputError, IntegrityError, SurefootError, VerificationError
from surefoot.export.forms import C_REPORT_FILE
from surefoot.limits import (
    MAX_BUNDLE_BYTES,
    MAX_DEPTH,
    MAX_DOCUMENT_BYTES,
    MAX_FILES,
    MAX_POLICY_BYTES,
)
from surefoot.onnx_file import (
    POLICY_FILE,
    policy_from_onnx,
    policy_to_onnx,
    read_onnx,
)
from surefoot.onnx_file.sparse import dense_onnx
from surefoot.signing import SIGNATURES_FILE, Role, TrustPolicy, verified_statements
from surefoot.visited import Visited
from surefoot.workflow.verifying import verify_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a bundle."""
    file = policy_from_onnx(policy_to_onnx(random_policy(np.random.default_rng(0), (3, 4, 2))))
    files = bundle_files(file, certificate_of(file))
    write_bundle(tmp_path / "bundle", files, allow_uncertified=False)
    return tmp_path / "bundle"


@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: value[:8])
@pytest.mark.parametrize("name", [MANIFEST, CERTIFICATE_FILE, ORIGIN_FILE])
def test_no_number_and_no_depth_of_a_document_is_beyond_a_limit(
    folder: Path, name: str, value: str
) -> None:
    table = json.loads((folder / name).read_bytes()) | {"schema": "VALUE"}
    data = to_json(table).replace(b'"VALUE"', value.encode())
    if name == MANIFEST:
        (folder / name).write_bytes(data[: 1 << 20])
    else:
        forge(folder, {name: data})
    with pytest.raises(VerificationError, match=NUMBERS[value].replace(".", r"\.")) as refusal:
        open_bundle(folder)
    assert len(str(refusal.value)) < 400


def test_brackets_in_words_are_not_depth() -> None:
    words = "[" * 1000 + '\\"' + "{" * 1000
    assert from_json(to_json({"a": [words]}), "x") == {"a": [words]}
    assert from_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, "x")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_is_utf_8_and_another_encoding_is_named(encoding: str) -> None:
    with pytest.raises(IntegrityError, match=r"byte order mark of UTF|not UTF-8|JSON") as refusal:
        from_json('{"ä": 1}'.encode(encoding), "x")
    if encoding != "utf-16-le":  # which has no mark
        assert "byte order mark of UTF" in str(refusal.value)


@pytest.mark.parametrize("text", SLOW_TOML.values(), ids=SLOW_TOML)
def test_no_toml_takes_more_than_linear_time(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "a = [" not in text and "a = {" not in text:  # the parser itself ends these at its depth
        monkeypatch.setattr(tomllib, "loads", lambda text: pytest.fail("it was parsed"))
    with pytest.raises(InputError, match=r"^x is not valid TOML: ") as refusal:
        parse_toml(text, "x")
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    "text", ["a." * 63 + "b = 1", "a = 0x" + "f" * 399, "a = [0.5, " + "1.5, " * 500 + "2]"]
)
def test_what_people_write_is_below_the_limits(text: str) -> None:
    assert parse_toml(text, "x") == tomllib.loads(text)


def test_a_long_budget_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tomllib, "loads", lambda text: pytest.fail("it was parsed"))
    with pytest.raises(InputError, match="65537 bytes, more than the 65536 allowed"):
        Budget.parse("#" * 65_537)


def test_of_a_bundle_without_the_signature_nothing_is_parsed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust = TrustPolicy(keys=dict.fromkeys(Role, (Ed25519PrivateKey.generate().public_key(),)))
    forge(folder, {BUDGET_FILE: LONG_KEY.encode()})
    for name in ("tomllib.loads", "onnx.load_model_from_string"):
        monkeypatch.setattr(name, lambda *_: pytest.fail("it was parsed"))
    monkeypatch.setattr(Certificate, "parse", lambda *_: pytest.fail("it was parsed"))
    with pytest.raises(VerificationError, match=rf"no such file: .*{SIGNATURES_FILE}"):
        open_bundle(folder, trust=trust)
    (folder / SIGNATURES_FILE).write_bytes(b"{}\n")
    with pytest.raises(VerificationError, match="no statement of a trusted certifier is about"):
        open_bundle(folder, trust=trust)


def test_a_budget_that_is_not_the_certificates_is_not_parsed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge(folder, {BUDGET_FILE: LONG_KEY.encode()})
    parse = Budget.parse
    monkeypatch.setattr(
        Budget, "parse", lambda text, *_: pytest.fail("parsed") if text == LONG_KEY else parse(text)
    )
    with pytest.raises(VerificationError, match=r"about another budget\.toml"):
        open_bundle(folder)
    table = json.loads((folder / CERTIFICATE_FILE).read_bytes()) | {"budget_toml": LONG_KEY}
    monkeypatch.undo()
    forge(folder, {CERTIFICATE_FILE: to_json(table)})
    with pytest.raises(VerificationError, match="bytes, more than the 65536 allowed"):
        open_bundle(folder)


def test_many_files_are_not_looked_at_one_by_one(folder: Path) -> None:
    for number in range(MAX_FILES):
        (folder / f"{number}").touch()
    with pytest.raises(VerificationError, match=f"holds more than the {MAX_FILES} files allowed"):
        open_bundle(folder)


def test_large_files_are_not_read(folder: Path) -> None:
    """Two that are within every limit alone, made of nothing but a length."""
    artifact = read_artifact(folder, "bundle")
    forge(folder, {"a": b"", "b": b""})
    for name in ("a", "b"):
        os.truncate(folder / name, MAX_BUNDLE_BYTES // 2 + 1)
    manifest = json.loads((folder / MANIFEST).read_bytes())
    zeros = Artifact(kind="x", files={"a": bytes(MAX_BUNDLE_BYTES // 2 + 1)}).manifest()
    described = json.loads(zeros)["files"]["a"]
    manifest["files"] |= {"a": described, "b": described}
    (folder / MANIFEST).write_bytes(to_json(manifest))
    with pytest.raises(VerificationError, match=r"bundle/b has \d+ bytes, more than the \d+ allow"):
        open_bundle(folder)
    assert artifact.kind == "bundle"


def test_visited_states_of_another_type_would_grow_and_are_refused() -> None:
    arrays = {"independent": np.ones((5, 3)), "steps": np.arange(5), "pool": np.zeros((7, 3))}
    for name, kind in {"pool": np.bool_, "independent": np.float16, "steps": np.int8}.items():
        buffer = io.BytesIO()
        changed = {**arrays, name: arrays[name].astype(kind)}
        np.savez(buffer, allow_pickle=False, num_discarded=np.int64(0), **changed)
        with pytest.raises(IntegrityError, match=rf"it has {np.dtype(kind)} in the place of"):
            Visited.from_bytes(buffer.getvalue())


@pytest.mark.parametrize("case", HOSTILE_NPZ)
def test_visited_states_take_no_more_than_their_file(case: str) -> None:
    data, message = HOSTILE_NPZ[case]
    with pytest.raises(IntegrityError, match=f"not hold visited states: .*({message})"):
        Visited.from_bytes(data)


def test_visited_states_that_were_written_are_read() -> None:
    again = Visited.from_bytes(npz({}))
    assert np.array_equal(again.independent, VISITED.independent)
    assert np.array_equal(again.pool, VISITED.pool)


@pytest.mark.parametrize("case", HOSTILE_ONNX)
@pytest.mark.parametrize("read", [policy_from_onnx, dense_onnx, lambda data: read_onnx(data, "x")])
def test_an_onnx_file_takes_no_more_than_its_size(
    case: str, read: Callable[[bytes], object]
) -> None:
    with pytest.raises(SurefootError) as refusal:
        read(HOSTILE_ONNX[case])
    assert "\n" not in str(refusal.value)
    if case.startswith(("empty", "one integer", "packed")):
        assert "allowed" in str(refusal.value)


@pytest.mark.parametrize("name", [CERTIFICATE_FILE, ORIGIN_FILE, C_REPORT_FILE])
def test_no_document_of_a_bundle_is_larger_than_its_limit(folder: Path, name: str) -> None:
    """One wide letter makes four bytes of every other."""
    forge(folder, {name: wide_text(MAX_DOCUMENT_BYTES)})
    with pytest.raises(VerificationError, match=rf"{name} has \d+ bytes, more than the"):
        verify_bundle(folder)


def test_no_controller_of_a_bundle_is_larger_than_its_limit(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge(folder, {POLICY_FILE: bytes(MAX_POLICY_BYTES + 1)})
    monkeypatch.setattr("onnx.load_model_from_string", lambda _: pytest.fail("it was parsed"))
    with pytest.raises(VerificationError, match=rf"{POLICY_FILE} has \d+ bytes, more than the"):
        open_bundle(folder)


@pytest.mark.parametrize("letter", ["🤖", r"\ud83e\udd16"])
def test_an_envelope_with_wide_letters_is_not_parsed(
    letter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("surefoot.signing.from_json", lambda *_: pytest.fail("it was parsed"))
    key = Ed25519PrivateKey.generate().public_key()
    line = f'{{"payload": "{letter}"}}'.encode()
    assert verified_statements(line, dict.fromkeys(Role, (key,))) == []


def refusal_of(folder: Path, trust: TrustPolicy) -> str:
    """Return why a bundle does not verify; nothing if it does."""
    try:
        verify_bundle(folder, trust=trust)
    except SurefootError as error:
        return str(error)
    return ""


def test_no_mutation_of_a_signed_bundle_is_accepted(tmp_path: Path) -> None:
    """A sample; ``benchmarks/hostile_bundles.py`` tries ten thousand."""
    rng, small = np.random.default_rng(0), small_bundle(tmp_path)
    verify_bundle(small.folder, trust=small.trust)
    for _ in range(200):
        what = mutate(small.folder, rng, tmp_path / "mutated")
        words = refusal_of(tmp_path / "mutated", small.trust)
        assert words or small.says_the_same(tmp_path / "mutated"), what
        assert "\n" not in words


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_lines_that_are_no_envelopes_do_not_count(line: bytes) -> None:
    key = Ed25519PrivateKey.generate().public_key()
    assert verified_statements(b"\n".join([line] * 100), dict.fromkeys(Role, (key,))) == []
