"""Code of a user cannot end the process that it runs in; processes forked from it end as before."""

import multiprocessing
import os
import posix
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from surefoot.process_exit import refuse_exit, restore_exit

TRUE = "/bin/true"


@pytest.fixture
def _refused() -> Iterator[None]:
    before = refuse_exit()
    yield
    restore_exit(before)


def test_an_exit_raises_while_it_is_refused_and_no_longer() -> None:
    known = os._exit, posix._exit, os.execv, posix.execve
    before = refuse_exit()
    try:
        with pytest.raises(RuntimeError, match=r"os\._exit\(0\) must not end surefoot"):
            os._exit(0)
        inner = refuse_exit()
        restore_exit(inner)
        with pytest.raises(RuntimeError):
            os._exit(0)
    finally:
        restore_exit(before)
    assert (os._exit, posix._exit, os.execv, posix.execve) == known


@pytest.mark.usefixtures("_refused")
@pytest.mark.parametrize(
    "end",
    [
        lambda: posix._exit(0),
        lambda: os._exit(status=0),
        lambda: os.execv(TRUE, [TRUE]),
        lambda: posix.execv(TRUE, [TRUE]),
        lambda: os.execve(TRUE, [TRUE], {}),
        lambda: os.execl(TRUE, TRUE),
        lambda: os.execle(TRUE, TRUE, {}),
        lambda: os.execlp("true", "true"),
        lambda: os.execvp("true", ["true"]),
        lambda: os.execvpe("true", ["true"], {"PATH": "/bin"}),
    ],
)
def test_nothing_puts_another_end_or_program_in_its_place(end: Callable[[], None]) -> None:
    with pytest.raises(RuntimeError, match="must not end surefoot"):
        end()


@pytest.mark.usefixtures("_refused")
@pytest.mark.parametrize(
    ("end", "code"),
    [(lambda: os._exit(7), 7), (lambda: posix._exit(8), 8), (lambda: os.execv(TRUE, [TRUE]), 0)],
)
def test_a_forked_process_ends_with_its_own_code(end: Callable[[], None], code: int) -> None:
    child = multiprocessing.get_context("fork").Process(target=end)
    child.start()
    child.join()
    assert child.exitcode == code


@pytest.mark.usefixtures("_refused")
def test_a_program_is_started_as_before() -> None:
    assert os.spawnv(os.P_WAIT, TRUE, [TRUE]) == 0


GUARDED = """
import ctypes, os, threading
from surefoot.process_exit import enter_code, failing_exit_of_c

c = ctypes.CDLL(None)

def in_a_child():
    pid = os.fork()
    if pid == 0:
        c.exit(7)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    raise SystemExit(code)

with failing_exit_of_c():
    pass
with failing_exit_of_c():
    enter_code(lambda: "Robot-v0 failed at step 2")
    {}
"""


def guarded(end: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", GUARDED.format(end)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "end",
    [
        "c.exit(0)",
        "ctypes.PyDLL(None).exit(0)",  # which holds the lock of the interpreter
        "ctypes.pythonapi.Py_Exit(0)",
        "thread = threading.Thread(target=c.exit, args=(0,)); thread.start(); thread.join()",
    ],
)
def test_an_exit_of_c_is_a_failure_in_one_line(end: str) -> None:
    code, words = guarded(end)
    assert code == 3
    assert words == "error: Robot-v0 failed at step 2: code in C ended the process\n"


@pytest.mark.parametrize(("end", "code"), [("pass", 0), ("in_a_child()", 7)])
def test_every_other_end_is_as_before(end: str, code: int) -> None:
    assert guarded(end) == (code, "")
