"""How far a compressed controller is from the policy that it was made from."""

from collections.abc import Set

from surefoot.quantities.base.proof import Bound, Ground, Prover, StateBounds, StateProver
from surefoot.quantities.base.quantity import ACTION_UNITS, Need, ProvedQuantity, Topic
from surefoot.quantities.base.search import Found, Searcher
from surefoot.unknown import Unknown


class CompressionError(ProvedQuantity):
    """The largest change of one actuator's action against the dense policy."""

    name = "compression_error"
    unit = ACTION_UNITS
    meaning = "largest change of one actuator's action against the dense policy"
    claim = "no {output} differs from the dense policy by more than {value}{units}"
    topic = Topic.COMPRESSION
    needs = frozenset({"scope"})

    def everywhere(self, need: Need, prover: Prover, delta: float) -> Bound | Unknown:
        """Prove a bound that holds in every state."""
        return prover.compression_error()

    def at_states(self, need: Need, states: StateProver) -> StateBounds | Unknown:
        """Prove a bound at each given state."""
        return states.compression_error()

    def search(self, need: Need, bound: Bound | Unknown, searcher: Searcher) -> Found | None:
        """Compare both controllers at states; a search for the worst state is not made."""
        return searcher.compression_error(need.scope)

    def grounds(self, need: Need) -> Set[Ground]:
        """Return the kinds of evidence that a proof needs beside the weights."""
        return super().grounds(need) | {Ground.DENSE_POLICY}


COMPRESSION_ERROR = CompressionError()
