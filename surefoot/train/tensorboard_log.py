"""TensorBoard scalars of a run."""

from pathlib import Path
from types import TracebackType
from typing import Any

from surefoot.train.training_run import Run


class TensorboardLog:
    """Writes the last row of the curves; does nothing without a folder."""

    def __init__(self, folder: Path | None, step: int) -> None:
        """Open the event file.

        Args:
            folder: Folder of the event files; None to write none.
            step: Where the run goes on; what an earlier process wrote beyond it is hidden.
        """
        self._writer: Any = None
        if folder is not None:
            # The import takes about a second, and runs without a folder do not need it.
            from torch.utils.tensorboard.writer import SummaryWriter

            self._writer = SummaryWriter(str(folder), purge_step=step + 1, max_queue=100)

    def __enter__(self) -> "TensorboardLog":
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()

    def write(self, run: Run) -> None:
        """Write the row of the iteration just done."""
        if self._writer is None:
            return
        for name, column in run.curves.items():
            if name != "step" and column[-1] is not None:
                self._writer.add_scalar(f"train/{name}", column[-1], run.step)
        for name, seconds in run.timing.items():
            self._writer.add_scalar(f"seconds/{name}", seconds, run.step)
