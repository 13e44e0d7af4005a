"""Only regular files and folders of surefoot's own are replaced, never an input or a neighbour."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from surefoot.artifact import Artifact, claim_folder, to_json, write_artifact
from surefoot.certificate import SCHEMA
from surefoot.errors import InputError
from surefoot.output_path import (
    ATTACK,
    BENCH,
    CERTIFICATE,
    PICTURE,
    REPORT,
    ResultKind,
    check_artifact_folder,
    check_key_file,
    check_result_and_picture,
    check_result_file,
    check_run_folder,
)
from surefoot.picture import draw_png

OURS = {
    CERTIFICATE.words: to_json({"schema": SCHEMA}),
    ATTACK.words: to_json({"attacks": {}, "onnx_sha256": "0"}),
    BENCH.words: to_json({"backends": {}, "timer_floor_us": 0.1}),
    REPORT.words: b"<h1>Hopper-v5: may this controller be deployed?</h1>",
    PICTURE.words: draw_png(1, 1, lambda figure: None),
}
KINDS = [CERTIFICATE, ATTACK, BENCH, REPORT, PICTURE]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.words)


def check_file(out: Path) -> None:
    check_result_file(out, CERTIFICATE)


CHECKS = [check_file, check_key_file, check_artifact_folder, check_run_folder]
each_check = pytest.mark.parametrize("check", CHECKS)


@each_check
@pytest.mark.parametrize("out", ["", ".", "/", ".."])
def test_an_output_has_a_name(check: Callable[[Path], None], out: str) -> None:
    with pytest.raises(InputError, match="out must name a f"):
        check(Path(out))


@pytest.mark.parametrize("check", [check_file, check_artifact_folder, check_run_folder])
@pytest.mark.parametrize("name", [b"\xff", b"runs/\xe9t\xe9"])
def test_an_output_that_no_record_could_name_is_refused(
    check: Callable[[Path], None], tmp_path: Path, name: bytes
) -> None:
    """As Latin-1 has it, where the system's names are bytes."""
    with pytest.raises(InputError, match="out must be in UTF-8, got") as caught:
        check(tmp_path / os.fsdecode(name))
    assert str(caught.value).isascii()
    assert not any(tmp_path.iterdir())


@each_check
@pytest.mark.parametrize("kind", ["policy", "bundle"])
@pytest.mark.parametrize("place", ["result", "deep/result"])
def test_no_output_lies_in_an_artifact(
    check: Callable[[Path], None], tmp_path: Path, kind: str, place: str
) -> None:
    folder = tmp_path / "artifact"
    write_artifact(folder, Artifact(kind=kind, files={}))
    for out in (folder / place, tmp_path / "link" / place):
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(folder)
        with pytest.raises(InputError, match="would no longer verify: give another --out"):
            check(out)


def test_an_output_without_a_folder_is_looked_for_where_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_artifact(tmp_path / "bundle", Artifact(kind="bundle", files={}))
    monkeypatch.chdir(tmp_path / "bundle")
    with pytest.raises(InputError, match=r"out must not lie in .*bundle"):
        check_result_file(Path("bench.json"), BENCH)


@each_kind
def test_a_file_of_the_same_kind_is_replaced_and_no_other(tmp_path: Path, kind: ResultKind) -> None:
    out = tmp_path / "out.file"
    check_result_file(out, kind)
    for words, data in {**OURS, "nothing": b""}.items():
        out.write_bytes(data)
        if words in (kind.words, "nothing"):
            check_result_file(out, kind)
        else:
            with pytest.raises(InputError, match=f"out must be a new file or {kind.words}"):
                check_result_file(out, kind)
        assert out.read_bytes() == data


@each_kind
@pytest.mark.parametrize("theirs", [b"notes\n", b"{}", b"[1, 2]", b"\x89PNG\r\n\x1a\n"])
def test_a_file_of_somebody_else_is_not(tmp_path: Path, kind: ResultKind, theirs: bytes) -> None:
    out = tmp_path / "out.file"
    out.write_bytes(theirs)
    with pytest.raises(InputError, match="out must be a new file or"):
        check_result_file(out, kind)


@pytest.mark.parametrize("what", ["link", "pipe", "loop", "device"])
def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path, what: str) -> None:
    out = tmp_path / "out.json"
    if what == "link":
        (tmp_path / "elsewhere").write_bytes(OURS[CERTIFICATE.words])
        out.symlink_to(tmp_path / "elsewhere")
    elif what == "pipe":
        os.mkfifo(out)
    elif what == "loop":
        out.symlink_to(out)
    else:
        out = Path("/dev/null")
    with pytest.raises(InputError, match=r"out must be a regular file or a new name, .* is a"):
        check_result_file(out, CERTIFICATE)


def test_the_neighbour_under_the_name_of_a_picture_is_kept(tmp_path: Path) -> None:
    out, picture = tmp_path / "notes.json", tmp_path / "notes.png"
    picture.write_bytes(b"a photograph")
    with pytest.raises(InputError, match=r"out must be a new file or a picture .*notes\.png"):
        check_result_and_picture(out, ATTACK)
    picture.write_bytes(OURS[PICTURE.words])
    check_result_and_picture(out, ATTACK)
    with pytest.raises(InputError, match=r"out must not end in \.png"):
        check_result_and_picture(picture, ATTACK)


def test_a_picture_of_an_older_version_is_known_by_its_result(tmp_path: Path) -> None:
    out, picture = tmp_path / "attack.json", tmp_path / "attack.png"
    picture.write_bytes(OURS[PICTURE.words].replace(b"surefoot", b"Matplotlib version3.1"))
    with pytest.raises(InputError, match="a picture of surefoot"):
        check_result_and_picture(out, ATTACK)
    out.write_bytes(OURS[ATTACK.words])
    check_result_and_picture(out, ATTACK)


@pytest.mark.parametrize("name", ["certificate.json", "attack.png", "summary.json", "report.html"])
def test_in_a_run_folder_a_damaged_result_is_made_again(tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    claim_folder(run, "run")
    (run / name).write_bytes(b"torn")
    check_result_file(run / name, CERTIFICATE)
    (tmp_path / name).write_bytes(b"torn")
    with pytest.raises(InputError):
        check_result_file(tmp_path / name, CERTIFICATE)


def test_what_is_read_is_not_replaced_under_any_name(tmp_path: Path) -> None:
    given = tmp_path / "given.json"
    given.write_bytes(OURS[CERTIFICATE.words])
    (tmp_path / "same.json").hardlink_to(given)
    for out in (given, tmp_path / "same.json", tmp_path / "x" / ".." / "given.json"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=r"out must be another file than .* which is read"):
            check_result_file(out, CERTIFICATE, [None, given])


def test_a_folder_in_which_somebody_works_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "above" / "here"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    for out in (here, here.parent, Path("../../above")):
        with pytest.raises(InputError, match="the current folder or one above it"):
            check_artifact_folder(out)
    check_artifact_folder(Path("below"))
    check_run_folder(here)


@pytest.mark.parametrize("check", [check_run_folder, check_artifact_folder])
def test_a_link_to_itself_leads_nowhere_in_one_line(
    tmp_path: Path, check: Callable[[Path], None]
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for out in (tmp_path / "loop", tmp_path / "loop" / "below"):
        with pytest.raises(InputError, match=r"cannot write .*loop.*: Too many levels of symbolic"):
            check(out)


def test_a_key_is_never_written_through_a_link(tmp_path: Path) -> None:
    check_key_file(tmp_path / "key")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="a key is never overwritten"):
        check_key_file(tmp_path / "dangling")
