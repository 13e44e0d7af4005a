"""What an attacker may put into a bundle: files, folders, mutations."""

import io
import json
import os
import re
import shutil
import socket
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from support.policies import random_policy
from surefoot.artifact import MANIFEST, Artifact, read_artifact, sha256_hex, to_json
from surefoot.bundle import BUDGET_FILE, CERTIFICATE_FILE, ORIGIN_FILE
from surefoot.config import to_table
from surefoot.export.forms import C_REPORT_FILE
from surefoot.limits import MAX_DEPTH, MAX_SIGNATURE_BYTES, MAX_VALUES_OF_BUNDLE
from surefoot.onnx_file import (
    POLICY_FILE,
    SPARSE_FILE,
    policy_from_onnx,
    policy_to_onnx,
)
from surefoot.policy import weights_sha256
from surefoot.runtime.c_source import SOURCE_FILE, CConfig
from surefoot.signing import SIGNATURES_FILE
from surefoot.version import __version__
from surefoot.visited import VISITED_FILE, Visited

VISITED = Visited(
    independent=np.ones((5, 3)), steps=np.arange(5), num_discarded=0, pool=np.zeros((7, 3))
)
LONG_KEY = "a." * 100_000 + "b = 1"


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


SLOW_TOML = {
    "a key of many parts": LONG_KEY,
    "a table of many parts": f"[{'a.' * 100_000}b]",
    "quoted parts": '"\\"".' * 1000 + "b = 1",
    "literal parts": "'a' . " * 1000 + "b = 1",
    "parts in a table": "x = {" + "a." * 1000 + "b = 1}",
    "a long integer": "a = " + "1" * 100_000,
    "a long hexadecimal integer": "a = 0x" + "f" * 1000,
    "a long octal integer": "a = 0o" + "7" * 1000,
    "a long fraction": "a = 0." + "0" * 1000,
    "underscores": "a = 1" + "_1" * 1000,
    "lists in lists": "a = " + "[" * 10_000,
    "tables in tables": "a = " + "{a = " * 1000,
}


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


LINES = {
    "brackets": b'{"payload":' + b"[" * 10_000,
    "lists": b'{"payload":[' + b"[]," * 10_000 + b"[]]}",
    "signatures": b'{"payload":"","signatures":[' + b'{"sig":""},' * 10_000 + b"{}]}",
    "numbers": b'{"payload":' + b"1" * 100_000 + b"}",
    "no object": b"3",
    "a surrogate": b'{"payload": "\\ud800", "payloadType": "application/vnd.in-toto+json"}',
}


def wide_text(count: int) -> bytes:
    """Return a document of one text, each of whose characters takes four bytes of memory."""
    return '{"schema": "🤖'.encode() + b"a" * count + b'"}'


def states(pool: NDArray[np.generic]) -> bytes:
    """Return visited states with this pool."""
    buffer = io.BytesIO()
    np.save(buffer, pool)
    return npz({"pool.npy": buffer.getvalue()})


def weights(*sizes: int) -> bytes:
    """Return a canonical file with layers of these sizes."""
    return policy_to_onnx(random_policy(np.random.default_rng(0), sizes, zeros=0.8))


def repeated(line: bytes) -> bytes:
    """Return a file of signatures as large as is read, with one line again and again."""
    return (line + b"\n") * (MAX_SIGNATURE_BYTES // (len(line) + 1))


DOCUMENTS: dict[str, Callable[[], bytes]] = {
    **{value[:8]: partial(b'{"schema":%b}'.__mod__, value.encode()) for value in NUMBERS},
    "numbers": lambda: b'{"a": [' + b"0.5," * (MAX_VALUES_OF_BUNDLE - 9) + b"1]}",
    "tables": lambda: b"[" + b'{"a":0},' * (MAX_VALUES_OF_BUNDLE // 2 - 9) + b"{}]",
    "a text of 900 kB": partial(wide_text, 900_000),
    "a text of 4 MB": partial(wide_text, 4_000_000),
    "a text of 30 MB": partial(wide_text, 30_000_000),
    "brackets in a text": lambda: b'{"a": "' + b"[" * 4_000_000 + b'"}',
    "a text without an end": lambda: b'"\\' * 1_000_000,
    "zeros": partial(bytes, 30_000_000),
}
"""Documents in JSON, some of them as large as is allowed."""

BUDGETS: dict[str, str] = {
    **SLOW_TOML,
    "comments": "#\n" * 32_000,
    "tables": "".join(f"[{'a.' * 62}b{number}]\n" for number in range(480)),
    "keys": "".join(f"{'a.' * 62}b{number} = 1\n" for number in range(480)),
    "numbers": f"a = [{'1,' * 32_000}]",
    "tables in a list": f"a = [{'{},' * 21_000}]",
    "escapes": 'a = "' + r"\U0001F600" * 6_000 + '"',
    "requirements": '[[require]]\nquantity = "sparsity"\nat_least = 0\n' * 1_200,
    "shares of sensors": "[[require]]\nsensors = [" + "0.5," * 16_000 + "]",
}
"""Budgets, some of them as large as is allowed."""

FILES: dict[tuple[str, str], Callable[[], bytes]] = {
    **{
        (name, case): make
        for name in (MANIFEST, CERTIFICATE_FILE, ORIGIN_FILE, C_REPORT_FILE)
        for case, make in DOCUMENTS.items()
    },
    **{(VISITED_FILE, case): partial(bytes, data) for case, (data, _) in HOSTILE_NPZ.items()},
    (VISITED_FILE, "30 MB of states"): lambda: states(np.zeros((1_250_000, 3))),
    (VISITED_FILE, "30 MB of truth values"): lambda: states(np.zeros((10_000_000, 3), np.bool_)),
    **{
        (name, case): partial(bytes, data)
        for name in (POLICY_FILE, SPARSE_FILE)
        for case, data in HOSTILE_ONNX.items()
    },
    (POLICY_FILE, "30 MB of weights"): partial(weights, 3, 2700, 2700, 2),
    (POLICY_FILE, "zeros"): partial(bytes, 30_000_000),
    (SPARSE_FILE, "30 MB of weights"): partial(weights, 3, 2700, 2700, 2),
    **{
        (SIGNATURES_FILE, f"{case} again and again"): partial(repeated, line)
        for case, line in LINES.items()
    },
    (SIGNATURES_FILE, "a text of 16 MB"): partial(wide_text, 16_000_000),
    (SIGNATURES_FILE, "line ends"): partial(repeated, b""),
}
"""Content by the name of the file, and what is hostile about it."""


def forge(folder: Path, files: Mapping[str, bytes]) -> None:
    """Change files of a bundle and write a manifest that fits, as a forger would.

    A manifest or signatures among the files are written as they are.
    """
    sound = read_artifact(folder, "bundle", beside={SIGNATURES_FILE})
    free = {name: data for name, data in files.items() if name in (MANIFEST, SIGNATURES_FILE)}
    named = {name: data for name, data in files.items() if name not in free}
    _write(folder, replace(sound, files={**sound.files, **named}))
    for name, data in free.items():
        (folder / name).write_bytes(data)


def _write(folder: Path, artifact: Artifact) -> None:
    for name, data in {**artifact.files, MANIFEST: artifact.manifest()}.items():
        (folder / name).write_bytes(data)


def forge_budget(folder: Path, text: str) -> None:
    """Put a budget into a bundle and its certificate."""
    table = json.loads((folder / CERTIFICATE_FILE).read_bytes())
    table |= {"budget_toml": text, "budget_sha256": sha256_hex(text.encode())}
    forge(folder, {CERTIFICATE_FILE: to_json(table), BUDGET_FILE: text.encode()})


def forge_policy(folder: Path, sizes: Sequence[int], *, with_c: bool = False) -> None:
    """Put another controller into a bundle, with every digest of it where digests are.

    Args:
        folder: The bundle.
        sizes: Of the layers.
        with_c: Claim that C was derived from it.
    """
    data = weights(*sizes)
    controller = policy_from_onnx(data)
    weights_digest = weights_sha256(controller.policy)
    digests = {"weights_sha256": weights_digest, "onnx_sha256": sha256_hex(data)}
    sound = read_artifact(folder, "bundle", beside={SIGNATURES_FILE})
    certificate = json.loads(sound.files[CERTIFICATE_FILE]) | digests
    files = {
        **sound.files,
        POLICY_FILE: data,
        CERTIFICATE_FILE: to_json(certificate),
        ORIGIN_FILE: Artifact(kind="policy", files={POLICY_FILE: data}).manifest(),
    }
    if with_c:
        report = {"generator": __version__, "config": to_table(CConfig())}
        files |= {SOURCE_FILE: b"", C_REPORT_FILE: to_json(report)}
    del files[SPARSE_FILE]
    (folder / SPARSE_FILE).unlink()
    metadata = dict(controller.metadata)
    facts = {**sound.facts, "weights_sha256": weights_digest, "metadata": metadata}
    _write(folder, replace(sound, files=files, facts=facts))


def _in_place_of(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Return what puts something that is no file in the place of a file."""

    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return spoil


def _many_files(folder: Path) -> None:
    for number in range(100_000):
        (folder / f"{number}").touch()


def _long(name: str) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, 1 << 40)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


_NO_FILES: dict[str, Callable[[Path], object]] = {
    "link to itself": lambda path: path.symlink_to(path.name),
    "link to zeros": lambda path: path.symlink_to("/dev/zero"),
    "link to a file": lambda path: path.symlink_to("/etc/hostname"),
    "pipe": os.mkfifo,
    "socket": _socket,
    "folder": Path.mkdir,
}

FOLDERS: dict[str, Callable[[Path], None]] = {
    "100,000 files": _many_files,
    **{f"{name} of a terabyte": _long(name) for name in (MANIFEST, POLICY_FILE, SIGNATURES_FILE)},
    **{
        f"a {what} as {name}": _in_place_of(name, make)
        for name in (MANIFEST, POLICY_FILE, SIGNATURES_FILE)
        for what, make in _NO_FILES.items()
    },
    **{f"budget: {case}": partial(forge_budget, text=text) for case, text in BUDGETS.items()},
    "7 million weights": partial(forge_policy, sizes=(3, 2700, 2700, 2)),
    "1.2 million weights": partial(forge_policy, sizes=(3, 1110, 1110, 2)),
    "1.2 million weights in C": partial(forge_policy, sizes=(3, 1110, 1110, 2), with_c=True),
}
"""What is done to a bundle, by what is hostile about it."""


def mutated(data: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """Return how a file was changed at random, and what came of it: never the same bytes."""
    while True:
        start, stop = sorted(rng.integers(0, len(data) + 1, 2).tolist())
        stop = min(stop, start + int(rng.integers(1, 64)))
        choices = {
            "a bit turned": _with_bit_turned(data, int(rng.integers(8 * len(data)))),
            "bytes removed": data[:start] + data[stop:],
            "bytes doubled": data[:stop] + data[start:stop] + data[stop:],
            "bytes drawn": data[:start] + rng.bytes(stop - start) + data[stop:],
            "an end cut off": data[:start],
            "a digit changed": _with_digit_changed(data, rng),
        }
        what = str(rng.choice(list(choices)))
        if choices[what] != data:
            return what, choices[what]


def _with_bit_turned(data: bytes, place: int) -> bytes:
    turned = bytearray(data)
    turned[place // 8] ^= 1 << place % 8
    return bytes(turned)


def _with_digit_changed(data: bytes, rng: np.random.Generator) -> bytes:
    places = [match.start() for match in re.finditer(rb"\d", data)]
    place = int(rng.choice(places)) if places else 0
    return data[:place] + b"%d" % rng.integers(10) + data[place + 1 :]


def mutate(folder: Path, rng: np.random.Generator, into: Path) -> str:
    """Copy a bundle, change one file of the copy at random, and return how.

    Half of the changes stand behind a manifest that fits.
    """
    shutil.rmtree(into, ignore_errors=True)
    shutil.copytree(folder, into)
    name = str(rng.choice(sorted(entry.name for entry in folder.iterdir())))
    other = str(rng.choice(sorted(entry.name for entry in folder.iterdir() if entry.name != name)))
    what, data = mutated((folder / name).read_bytes(), rng)
    match int(rng.integers(10)):
        case 0:
            (into / name).unlink()
            return f"{name}: removed"
        case 1:
            shutil.copy(folder / other, into / name)
            return f"{name}: replaced by {other}"
        case number if number % 2 or name == MANIFEST:
            (into / name).write_bytes(data)
            return f"{name}: {what}"
        case _:
            forge(into, {name: data})
            return f"{name}: {what}, behind a manifest that fits"
