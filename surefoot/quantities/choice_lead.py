"""How near a wrong state brings a controller that chooses to another choice."""

from surefoot.quantities.base.proof import Bound, Prover, StateBounds, StateProver
from surefoot.quantities.base.quantity import Need, ProvedQuantity, Topic
from surefoot.quantities.base.scope import Scope
from surefoot.quantities.base.search import Found, Searcher
from surefoot.quantities.base.witness import Witness
from surefoot.unknown import Unknown


class ChoiceLead(ProvedQuantity):
    """The largest lead of another choice over the one that is made without the perturbation.

    Where it is at most 0, no perturbation changes the choice. Its bounds are never attained, so
    that a tie is no choice of another either.
    """

    name = "choice_lead"
    unit = "logits"
    meaning = "largest lead of another choice over the one at the state, negative where it stays"
    claim = "no other choice leads the one that is made there by more than {value} logits"
    topic = Topic.ACTIONS
    needs = frozenset({"epsilon", "norm", "scope"})
    takes = frozenset({"sensors", "perturb"})
    measure = "choice_lead"

    def everywhere(self, need: Need, prover: Prover, delta: float) -> Bound | Unknown:
        """Say that nothing can be proved: choices change somewhere."""
        return Unknown(
            "some state is as near to another choice as one likes: require it of visited or "
            "recorded states"
        )

    def at_states(self, need: Need, states: StateProver) -> StateBounds | Unknown:
        """Prove a bound at each given state."""
        return states.choice_lead(need.perturbation)

    def search(self, need: Need, bound: Bound | Unknown, searcher: Searcher) -> Found | None:
        """Search around the states that a bound is about."""
        return None if isinstance(bound, Unknown) else super().search(need, bound, searcher)

    def is_violated(self, need: Need, witness: Witness, prover: Prover) -> bool:
        """Return True if the pair of states of a witness can exceed the limit."""
        if need.scope is Scope.RECORDED and not prover.is_recorded(witness):
            return False
        return prover.lead_at(witness, need.perturbation) > need.limit


CHOICE_LEAD = ChoiceLead()
