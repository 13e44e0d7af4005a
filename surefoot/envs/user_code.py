"""The one way into code of the user: it may fail, but it never decides how surefoot ends.

An environment may raise anything, `SystemExit` among it, and call ``os._exit`` or ``os.execv``.
Outside of this module nothing calls it unguarded.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Literal

from surefoot.envs.contract import ContractError
from surefoot.errors import SurefootError, UserCodeError
from surefoot.process_exit import enter_code, refuse_exit, restore_exit

_MAX_WORDS = 400


class user_code:  # noqa: N801 - a context manager, read like a function
    """Turn whatever the block raises into one `UserCodeError`; an interrupt passes through."""

    __slots__ = ("_exit", "_outer", "_where")

    def __init__(self, where: Callable[[], str]) -> None:
        """Guard a block; ``where`` begins the message and is called only if there is one."""
        self._where = where

    def __enter__(self) -> None:
        """Begin: until the end of the block, what would end the process raises."""
        self._exit, self._outer = refuse_exit(), enter_code(self._where)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Literal[False]:
        """Raise what happened in one line.

        Raises:
            UserCodeError: If the block raised anything but an interrupt or an error of surefoot.
        """
        restore_exit(self._exit)
        enter_code(self._outer)
        if error is None or isinstance(error, (KeyboardInterrupt, SurefootError)):
            return False
        raise UserCodeError(f"{self._where()}: {_in_words(error)}") from error


def _in_words(error: BaseException) -> str:
    name = type(error).__name__
    try:
        words = str(error)[:_MAX_WORDS]
    except KeyboardInterrupt:
        raise
    except BaseException:  # the message of a user's exception is code of the user, too
        return name
    if isinstance(error, ContractError):
        return words
    return f"{name}: {words}" if words else name
