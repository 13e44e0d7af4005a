"""How far a wrong state moves the law of the sampled action."""

from abc import abstractmethod

from surefoot.quantities.base.proof import (
    Bound,
    Distance,
    FloatOrArray,
    Prover,
    StateBounds,
    StateProver,
)
from surefoot.quantities.base.quantity import Need, ProvedQuantity, Topic
from surefoot.unknown import Unknown


class LawDistance(ProvedQuantity):
    """A largest distance between the law of the sampled action and the law that it becomes."""

    topic = Topic.ACTIONS
    needs = frozenset({"epsilon", "norm", "scope"})
    takes = frozenset({"sensors", "perturb"})

    @abstractmethod
    def of(self, distance: Distance[FloatOrArray]) -> FloatOrArray:
        """Return the distance that is meant."""

    def everywhere(self, need: Need, prover: Prover, delta: float) -> Bound | Unknown:
        """Prove a bound that holds in every state."""
        distance = prover.distance(need.perturbation)
        if isinstance(distance, Unknown):
            return distance
        note = "of the policy that samples its actions"
        return Bound(value=self.of(distance), method=distance.method, note=note)

    def at_states(self, need: Need, states: StateProver) -> StateBounds | Unknown:
        """Prove a bound at each given state."""
        distance = states.distance(need.perturbation)
        if isinstance(distance, Unknown):
            return distance
        return StateBounds(values=self.of(distance), method=distance.method)


class TotalVariation(LawDistance):
    """The largest total variation between action laws."""

    name = "total_variation"
    unit = ""
    meaning = "largest total variation between action distributions"
    claim = "the law of the sampled action moves by at most {value} in total variation"
    measure = "total_variation"

    def of(self, distance: Distance[FloatOrArray]) -> FloatOrArray:
        """Return the total variation."""
        return distance.total_variation


class KlDivergence(LawDistance):
    """The largest Kullback-Leibler divergence between action laws."""

    name = "kl"
    unit = "nats"
    meaning = "largest KL divergence between action distributions"
    claim = "the law of the sampled action moves by at most {value} nats of KL divergence"
    measure = "kl"

    def of(self, distance: Distance[FloatOrArray]) -> FloatOrArray:
        """Return the divergence."""
        return distance.kl


TOTAL_VARIATION, KL = TotalVariation(), KlDivergence()
