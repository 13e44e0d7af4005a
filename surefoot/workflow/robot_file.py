"""Which robot a controller belongs to: the one that is given, or that of its folder."""

from pathlib import Path

from surefoot.artifact import decoded
from surefoot.config import read_text
from surefoot.limits import MAX_ROBOT_BYTES
from surefoot.onnx_file import read_beside
from surefoot.robot import ROBOT_FILE, Robot


def read_robot(path: Path) -> Robot:
    """Read a description of a robot.

    Raises:
        InputError: If it cannot be read, or is none.
    """
    return Robot.parse(read_text(path, max_bytes=MAX_ROBOT_BYTES), str(path))


def robot_of(controller: Path, given: Path | None = None) -> Robot | None:
    """Return the robot of a controller; None where none is described.

    Args:
        controller: A run, policy folder, bundle or ``.onnx`` file.
        given: A description, instead of that of the folder.

    Raises:
        InputError: If a description cannot be read, or is none.
        IntegrityError: If the folder of the controller does not verify.
    """
    if given is not None:
        return read_robot(given)
    folder = read_beside(controller)
    data = None if folder is None else folder.files.get(ROBOT_FILE)
    return None if data is None else Robot.parse(decoded(data))
