"""Code of a user cannot end the process that it runs in; processes forked from it end as before."""

import multiprocessing
import os
import posix
from collections.abc import Callable, Iterator

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
