"""An artifact is written whole or not at all, and every byte of it is checked when it is read.

Also of ``atomic.py`` and ``limits.py``.
"""

import errno
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.artifact import (
    MANIFEST,
    Artifact,
    Json,
    check_artifact_place,
    check_place,
    claim_folder,
    from_json,
    is_folder_of,
    read_artifact,
    read_file,
    sha256_hex,
    to_json,
    write_artifact,
    write_file,
)
from surefoot.atomic import clear_leftovers
from surefoot.errors import InputError, IntegrityError

ARTIFACT = Artifact(
    kind="thing",
    files={"a.bin": bytes(range(256)), "b.txt": b"text\n"},
    facts={"seed": 10485, "rate": 3e-4, "name": "läuft", "none": None},
    inputs={"config": "0" * 64},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_artifact(tmp_path / "thing", ARTIFACT)
    return tmp_path / "thing"


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rewrite_manifest(folder: Path, change: Callable[[dict[str, Json]], object]) -> None:
    """Change the manifest and make its own digest fit again, as a careful forger would."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    change(manifest)
    manifest.pop("self_sha256")
    manifest["self_sha256"] = sha256_hex(to_json(manifest))
    (folder / MANIFEST).write_bytes(to_json(manifest))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc"), inner, max_size=4),
    max_leaves=8,
)


@given(json_values)
def test_json_read_back_is_the_same_value(value: Json) -> None:
    assert from_json(to_json(value), "value") == value


@pytest.mark.parametrize(
    "text",
    [b"{", b'{"a": 1, "a": 2}', b"NaN", b"[-Infinity]", b"[1e999]", b"\xff", b"[" * 100_000, b""],
)
def test_what_is_not_strict_json_is_refused(text: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"^thing is not valid JSON"):
        from_json(text, "thing")


@pytest.mark.parametrize("value", [np.nan, [np.inf], {"a": -np.inf}, "\ud800"])
def test_what_json_cannot_say_is_not_written(
    value: dict[str, float] | float | list[float] | str,
) -> None:
    with pytest.raises(InputError, match="JSON cannot hold this value"):
        to_json(value)


def test_write_then_read_is_the_identity(folder: Path) -> None:
    assert read_artifact(folder, "thing") == ARTIFACT
    assert is_folder_of(folder, "thing")
    assert not is_folder_of(folder, "other")


def test_writing_again_replaces_the_artifact_and_the_same_value_gives_the_same_bytes(
    folder: Path,
) -> None:
    before = content_of(folder)
    write_artifact(folder, ARTIFACT)
    assert content_of(folder) == before
    write_artifact(folder, Artifact(kind="thing", files={"c": b"c"}))
    assert set(content_of(folder)) == {"c", MANIFEST}


def test_the_working_folder_itself_may_be_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_artifact(type(tmp_path)("."), ARTIFACT)
    assert read_artifact(tmp_path / "here", "thing") == ARTIFACT
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


@pytest.mark.parametrize("name", ["a.bin", "b.txt", MANIFEST])
def test_any_flipped_byte_is_refused(folder: Path, name: str) -> None:
    original = (folder / name).read_bytes()
    rng = np.random.default_rng(0)
    for position in range(len(original)):
        damaged = bytearray(original)
        damaged[position] ^= int(rng.integers(1, 256))
        (folder / name).write_bytes(damaged)
        with pytest.raises(IntegrityError):
            read_artifact(folder, "thing")
    (folder / name).write_bytes(original)
    assert read_artifact(folder, "thing") == ARTIFACT


@pytest.mark.parametrize("name", ["a.bin", "b.txt", MANIFEST])
def test_truncation_at_any_length_is_refused(folder: Path, name: str) -> None:
    original = (folder / name).read_bytes()
    for length in range(len(original)):
        (folder / name).write_bytes(original[:length])
        with pytest.raises(IntegrityError):
            read_artifact(folder, "thing")


def test_a_digit_that_becomes_an_exponent_is_refused(folder: Path) -> None:
    # "10485" with one byte changed is "1e485", which a lax parser reads as infinity.
    text = (folder / MANIFEST).read_bytes()
    (folder / MANIFEST).write_bytes(text.replace(b"10485", b"1e485"))
    with pytest.raises(IntegrityError, match="1e485 is not a finite number"):
        read_artifact(folder, "thing")


def test_a_missing_or_extra_file_is_named(folder: Path) -> None:
    (folder / "a.bin").rename(folder / "c.bin")
    with pytest.raises(IntegrityError, match=r"a\.bin is missing"):
        read_artifact(folder, "thing")
    (folder / "c.bin").rename(folder / "a.bin")
    (folder / "extra").mkdir()
    with pytest.raises(IntegrityError, match="extra is not in the manifest"):
        read_artifact(folder, "thing")


@pytest.mark.parametrize("name", ["a.bin", MANIFEST])
def test_a_link_is_refused_even_to_the_right_content(
    folder: Path, tmp_path: Path, name: str
) -> None:
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match=f"{name} is a link"):
        read_artifact(folder, "thing")


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), os.mkfifo])
def test_what_is_no_regular_file_is_refused_without_opening_it(
    folder: Path, make: Callable[[Path], None]
) -> None:
    (folder / "a.bin").unlink()
    make(folder / "a.bin")
    with pytest.raises(IntegrityError, match=r"a\.bin is not a file"):
        read_artifact(folder, "thing")


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/hostname", "..", ".", "", "x/y", "x\\y", "a.bin/", MANIFEST]
)
def test_a_manifest_cannot_name_a_file_outside_of_its_folder(
    folder: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")

    def change(manifest: dict[str, Json]) -> None:
        manifest["files"][name] = {"sha256": sha256_hex(b"secret"), "size": 6}

    rewrite_manifest(folder, change)
    with pytest.raises(IntegrityError, match="which is not a file name"):
        read_artifact(folder, "thing")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema="surefoot/thing/2"), "not 'surefoot/thing/1'"),
        (lambda m: m.update(more=1), "keys of a manifest"),
        (lambda m: m.pop("inputs"), "keys of a manifest"),
        (lambda m: m.update(files=[]), "form of a manifest"),
        (lambda m: m["files"]["a.bin"].update(size=257), r"a\.bin is not the file"),
        (lambda m: m["files"]["a.bin"].update(size=256.0), "changed after it was written"),
        (lambda m: m["files"].update({"a.bin": None}), r"a\.bin is not the file"),
    ],
)
def test_a_manifest_that_was_forged_with_its_digest_is_refused(
    folder: Path, change: Callable[[dict[str, Json]], object], message: str
) -> None:
    rewrite_manifest(folder, change)
    with pytest.raises(IntegrityError, match=message):
        read_artifact(folder, "thing")


def test_an_enormous_manifest_is_not_parsed(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b" " * (1 << 20) + b"{}")
    with pytest.raises(IntegrityError, match="more than the 1048576 allowed"):
        read_artifact(folder, "thing")


def test_what_is_not_there_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_artifact(tmp_path / "absent", "thing")
    with pytest.raises(InputError, match=r"is not a thing: it has no manifest\.json"):
        read_artifact(tmp_path, "thing")
    with pytest.raises(InputError, match="no such file"):
        read_file(tmp_path / "absent")


FOREIGN = {
    "a file": lambda path: path.write_bytes(b"mine"),
    "a folder with my file": lambda path: (path.mkdir(), (path / "mine").write_bytes(b"mine")),
    "another kind of artifact": lambda path: write_artifact(
        path, Artifact(kind="other", files={"x": b"x"})
    ),
    "my own manifest.json": lambda path: (
        path.mkdir(),
        (path / MANIFEST).write_bytes(b'{"mine": 1}'),
    ),
    "an artifact with my file": lambda path: (
        write_artifact(path, ARTIFACT),
        (path / "notes.txt").write_bytes(b"mine"),
    ),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_what_is_not_ours_is_refused_and_untouched(tmp_path: Path, case: str) -> None:
    target = tmp_path / "target"
    FOREIGN[case](target)
    before = content_of(target) if target.is_dir() else target.read_bytes()
    with pytest.raises(InputError, match=r"output .*target (exists and is not|holds notes\.txt)"):
        write_artifact(target, ARTIFACT)
    assert before == (content_of(target) if target.is_dir() else target.read_bytes())
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


@pytest.mark.parametrize("case", [name for name in FOREIGN if name != "an artifact with my file"])
def test_a_folder_that_is_not_ours_cannot_be_claimed(tmp_path: Path, case: str) -> None:
    FOREIGN[case](tmp_path / "target")
    with pytest.raises(InputError, match="exists and is not"):
        claim_folder(tmp_path / "target", "run")


def test_a_claimed_folder_is_ours_again(tmp_path: Path) -> None:
    for _ in range(2):
        claim_folder(tmp_path / "run", "run")
        (tmp_path / "run" / "file").touch()
    assert is_folder_of(tmp_path / "run", "run")


def fail_at(monkeypatch: pytest.MonkeyPatch, function: str, call: int, code: int) -> None:
    """Let the ``call``-th call of an ``os`` function fail."""
    original, count = getattr(os, function), iter(range(1000))

    def patched(*args: object, **kwargs: object) -> object:
        if next(count) == call:
            raise OSError(code, os.strerror(code))
        return original(*args, **kwargs)

    monkeypatch.setattr(os, function, patched)


WRITE_CALLS = [("mkdir", 0), *(("fsync", number) for number in range(4)), ("rename", 0)]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize(
    ("function", "call", "existing"),
    [
        *((*where, False) for where in WRITE_CALLS),
        *((*where, True) for where in [*WRITE_CALLS, ("rename", 1)]),
    ],
)
def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    call: int,
    existing: bool,
    code: int,
) -> None:
    target = tmp_path / "thing"
    if existing:
        write_artifact(target, ARTIFACT)
    with monkeypatch.context() as patch:
        fail_at(patch, function, call, code)
        with pytest.raises(InputError, match=f"cannot write .*thing: {os.strerror(code)}"):
            write_artifact(target, Artifact(kind="thing", files={"c": b"c", "d": b"d"}))
    if existing:
        assert read_artifact(target, "thing") == ARTIFACT
    assert [path.name for path in tmp_path.iterdir()] == ["thing"] * existing


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_file_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, existing: bool
) -> None:
    path = tmp_path / "file"
    if existing:
        write_file(path, b"old")
    with monkeypatch.context() as patch:
        fail_at(patch, function, 0, errno.ENOSPC)
        with pytest.raises(InputError, match=r"cannot write .*file: No space left on device"):
            write_file(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"] * existing
    if existing:
        assert read_file(path) == b"old"


def test_a_target_whose_parent_is_a_file_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for write in (
        lambda: write_artifact(tmp_path / "file" / "thing", ARTIFACT),
        lambda: write_file(tmp_path / "file" / "thing", b""),
        lambda: claim_folder(tmp_path / "file" / "thing", "run"),
    ):
        with pytest.raises(InputError, match=r"cannot write .*: Not a directory"):
            write()


KILLED = """
import os, sys
from pathlib import Path
from surefoot.artifact import Artifact, write_artifact
original, calls = getattr(os, sys.argv[2]), iter(range(100))
def patched(*args, **kwargs):
    if next(calls) == int(sys.argv[3]):
        os.kill(os.getpid(), 9)
    return original(*args, **kwargs)
setattr(os, sys.argv[2], patched)
write_artifact(Path(sys.argv[1]), Artifact(kind="thing", files={"c": b"c", "d": b"d"}))
"""


@pytest.mark.parametrize(("function", "call"), [("fsync", 1), ("rename", 0), ("rename", 1)])
def test_what_a_killed_writer_left_is_cleared_by_the_next(
    folder: Path, tmp_path: Path, function: str, call: int
) -> None:
    command = [sys.executable, "-c", KILLED, str(folder), function, str(call)]
    assert subprocess.run(command, check=False).returncode == -9
    assert len(list(tmp_path.iterdir())) > 1
    write_artifact(folder, ARTIFACT)
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]
    assert read_artifact(folder, "thing") == ARTIFACT


def test_a_writer_that_was_killed_between_two_renames_loses_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", KILLED, str(folder), "rename", "1"]
    assert subprocess.run(command, check=False).returncode == -9
    assert not folder.exists()
    fail_at(monkeypatch, "fsync", 0, errno.ENOSPC)
    with pytest.raises(InputError, match="No space left"):
        write_artifact(folder, Artifact(kind="thing", files={"c": b"c"}))
    assert read_artifact(folder, "thing") == ARTIFACT


@pytest.mark.parametrize("name", [".file.surefoot-tmp", ".thing.surefoot-tmp"])
def test_what_a_living_process_is_writing_is_left_alone(
    folder: Path, tmp_path: Path, name: str
) -> None:
    living = tmp_path / name
    if name == ".file.surefoot-tmp":
        living.touch()
        write = partial(write_file, tmp_path / "file", b"new")
    else:
        living.mkdir()
        write = partial(write_artifact, folder, Artifact(kind="thing", files={"c": b"c"}))
    descriptor = os.open(living, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    clear_leftovers(tmp_path)
    assert living.exists()
    with pytest.raises(InputError, match="another process is writing it"):
        write()
    assert read_artifact(folder, "thing") == ARTIFACT
    os.close(descriptor)  # as the end of its process does
    write_file(tmp_path / "file", b"new")
    write_artifact(folder, ARTIFACT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "thing"]


def test_the_names_of_unfinished_files_depend_on_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In a container every process may be number 1, and meet what an earlier one left.
    monkeypatch.setattr(os, "getpid", lambda: 1)
    (tmp_path / ".file.1.tmp").touch()
    (tmp_path / ".file.surefoot-tmp").touch()
    write_file(tmp_path / "file", b"new")
    assert read_file(tmp_path / "file") == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".file.1.tmp", "file"]


TEARS = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "all but a byte": lambda data: data[:-1],
    "zeros": lambda data: bytes(len(data)),
    "zeros from the middle": lambda data: data[: len(data) // 2] + bytes(100),
}


@pytest.mark.parametrize("tear", TEARS)
def test_what_a_loss_of_power_tore_is_still_ours(folder: Path, tmp_path: Path, tear: str) -> None:
    manifest, run = folder / MANIFEST, tmp_path / "run"
    manifest.write_bytes(TEARS[tear](manifest.read_bytes()))
    with pytest.raises(IntegrityError):
        read_artifact(folder, "thing")
    write_artifact(folder, ARTIFACT)
    assert read_artifact(folder, "thing") == ARTIFACT
    claim_folder(run, "run")
    mark = run / "surefoot.json"
    whole = mark.read_bytes()
    (run / "result").touch()
    mark.write_bytes(TEARS[tear](whole))
    claim_folder(run, "run")
    assert mark.read_bytes() == whole


@pytest.mark.parametrize("tear", TEARS)
def test_a_torn_manifest_gives_no_leave_to_replace_the_files_of_others(
    folder: Path, tear: str
) -> None:
    manifest = folder / MANIFEST
    manifest.write_bytes(TEARS[tear](manifest.read_bytes()))
    (folder / "notes.txt").write_bytes(b"mine")
    before = content_of(folder)
    with pytest.raises(InputError, match=r"holds notes\.txt, which is not surefoot's"):
        write_artifact(folder, ARTIFACT)
    assert content_of(folder) == before


@pytest.mark.parametrize("mine", [b"{}", b"{\n", b"mine", b'{\n  "schema": "surefoot/other/1"\n'])
def test_a_file_of_another_beginning_is_not_a_torn_one_of_ours(tmp_path: Path, mine: bytes) -> None:
    (tmp_path / "surefoot.json").write_bytes(mine)
    if mine == b"{\n":  # the beginning of everything that is ours, too
        (tmp_path / "surefoot.json").write_bytes(mine + b"x")
    with pytest.raises(InputError, match="is not a surefoot run folder"):
        claim_folder(tmp_path, "run")


def test_a_place_is_tried_and_left_as_it_was(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    file.chmod(0o604)
    os.utime(file, ns=(10**18, 10**18 + 1))
    before = file.stat()
    check_place(file)
    after = file.stat()
    for name in ("st_mode", "st_mtime_ns", "st_uid", "st_gid", "st_size"):
        assert getattr(after, name) == getattr(before, name), name
    assert file.read_bytes() == b"old"
    check_place(tmp_path / "absent")
    check_artifact_place(folder, "thing")
    check_artifact_place(tmp_path / "a" / "b", "thing")
    assert read_artifact(folder, "thing") == ARTIFACT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "thing"]


@pytest.mark.parametrize("case", FOREIGN)
def test_a_place_that_is_not_ours_is_refused_before_the_work(tmp_path: Path, case: str) -> None:
    FOREIGN[case](tmp_path / "target")
    with pytest.raises(InputError, match=r"output .*target (exists and is not|holds notes\.txt)"):
        check_artifact_place(tmp_path / "target", "thing")


REPLACED = {
    "a file": lambda tmp_path: check_place(tmp_path / "file"),
    "a folder": lambda tmp_path: check_artifact_place(tmp_path / "thing", "thing"),
}


@pytest.mark.parametrize("code", [errno.EPERM, errno.EBUSY])
@pytest.mark.parametrize(
    ("case", "call"), [("a file", 0), *(("a folder", number) for number in range(0, 8, 2))]
)
def test_what_cannot_be_replaced_is_found_by_trying_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, call: int, code: int
) -> None:
    """So it is with an immutable file, a mount point, another's file in a sticky folder."""
    (tmp_path / "file").write_bytes(b"old")
    with monkeypatch.context() as patch:
        fail_at(patch, "replace" if case == "a file" else "rename", call, code)
        with pytest.raises(InputError, match=f"cannot write .*: {os.strerror(code)}"):
            REPLACED[case](tmp_path)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert read_artifact(folder, "thing") == ARTIFACT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "thing"]


def test_no_file_is_no_place_for_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(
            InputError, match=r"cannot write .*: it is (a folder|not a regular file)"
        ):
            check_place(path)


@given(st.binary(max_size=200))
def test_no_beginning_of_a_manifest_can_be_taken_for_another_kind_of_file(data: bytes) -> None:
    """A manifest is torn only if it could have become one of ours."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / MANIFEST).write_bytes(data)
        try:
            check_artifact_place(folder, "thing")
        except InputError:
            return
        kept = data.partition(b"\0")[0]
        assert ARTIFACT.manifest().startswith(kept[:20])
