"""The gate: what is checked at run time, so that no proof need assume it.

* ``limits``: a `Gate` as typed values.
* ``rule``: how its limits are made, the ``[gate]`` table of a budget.
* ``file``: ``gate.json``, which holds a gate, its rule, and how often it is wrong.
* ``arrays``: its limits held against readings and actions.
* ``watch``: what a gate decides call by call; generated C decides the same, bit for bit.
"""

from surefoot.gate.file import AlarmRate, FalseAlarms, GateFile
from surefoot.gate.limits import (
    GATE_FILE,
    ActionLimits,
    Cause,
    Gate,
    HalfSpace,
    Reaction,
    SensorLimits,
    TimeLimits,
)
from surefoot.gate.rule import GateRule
from surefoot.gate.watch import NUM_EVENTS, Code, Event, Watch

__all__ = [
    "GATE_FILE",
    "NUM_EVENTS",
    "ActionLimits",
    "AlarmRate",
    "Cause",
    "Code",
    "Event",
    "FalseAlarms",
    "Gate",
    "GateFile",
    "GateRule",
    "HalfSpace",
    "Reaction",
    "SensorLimits",
    "TimeLimits",
    "Watch",
]
