"""Code of a user cannot end the process that it runs in; processes forked from it end as before."""

import multiprocessing
import os

import pytest

from surefoot.process_exit import refuse_exit, restore_exit


def test_an_exit_raises_while_it_is_refused_and_no_longer() -> None:
    known = os._exit
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
    assert os._exit is known


def test_a_forked_process_ends_with_its_own_code() -> None:
    before = refuse_exit()
    try:
        child = multiprocessing.get_context("fork").Process(target=os._exit, args=(7,))
        child.start()
        child.join()
    finally:
        restore_exit(before)
    assert child.exitcode == 7
