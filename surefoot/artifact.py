"""Files and folders that are written whole or not at all, and verified when they are read.

An artifact is a folder with a ``manifest.json`` that names its schema, the code that wrote it, the
configuration, the SHA-256 of every input and of every file. No format here can execute code:
arrays are safetensors, npz without pickle or ONNX, everything else is JSON or TOML.
"""

import codecs
import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import accumulate, islice
from pathlib import Path, PurePosixPath
from typing import Any

from surefoot.atomic import (
    clear_leftovers,
    is_leftover,
    make_folders,
    new_file,
    new_folder,
    try_file,
    try_folder,
)
from surefoot.errors import InputError, IntegrityError
from surefoot.limits import (
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_DOCUMENT_BYTES,
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_MANIFEST_BYTES,
    MAX_VALUES,
    MAX_VALUES_OF_BUNDLE,
)
from surefoot.version import __version__

MANIFEST = "manifest.json"
_MARKER = "surefoot.json"
_MANIFEST_BEGINS = b'{\n  "code_version": "'
_END = b"\n}\n"
"""How :func:`to_json` ends a table, and nothing inside of it."""

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(set(range(256)) - set(_STEPS))
_MARKS = {
    codecs.BOM_UTF8: "UTF-8",
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}

Json = Any
"""Whatever ``json`` can write: None, bool, int, float, str, list and dict of these."""


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of ``data`` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def to_json(value: Json) -> bytes:
    """Return the one JSON form of ``value``: sorted keys, indented, no NaN, ends with a newline.

    Python writes the shortest decimal that reads back to the same double, so nothing is rounded.

    Raises:
        InputError: If ``value`` holds NaN or infinity, which JSON cannot say.
    """
    try:
        text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
        return (text + "\n").encode()
    except ValueError as error:  # a lone surrogate, too, is text that UTF-8 cannot say
        raise InputError(f"JSON cannot hold this value: {error}") from error


def from_json(data: bytes, what: str, *, max_values: int = MAX_VALUES) -> Json:
    """Parse JSON in UTF-8 and refuse duplicate keys, NaN and infinity.

    Args:
        data: The document.
        what: How error messages call it.
        max_values: How many values it may hold.

    Raises:
        IntegrityError: If ``data`` is not such a document, or exceeds a limit.
    """
    try:
        text = decoded(data)
        _refuse_large(data, max_values)
        return json.loads(
            text,
            object_pairs_hook=_without_duplicates,
            parse_constant=_finite,
            parse_float=_finite,
            parse_int=_short,
        )
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{what} is not valid JSON: {error}") from error


def from_untrusted_json(data: bytes, what: str) -> Json:
    """Parse a JSON document of a bundle, which anybody may have written.

    Raises:
        IntegrityError: As :func:`from_json`, within the limits of such a document.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise IntegrityError(_too_large(what, len(data), MAX_DOCUMENT_BYTES))
    return from_json(data, what, max_values=MAX_VALUES_OF_BUNDLE)


def decoded(data: bytes) -> str:
    """Return the text of UTF-8 bytes.

    Raises:
        ValueError: If they are of another encoding; the message says which, where a mark tells.
    """
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            raise ValueError(f"it begins with a byte order mark of {name}: save it as plain UTF-8")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start}") from error


def _refuse_large(data: bytes, max_values: int) -> None:
    """Check the size of a document before it is parsed.

    Raises:
        ValueError: If it holds too many values, or they lie too deep.
    """
    opened = data.count(b"[") + data.count(b"{")
    if data.count(b",") + opened > max_values:  # a comma in a string counts as well
        raise ValueError(f"more than the {max_values} values allowed")
    if opened > MAX_DEPTH:
        brackets = _STRING.sub(b"", data).translate(None, _NO_BRACKETS)
        if max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > MAX_DEPTH:
            raise ValueError(f"deeper than the {MAX_DEPTH} tables and lists allowed")


def _without_duplicates(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("duplicate key")
    return table


def _finite(digits: str) -> float:  # 1e999 and the names NaN, Infinity, -Infinity
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits, more than the {MAX_DIGITS} allowed")
    if not math.isfinite(value := float(digits)):
        raise ValueError(f"{digits} is not a finite number")
    return value


def _short(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits, more than the {MAX_DIGITS} allowed")
    return int(digits)


def read_file(path: Path, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Read a whole regular file of at most ``max_bytes``.

    Raises:
        InputError: If there is no such file, or it cannot be read.
        IntegrityError: If it is larger than ``max_bytes``.
    """
    with os_errors(f"cannot read {path}"):
        if not path.is_file():
            raise InputError(f"no such file: {path}")
        # What has become a pipe since then is opened without waiting for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"no such file: {path}")
            if status.st_size > max_bytes:
                raise IntegrityError(_too_large(path, status.st_size, max_bytes))
            data = file.read(max_bytes + 1)
    if len(data) > max_bytes:  # it grows, or the system does not tell its size
        raise IntegrityError(_too_large(path, len(data), max_bytes))
    return data


def write_file(path: Path, data: bytes, *, mode: int = 0o666, beside: Path | None = None) -> None:
    """Write ``data`` to ``path`` so that a crash leaves either the old file or the new one.

    Args:
        path: The file.
        data: Its content.
        mode: Who may read and write it, less the umask.
        beside: The entry beside which the unfinished file may lie, for a folder that must at no
            time hold another file; ``path`` itself if nothing is said.

    Raises:
        InputError: If the target cannot be written (disk full, read-only, no such folder), or
            another process is writing it.
    """
    with os_errors(f"cannot write {path}"), new_file(path, mode, beside) as file:
        file.write(data)


def check_place(path: Path) -> None:
    """Refuse a file that could not be written, before the work that is to fill it.

    Raises:
        InputError: If nothing can be written there, or what is there cannot be replaced.
    """
    if path.exists() and not path.is_file():
        raise InputError(
            f"cannot write {path}: it is {'a folder' if path.is_dir() else 'not a regular file'}"
        )
    with os_errors(f"cannot write {path}"):
        try_file(path)


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """The verified content of an artifact folder.

    Attributes:
        kind: Kind of artifact, for example ``policy`` or ``bundle``.
        files: Name to content, the manifest not among them.
        facts: The writer's statements about it (configuration, sizes, verdicts).
        inputs: Name to SHA-256 of everything it was made from.
        code_version: Version of surefoot that wrote it.
    """

    kind: str
    files: Mapping[str, bytes]
    facts: Mapping[str, Json] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    code_version: str = __version__

    def manifest(self) -> bytes:
        """Return ``manifest.json``, which ends with the digest of its own other content."""
        content = {
            "schema": _schema(self.kind),
            "code_version": self.code_version,
            "facts": dict(self.facts),
            "inputs": dict(self.inputs),
            "files": {
                name: {"sha256": sha256_hex(data), "size": len(data)}
                for name, data in self.files.items()
            },
        }
        return to_json(content | {"self_sha256": sha256_hex(to_json(content))})


def write_artifact(folder: Path, artifact: Artifact, beside: Set[str] = frozenset()) -> None:
    """Write the folder whole: to a temporary neighbour first, then in place of an older one.

    Args:
        folder: Where it goes.
        artifact: The artifact to write.
        beside: Names of files about an older artifact, which go with it.

    Raises:
        InputError: If ``folder`` exists and is not an artifact of this kind, holds a file that is
            not the artifact's, or cannot be written.
    """
    files = {**artifact.files, MANIFEST: artifact.manifest()}
    with os_errors(f"cannot write {folder}"):
        clear_leftovers(folder)
        named = _names_of(folder, artifact.kind)
        _refuse_strays(folder, (set(files) if named is None else named) | beside)
        # `.` has no name to which a neighbour's could be added
        with new_folder(folder.resolve()) as temporary:
            for name, data in files.items():
                with new_file(temporary / name, 0o666) as file:
                    file.write(data)


def check_artifact_place(folder: Path, kind: str, beside: Set[str] = frozenset()) -> None:
    """Refuse a folder that could not be written, before the work that is to fill it.

    Args:
        folder: Where an artifact is to go.
        kind: Kind of artifact.
        beside: Names of files about an older artifact, which go with it.

    Raises:
        InputError: As :func:`write_artifact`, or if what is there cannot be replaced.
    """
    with os_errors(f"cannot write {folder}"):
        clear_leftovers(folder)
        if (named := _names_of(folder, kind)) is not None:
            _refuse_strays(folder, named | beside)
        try_folder(folder.resolve())


def read_artifact(
    folder: Path, kind: str, beside: Set[str] = frozenset(), *, max_bytes: int = MAX_FILE_BYTES
) -> Artifact:
    """Read the folder and check every byte of it against its manifest.

    Args:
        folder: The artifact.
        kind: Required kind of artifact.
        beside: Names of files that may stand in the folder without being part of the artifact.
        max_bytes: Largest size of all its files together.

    Raises:
        InputError: If there is no such folder or manifest, or it cannot be read.
        IntegrityError: If a file is missing, extra, a link, or not what the manifest says, or there
            are too many or too large ones.
    """
    with os_errors(f"cannot read {folder}"):
        if not folder.is_dir():
            raise InputError(f"no such folder: {folder}")
        if not (folder / MANIFEST).is_file():
            raise InputError(f"{folder} is not a {kind}: it has no {MANIFEST}")
        found = _entries(folder)
    raw = read_file(folder / MANIFEST, max_bytes=MAX_MANIFEST_BYTES)
    manifest = from_untrusted_json(raw, f"{folder / MANIFEST}")
    named = _named_files(manifest, kind, folder) | {MANIFEST}
    for verb, names in (
        ("is missing", named - set(found)),
        ("is not in the manifest", set(found) - named - beside),
        ("is a link", {name for name in found if found[name].is_symlink()}),
        ("is not a file", {name for name in found if not found[name].is_file()}),
    ):
        if names:
            raise IntegrityError(f"{folder}: {min(names)} {verb}")
    files: dict[str, bytes] = {}
    for name in sorted(named - {MANIFEST}):
        left = max_bytes - sum(map(len, files.values()))
        files[name] = read_file(folder / name, max_bytes=left)
        described = {"sha256": sha256_hex(files[name]), "size": len(files[name])}
        if manifest["files"][name] != described:
            raise IntegrityError(f"{folder}: {name} is not the file that the manifest describes")
    artifact = Artifact(
        kind=kind,
        files=files,
        facts=manifest["facts"],
        inputs=manifest["inputs"],
        code_version=manifest["code_version"],
    )
    if artifact.manifest() != raw:
        raise IntegrityError(f"{folder}: {MANIFEST} was changed after it was written")
    return artifact


def claim_folder(folder: Path, kind: str) -> None:
    """Create an output folder and mark it as surefoot's, or continue in one that already is.

    Raises:
        InputError: If ``folder`` exists, is not empty and is not a folder of this kind, or cannot
            be written.
    """
    marker, mark = folder / _MARKER, to_json({"schema": _schema(kind)})
    with os_errors(f"cannot write {folder}"):
        torn = marker.is_file() and _is_torn(
            read_file(marker, max_bytes=MAX_MANIFEST_BYTES), mark.removesuffix(_END)
        )
        if not torn:
            _refuse_foreign(folder, _MARKER, kind)
        make_folders(folder)
    if torn or not marker.exists():
        write_file(marker, mark)


def unclaim_folder(folder: Path, made: Sequence[Path]) -> None:
    """Remove a folder that holds nothing but surefoot's mark.

    Args:
        folder: The folder.
        made: Itself and folders above it that go with it, the lowest first.
    """
    if [entry.name for entry in folder.iterdir()] == [_MARKER]:
        (folder / _MARKER).unlink()
        for path in made:
            with suppress(OSError):  # somebody else has come to use it
                path.rmdir()


def is_folder_of(folder: Path, kind: str) -> bool:
    """Return True if ``folder`` was claimed as ``kind`` or is an artifact of that kind."""
    for name in (_MARKER, MANIFEST):
        if (folder / name).is_file():
            try:
                table = from_json(read_file(folder / name, max_bytes=MAX_MANIFEST_BYTES), name)
            except IntegrityError:
                continue
            if isinstance(table, dict) and table.get("schema") == _schema(kind):
                return True
    return False


def _schema(kind: str) -> str:
    return f"surefoot/{kind}/1"


def _refuse_foreign(folder: Path, marker: str, kind: str) -> None:
    """Check that ``folder`` is absent, empty, or carries our marker of this kind.

    Raises:
        InputError: If it is somebody else's.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"output {folder} exists and is not a folder")
    if all(is_leftover(entry.name) for entry in folder.iterdir()):
        return
    if not ((folder / marker).is_file() and is_folder_of(folder, kind)):
        raise InputError(f"output folder {folder} exists and is not a surefoot {kind} folder")


def _names_of(folder: Path, kind: str) -> set[str] | None:
    """Return the file names of the replaceable artifact in ``folder``, none if it is empty.

    A manifest that a loss of power tore is ours all the same, but tells no names: None.

    Raises:
        InputError: If the folder is somebody else's.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        _refuse_foreign(folder, MANIFEST, kind)
        return set()
    raw = read_file(manifest, max_bytes=MAX_MANIFEST_BYTES)
    if _is_torn(raw, _MANIFEST_BEGINS):
        return None
    _refuse_foreign(folder, MANIFEST, kind)
    return _named_files(from_json(raw, MANIFEST), kind, folder)


def _refuse_strays(folder: Path, own: Set[str]) -> None:
    """Refuse to replace an artifact in which others have put files of their own.

    Raises:
        InputError: If there is such a file.
    """
    found = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if strays := found - own - {MANIFEST}:
        raise InputError(f"output folder {folder} holds {min(strays)}, which is not surefoot's")


def _is_torn(data: bytes, begin: bytes) -> bool:
    """Return True if ``data`` is what a power failure left of JSON text beginning with ``begin``.

    File systems leave the beginning of a file, or blocks of zeros, which JSON never holds.
    """
    kept, zero, _ = data.partition(b"\0")
    is_whole = not zero and data.endswith(_END)
    return not is_whole and kept[: len(begin)] == begin[: len(kept)]


def _named_files(manifest: Json, kind: str, folder: Path) -> set[str]:
    """Return the file names of a manifest after checking its form.

    Raises:
        IntegrityError: If it is no manifest of this kind, or names a path instead of a file.
    """
    keys = {"schema", "code_version", "facts", "inputs", "files", "self_sha256"}
    if not isinstance(manifest, dict) or set(manifest) != keys:
        raise IntegrityError(f"{folder}: {MANIFEST} does not have the keys of a manifest")
    if manifest["schema"] != _schema(kind):
        raise IntegrityError(f"{folder} is {manifest['schema']!r}, not {_schema(kind)!r}")
    if not all(isinstance(manifest[key], dict) for key in ("facts", "inputs", "files")):
        raise IntegrityError(f"{folder}: {MANIFEST} does not have the form of a manifest")
    for name in manifest["files"]:
        # A manifest must not be able to name a file outside of its folder.
        if name in ("", ".", "..", MANIFEST) or PurePosixPath(name).name != name or "\\" in name:
            raise IntegrityError(f"{folder}: {MANIFEST} names {name!r}, which is not a file name")
    return set(manifest["files"])


def _entries(folder: Path) -> dict[str, Path]:
    """Return the entries of a folder by name.

    Raises:
        IntegrityError: If that is more than an artifact may hold.
    """
    found = {entry.name: entry for entry in islice(folder.iterdir(), MAX_FILES + 1)}
    if len(found) > MAX_FILES:
        raise IntegrityError(f"{folder} holds more than the {MAX_FILES} files allowed")
    return found


@contextmanager
def os_errors(what: str) -> Iterator[None]:
    """Turn a system error into an `InputError` of one line that begins with ``what``.

    Raises:
        InputError: If the block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"{what}: {error.strerror or error}") from error


def _too_large(what: object, size: int, limit: int) -> str:
    return f"{what} has {size} bytes, more than the {limit} allowed"
