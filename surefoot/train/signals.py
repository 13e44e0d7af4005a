"""Stopping a run at the end of an iteration when the system asks for it."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopRequest:
    """Turns the first SIGTERM, SIGINT or SIGUSR1 into a flag; the second one ends the process.

    Handlers can be set in the main thread only; elsewhere nothing is caught.
    """

    def __init__(self) -> None:
        """Catch nothing yet."""
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        """Start to catch."""
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._stop) for number in _SIGNALS}
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
        for other in _SIGNALS:
            signal.signal(other, signal.SIG_DFL)
