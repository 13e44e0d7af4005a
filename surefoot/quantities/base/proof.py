"""Proved bounds, and what a quantity may ask to be proved."""

from collections.abc import Set
from dataclasses import dataclass, replace
from enum import Enum
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from surefoot.ball import Ball, Norm
from surefoot.quantities.base.witness import Witness
from surefoot.question import Question
from surefoot.unknown import Unknown

Float = NDArray[np.float64]
Outputs = tuple[int, ...] | None
"""Numbers of the outputs that are meant; None for all."""

FloatOrArray = TypeVar("FloatOrArray", float, Float)


class Ground(Enum):
    """What a proof may rest on beside the weights, and a certificate names by its digest."""

    OBSERVATIONS = "observations"
    RECORDED = "recorded"
    EPISODES = "episodes"
    EARLIER = "earlier"
    SAMPLED = "sampled"
    DENSE_POLICY = "dense_policy"


@dataclass(frozen=True, slots=True)
class Withheld:
    """The outcome of a check that lacks evidence.

    Attributes:
        grounds: Evidence that the certificate rests on and the checker was not given.
    """

    grounds: frozenset[Ground]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Bound:
    """A proved upper bound.

    Attributes:
        value: Bound, in the unit of the quantity; infinite where it excludes nothing.
        method: Name of what gives it.
        note: Remark for the reader; may be empty.
        still_open: What of its region exceeds the limit, for a verdict that is UNKNOWN; empty where
            nothing does, or nobody can tell.
        per_state: Bounds at the visited or recorded states, one by one, shape (n,); None elsewhere.
    """

    value: float
    method: str
    note: str = ""
    still_open: str = ""
    per_state: Float | None = None

    def noting(self, note: str) -> "Bound":
        """Return the bound with one more thing to know about it, unless ``note`` is empty."""
        return replace(self, note="; ".join(filter(None, (self.note, note))))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StateBounds:
    """Proved upper bounds at given states, one by one.

    Attributes:
        values: Bounds, in the unit of the quantity, shape (n,).
        method: Name of what gives them.
    """

    values: Float
    method: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Distance(Generic[FloatOrArray]):
    """Upper bounds on the distance of two action laws, rounding included.

    All are numbers, or arrays of shape (n,) where they are about n states one by one.

    Attributes:
        size: Mahalanobis distance of Gaussian means, or span of the change of logits.
        total_variation: Total variation distance, in [0, 1].
        kl: Kullback-Leibler divergence, nats.
        method: Name of the bound behind ``size``.
    """

    size: FloatOrArray
    total_variation: FloatOrArray
    kl: FloatOrArray
    method: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """An upper bound on what a perturbation costs the policy that samples its actions.

    Attributes:
        bound: Loss of return, reward units.
        trivial: Loss that no policy can exceed, reward units.
        method: Name of what gives the bound.
        sound: Whether it is a bound; formulas that are shown as printed may be none.
    """

    bound: float
    trivial: float
    method: str = ""
    sound: bool = True

    @property
    def vacuous(self) -> bool:
        """Whether it says no more than the trivial bound."""
        return not self.bound < self.trivial


class StateProver(Protocol):
    """What can be proved around given states: visited ones, or recorded ones."""

    def deviation(self, ball: Ball, limit: float, outputs: Outputs) -> StateBounds | Unknown:
        """Bound the largest change of one action; effort goes to states above ``limit``."""
        ...

    def distance(self, ball: Ball) -> Distance[Float] | Unknown:
        """Bound the distances of action laws."""
        ...

    def choice_lead(self, ball: Ball) -> StateBounds | Unknown:
        """Bound the lead of another choice over the one that is made, logits."""
        ...

    def compression_error(self) -> StateBounds | Unknown:
        """Bound the largest change of one action against the dense policy."""
        ...

    def at_share(self, bounds: StateBounds, fraction: float, limit: float, delta: float) -> Bound:
        """Return the bound that holds at a share of all such states.

        Args:
            bounds: Bounds at the states, which are independent draws.
            fraction: Share of the states, in (0, 1).
            limit: Limit of the requirement; the note counts the states that hold it.
            delta: Chance that the statement is wrong.
        """
        ...

    def at_every(self, bounds: StateBounds) -> Bound:
        """Return the bound that holds at every one of these states, and says nothing of others."""
        ...


class Prover(Protocol):
    """What can be proved about a controller, from its weights and the evidence beside them."""

    @property
    def withheld(self) -> Set[Ground]:
        """What the certificate that is checked rests on and is not there; nothing elsewhere."""
        ...

    @property
    def assumption(self) -> str:
        """What bounds at all states take for granted about these; empty for nothing."""
        ...

    @property
    def behind_gate(self) -> "Prover | Unknown":
        """Proofs for every state that the gate of the controller lets through, if it has one."""
        ...

    @property
    def independent_states(self) -> StateProver | Unknown:
        """Proofs around the visited states, where these count as independent draws."""
        ...

    @property
    def recorded_states(self) -> StateProver | Unknown:
        """Proofs around the recorded states, which need be no independent draws."""
        ...

    def lipschitz(self, norm: Norm) -> Bound:
        """Bound |a(z + d) - a(z)|_2 / |d| in real arithmetic."""
        ...

    def deviation(self, ball: Ball, outputs: Outputs) -> Bound | Unknown:
        """Bound the largest change of one action."""
        ...

    def distance(self, ball: Ball) -> Distance[float] | Unknown:
        """Bound the distances of action laws."""
        ...

    def change_at(self, witness: Witness, ball: Ball, outputs: Outputs) -> float:
        """Bound the change of one action that the deployed arithmetic may show at a witness.

        It is 0 where the perturbation of the witness is not in the ball.
        """
        ...

    def is_recorded(self, witness: Witness) -> bool:
        """Return True if the state of a witness is a recorded one."""
        ...

    def lead_at(self, witness: Witness, ball: Ball) -> float:
        """Bound the lead of another choice that the deployed arithmetic may show at a witness.

        It is -infinity where the perturbation of the witness is not in the ball.
        """
        ...

    def violation(self, question: Question) -> Bound | Unknown:
        """Bound by how much a condition is broken in its region."""
        ...

    def violation_at(self, witness: Witness, question: Question) -> float:
        """Bound the violation that the deployed arithmetic may show at a witness.

        It is -infinity where the witness is not in the region.
        """
        ...

    def compression_error(self) -> Bound | Unknown:
        """Bound the largest change of one action against the dense policy."""
        ...

    def return_loss(self, ball: Ball) -> Loss | Unknown:
        """Bound the loss of return by the largest distance of action laws."""
        ...

    def return_loss_from_episodes(self, ball: Ball, delta: float) -> Loss | Unknown:
        """Bound the loss of return by clean episodes, but for a chance ``delta``."""
        ...
