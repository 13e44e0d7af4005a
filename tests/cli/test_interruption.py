"""Ctrl-C ends every moment of the command line in one line, and never in a traceback.

Also of ``early_interruption.py``.
"""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from surefoot.cli.interruption import verb_interruptions_named
from surefoot.errors import InterruptedVerb

INTERRUPTED_AT_IMPORT = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, *rest):
        if name == moment:
            os.kill(os.getpid(), signal.SIGINT)

moment = sys.argv.pop(1)
sys.meta_path.insert(0, Interrupting())
signal.signal(signal.SIGINT, signal.default_int_handler)  # which the background ignores
from surefoot.cli import main
main()
"""
INTERRUPTED_WHERE_ERRORS_ARE_LOST = """
import os, signal, sys, weakref

class Object: ...

class Interrupting:
    def find_spec(self, name, *rest):
        if name == "surefoot.cli.main":
            gone = Object()
            reference = weakref.ref(gone, lambda _: os.kill(os.getpid(), signal.SIGINT))
            del gone

sys.meta_path.insert(0, Interrupting())
signal.signal(signal.SIGINT, signal.default_int_handler)
from surefoot.cli import main
main()
"""
INTERRUPTED_AT_ITS_END = """
import atexit, os, signal, time

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)  # it has ended by then

atexit.register(interrupt)
signal.signal(signal.SIGINT, signal.default_int_handler)
from surefoot.cli import main
main()
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "module",
    ["surefoot.kernels", "surefoot.cli.export", "typer._click.decorators"],  # which parses
)
def test_ctrl_c_before_a_verb_ends_in_one_line(module: str) -> None:
    done = run(INTERRUPTED_AT_IMPORT, module, "verify", "nowhere")
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "interrupted: nothing was begun\n"


def test_ctrl_c_in_a_callback_of_an_import_ends_the_program_in_the_same_line() -> None:
    """Python prints what a callback raises, and goes on."""
    done = run(INTERRUPTED_WHERE_ERRORS_ARE_LOST, "--version")
    assert (done.returncode, done.stdout) == (InterruptedVerb.exit_code, "")
    assert done.stderr == f"{InterruptedVerb.label}: nothing was begun\n"


def test_ctrl_c_before_a_verb_ends_the_program_where_nobody_reads_it() -> None:
    done = run(f"import os; os.close(2)\n{INTERRUPTED_AT_IMPORT}", "surefoot.kernels", "--version")
    assert (done.returncode, done.stdout) == (InterruptedVerb.exit_code, "")


def test_ctrl_c_while_the_process_ends_leaves_what_was_said() -> None:
    done = run(INTERRUPTED_AT_ITS_END, "--version")
    assert done.returncode == -signal.SIGINT
    assert done.stdout.startswith("surefoot ")
    assert done.stderr == ""


def test_ctrl_c_while_a_library_in_cpp_loads_is_an_interruption() -> None:
    # So pybind11 has it: the error of its module is raised from the interruption.
    with pytest.raises(InterruptedVerb), verb_interruptions_named():
        raise ImportError("initialization failed") from KeyboardInterrupt()
    with pytest.raises(ImportError), verb_interruptions_named():
        raise ImportError("initialization failed")
