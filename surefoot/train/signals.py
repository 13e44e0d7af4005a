"""Stopping a run at the end of an iteration when the system asks for it."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)


class StopRequest:
    """Turns the first SIGTERM, SIGINT, SIGUSR1 or SIGHUP into a flag; the second ends the process.

    Where SIGHUP is ignored (``nohup``), it stays so.

    Handlers can be set in the main thread only; elsewhere nothing is caught.
    """

    def __init__(self) -> None:
        """Catch nothing yet."""
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        """Start to catch."""
        if threading.current_thread() is threading.main_thread():
            caught = [number for number in _SIGNALS if not _is_ignored_hangup(number)]
            self._previous = {number: signal.signal(number, self._stop) for number in caught}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the handlers back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        for other in self._previous:
            signal.signal(other, signal.SIG_DFL)


def _is_ignored_hangup(number: signal.Signals) -> bool:
    return number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN
