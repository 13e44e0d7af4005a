"""What code of a user sets for the whole process: each side finds its own settings again.

A module of an environment may choose a working folder, silence every warning, catch Ctrl-C, or let
PyTorch compute in float64 by two threads. Surefoot does not work under that, which would lose its
files and its warnings and change what it trains; nor does it take it from the environment.
"""

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from surefoot.streams import opened

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@dataclass(frozen=True, slots=True)
class _Setting:
    """A setting of the process.

    Attributes:
        get: Returns what it is.
        set: Makes it what it was.
        first: What it is where a library has just been loaded; None if that is not known.
    """

    get: Callable[[], Any]
    set: Callable[[Any], object]
    first: Any = None


def _set_streams(streams: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = streams


def _set_filters(filters: tuple[Any, ...]) -> None:
    warnings.resetwarnings()
    warnings.filters[:] = filters  # type: ignore[index] # a list, which the stubs hide


def _set_showwarning(show: Any) -> None:  # noqa: ANN401 - as ``logging.captureWarnings`` sets it
    warnings.showwarning = show


_SETTINGS: Mapping[str, _Setting] = {
    "working folder": _Setting(os.getcwd, os.chdir),
    "streams": _Setting(lambda: (sys.stdout, sys.stderr), _set_streams),
    "filters of warnings": _Setting(lambda: tuple(warnings.filters), _set_filters),
    "what shows warnings": _Setting(lambda: warnings.showwarning, _set_showwarning),
    "errors of NumPy": _Setting(np.geterr, lambda errors: np.seterr(**errors)),
}


def _settings_of_torch() -> Mapping[str, _Setting]:
    """Return those of PyTorch, if it is loaded."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    return {
        "torch type": _Setting(
            torch.get_default_dtype, torch.set_default_dtype, first=torch.float32
        ),
        # With a device of its own, even the processor, each call of PyTorch would take longer.
        "torch device": _Setting(
            torch.get_default_device,
            lambda device: torch.set_default_device(None if device.type == "cpu" else device),
            first=torch.device("cpu"),
        ),
        "torch gradients": _Setting(torch.is_grad_enabled, torch.set_grad_enabled, first=True),
        "torch threads": _Setting(torch.get_num_threads, torch.set_num_threads),
        "torch determinism": _Setting(
            torch.are_deterministic_algorithms_enabled,
            torch.use_deterministic_algorithms,
            first=False,
        ),
        "torch precision": _Setting(
            torch.get_float32_matmul_precision,
            torch.set_float32_matmul_precision,
            first="highest",
        ),
    }


_of_user: dict[str, Any] = {}
"""What code of a user set otherwise than it found it."""


@contextmanager
def settings_of_user() -> Iterator[None]:
    """Run a block of a user's code under the settings that it left, then return to ours."""
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    ours = {name: setting.get() for name, setting in _settings().items()}
    _take(ours, _of_user)
    try:
        yield
    finally:
        first = {name: setting.first for name, setting in _settings().items()}
        ours = {name: value for name, value in (first | ours).items() if value is not None}
        theirs = {name: setting.get() for name, setting in _settings().items()}
        _of_user.clear()
        _of_user.update({name: theirs[name] for name in ours if theirs[name] != ours[name]})
        _take(theirs, ours)
        _open_streams()
        _take_handlers(handlers)


def _settings() -> Mapping[str, _Setting]:
    return {**_SETTINGS, **_settings_of_torch()}


def _take(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    settings = _settings()
    for name, value in wanted.items():
        if name in present and present[name] != value:
            settings[name].set(value)


def _open_streams() -> None:
    """Put open streams in the place of those that a user closed or detached."""
    sys.stdout, sys.stderr = (
        None if stream is None else opened(stream) for stream in (sys.stdout, sys.stderr)
    )


def _take_handlers(handlers: Mapping[signal.Signals, Any]) -> None:
    """Set handlers of signals; how surefoot is interrupted is never the user's."""
    if threading.current_thread() is not threading.main_thread():
        return  # where nobody can set one
    for number, handler in handlers.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)
