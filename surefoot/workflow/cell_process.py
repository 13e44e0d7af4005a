"""One cell of a study in a process of its own: ``python -m surefoot.workflow.cell_process``.

A process a cell: what brings one down, a crash of a library or the killer of the system, leaves the
others alone. It ends when whoever started it does: its standard input is the other end of a pipe.
"""

import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path

from surefoot.errors import FolderInUseError, InterruptedRun, SurefootError
from surefoot.process_exit import end_with

ELSEWHERE = 76
"""Exit code where another process works at the cell."""


def main(folder: Path, digest: str) -> int:
    """Work at a cell and return the exit code; the last line of standard error says what failed.

    Args:
        folder: The study.
        digest: The cell, whose settings the study asks for.
    """
    threading.Thread(target=_end_with_the_study, daemon=True).start()
    try:
        from surefoot.workflow.cell_work import make_cell

        make_cell(folder, digest)
    except FolderInUseError:
        return ELSEWHERE
    except InterruptedRun as error:
        return error.exit_code
    except SurefootError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return error.exit_code
    except Exception:  # a row of the study, and not its end
        traceback.print_exc()
        return 1
    return 0


def _end_with_the_study() -> None:
    """Ask this process to stop once nobody holds the other end of its standard input."""
    with suppress(OSError):
        # Not through sys.stdin: its lock, held by this thread, would abort the end of Python.
        while os.read(0, 1):
            pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    from surefoot.kernels import pin_kernels

    pin_kernels()  # before NumPy is loaded
    end_with(main(Path(sys.argv[1]), sys.argv[2]))
