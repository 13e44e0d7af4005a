"""The stages of a run that are done: each is done once for the same inputs by the same code."""

from collections.abc import Callable, Sequence
from pathlib import Path

from surefoot.artifact import Json, from_json, read_file, sha256_hex, to_json, write_file
from surefoot.errors import IntegrityError
from surefoot.version import __version__
from surefoot.workflow.listener import Listener


class FinishedStages:
    """A file that holds, for each stage, the digest of its inputs and of each file that it wrote.

    A stage is skipped when all of them still hold.
    """

    def __init__(self, path: Path, onnx_sha256: str, listener: Listener) -> None:
        """Use ``stages.json`` of the run whose controller has this digest."""
        self._path = path
        self._onnx_sha256 = onnx_sha256
        self._listener = listener

    def once(
        self,
        name: str,
        inputs: Json,
        files: Sequence[Path],
        perform: Callable[[], object],
        *,
        holds: bool = True,
    ) -> None:
        """Perform a stage unless it is done.

        Args:
            name: The stage, in words.
            inputs: Everything that its result depends on, beside the controller and the version.
            files: Files that it writes; the first one always, the others perhaps.
            perform: The stage.
            holds: Whether what it wrote, beyond these files, is still whole.
        """
        done = self._read()
        wanted = sha256_hex(to_json([__version__, self._onnx_sha256, inputs]))
        if holds and files[0].exists() and done.get(name) == [wanted, _digests(files)]:
            return
        self._listener.remark(f"{name} ...")
        perform()
        done[name] = [wanted, _digests(files)]
        write_file(self._path, to_json(done))

    def _read(self) -> dict[str, Json]:
        """Read the finished stages, none if the file is damaged: repeating them only costs time."""
        try:
            data = read_file(self._path) if self._path.exists() else b"{}"
            table = from_json(data, str(self._path))
        except IntegrityError:
            return {}
        return table if isinstance(table, dict) else {}


def _digests(files: Sequence[Path]) -> dict[str, str]:
    return {file.name: sha256_hex(read_file(file)) for file in files if file.exists()}
