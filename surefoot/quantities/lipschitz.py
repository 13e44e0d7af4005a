"""How steep the controller is: a Lipschitz constant of its actions."""

from surefoot.ball import Norm
from surefoot.quantities.base.proof import Bound, Prover
from surefoot.quantities.base.quantity import Need, ProvedQuantity, Topic
from surefoot.quantities.base.search import Found, Searcher
from surefoot.unknown import Unknown


class Lipschitz(ProvedQuantity):
    """The Lipschitz constant of the actions, l2 over the norm that is asked for."""

    name = "lipschitz"
    unit = "action units per normalised unit"
    meaning = "largest |a(z + d) - a(z)|_2 / |d|"
    claim = (
        "in real arithmetic the {outputs} change at most {value} times as much as the state, "
        "measured in {norm}"
    )
    topic = Topic.ACTIONS
    needs = frozenset({"norm"})
    about_states = False  # it holds between any two states

    def everywhere(self, need: Need, prover: Prover, delta: float) -> Bound | Unknown:
        """Prove a constant that no two states exceed."""
        bound = prover.lipschitz(need.norm or Norm.L2)
        return bound.noting(
            "in real arithmetic; the deployed one adds 2 runtime_error to every deviation"
        )

    def search(self, need: Need, bound: Bound | Unknown, searcher: Searcher) -> Found | None:
        """Search for a steep pair of states: |d|_inf <= |d|_2, so an l2 slope is one of both."""
        return searcher.steepest()


LIPSCHITZ = Lipschitz()
