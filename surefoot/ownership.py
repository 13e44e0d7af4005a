"""Who works in a folder: one process at a time, and whoever comes second is told.

The owner locks ``.surefoot-owner`` in the folder and writes into it who it is. The lock goes with
the process, however that ends, so that a dead one locks nobody out. Where the file system knows no
locks, what is written decides: an owner of this host is looked up among its processes; whether one
of another host lives cannot be told from here, and it is not overruled.
"""

import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from surefoot.artifact import claim_folder, from_json, os_errors, to_json, unclaim_folder
from surefoot.atomic import OWNER_FILE, Lock, clear_leftovers, is_at, try_lock
from surefoot.config import build, to_table
from surefoot.errors import FolderInUseError, InputError, IntegrityError

_MAX_BYTES = 4096
_held: set[Path] = set()
"""Folders of this process: a stage inside of another may ask for the same one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """A process that works in a folder.

    Attributes:
        host: Name of the machine, or of the container.
        pid: Number of the process there.
        started: Start of the process, ISO 8601, for people; None where the system does not tell.
        identity: What no later process of that number has, the boot and the clock tick of its
            start; None where the system does not tell.
    """

    host: str
    pid: int
    started: str | None = None
    identity: str | None = None

    def __str__(self) -> str:
        """Return who it is in plain words."""
        return f"process {self.pid} on {self.host}, started {self.started or 'at an unknown time'}"

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, a process of this host."""
        return self.host == socket.gethostname()

    @property
    def lives_here(self) -> bool:
        """Whether it is another process of this host, and is still there."""
        if not self.is_here or self.pid == os.getpid():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:  # another user's
            pass
        return self.identity == _identity(self.pid)


def this_process() -> Owner:
    """Return the process that asks."""
    pid = os.getpid()
    return Owner(host=socket.gethostname(), pid=pid, started=_started(pid), identity=_identity(pid))


@contextmanager
def hold_folder(folder: Path, kind: str) -> Iterator[None]:
    """Claim a folder and work in it alone while the block runs.

    Leftovers of killed processes are cleared first. A folder in which the block left nothing is
    removed again if it was not there before.

    Args:
        folder: The folder; is made if it is not there.
        kind: What it holds, as ``claim_folder`` takes it.

    Raises:
        InputError: If it is not ours or cannot be written.
        FolderInUseError: If another process works in it; the message names the owner.
    """
    place = folder.resolve()
    if place in _held:
        yield
        return
    missing = [path for path in (place, *place.parents) if not path.exists()]
    is_new = bool(missing) or (place.is_dir() and not any(place.iterdir()))
    claim_folder(folder, kind)
    with os_errors(f"cannot write {folder}"):
        descriptor = _take(place, folder)
        _held.add(place)
    try:
        with os_errors(f"cannot write {folder}"):
            clear_leftovers(place)
        yield
    finally:
        _held.discard(place)
        (place / OWNER_FILE).unlink(missing_ok=True)
        os.close(descriptor)
        if is_new and place.is_dir():  # the block may have removed it
            unclaim_folder(place, missing)


def _take(place: Path, folder: Path) -> int:
    """Return the locked descriptor of the owner file, with this process written into it.

    Raises:
        FolderInUseError: If another process has it.
        OSError: If it cannot be written.
    """
    path = place / OWNER_FILE
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(path, flags, 0o666)
        try:
            _refuse_owner(try_lock(descriptor), _owner_of(descriptor), folder)
            if is_at(descriptor, path):  # the last owner removes it
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, to_json(to_table(this_process())), 0)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _refuse_owner(lock: Lock, owner: Owner | None, folder: Path) -> None:
    """Check that no other process works in a folder, as far as this host can tell.

    Raises:
        FolderInUseError: If somebody does, or may.
    """
    if lock is Lock.HELD or (lock is Lock.UNKNOWN and owner is not None and owner.lives_here):
        raise FolderInUseError(
            f"{folder} is in use by {owner or 'another process'}: wait for it, or use another"
            " folder"
        )
    if owner is None or owner.is_here:
        return
    if lock is Lock.UNKNOWN:
        raise FolderInUseError(
            f"{folder} was in use by {owner}; its file system has no locks, so this host cannot"
            f" tell whether that process is alive: if it is not, remove {folder / OWNER_FILE}"
        )
    warnings.warn(
        f"{folder} was last in use by {owner}, which did not end by itself; its lock is free, so"
        " this process continues",
        stacklevel=2,
    )


def _owner_of(descriptor: int) -> Owner | None:
    """Return who is written in an owner file; None if that is not whole."""
    try:
        return build(Owner, from_json(os.pread(descriptor, _MAX_BYTES, 0), OWNER_FILE), OWNER_FILE)
    except (IntegrityError, InputError):
        return None


def _start_ticks(pid: int) -> int | None:
    """Return the start of a process in clock ticks since boot, None if the system does not tell."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # proc(5): field 22; the name in field 2 may hold blanks and brackets.
    return int(told.rpartition(")")[2].split()[19])


def _identity(pid: int) -> str | None:
    """Return the boot and the start of a process; None where the system does not tell."""
    ticks, boot = _start_ticks(pid), Path("/proc/sys/kernel/random/boot_id")
    return None if ticks is None else f"{boot.read_text(encoding='ascii').strip()} {ticks}"


def _started(pid: int) -> str | None:
    """Return the start of a process as an ISO 8601 time, None if the system does not tell."""
    ticks = _start_ticks(pid)
    if ticks is None:
        return None
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return datetime.fromtimestamp(time.time() - age_s, UTC).isoformat(timespec="seconds")
