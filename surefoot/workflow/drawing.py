"""Drawing: the picture beside a result, which never ends the work that it shows."""

from collections.abc import Callable
from pathlib import Path

from surefoot.artifact import write_file
from surefoot.run_folder import picture_of
from surefoot.workflow.listener import Listener


def write_picture(out: Path, draw: Callable[[], bytes], listener: Listener) -> None:
    """Draw the picture of a result; say why there is none if it cannot be drawn."""
    try:
        write_file(picture_of(out), draw())
    except Exception as error:  # whatever it is, the result stands
        listener.remark(f"no picture: {' '.join(str(error).split())}")
