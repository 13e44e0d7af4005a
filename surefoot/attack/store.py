"""The finished pieces of a suite, from which an interrupted one resumes.

A piece is found by what it is about: the digest of a key that names everything it depends on. Its
file begins with the digest of the rest; a damaged one is made again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from surefoot.artifact import Json, claim_folder, os_errors, sha256_hex, to_json, write_file
from surefoot.atomic import discard_folder
from surefoot.ownership import hold_folder

_KIND = "attack-work"
_DIGEST_LENGTH = 64


class Store:
    """Pieces by kind and key, in a folder or, without one, in memory."""

    def __init__(self, folder: Path | None = None) -> None:
        """Use a folder of our own.

        Raises:
            InputError: If the folder is not ours or cannot be written.
        """
        self.folder = folder
        self._kept: dict[str, bytes] = {}
        if folder is not None:
            claim_folder(folder, _KIND)

    def get(self, kind: str, key: Json) -> bytes | None:
        """Return a piece, or None if there is none that is whole."""
        name = _name(kind, key)
        if self.folder is None:
            return self._kept.get(name)
        path = self.folder / name
        data = path.read_bytes() if path.is_file() else b""
        digest, piece = data[:_DIGEST_LENGTH], data[_DIGEST_LENGTH:]
        return piece if digest == sha256_hex(piece).encode() else None

    def put(self, kind: str, key: Json, piece: bytes) -> None:
        """Keep a piece, whole or not at all.

        Raises:
            InputError: If it cannot be written.
        """
        name = _name(kind, key)
        if self.folder is None:
            self._kept[name] = piece
        else:
            write_file(self.folder / name, sha256_hex(piece).encode() + piece)

    def scratch(self, kind: str, key: Json) -> Path | None:
        """Return the folder for checkpoints of unfinished work, None if the store has no folder."""
        return None if self.folder is None else self.folder / f"{_name(kind, key)}.unfinished"

    def discard(self, kind: str, key: Json) -> None:
        """Remove the checkpoints of something that is finished.

        Raises:
            InputError: If they cannot be removed.
        """
        if (folder := self.scratch(kind, key)) is not None:
            with os_errors(f"cannot remove {folder}"):
                discard_folder(folder)


@contextmanager
def open_store(folder: Path | None) -> Iterator[Store]:
    """Yield a store that no other process uses while the block runs.

    Args:
        folder: Folder of the pieces, or None to keep them in memory.

    Raises:
        InputError: If the folder is not ours, cannot be written, or another process uses it.
    """
    if folder is None:
        yield Store()
        return
    with hold_folder(folder, _KIND):
        yield Store(folder)


def _name(kind: str, key: Json) -> str:
    return f"{kind}-{sha256_hex(to_json(key))[:32]}"
