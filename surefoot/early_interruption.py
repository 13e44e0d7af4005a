"""Ctrl-C while the program loads: one line and an exit code, with nothing loaded to say it.

An exception would be a traceback wherever none of our code is below it, and Python only prints one
that is raised in a callback of its garbage collection or of its imports: the program would go on.
"""

import os
import signal

NOTHING_BEGUN = "nothing was begun"
_LINE = f"interrupted: {NOTHING_BEGUN}\n".encode()
_EXIT_CODE = 128 + signal.SIGINT  # as shells have it


def end_if_interrupted() -> None:
    """Let Ctrl-C end the program in one line, unless whoever started it ignores Ctrl-C.

    Only the main thread may ask for it; from others nothing changes.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    try:
        signal.signal(signal.SIGINT, _end)
    except ValueError:  # not the main thread
        return


def raise_if_interrupted() -> None:
    """Let Ctrl-C raise ``KeyboardInterrupt`` again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: object) -> None:
    del number, frame
    try:
        os.write(2, _LINE)
    finally:  # the exit code says it where nobody reads
        os._exit(_EXIT_CODE)
