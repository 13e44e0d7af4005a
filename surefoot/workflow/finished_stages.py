"""The stages of a run that are done: each is done once for the same inputs by the same code."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from surefoot.artifact import Json, read_file, sha256_hex, to_json, write_file
from surefoot.provenance import MadeOn, made_on
from surefoot.records import StageRecord, read_stages
from surefoot.version import __version__
from surefoot.workflow.listener import Listener


class FinishedStages:
    """A file that holds, for each stage, what it read, wrote and took: a `StageRecord`.

    A stage is skipped when the digests of its inputs and of its files still hold.
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
        wanted = self._digest_of(inputs)
        done = read_stages(self._path).get(name)
        if (
            holds
            and files[0].exists()
            and done is not None
            and (done.inputs, done.files) == (wanted, _digests(files))
        ):
            return
        self._listener.remark(f"{name} ...")
        began = time.perf_counter()
        perform()
        self.enter(
            name, inputs, _digests(files), seconds=time.perf_counter() - began, where=made_on()
        )

    def enter(
        self, name: str, inputs: Json, digests: Mapping[str, str], *, seconds: float, where: MadeOn
    ) -> None:
        """Enter a stage that is done, see :meth:`once`, with the digests of its files by name."""
        record = StageRecord(
            inputs=self._digest_of(inputs),
            files=digests,
            seconds=round(seconds, 3),
            made_on=where,
        )
        stages = read_stages(self._path) | {name: record}
        write_file(self._path, to_json({key: stage.to_table() for key, stage in stages.items()}))

    def _digest_of(self, inputs: Json) -> str:
        return sha256_hex(to_json([__version__, self._onnx_sha256, inputs]))


def _digests(files: Sequence[Path]) -> dict[str, str]:
    return {file.name: sha256_hex(read_file(file)) for file in files if file.exists()}
