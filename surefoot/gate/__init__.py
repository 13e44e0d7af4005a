"""The gate: what is checked at run time, so that no proof need assume it.

* ``limits``: a `Gate` as typed values, and the file ``gate.json`` that holds it.
* ``watch``: what a gate decides call by call; generated C decides the same, bit for bit.
"""

from surefoot.gate.limits import (
    GATE_FILE,
    ActionLimits,
    Gate,
    HalfSpace,
    Reaction,
    SensorLimits,
    TimeLimits,
)
from surefoot.gate.watch import NUM_EVENTS, Cause, Code, Event, Watch

__all__ = [
    "GATE_FILE",
    "NUM_EVENTS",
    "ActionLimits",
    "Cause",
    "Code",
    "Event",
    "Gate",
    "HalfSpace",
    "Reaction",
    "SensorLimits",
    "TimeLimits",
    "Watch",
]
