"""The store of a study: a folder of cells, each whole, verified and known by its digest.

    cells/<digest>/            an artifact: cell.json, policy.onnx, critic.safetensors
    failures/<digest>.json     why a cell failed every time
    work/<digest>/             the run folder of a cell that is not done; work/<digest>.toml asks it

A cell takes its place in one step, so that whatever ends a process leaves cells that are done and
cells that are not, and nothing between.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from surefoot.artifact import (
    Artifact,
    claim_folder,
    is_folder_of,
    read_artifact,
    write_artifact,
    write_file,
)
from surefoot.errors import InputError
from surefoot.study.cell_record import CellRecord, Failure

_CELL, _KIND = "cell.json", "cell"


@dataclass(frozen=True, slots=True)
class CellStore:
    """The cells of a study's folder.

    Attributes:
        path: The folder.
    """

    path: Path

    def claim(self) -> None:
        """Make the folder, or go on in one that is a study's.

        Raises:
            InputError: If it is somebody else's, or cannot be written.
        """
        claim_folder(self.path, "study")

    def check_there(self) -> None:
        """Check that the folder has not gone away, as a shared one may.

        Raises:
            InputError: If it has.
        """
        if not is_folder_of(self.path, "study"):
            raise InputError(f"{self.path} has gone away: mount it and give the same command")

    def run(self, digest: str) -> Path:
        """Return the run folder of a cell that is not done."""
        return self.path / "work" / digest

    def request(self, digest: str) -> Path:
        """Return the file of the settings that a cell is asked for."""
        return self.path / "work" / f"{digest}.toml"

    def holds(self, digest: str) -> bool:
        """Return True if a cell is done."""
        return is_folder_of(self._cell(digest), _KIND)

    def read(self, digest: str) -> CellRecord:
        """Return the record of a cell that is done.

        Raises:
            InputError: If it is not done.
            IntegrityError: If a byte of it was changed.
        """
        folder = self._cell(digest)
        return CellRecord.from_json(read_artifact(folder, _KIND).files[_CELL], str(folder / _CELL))

    def add(self, digest: str, record: CellRecord, files: Mapping[str, bytes]) -> None:
        """Keep a cell.

        Args:
            digest: Digest of the cell.
            record: What came of it.
            files: Its controller and its critic, by name.
        """
        write_artifact(
            self._cell(digest), Artifact(kind=_KIND, files={_CELL: record.to_json(), **files})
        )
        self._failure(digest).unlink(missing_ok=True)

    def failure(self, digest: str) -> Failure | None:
        """Return why a cell failed, None if it did not or is done by now."""
        path = self._failure(digest)
        return Failure.read(path) if path.is_file() and not self.holds(digest) else None

    def fail(self, digest: str, failure: Failure) -> None:
        """Keep why a cell failed."""
        path = self._failure(digest)
        path.parent.mkdir(exist_ok=True)
        write_file(path, failure.to_json())

    @property
    def digests(self) -> list[str]:
        """Digests of the cells that are done."""
        folder = self.path / "cells"
        found = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        return sorted(name for name in found if self.holds(name))

    def others(self, digests: Collection[str]) -> list[str]:
        """Return the digests of cells that are done and not among those that are asked for."""
        return [name for name in self.digests if name not in digests]

    def _cell(self, digest: str) -> Path:
        return self.path / "cells" / digest

    def _failure(self, digest: str) -> Path:
        return self.path / "failures" / f"{digest}.json"


@dataclass(frozen=True, slots=True)
class StoreAsMade(CellStore):
    """A store whose cells go by other digests than when they were made.

    Attributes:
        records: The cells by these digests.
    """

    records: Mapping[str, CellRecord]

    @property
    def digests(self) -> list[str]:
        """Digests of the cells that are done."""
        return sorted(self.records)

    def holds(self, digest: str) -> bool:
        """Return True if a cell is done."""
        return digest in self.records

    def read(self, digest: str) -> CellRecord:
        """Return the record of a cell that is done."""
        return self.records[digest]
