"""The outcome of a proof or a measurement that says nothing: a value, never an exception."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nothing is known.

    Attributes:
        reason: Why, in words that fit into a line.
    """

    reason: str
