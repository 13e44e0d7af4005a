"""States of a user's own, read as those of one controller."""

from surefoot.onnx_file import ControllerFile, Description
from surefoot.recordings import Sensors, StatesFile
from surefoot.visited import Visited
from surefoot.workflow.inspecting import sensor_names
from surefoot.workflow.listener import SILENCE, Listener


def read_states(states: StatesFile, file: ControllerFile, listener: Listener = SILENCE) -> Visited:
    """Read recorded states; what the file calls its sensors or inputs names the columns.

    Args:
        states: The file.
        file: The controller.
        listener: Is told how the file was read.

    Raises:
        InputError: If they are not states of this controller.
    """
    names = sensor_names(file.parts, Description.of(file.properties))
    known = tuple(name for name in names if name is not None)
    sensors = Sensors(
        count=file.policy.obs_dim,
        names=known if len(known) == len(names) else None,
        parts=tuple(part.name for part in file.parts),
    )
    return states.read(sensors, listener.remark)
