"""What an attack cost: the strength of two attacks compares only beside it."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Counts of work.

    Attributes:
        env_steps: Steps of the environment, in the attacked loop or in training.
        gradients: Gradients with respect to one state (of the controller, or of a critic).
        queries: Evaluations of the controller at one state without a gradient, beside its action.
        updates: Optimiser steps of what was trained.
    """

    env_steps: int = 0
    gradients: int = 0
    queries: int = 0
    updates: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        """Return the sum of both."""
        return Cost(**{name: getattr(self, name) + getattr(other, name) for name in _NAMES})

    def times(self, number: int) -> "Cost":
        """Return this effort ``number`` times."""
        return Cost(**{name: getattr(self, name) * number for name in _NAMES})

    def to_table(self) -> dict[str, int]:
        """Return the counts by name."""
        return {name: getattr(self, name) for name in _NAMES}


_NAMES = tuple(field.name for field in fields(Cost))
