"""Where a verb may write: one check of every output path, made before the work.

Only regular files and folders of surefoot's own are replaced. What is somebody else's, what is read
by the same command, what lies beside a result under the name of its picture, and what lies inside
an artifact, whose digests would no longer hold, stays as it is.
"""

import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from surefoot.artifact import Json, check_place, from_json, is_folder_of, os_errors, read_file
from surefoot.certificate import SCHEMA
from surefoot.errors import InputError, IntegrityError
from surefoot.onnx_file import policy_from_onnx
from surefoot.run_folder import RunFolder, picture_of

_ARTIFACTS = ("policy", "bundle")


@dataclass(frozen=True, slots=True)
class ResultKind:
    """A kind of file that a verb writes.

    Attributes:
        words: Name of the file's kind, with its article.
        made: Whether content is of this kind.
    """

    words: str
    made: Callable[[bytes], bool]


def _is_object(fits: Callable[[dict[str, Json]], bool]) -> Callable[[bytes], bool]:
    """Make a test of whether content is a JSON object that fits."""

    def made(data: bytes) -> bool:
        try:
            table = from_json(data, "it")
        except IntegrityError:
            return False
        return isinstance(table, dict) and fits(table)

    return made


def _is_controller(data: bytes) -> bool:
    """Return True if content is a canonical controller file."""
    try:
        policy_from_onnx(data)
    except (InputError, IntegrityError):
        return False
    return True


def _is_picture(data: bytes) -> bool:
    """Return True if content is a PNG file whose text chunk names surefoot."""
    return data.startswith(b"\x89PNG\r\n\x1a\n") and b"tEXtSoftware\0surefoot" in data[:1024]


CERTIFICATE = ResultKind("a certificate", _is_object(lambda table: table.get("schema") == SCHEMA))
ATTACK = ResultKind(
    "the record of an attack", _is_object(lambda table: {"attacks", "onnx_sha256"} <= set(table))
)
BENCH = ResultKind(
    "the record of a benchmark",
    _is_object(lambda table: {"backends", "timer_floor_us"} <= set(table)),
)
FILM_RECORD = ResultKind(
    "the record of a film",
    _is_object(lambda table: {"attacked", "pictures_per_s"} <= set(table)),
)
REPORT = ResultKind("a report", lambda data: b"may this controller be deployed?" in data)
CONTROLLER = ResultKind("a controller file of surefoot", _is_controller)
PICTURE = ResultKind("a picture of surefoot", _is_picture)


def check_result_file(out: Path, kind: ResultKind, inputs: Iterable[Path | None] = ()) -> None:
    """Check that a result may be written to a file, and that it can be.

    Args:
        out: The file.
        kind: Kind of file to write; only a file of this kind is replaced, or an empty one.
        inputs: Paths that the same command reads.

    Raises:
        InputError: If not; the message says why.
    """
    _check_named_result(out, "file")
    _check_place_in_artifact(out)
    _check_no_input(out, inputs)
    _check_regular(out)
    if out.is_file() and not _is_ours(out, kind):
        raise InputError(f"out must be a new file or {kind.words}, {out} is neither")
    check_place(out)


def check_result_and_picture(
    out: Path, kind: ResultKind, inputs: Iterable[Path | None] = ()
) -> None:
    """Check that a result and the picture beside it may be written, see above.

    Raises:
        InputError: If not, or if they would be the same file.
    """
    picture = picture_of(out) if out.name else out
    if out.name and picture == out:
        raise InputError(f"out must not end in .png, where its picture goes, got {out}")
    check_result_file(out, kind, inputs)
    # Pictures of before they named surefoot are known by the result that they lie beside.
    if not (out.is_file() and out.stat().st_size and _is_drawn(picture)):
        check_result_file(picture, PICTURE, inputs)


def check_replaceable(files: Iterable[Path]) -> None:
    """Check that those of a run's files that are there can be replaced, before the work.

    Raises:
        InputError: If one cannot.
    """
    for path in sorted(files):
        if path.exists():
            check_place(path)


def check_new_file(out: Path) -> None:
    """Check that a file may be written that nothing is there of yet.

    Raises:
        InputError: If something is there, or nothing can be written there.
    """
    _check_named_result(out, "file")
    _check_place_in_artifact(out)
    if out.exists() or out.is_symlink():
        raise InputError(f"{out} exists, and is not replaced: give a new name")
    check_place(out)


def check_key_file(out: Path) -> None:
    """Check that a key may lie at this place; that none is overwritten is for who writes it.

    Raises:
        InputError: If not.
    """
    _check_name(out, "file")
    _check_place_in_artifact(out)
    if out.is_symlink():
        raise InputError(f"{out} exists; a key is never overwritten")


def check_artifact_folder(out: Path, inputs: Iterable[Path | None] = ()) -> None:
    """Check that an artifact may be written as this folder, which is replaced as a whole.

    Raises:
        InputError: If not.
    """
    check_run_folder(out)
    here, place = Path.cwd(), out.resolve()
    if place == here or place in here.parents:
        raise InputError(f"out must not be the current folder or one above it, got {out}")
    _check_no_input(out, inputs)


def check_run_folder(out: Path) -> None:
    """Check that a run may be written into this folder.

    Raises:
        InputError: If not.
    """
    _check_named_result(out, "folder")
    # What the system cannot follow, as a link to itself, has no place that could be compared.
    with os_errors(f"cannot write {out}"), suppress(FileNotFoundError):
        out.stat()
    _check_place_in_artifact(out)


def _check_name(out: Path, what: str) -> None:
    """Refuse a path made of an empty word or a slash.

    Raises:
        InputError: If it has no name.
    """
    if not out.name or out.name == "..":
        raise InputError(f"out must name a {what}, got {str(out)!r}")


def _check_named_result(out: Path, what: str) -> None:
    """Refuse a path that has no name, or one that records and libraries cannot hold.

    Raises:
        InputError: If it has no name, or one that is not UTF-8.
    """
    _check_name(out, what)
    if any("\ud800" <= character <= "\udfff" for character in str(out)):
        raise InputError(f"out must be in UTF-8, got {str(out)!r}")


def _check_place_in_artifact(out: Path) -> None:
    """Refuse a place inside a bundle or a policy folder, which would no longer verify.

    Raises:
        InputError: If it lies in one.
    """
    parent = Path(os.path.realpath(out.parent))
    for folder in (parent, *parent.parents):
        if any(is_folder_of(folder, kind) for kind in _ARTIFACTS):
            raise InputError(
                f"out must not lie in {folder}, which would no longer verify: give another --out"
            )


def _check_no_input(out: Path, inputs: Iterable[Path | None]) -> None:
    """Refuse to write over an input of the command, under any name.

    Raises:
        InputError: If it is read.
    """
    for path in inputs:
        if path is not None and path.exists() and out.exists() and out.samefile(path):
            raise InputError(f"out must be another file than {path}, which is read, got {out}")


def _check_regular(out: Path) -> None:
    """Refuse links, devices, pipes and sockets, which a new file would take the place of.

    Raises:
        InputError: If it is one.
    """
    if out.is_symlink():
        raise InputError(f"out must be a regular file or a new name, {out} is a link")
    if out.exists() and not out.is_dir() and not stat.S_ISREG(out.stat().st_mode):
        raise InputError(f"out must be a regular file or a new name, {out} is a device or a pipe")


def _is_ours(out: Path, kind: ResultKind) -> bool:
    """Return True if a file may be replaced: ours, empty, or at its place in a run folder."""
    run = RunFolder(out.parent)
    if out in run.results and is_folder_of(run.path, "run"):
        return True
    data = read_file(out)
    return not data or kind.made(data)


def _is_drawn(picture: Path) -> bool:
    """Return True if a picture is a regular PNG file that Matplotlib drew."""
    regular = picture.is_file() and not picture.is_symlink()
    return regular and b"tEXtSoftware\0Matplotlib" in read_file(picture)[:1024]
