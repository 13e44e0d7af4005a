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
    takes = frozenset({"all_of", "any_of"})
    fixed_limit = 0.0

    def prove(self, need: Need, prover: Prover, delta: float) -> Bound | Unknown:
        """Prove a bound in the region, on the assumption that belongs to it."""
        if not isinstance(need.question.where, GatedReadings):
            return super().prove(need, prover, delta)
        bound = self.everywhere(need, prover, delta)
        return bound if isinstance(bound, Unknown) else bound.noting(RESTS_ON_GATE)

    def everywhere(self, need: Need, prover: Prover, delta: float) -> Bound | Unknown:
        """Prove a bound that holds in the whole region."""
        return prover.violation(need.question)

    def search(self, need: Need, bound: Bound | Unknown, searcher: Searcher) -> Found | None:
        """Search the region for an input at which the condition is broken."""
        return None if isinstance(bound, Unknown) else searcher.violation(need.question)

    def grounds(self, need: Need) -> Set[Ground]:
        """Return the kinds of evidence that a proof needs beside the weights."""
        is_recorded = isinstance(need.question.where, RecordedStates)
        return frozenset({Ground.RECORDED} if is_recorded else ())

    def is_violated(self, need: Need, witness: Witness, prover: Prover) -> bool:
        """Return True if the condition can be broken at the observation of a witness."""
        return prover.violation_at(witness, need.question) > need.limit


PROPERTY = Property()
