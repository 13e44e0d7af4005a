"""How errors end the command line: one line on standard error, and an exit code."""

import contextlib
import os
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from surefoot.cli.libraries import hint_to_install
from surefoot.cli.standard_output import format_warning, messages, write_message
from surefoot.cli.tables import plain
from surefoot.errors import InputError, MissingLibraryError, SurefootError
from surefoot.process_exit import end_with

TRACEBACK_VARIABLE = "SUREFOOT_TRACEBACK"
"""The environment variable that asks for the traceback above the one line of an error."""


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """End the program with one line if the block raises what is raised on purpose.

    Raises:
        ModuleNotFoundError: If a module is missing that no extra brings, which is a bug.
    """
    warnings.formatwarning = format_warning
    try:
        yield
    except SurefootError as error:
        end_in_one_line(error)
    except OSError as error:
        end_in_one_line(InputError(f"{error.filename or 'a file'}: {error.strerror or error}"))
    except MemoryError as error:
        end_in_one_line(InputError(f"a setting needs more memory than there is: {error}"))
    except ModuleNotFoundError as error:
        if (hint := hint_to_install(error)) is None:
            raise
        end_in_one_line(MissingLibraryError(hint))


def end_in_one_line(error: SurefootError) -> NoReturn:
    """End the program with the line and the exit code of an error.

    Raises:
        SystemExit: Always.
    """
    if os.environ.get(TRACEBACK_VARIABLE):
        traceback.print_exception(error, file=messages())
    line = f"{type(error).label}: {' '.join(str(error).split())}"
    with contextlib.suppress(OSError):  # the exit code says it where nobody reads
        write_message(plain(line))
    end_with(error.exit_code)
