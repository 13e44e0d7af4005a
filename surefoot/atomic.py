"""Files and folders that take their place in one step, whatever ends the process or the power.

What is unfinished bears a name of surefoot's own beside its target, and is locked by its writer:

    .NAME.surefoot-tmp   the new one, until it is whole
    .NAME.surefoot-old   the one before it, while two folders change places
    .surefoot-owner      who works in a folder (``ownership``)

The lock goes with the process, however that ends. So a leftover is one that nobody has locked; the
next writer of the same target clears it, and :func:`clear_leftovers` those of a whole folder. The
names hold no process id: in containers every process may have the same one.

Reference:
    Pillai et al., OSDI 2014: what file systems promise about a crash. Write, sync the file, rename,
    sync the folder.
"""

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import BinaryIO

OWNER_FILE = ".surefoot-owner"
_NEW, _OLD = ".surefoot-tmp", ".surefoot-old"
_BUSY = "another process is writing it"
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EBADF}
"""Errors of file systems that know no locks; NFS locks no folder, which nobody opens to write."""


class Lock(Enum):
    """What became of an attempt to lock a file."""

    TAKEN = "taken"
    HELD = "held"
    """Another process has it, and lives."""
    UNKNOWN = "unknown"
    """The file system knows no locks."""


def try_lock(descriptor: int) -> Lock:
    """Lock an open file or folder until it is closed, unless another process holds the lock.

    Local file systems keep such a lock in the kernel, so that it reaches across containers. NFS
    asks the server, so that it reaches across hosts, but for mounts with ``local_lock`` or
    ``nolock``; there, and where a file system knows no locks, hosts do not see each other.

    Raises:
        OSError: If the system fails in another way.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return Lock.HELD
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return Lock.UNKNOWN
        raise
    return Lock.TAKEN


def is_at(descriptor: int, path: Path) -> bool:
    """Return True if ``path`` still names the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


@contextmanager
def new_file(path: Path, mode: int, beside: Path | None = None) -> Iterator[BinaryIO]:
    """Yield a file to write, which takes the place of ``path`` when the block ends without error.

    Args:
        path: The target.
        mode: Who may read and write it, less the umask.
        beside: Entry of the same file system beside which the unfinished file lies; ``path`` if
            nothing is said.

    Raises:
        OSError: If it cannot be made or put in place; the older file is as it was.
    """
    temporary = _unfinished(beside or path)
    descriptor = _make_locked(temporary, lambda: os.open(temporary, _NEW_FILE, mode))
    with os.fdopen(descriptor, "wb") as file:
        try:
            yield file
            file.flush()
            os.fsync(descriptor)
            temporary.replace(path)
        finally:
            _remove_own(descriptor, temporary)
        sync_folder(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to fill, which takes the place of ``path`` when the block ends without error.

    Args:
        path: The target, an absolute path without links.

    Raises:
        OSError: If it cannot be made or put in place; the older folder is as it was.
    """
    old = _set_aside(path)
    make_folders(path.parent)
    with _locked_folder(_unfinished(path)) as temporary:
        _put_back(path)
        discard_folder(old)
        try:
            yield temporary
            sync_folder(temporary)
            if path.exists():
                path.rename(old)
            temporary.rename(path)
        finally:
            _put_back(path)
        sync_folder(path.parent)
        discard_folder(old)


def try_file(path: Path) -> None:
    """Try :func:`new_file`, and leave everything as it was.

    A file that is there is replaced by a copy with its mode, times and owner.

    Raises:
        OSError: If the file could not be written.
    """
    temporary = _unfinished(path)
    descriptor = _make_locked(temporary, lambda: os.open(temporary, _NEW_FILE, 0o600))
    try:
        if path.exists():
            shutil.copyfile(path, temporary)
            with suppress(PermissionError):
                os.chown(temporary, path.stat().st_uid, path.stat().st_gid)
            shutil.copystat(path, temporary)
            os.fsync(descriptor)
            temporary.replace(path)
    finally:
        _remove_own(descriptor, temporary)
        os.close(descriptor)


def try_folder(path: Path) -> None:
    """Try :func:`new_folder`, and leave everything as it was.

    What is there changes its name and gets it back, for nothing else tells whether it may.

    Args:
        path: The target, an absolute path without links.

    Raises:
        OSError: If the folder could not be written.
    """
    while not path.parent.exists():
        path = path.parent
    with _locked_folder(_unfinished(path)):
        _put_back(path)
        discard_folder(_set_aside(path))
        entries = [path, *path.iterdir()] if path.exists() else []
        for entry in entries:
            entry.rename(_set_aside(entry))
            _put_back(entry)


def discard_folder(path: Path) -> None:
    """Remove a folder, if it is there, so that no part of it is left under its own name.

    Raises:
        OSError: If something in it cannot be removed.
    """
    doomed = _unfinished(path)
    _clear(doomed)
    if path.exists():
        path.rename(doomed)
        _clear(doomed)


def is_leftover(name: str) -> bool:
    """Return True if only unfinished work of surefoot bears such a name."""
    return name == OWNER_FILE or (name.startswith(".") and name.endswith((_NEW, _OLD)))


def clear_leftovers(folder: Path) -> None:
    """Clear what killed writers left in a folder, and put back what they had set aside.

    Raises:
        OSError: If something of it cannot be removed.
    """
    if not folder.is_dir():
        return
    entries = [entry for entry in folder.iterdir() if is_leftover(entry.name)]
    for entry in entries:
        if entry.name.endswith(_NEW):
            with suppress(BlockingIOError):  # its writer lives
                _clear(entry)
    for entry in entries:
        place = entry.with_name(entry.name.removeprefix(".").removesuffix(_OLD))
        if entry.name.endswith(_OLD) and not _unfinished(place).exists():
            _put_back(place)
            discard_folder(entry)


def make_folders(path: Path) -> None:
    """Make a folder, and those above it that are not there.

    Raises:
        OSError: If one cannot be made.
    """
    missing = []
    for folder in (path, *path.parents):
        if folder.exists():
            break
        missing.append(folder)
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last, where the file system can.

    Raises:
        OSError: If it cannot be read.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # of file systems that sync no folders
            raise
    finally:
        os.close(descriptor)


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}{_NEW}")


def _set_aside(path: Path) -> Path:
    return path.with_name(f".{path.name}{_OLD}")


@contextmanager
def _locked_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder that is locked, and remove it unless it got another name.

    Raises:
        OSError: If it cannot be made; BlockingIOError if a living process has made it.
    """

    def make() -> int:
        path.mkdir()
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)

    descriptor = _make_locked(path, make)
    try:
        yield path
    finally:
        if is_at(descriptor, path):
            shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _remove_own(descriptor: int, path: Path) -> None:
    """Remove a locked file, unless it got another name and this one is of another writer."""
    if is_at(descriptor, path):
        path.unlink()


def _make_locked(path: Path, make: Callable[[], int]) -> int:
    """Return the descriptor of a new and locked entry, after clearing what a killed writer left.

    Raises:
        BlockingIOError: If a living process has made it.
        OSError: If it cannot be made.
    """
    while True:
        _clear(path)
        try:
            descriptor = make()
        except FileExistsError as error:
            raise BlockingIOError(errno.EBUSY, _BUSY, str(path)) from error
        # Between making and locking, another writer may have taken it for a leftover.
        if try_lock(descriptor) is not Lock.HELD and is_at(descriptor, path):
            return descriptor
        os.close(descriptor)


def _clear(path: Path) -> None:
    """Remove what a killed writer left under one of our names.

    Raises:
        BlockingIOError: If its writer lives.
        OSError: If it cannot be removed.
    """
    try:
        is_folder = stat.S_ISDIR(path.lstat().st_mode)
        flags = os.O_RDONLY if is_folder else os.O_RDWR  # NFS locks what is open to be written
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    try:
        if try_lock(descriptor) is Lock.HELD:
            raise BlockingIOError(errno.EBUSY, _BUSY, str(path))
        if is_at(descriptor, path):
            shutil.rmtree(path) if is_folder else path.unlink()
    finally:
        os.close(descriptor)


def _put_back(path: Path) -> None:
    """Put back what a writer that was killed between two renames had set aside."""
    old = _set_aside(path)
    if old.exists() and not path.exists():
        old.rename(path)
