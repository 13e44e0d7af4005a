"""Where a requirement must hold."""

from enum import StrEnum


class Scope(StrEnum):
    """Where a requirement must hold."""

    EVERYWHERE = "everywhere"
    VISITED = "visited"
    RECORDED = "recorded"
    GATE = "gate"
