"""What searches find, and what a quantity may have searched for. Nothing here proves anything."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from surefoot.ball import Ball
from surefoot.quantities.base.proof import Float, Outputs
from surefoot.quantities.base.scope import Scope
from surefoot.quantities.base.witness import Witness
from surefoot.question import Question


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Found:
    """The worst that a search found.

    Attributes:
        values: Largest value that was found at each state, shape (n,); at given states in their
            order.
        violation: From a limit to a witness that exceeds it, or to None where none was found.
    """

    values: Float
    violation: Callable[[float], Witness | None]


class Searcher(Protocol):
    """What can be searched for in a controller."""

    def steepest(self) -> Found:
        """Search for the steepest slope of the actions between two states."""
        ...

    def anywhere(self, ball: Ball, measure: str, outputs: Outputs) -> Found | None:
        """Search over states and perturbations; None where the controller has no such measure."""
        ...

    def at_states(self, scope: Scope, ball: Ball, measure: str, outputs: Outputs) -> Found:
        """Search over perturbations of each state that is visited, or recorded."""
        ...

    def violation(self, question: Question) -> Found | None:
        """Search a region for the worst violation of a condition; None where nothing is seen."""
        ...

    def compression_error(self, scope: Scope | None) -> Found | None:
        """Compare with the dense policy; None where the two cannot be compared."""
        ...
