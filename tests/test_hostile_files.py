"""Whatever a bundle holds is refused by a limit with a name, before it takes time or memory.

Also of ``onnx_file/wire.py``.
"""

import io
import json
import os
import tomllib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from onnx import TensorProto, helper, numpy_helper

from support.bundles import bundle_files
from support.certificates import certificate_of
from support.policies import random_policy
from surefoot.artifact import MANIFEST, Artifact, from_json, read_artifact, to_json, write_artifact
from surefoot.budget import Budget
from surefoot.bundle import BUDGET_FILE, CERTIFICATE_FILE, ORIGIN_FILE, open_bundle, write_bundle
from surefoot.certificate import Certificate
from surefoot.config import parse_toml
from surefoot.errors import InputError, IntegrityError, SurefootError, VerificationError
from surefoot.limits import MAX_BUNDLE_BYTES, MAX_DEPTH, MAX_FILES
from surefoot.onnx_file import (
    policy_from_onnx,
    policy_to_onnx,
    read_onnx,
)
from surefoot.onnx_file.sparse import dense_onnx
from surefoot.signing import SIGNATURES_FILE, Role, TrustPolicy, verified_statements
from surefoot.visited import Visited

VISITED = Visited(
    independent=np.ones((5, 3)), steps=np.arange(5), num_discarded=0, pool=np.zeros((7, 3))
)
LONG_KEY = "a." * 100_000 + "b = 1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a bundle."""
    file = policy_from_onnx(policy_to_onnx(random_policy(np.random.default_rng(0), (3, 4, 2))))
    files = bundle_files(file, certificate_of(file))
    write_bundle(tmp_path / "bundle", files, allow_uncertified=False)
    return tmp_path / "bundle"


def forge(folder: Path, files: Mapping[str, bytes]) -> None:
    """Change files of a bundle and write a manifest that fits, as a forger would."""
    artifact = read_artifact(folder, "bundle")
    write_artifact(folder, replace(artifact, files={**artifact.files, **files}))


NUMBERS = {
    "1e999999": "1e999999 is not a finite number",
    "1" * 1_000_000: "a number of 1000000 digits, more than the 400 allowed",
    "-1." + "0" * 1_000_000: "digits, more than the 400 allowed",
    "1e" + "0" * 1_000_000: "digits, more than the 400 allowed",
    "[" * 100_000: f"deeper than the {MAX_DEPTH} tables and lists allowed",
    '[{"a":' * 100: f"deeper than the {MAX_DEPTH} tables and lists allowed",
    "[" + "0," * (1 << 18) + "0]": "more than the 262144 values allowed",
    "[" + "[]," * (1 << 17) + "[]]": "more than the 262144 values allowed",
}


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


SLOW_TOML = {
    "a key of many parts": LONG_KEY,
    "a table of many parts": f"[{'a.' * 100_000}b]",
    "quoted parts": '"\\"".' * 1000 + "b = 1",
    "literal parts": "'a' . " * 1000 + "b = 1",
    "parts in a table": "x = {" + "a." * 1000 + "b = 1}",
    "a long integer": "a = " + "1" * 100_000,
    "a long hexadecimal integer": "a = 0x" + "f" * 1000,
    "a long fraction": "a = 0." + "0" * 1000,
    "underscores": "a = 1" + "_1" * 1000,
    "lists in lists": "a = " + "[" * 10_000,
    "tables in tables": "a = " + "{a = " * 1000,
}


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


def npy(header: str, data: bytes = b"") -> bytes:
    """Return an npy file with this header."""
    line = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line + data


def npz(members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return the file of visited states with some of its members replaced."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(VISITED.to_bytes())) as old:
        whole = {name: old.read(name) for name in old.namelist()} | dict(members)
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in whole.items():
            file.writestr(name, data)
    return buffer.getvalue()


def overlapping() -> bytes:
    """Return a file whose directory names the same bytes again and again."""
    data = bytearray(npz({"pool.npy": npy("{}", bytes(100_000))}))
    end = data.rindex(b"PK\x05\x06")
    start = data.index(b"PK\x01\x02")
    entries = bytes(data[start:end])
    pool = entries[entries.index(b"pool.npy") - 46 :][:54]
    tail = bytearray(data[end:])
    for at in (8, 10):
        tail[at : at + 2] = (4 + 8).to_bytes(2, "little")
    tail[12:16] = (len(entries) + 8 * len(pool)).to_bytes(4, "little")
    return bytes(data[:start]) + entries + pool * 8 + bytes(tail)


def head(shape: str, descr: str = "'<f8'") -> str:
    """Return the header of an array."""
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


HOSTILE_NPZ = {
    "compressed": (npz({"pool.npy": bytes(10_000_000)}, zipfile.ZIP_DEFLATED), "it is compressed"),
    "terabytes": (npz({"pool.npy": npy(head("(1099511627776, 3)"))}), "that is not"),
    "overflow": (npz({"pool.npy": npy(head(f"({2**62}, 4)"))}), "that is not"),
    "negative": (
        npz({"pool.npy": npy(head("(-1, -3)"), bytes(24))}),
        "that is not",
    ),
    "objects": (npz({"pool.npy": npy(head("(1,)", "'|O'"), bytes(8))}), "array of object"),
    "fields": (npz({"pool.npy": npy(head("(1,)", "[('a', '<f8')]"), bytes(8))}), "array of"),
    "code": (npz({"pool.npy": npy("__import__('os').abort()")}), "header"),
    "deep header": (npz({"pool.npy": npy("-" * 110 + "1")}), "header"),
    "infinite": (npz({"pool.npy": npy(head("(1, 3)"), np.full(3, np.inf).tobytes())}), "finite"),
    "other columns": (npz({"pool.npy": npy(head("(1, 2)"), bytes(16))}), r"must be \(n, obs_dim\)"),
    "many arrays": (npz({f"{number}.npy": b"" for number in range(20)}), "more than the 16 arrays"),
    "overlapping": (overlapping(), "larger than the file"),
}


@pytest.mark.parametrize("case", HOSTILE_NPZ)
def test_visited_states_take_no_more_than_their_file(case: str) -> None:
    data, message = HOSTILE_NPZ[case]
    with pytest.raises(IntegrityError, match=f"not hold visited states: .*({message})"):
        Visited.from_bytes(data)


def test_visited_states_that_were_written_are_read() -> None:
    again = Visited.from_bytes(npz({}))
    assert np.array_equal(again.independent, VISITED.independent)
    assert np.array_equal(again.pool, VISITED.pool)


def graph(
    *, dense: Sequence[TensorProto] = (), sparse: Sequence[onnx.SparseTensorProto] = ()
) -> bytes:
    """Return a small foreign model, y = x w, with this w."""
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, ["N", 3])],
        [value("y", TensorProto.FLOAT, ["N", 2])],
        initializer=dense,
        sparse_initializer=sparse,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def nested(*path: int, payload: bytes) -> bytes:
    """Return a message inside of messages, by the numbers of their fields."""
    for number in reversed(path):
        size, varint = len(payload), b""
        while size > 127:
            varint += bytes([size & 127 | 128])
            size >>= 7
        payload = bytes([number << 3 | 2]) + varint + bytes([size]) + payload
    return payload


def claiming(dims: list[int]) -> bytes:
    """Return a model with a weight that claims a shape."""
    tensor = TensorProto(name="w", dims=dims, data_type=TensorProto.FLOAT, raw_data=b"1234")
    return graph(dense=[tensor])


def sparse_claiming(dims: list[int]) -> bytes:
    """Return a model with a sparse weight that claims a shape."""
    sparse = onnx.SparseTensorProto(dims=dims)
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "w"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.zeros(1, np.int64)))
    return graph(sparse=[sparse])


HOSTILE_ONNX = {
    "empty nodes": nested(7, payload=b"\x0a\x00" * 100_000),
    "empty tensors": nested(7, payload=b"\x2a\x00" * 100_000),
    "empty attributes": nested(7, 1, payload=b"\x2a\x00" * 100_000),
    "empty inputs": nested(7, 1, payload=b"\x0a\x00" * 100_000),
    "empty metadata": b"\x72\x00" * 100_000,
    "one integer each": nested(7, 5, payload=b"\x08\x00" * 100_000),
    "packed integers": nested(7, 5, payload=nested(7, payload=bytes((1 << 22) + 1))),
    "deep graphs": nested(7, *(1, 5, 6) * 100, payload=b""),
    "a field beyond the end": b"\x3a\x7f",
    "an endless integer": b"\xff" * 100,
    "a weight of terabytes": claiming([1 << 40, 3]),
    "a weight of negative size": claiming([-1, 3]),
    "a weight that overflows": claiming([1 << 62, 1 << 62]),
    "a sparse weight of terabytes": sparse_claiming([1 << 40, 2]),
    "a sparse weight that overflows": sparse_claiming([1 << 62, 1 << 62]),
    "a sparse weight of too many": sparse_claiming([1 << 14, 1 << 14]),
}


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


LINES = {
    "brackets": b'{"payload":' + b"[" * 10_000,
    "lists": b'{"payload":[' + b"[]," * 10_000 + b"[]]}",
    "signatures": b'{"payload":"","signatures":[' + b'{"sig":""},' * 10_000 + b"{}]}",
    "numbers": b'{"payload":' + b"1" * 100_000 + b"}",
    "no object": b"3",
    "a surrogate": b'{"payload": "\\ud800", "payloadType": "application/vnd.in-toto+json"}',
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_lines_that_are_no_envelopes_do_not_count(line: bytes) -> None:
    key = Ed25519PrivateKey.generate().public_key()
    assert verified_statements(b"\n".join([line] * 100), dict.fromkeys(Role, (key,))) == []
