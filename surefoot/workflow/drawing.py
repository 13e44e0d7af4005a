"""Drawing: the picture beside a result, which never ends the work that it shows."""

from collections.abc import Callable
from pathlib import Path

from surefoot.artifact import check_place, write_file
from surefoot.errors import InputError
from surefoot.run_folder import picture_of
from surefoot.workflow.listener import Listener


def check_picture_place(out: Path) -> None:
    """Check that a result and its picture can be written: asked before the work.

    Raises:
        InputError: If not, or if they would be the same file.
    """
    picture = picture_of(out)
    if picture == out:
        raise InputError(f"out must not end in .png, where its picture goes, got {out}")
    for path in (out, picture):
        check_place(path)


def write_picture(out: Path, draw: Callable[[], bytes], listener: Listener) -> None:
    """Draw the picture of a result; say why there is none if it cannot be drawn."""
    try:
        write_file(picture_of(out), draw())
    except Exception as error:  # whatever it is, the result stands
        listener.remark(f"no picture: {' '.join(str(error).split())}")
