"""Files and folders that are written whole or not at all, and verified when they are read.

An artifact is a folder with a ``manifest.json`` that names its schema, the code that wrote it, the
configuration, the SHA-256 of every input and of every file. No format here can execute code:
arrays are safetensors, npz without pickle or ONNX, everything else is JSON or TOML.
"""

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from surefoot.errors import InputError, IntegrityError
from surefoot.version import __version__

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 20
MAX_FILE_BYTES = 1 << 30
_MARKER = "surefoot.json"

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


def from_json(data: bytes, what: str) -> Json:
    """Parse JSON and refuse duplicate keys, NaN and infinity.

    Raises:
        IntegrityError: If ``data`` is not such a document; ``what`` names it in the message.
    """

    def no_duplicates(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        table = dict(pairs)
        if len(table) != len(pairs):
            raise ValueError("duplicate key")
        return table

    def finite(digits: str) -> float:  # 1e999 and the names NaN, Infinity, -Infinity
        if not math.isfinite(value := float(digits)):
            raise ValueError(f"{digits} is not a finite number")
        return value

    try:
        return json.loads(
            data, object_pairs_hook=no_duplicates, parse_constant=finite, parse_float=finite
        )
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{what} is not valid JSON: {error}") from error


def read_file(path: Path, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Read a whole regular file of at most ``max_bytes``.

    Raises:
        InputError: If there is no such file, or it cannot be read.
        IntegrityError: If it is larger than ``max_bytes``.
    """
    with _os_errors(f"cannot read {path}"):
        if not path.is_file():
            raise InputError(f"no such file: {path}")
        if (size := path.stat().st_size) > max_bytes:
            raise IntegrityError(f"{path} has {size} bytes, more than the {max_bytes} allowed")
        return path.read_bytes()


def write_file(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write ``data`` to ``path`` so that a crash leaves either the old file or the new one.

    Args:
        path: The file.
        data: Its content.
        mode: Who may read and write it, less the umask.

    Raises:
        InputError: If the target cannot be written (disk full, read-only, no such folder).
    """
    temporary = _temporary_of(path)
    with _os_errors(f"cannot write {path}"):
        try:
            _write_and_sync(temporary, data, mode)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)


def check_place(path: Path) -> None:
    """Refuse a file that could not be written, before the work that is to fill it.

    Raises:
        InputError: If nothing can be written there.
    """
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder")
    temporary = _temporary_of(path)
    with _os_errors(f"cannot write {path}"):
        try:
            _write_and_sync(temporary, b"")
        finally:
            temporary.unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """The verified content of an artifact folder.

    Attributes:
        kind: What it is, for example ``policy`` or ``bundle``.
        files: Name to content, the manifest not among them.
        facts: What the writer said about it (configuration, sizes, verdicts).
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
        artifact: What is written.
        beside: Names of files about an older artifact, which go with it.

    Raises:
        InputError: If ``folder`` exists and is not an artifact of this kind, holds a file that is
            not the artifact's, or cannot be written.
    """
    with _os_errors(f"cannot write {folder}"):
        _refuse_foreign(folder, MANIFEST, artifact.kind)
        _refuse_strays(folder, artifact.kind, beside)
        place = folder.resolve()  # `.` has no name to which a neighbour's could be added
        temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
        old = place.with_name(f".{place.name}.{os.getpid()}.old")
        _clear_stale(place)
        try:
            temporary.mkdir(parents=True)
            for name, data in {**artifact.files, MANIFEST: artifact.manifest()}.items():
                _write_and_sync(temporary / name, data)
            _sync_folder(temporary)
            if place.exists():
                place.rename(old)
            temporary.rename(place)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            if old.exists() and not place.exists():
                old.rename(place)
            shutil.rmtree(old, ignore_errors=True)
        _sync_folder(place.parent)


def read_artifact(folder: Path, kind: str, beside: Set[str] = frozenset()) -> Artifact:
    """Read the folder and check every byte of it against its manifest.

    Args:
        folder: The artifact.
        kind: What it must be.
        beside: Names of files that may stand in the folder without being part of the artifact.

    Raises:
        InputError: If there is no such folder or manifest, or it cannot be read.
        IntegrityError: If a file is missing, extra, a link, or not what the manifest says.
    """
    with _os_errors(f"cannot read {folder}"):
        if not folder.is_dir():
            raise InputError(f"no such folder: {folder}")
        if not (folder / MANIFEST).is_file():
            raise InputError(f"{folder} is not a {kind}: it has no {MANIFEST}")
        found = {entry.name: entry for entry in folder.iterdir()}
    raw = read_file(folder / MANIFEST, max_bytes=MAX_MANIFEST_BYTES)
    manifest = from_json(raw, f"{folder / MANIFEST}")
    named = _named_files(manifest, kind, folder) | {MANIFEST}
    for verb, names in (
        ("is missing", named - set(found)),
        ("is not in the manifest", set(found) - named - beside),
        ("is a link", {name for name in found if found[name].is_symlink()}),
        ("is not a file", {name for name in found if not found[name].is_file()}),
    ):
        if names:
            raise IntegrityError(f"{folder}: {min(names)} {verb}")
    files = {name: read_file(folder / name) for name in sorted(named - {MANIFEST})}
    for name, data in files.items():
        if manifest["files"][name] != {"sha256": sha256_hex(data), "size": len(data)}:
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
    """Create an output folder and mark it as ours, or go on in one that is already ours.

    Raises:
        InputError: If ``folder`` exists, is not empty and is not a folder of this kind, or cannot
            be written.
    """
    with _os_errors(f"cannot write {folder}"):
        _refuse_foreign(folder, _MARKER, kind)
        folder.mkdir(parents=True, exist_ok=True)
    if not (folder / _MARKER).exists():
        write_file(folder / _MARKER, to_json({"schema": _schema(kind)}))


def is_folder_of(folder: Path, kind: str) -> bool:
    """Return whether ``folder`` was claimed as ``kind``, or is an artifact of that kind."""
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
    if any(folder.iterdir()) and not ((folder / marker).is_file() and is_folder_of(folder, kind)):
        raise InputError(f"output folder {folder} exists and is not a surefoot {kind} folder")


def _refuse_strays(folder: Path, kind: str, beside: Set[str]) -> None:
    """Refuse to replace an artifact in which others have put files of their own.

    Raises:
        InputError: If there is such a file.
    """
    if (folder / MANIFEST).is_file():
        raw = read_file(folder / MANIFEST, max_bytes=MAX_MANIFEST_BYTES)
        named = _named_files(from_json(raw, MANIFEST), kind, folder) | {MANIFEST}
        if strays := {entry.name for entry in folder.iterdir()} - named - beside:
            raise InputError(f"output folder {folder} holds {min(strays)}, which is not surefoot's")


def _clear_stale(place: Path) -> None:
    """Remove what writers that were killed left beside ``place``, or put it back if it is all."""
    pattern = re.compile(rf"\.{re.escape(place.name)}\.(\d{{1,9}})\.(tmp|old)")
    for entry in list(place.parent.iterdir()) if place.parent.is_dir() else []:
        if (match := pattern.fullmatch(entry.name)) and not _is_alive(int(match[1])):
            if match[2] == "old" and not place.exists():
                entry.rename(place)
            else:
                shutil.rmtree(entry, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    if pid == os.getpid():
        return False  # what carries our number was left by an earlier process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


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


@contextmanager
def _os_errors(what: str) -> Iterator[None]:
    """Turn an error of the system into bad input, in one line.

    Raises:
        InputError: If the block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"{what}: {error.strerror or error}") from error


def _temporary_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _write_and_sync(path: Path, data: bytes, mode: int = 0o666) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
