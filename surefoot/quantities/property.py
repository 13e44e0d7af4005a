"""Whether a condition on the actions holds in a region: the engineer's own question."""

from collections.abc import Set

from surefoot.quantities.base.proof import Bound, Ground, Prover
from surefoot.quantities.base.quantity import RESTS_ON_GATE, Need, ProvedQuantity, Topic
from surefoot.quantities.base.search import Found, Searcher
from surefoot.quantities.base.witness import Witness
from surefoot.question import GatedReadings, RecordedStates
from surefoot.unknown import Unknown


class Property(ProvedQuantity):
    """The largest excess of linear inequalities over their limits: at most 0 where they hold."""

    name = "property"
    unit = "action units"
    meaning = "largest excess of a condition on the actions in a region, at most 0 where it holds"
    claim = "with an excess of at most {value}{units}, where 0 would still hold"
    topic = Topic.CONDITIONS
    needs = frozenset({"region"})
    takes = frozenset({"all_of", "any_of", "vnnlib", "specification"})
    fixed_limit = 0.0

    def prove(self, need: Need, prover: Prover, delta: float) -> Bound | Unknown:
        """Prove a bound in the region, on the assumption that belongs to it."""
        if not any(isinstance(each.where, GatedReadings) for each in need.questions):
            return super().prove(need, prover, delta)
        bound = self.everywhere(need, prover, delta)
        return bound if isinstance(bound, Unknown) else bound.noting(RESTS_ON_GATE)

    def everywhere(self, need: Need, prover: Prover, delta: float) -> Bound | Unknown:
        """Prove a bound that holds in the whole region, the largest of several regions."""
        worst: Bound | None = None
        for question in need.questions:
            bound = prover.violation(question)
            if isinstance(bound, Unknown):
                return bound
            if worst is None or not bound.value <= worst.value:
                worst = bound
        if worst is None or len(need.questions) == 1:
            return worst or Unknown("nothing is asked")
        return worst.noting(f"the worst of {len(need.questions)} regions")

    def search(self, need: Need, bound: Bound | Unknown, searcher: Searcher) -> Found | None:
        """Search the regions for an input at which the condition is broken."""
        if isinstance(bound, Unknown):
            return None
        found = (searcher.violation(question) for question in need.questions)
        return next((each for each in found if each is not None), None)

    def grounds(self, need: Need) -> Set[Ground]:
        """Return the kinds of evidence that a proof needs beside the weights."""
        is_recorded = any(isinstance(each.where, RecordedStates) for each in need.questions)
        return frozenset({Ground.RECORDED} if is_recorded else ())

    def is_violated(self, need: Need, witness: Witness, prover: Prover) -> bool:
        """Return True if the condition can be broken at the observation of a witness."""
        return any(prover.violation_at(witness, each) > need.limit for each in need.questions)


PROPERTY = Property()
