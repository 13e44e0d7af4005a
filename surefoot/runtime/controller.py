"""What every controller does, whatever computes it, and what it does with a bad observation."""

import threading
from collections.abc import Callable
from enum import StrEnum
from typing import ParamSpec, Protocol, TypeVar

import numpy as np

from surefoot.errors import CheckError, InputError
from surefoot.policy import Array

P = ParamSpec("P")
R = TypeVar("R")

_FLOAT32 = np.dtype(np.float32)


class OnBadObservation(StrEnum):
    """What happens when an observation has NaN, infinity, another type or another shape."""

    RAISE = "raise"
    """Raise InputError; nothing is computed."""
    HOLD = "hold"
    """Return the last action again, for the whole batch: that of the same thread for as many rows.
    Raise InputError if there is none."""


class Controller(Protocol):
    """A policy on a backend."""

    @property
    def name(self) -> str:
        """Name of the backend."""

    @property
    def obs_dim(self) -> int:
        """Number of observations."""

    @property
    def num_outputs(self) -> int:
        """Number of actuators, or of discrete actions."""

    def __call__(self, obs: Array) -> Array:
        """Return actions (or logits), shape (batch, num_outputs), float32.

        Args:
            obs: Shape (batch, obs_dim), raw units; taken as float32.
        """

    def from_state(self, state: Array) -> Array:
        """Return actions (or logits) at states, which enter after the normaliser and its clip.

        Args:
            state: Shape (batch, obs_dim), normalised units, not clipped again; taken as float32.
        """


class Engine(Protocol):
    """The arithmetic of one backend, on input that was checked; not for several threads at once."""

    @property
    def name(self) -> str:
        """Name of the backend."""

    @property
    def obs_dim(self) -> int:
        """Number of observations."""

    @property
    def num_outputs(self) -> int:
        """Number of actuators, or of discrete actions."""

    @property
    def size_bytes(self) -> int:
        """Size of the file that it loads."""

    def infer(self, obs: Array) -> Array:
        """Return outputs, shape (batch, num_outputs), for C-contiguous float32 observations."""

    def infer_from_state(self, state: Array) -> Array:
        """Return outputs, shape (batch, num_outputs), for C-contiguous float32 states."""


class _Held(threading.local):
    """The last outputs of one thread, by the number of their rows."""

    def __init__(self) -> None:
        self.outputs: dict[int, Array] = {}
        self.num_rows = 0

    def keep(self, outputs: Array) -> None:
        self.num_rows = len(outputs)
        self.outputs[self.num_rows] = outputs.copy()

    def instead_of(self, bad: Array) -> Array | None:
        """Return the actions held for a bad batch; one without rows is taken for the last one."""
        has_rows = isinstance(bad, np.ndarray) and bad.ndim == 2 and len(bad)
        held = self.outputs.get(len(bad) if has_rows else self.num_rows)
        return None if held is None else held.copy()


class OneAtATime:
    """Calls of several threads, one after the other; none is made from within another.

    The fallback of a gate, or the handler of a signal, would else wait for ever for the call that
    waits for it.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._is_busy = False

    def do(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Make a call.

        Raises:
            InputError: If the thread is within such a call.
        """
        with self._lock:
            if self._is_busy:
                raise InputError(
                    "a controller must not be used from within its own call, as by its fallback "
                    "or the handler of a signal"
                )
            try:
                self._is_busy = True
                return call(*args, **kwargs)
            finally:
                self._is_busy = False


class CheckedController:
    """The controller of any engine: what goes in and what comes out is checked.

    Threads may share it: one call is computed at a time, and what is held for a bad observation is
    the thread's own.
    """

    def __init__(
        self, engine: Engine, on_bad_observation: OnBadObservation = OnBadObservation.RAISE
    ) -> None:
        """Wrap an engine.

        Args:
            engine: Engine that computes; its name and sizes are the controller's.
            on_bad_observation: Answer to NaN, infinity or a wrong shape.
        """
        self.engine = engine
        self.name, self.obs_dim = engine.name, engine.obs_dim
        self.num_outputs = engine.num_outputs
        self._holds = on_bad_observation is OnBadObservation.HOLD
        self._held = _Held()
        # An engine computes in memory of its own, and may give up the interpreter's lock meanwhile.
        self._one_at_a_time = OneAtATime()

    def __call__(self, obs: Array) -> Array:
        """Return actions (or logits), shape (batch, num_outputs), float32.

        Args:
            obs: Shape (batch, obs_dim), raw units; taken as float32.

        Raises:
            InputError: If ``obs`` is bad and the last action is not to be held, or there is none.
            CheckError: If the arithmetic overflowed, so that an output is not finite.
        """
        try:
            checked = check_batch(obs, self.obs_dim, "obs")
        except InputError:
            if not self._holds or (held := self._held.instead_of(obs)) is None:
                raise
            return held
        outputs = self._one_at_a_time.do(self.engine.infer, checked)
        _check_outputs(outputs)
        if self._holds:
            self._held.keep(outputs)
        return outputs

    def from_state(self, state: Array) -> Array:
        """Return actions (or logits) at states, which enter after the normaliser and its clip.

        States are computed, not measured: a bad one is always an error.

        Args:
            state: Shape (batch, obs_dim), normalised units, not clipped again; taken as float32.

        Raises:
            InputError: If ``state`` is bad.
            CheckError: If the arithmetic overflowed, so that an output is not finite.
        """
        checked = check_batch(state, self.obs_dim, "state")
        outputs = self._one_at_a_time.do(self.engine.infer_from_state, checked)
        _check_outputs(outputs)
        return outputs


def check_batch(batch: Array, width: int, name: str) -> Array:
    """Return a batch as finite, C-contiguous float32 of shape (rows, width).

    Raises:
        InputError: If it is no such batch; ``name`` is its name in the message.
    """
    if (
        type(batch) is np.ndarray  # what a control loop gives passes at once
        and batch.dtype is _FLOAT32
        and batch.ndim == 2
        and batch.shape[1] == width
        and len(batch)
        and batch.flags.c_contiguous
        and _is_finite(batch)
    ):
        return batch
    batch = real_numbers(batch, name)
    if batch.ndim != 2 or batch.shape[1] != width or not len(batch):
        raise InputError(f"{name} must have shape (batch, {width}), got {batch.shape}")
    if batch.dtype != np.float32:
        with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite below
            batch = batch.astype(np.float32)
    if not _is_finite(batch):
        row, column = np.argwhere(~np.isfinite(batch))[0]
        raise InputError(
            f"{name} must be finite in float32, got {batch[row, column]} at [{row}, {column}]"
        )
    return np.ascontiguousarray(batch)


def real_numbers(given: object, name: str) -> Array:
    """Return an array of real numbers as a plain one, whatever class it has.

    Raises:
        InputError: If it is no such array, or masks an entry: nothing is known to be there.
    """
    if not isinstance(given, np.ndarray) or given.dtype.kind not in "fiu":
        raise InputError(f"{name} must be an array of real numbers, got {_describe(given)}")
    if isinstance(given, np.ma.MaskedArray) and (count := int(np.ma.getmaskarray(given).sum())):
        raise InputError(f"{name} must have no masked entry, has {count}")
    return np.asarray(given)


def _check_outputs(outputs: Array) -> None:
    if not _is_finite(outputs):
        raise CheckError("the controller overflowed float32: an output is not finite")


def _is_finite(array: Array) -> bool:
    # ndarray.all() alone takes a microsecond, a quarter of a whole call of the C backend.
    return b"\0" not in np.isfinite(array).tobytes()


def _describe(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    return type(value).__name__
