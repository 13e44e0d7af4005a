"""What Ctrl-C leaves: one line and an exit code, whenever it comes.

While the command line loads, `surefoot.early_interruption` answers it.
"""

import atexit
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from surefoot.early_interruption import NOTHING_BEGUN
from surefoot.errors import InterruptedVerb, SurefootError


@contextmanager
def verb_interruptions_named() -> Iterator[None]:
    """Name what an interruption of a verb leaves.

    A library in C++ that was being loaded may have turned it into an ``ImportError``.

    Raises:
        InterruptedVerb: If the block is interrupted.
        SurefootError: If the verb itself says how it was interrupted.
    """
    try:
        yield
    except SurefootError:
        raise
    except BaseException as error:
        if not any(isinstance(cause, KeyboardInterrupt) for cause in _causes(error)):
            raise
        raise InterruptedVerb(
            "what was written is whole; the same command begins this step again"
        ) from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def early_interruptions_named() -> Iterator[None]:
    """Name an interruption of typer, before it has called a verb.

    Raises:
        InterruptedVerb: If the block is interrupted.
        SystemExit: If it ends otherwise.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        raise InterruptedVerb(NOTHING_BEGUN) from error
    except SystemExit as end:
        # Typer gives an interruption the code that shells give it, and no word.
        if end.code == InterruptedVerb.exit_code:
            raise InterruptedVerb(NOTHING_BEGUN) from end
        raise


def end_quietly_at_exit() -> None:
    """Let Ctrl-C while the process ends, its work done, end it without a traceback.

    Where whoever started the process ignores Ctrl-C, it stays ignored.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_DFL)
