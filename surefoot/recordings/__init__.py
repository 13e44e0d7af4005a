"""States that a user recorded, read from the files in which robots and simulators log.

* ``files``: any of these files to a `Recording`, by what its name ends with; ``arrays``, ``tables``
  and ``bags`` read one kind each.
* ``fields``: a `Recording`: what was recorded, by name, one row per moment.
* ``states``: its rows as observations of one controller, and one of each episode drawn.
"""

from surefoot.recordings.states import Sensors, StatesFile

__all__ = ["Sensors", "StatesFile"]
