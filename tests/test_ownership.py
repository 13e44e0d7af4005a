"""One process works in a folder; whoever comes second is told who it is."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from surefoot import ownership
from surefoot.artifact import is_folder_of
from surefoot.atomic import OWNER_FILE, Lock, discard_folder
from surefoot.errors import InputError
from surefoot.ownership import hold_folder, this_process

HOLDER = """
import sys
from pathlib import Path
from surefoot.ownership import hold_folder
with hold_folder(Path(sys.argv[1]), "run"):
    print("held", flush=True)
    sys.stdin.read()
"""


def start_holder(folder: Path) -> subprocess.Popen[str]:
    """Return a process that holds a folder until its input ends."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    holder = subprocess.Popen(command, stdin=-1, stdout=-1, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def end(holder: subprocess.Popen[str]) -> int:
    """Let a holder end by itself and return its exit code."""
    holder.communicate()
    return holder.returncode


def test_a_second_process_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    holder = start_holder(folder)
    words = rf"run is in use by process {holder.pid} on \S+, started \d{{4}}-\d\d-\d\dT.*: wait for"
    with pytest.raises(InputError, match=words), hold_folder(folder, "run"):
        pytest.fail("two processes are in one folder")
    assert (folder / OWNER_FILE).is_file(), "the first one is still there"
    assert end(holder) == 0
    with hold_folder(folder, "run"):
        assert json.loads((folder / OWNER_FILE).read_bytes())["pid"] == os.getpid()


def test_a_process_that_was_killed_locks_nobody_out(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    holder = start_holder(folder)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert (folder / OWNER_FILE).is_file()
    with hold_folder(folder, "run"):
        (folder / "result").touch()
    assert sorted(path.name for path in folder.iterdir()) == ["result", "surefoot.json"]


def test_a_stage_inside_of_another_may_hold_the_same_folder(tmp_path: Path) -> None:
    with hold_folder(tmp_path / "run", "run"):
        with hold_folder(tmp_path / "run", "run"):
            pass
        assert (tmp_path / "run" / OWNER_FILE).is_file(), "the outer one goes on"
        (tmp_path / "run" / "result").touch()
    assert not (tmp_path / "run" / OWNER_FILE).exists()
    assert is_folder_of(tmp_path / "run", "run")


def test_of_work_that_left_nothing_no_folder_stays(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), hold_folder(tmp_path / "a" / "run", "run"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    with hold_folder(tmp_path / "mine", "run"):
        pass
    assert not list((tmp_path / "mine").iterdir())


def test_a_folder_may_be_removed_by_who_holds_it(tmp_path: Path) -> None:
    with hold_folder(tmp_path / "run", "run"):
        discard_folder(tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_folder_of_others_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with (
        pytest.raises(InputError, match="exists and is not a surefoot run folder"),
        hold_folder(tmp_path, "run"),
    ):
        pytest.fail("a folder of others is held")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


HERE, PARENT = this_process(), os.getppid()
OWNERS: dict[str, tuple[dict[str, object], str | None]] = {
    "a living process": (
        {"pid": PARENT, "identity": ownership._identity(PARENT)},
        "in use",
    ),
    "a dead process": ({"pid": 2**22 + 1}, None),
    "an earlier process of that number": ({"pid": PARENT, "identity": "an old boot 1"}, None),
    "an earlier life of this number": ({"pid": os.getpid(), "identity": "an old boot 1"}, None),
    "a process elsewhere": ({"host": "elsewhere"}, "cannot tell whether that process is alive"),
}


@pytest.mark.parametrize("case", OWNERS)
def test_where_the_file_system_knows_no_locks_what_is_written_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr(ownership, "try_lock", lambda descriptor: Lock.UNKNOWN)
    changes, refusal = OWNERS[case]
    owner = {"host": HERE.host, "pid": HERE.pid, "identity": HERE.identity} | changes
    with hold_folder(tmp_path, "run"):
        (tmp_path / "result").touch()
    (tmp_path / OWNER_FILE).write_text(json.dumps(owner))
    if refusal is None:
        with hold_folder(tmp_path, "run"):
            pass
        assert not (tmp_path / OWNER_FILE).exists()
    else:
        with pytest.raises(InputError, match=refusal), hold_folder(tmp_path, "run"):
            pytest.fail("two processes are in one folder")
        assert json.loads((tmp_path / OWNER_FILE).read_text()) == owner


def test_a_free_lock_of_another_host_is_taken_and_said(tmp_path: Path) -> None:
    """As in a container that is started again, whose host has another name each time."""
    with hold_folder(tmp_path, "run"):
        (tmp_path / "result").touch()
    (tmp_path / OWNER_FILE).write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    with (
        pytest.warns(UserWarning, match="process 1 on elsewhere.* its lock is free"),
        hold_folder(tmp_path, "run"),
    ):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": 1}', "\0" * 40])
def test_an_owner_that_was_not_written_to_its_end_is_nobody(tmp_path: Path, text: str) -> None:
    with hold_folder(tmp_path, "run"):
        (tmp_path / "result").touch()
    (tmp_path / OWNER_FILE).write_text(text)
    with hold_folder(tmp_path, "run"):
        pass
    assert not (tmp_path / OWNER_FILE).exists()
