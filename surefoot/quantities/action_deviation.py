"""How far a wrong state moves one action."""

from surefoot.quantities.base.proof import Bound, Prover, StateBounds, StateProver
from surefoot.quantities.base.quantity import ACTION_UNITS, Need, ProvedQuantity, Topic
from surefoot.quantities.base.scope import Scope
from surefoot.quantities.base.witness import Witness
from surefoot.unknown import Unknown


class ActionDeviation(ProvedQuantity):
    """The largest change of one actuator's action under a perturbation of the state."""

    name = "action_deviation"
    unit = ACTION_UNITS
    meaning = "largest change of one actuator's action"
    claim = "no {output} moves by more than {value}{units}"
    topic = Topic.ACTIONS
    needs = frozenset({"epsilon", "norm", "scope"})
    takes = frozenset({"sensors", "perturb", "actuator"})
    measure = "deviation"

    def everywhere(self, need: Need, prover: Prover, delta: float) -> Bound | Unknown:
        """Prove a bound that holds in every state."""
        return prover.deviation(need.perturbation, need.outputs)

    def at_states(self, need: Need, states: StateProver) -> StateBounds | Unknown:
        """Prove a bound at each given state."""
        return states.deviation(need.perturbation, need.limit, need.outputs)

    def is_violated(self, need: Need, witness: Witness, prover: Prover) -> bool:
        """Return True if the pair of states of a witness can exceed the limit."""
        if need.scope is Scope.RECORDED and not prover.is_recorded(witness):
            return False
        return prover.change_at(witness, need.perturbation, need.outputs) > need.limit


ACTION_DEVIATION = ActionDeviation()
