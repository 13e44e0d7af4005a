"""States of a user's own, read as those of one controller."""

from surefoot.onnx_file import ControllerFile
from surefoot.recordings import Sensors, StatesFile
from surefoot.visited import Visited


def read_states(states: StatesFile, file: ControllerFile) -> Visited:
    """Read recorded states; the inputs of the controller's file name fields that hold them.

    Raises:
        InputError: If they are not states of this controller.
    """
    parts = () if file.origin is None else file.origin.interface.parts
    sensors = Sensors(count=file.policy.obs_dim, parts=tuple(part.name for part in parts))
    return states.read(sensors)
