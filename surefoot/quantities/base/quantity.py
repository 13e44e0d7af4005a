"""A quantity: what a requirement may be about, all that belongs to it in one object."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Set
from enum import Enum
from typing import ClassVar, Protocol

import numpy as np

from surefoot.ball import Ball, Norm
from surefoot.errors import InputError
from surefoot.quantities.base.measurement import (
    Episodes,
    Limits,
    MeasuredFile,
    Measurement,
    Value,
)
from surefoot.quantities.base.proof import (
    Bound,
    Ground,
    Prover,
    StateBounds,
    StateProver,
    Withheld,
)
from surefoot.quantities.base.scope import Scope
from surefoot.quantities.base.search import Found, Searcher
from surefoot.quantities.base.witness import Witness
from surefoot.question import Question
from surefoot.unknown import Unknown

ACTION_UNITS = "action units"
"""Unit of what is about actions; a description of the robot says which unit that is."""


class Topic(Enum):
    """What a budget may speak of, or be silent about."""

    TASK = "whether the robot does its task"
    ATTACK = "what attacks on the sensors cost in the closed loop"
    ACTIONS = "how far wrong sensors move the actions"
    CONDITIONS = "whether conditions on the actions hold in a region"
    COMPRESSION = "how far the actions are from those of the dense policy"
    LATENCY = "how long one inference takes"
    SIZE = "how large or how sparse the controller is"


_GROUNDS: Mapping[Scope | None, Set[Ground]] = {
    Scope.VISITED: frozenset({Ground.OBSERVATIONS}),
    Scope.RECORDED: frozenset({Ground.RECORDED}),
}
"""What a proof needs beside the weights where it is about given states."""


class Need(Protocol):
    """A line of a budget, as its quantity sees it."""

    @property
    def perturbation(self) -> Ball:
        """The perturbation set of a requirement that has one."""
        ...

    @property
    def ball(self) -> Ball | None:
        """The perturbation set, or None."""
        ...

    @property
    def norm(self) -> Norm | None:
        """Norm of the perturbation, or of a Lipschitz constant."""
        ...

    @property
    def scope(self) -> Scope | None:
        """Where it must hold."""
        ...

    @property
    def fraction(self) -> float | None:
        """Share of the visited states at which it must hold."""
        ...

    @property
    def confidence(self) -> float | None:
        """Confidence of a statistical claim."""
        ...

    @property
    def limit(self) -> float:
        """The limit, on whichever side."""
        ...

    @property
    def questions(self) -> tuple[Question, ...]:
        """The questions of a requirement that asks some."""
        ...

    @property
    def outputs(self) -> tuple[int, ...] | None:
        """Numbers of the outputs that are limited, None for all."""
        ...


class Quantity(ABC):
    """What a requirement may be about.

    Attributes:
        name: Word for it in budgets.
        unit: Unit of its limit; empty for a pure number.
        meaning: Definition without the unit, in one line.
        claim: What a finding says of it, with the fields ``value``, ``at_least`` (the words "at
            least" before a lower confidence limit), ``output``, ``outputs`` and ``units``.
        topic: What it lets a budget speak of.
        needs: Fields that a requirement must have, beside its limit.
        takes: Fields that it may have.
        at_most: Whether the limit is an upper one (``at_most``) or a lower one (``at_least``).
        least: Least limit that makes sense.
        below: Value that every limit must stay below.
        fixed_limit: The one limit that there is, where a requirement names none.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    meaning: ClassVar[str]
    claim: ClassVar[str]
    topic: ClassVar[Topic]
    needs: ClassVar[Set[str]] = frozenset()
    takes: ClassVar[Set[str]] = frozenset()
    at_most: ClassVar[bool] = True
    least: ClassVar[float] = -np.inf
    below: ClassVar[float] = np.inf
    fixed_limit: ClassVar[float | None] = None

    @property
    @abstractmethod
    def proved(self) -> bool:
        """Whether it can be proved; the others are measured, and certificates say so."""

    def check_limit(self, limit: float) -> None:
        """Check that a limit is one.

        Raises:
            InputError: If it is not finite or not in range.
        """
        if not np.isfinite(limit):
            raise InputError(f"the limit of {self.name} must be finite, got {limit}")
        if not self.least <= limit < self.below:
            raise InputError(
                f"the limit of {self.name} must be in [{self.least:g}, {self.below:g}), got {limit}"
            )


RESTS_ON_GATE = "as long as the controller runs behind its gate"
"""What a reader must know of a bound behind the gate."""


class ProvedQuantity(Quantity):
    """A quantity that can be proved: an upper limit on it can be held against a bound.

    Attributes:
        measure: Name under which searches keep it; empty where none looks for it.
        about_states: Whether its bounds hold at the states that are possible, so that an
            assumption about these is one of theirs.
    """

    measure: ClassVar[str] = ""
    about_states: ClassVar[bool] = True

    @property
    def proved(self) -> bool:
        """Whether it can be proved."""
        return True

    def prove(self, need: Need, prover: Prover, delta: float) -> Bound | Unknown:
        """Prove a bound where the requirement asks for it.

        Args:
            need: A requirement about this quantity.
            prover: Proofs about the controller.
            delta: Chance of error allowed to the requirement, if it is statistical.
        """
        match need.scope:
            case Scope.VISITED:
                return self._prove_at_share(need, prover, delta)
            case Scope.RECORDED:
                return self._prove_at_every(need, prover)
            case Scope.GATE:
                return self._prove_behind_gate(need, prover, delta)
        bound = self.everywhere(need, prover, delta)
        if isinstance(bound, Unknown) or not self.about_states or not np.isfinite(bound.value):
            return bound
        return bound.noting(prover.assumption)

    def _prove_at_share(self, need: Need, prover: Prover, delta: float) -> Bound | Unknown:
        states = prover.independent_states
        if isinstance(states, Unknown):
            return states
        bounds = self.at_states(need, states)
        if isinstance(bounds, Unknown):
            return bounds
        return states.at_share(bounds, need.fraction or 0.0, need.limit, delta)

    def _prove_at_every(self, need: Need, prover: Prover) -> Bound | Unknown:
        states = prover.recorded_states
        if isinstance(states, Unknown):
            return states
        bounds = self.at_states(need, states)
        return bounds if isinstance(bounds, Unknown) else states.at_every(bounds)

    def _prove_behind_gate(self, need: Need, prover: Prover, delta: float) -> Bound | Unknown:
        gated = prover.behind_gate
        if isinstance(gated, Unknown):
            return gated
        bound = self.everywhere(need, gated, delta)
        return bound if isinstance(bound, Unknown) else bound.noting(RESTS_ON_GATE)

    @abstractmethod
    def everywhere(self, need: Need, prover: Prover, delta: float) -> Bound | Unknown:
        """Prove a bound that holds in every state."""

    def at_states(self, need: Need, states: StateProver) -> StateBounds | Unknown:
        """Prove a bound at each given state."""
        return Unknown(f"{self.name} is not about single states")

    def search(self, need: Need, bound: Bound | Unknown, searcher: Searcher) -> Found | None:
        """Search for a violation where the requirement would have one; None if nobody looks.

        Args:
            need: A requirement about this quantity.
            bound: Proved bound.
            searcher: Searches in the controller.
        """
        if not self.measure:
            return None
        if need.scope is Scope.GATE:  # what is found elsewhere is no violation
            return None
        if need.scope is None or need.scope is Scope.EVERYWHERE:
            return searcher.anywhere(need.perturbation, self.measure, need.outputs)
        if isinstance(bound, Unknown):  # state by state there is nothing to compare with
            return None
        return searcher.at_states(need.scope, need.perturbation, self.measure, need.outputs)

    def grounds(self, need: Need) -> Set[Ground]:
        """Return the kinds of evidence that a proof needs beside the weights."""
        grounds = _GROUNDS.get(need.scope, frozenset())
        is_late = need.ball is not None and need.ball.delays is not None
        if not is_late:
            return grounds
        # At visited states one of the two tells what came before: whatever is named is needed.
        return grounds | {Ground.RECORDED, Ground.EPISODES, Ground.EARLIER}

    def prove_again(
        self, need: Need, said: float | None, prover: Prover, delta: float
    ) -> Bound | Unknown | Withheld:
        """Prove a certificate's statement again, as far as its evidence is given.

        Args:
            need: A requirement about this quantity.
            said: Bound that the certificate gives, None for none.
            prover: Proofs about the controller, from what the certificate rests on.
            delta: Chance of error allowed to the requirement, if it is statistical.
        """
        if withheld := self.grounds(need) & prover.withheld:
            return Withheld(frozenset(withheld))
        return self.prove(need, prover, delta)

    def is_violated(self, need: Need, witness: Witness, prover: Prover) -> bool:
        """Return True if a witness can violate the requirement, as far as that can be replayed.

        Raises:
            IntegrityError: If it is no witness of such a violation.
        """
        return True


class MeasuredQuantity(Quantity):
    """A quantity that is measured, or counted, on one file.

    Attributes:
        is_rate: Whether it is a share of independent episodes.
        of_returns: Whether it is a mean of returns, which a measurement may then list.
    """

    is_rate: ClassVar[bool] = False
    of_returns: ClassVar[bool] = False

    @property
    def proved(self) -> bool:
        """Whether it can be proved."""
        return False

    @abstractmethod
    def of_file(self, need: Need, file: MeasuredFile, delta: float) -> Value | Limits | Unknown:
        """Answer a requirement from the measurements of a file.

        Args:
            need: A requirement about this quantity.
            file: Measurements of the file.
            delta: Chance of error allowed to the requirement, if it names a confidence.
        """

    def of_episodes(self, episodes: Episodes) -> Measurement | None:
        """Measure the quantity in episodes, None if they are not about it."""
        return None

    def check(self, entry: Measurement) -> None:
        """Check that a measurement is one of this quantity.

        Raises:
            InputError: If it lists returns where it has none, or a rate is no share of episodes.
        """
        if entry.returns and not self.of_returns:
            raise InputError(f"{self.name} has no returns, got {len(entry.returns)}")
        if not self.is_rate:
            return
        if entry.episodes is None or entry.episodes < 1:
            raise InputError(f"{self.name} needs its episodes, got {entry.episodes}")
        successes = entry.value * entry.episodes
        if not 0 <= entry.value <= 1 or abs(successes - round(successes)) > 1e-6:
            raise InputError(
                f"{self.name} must be a share of {entry.episodes} episodes, got {entry.value}"
            )


AnyQuantity = ProvedQuantity | MeasuredQuantity
