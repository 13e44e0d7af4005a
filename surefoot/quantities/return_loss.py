"""What a wrong state costs the policy that samples its actions, in return."""

from dataclasses import replace

from surefoot.quantities.base.proof import Bound, Ground, Loss, Prover, Withheld
from surefoot.quantities.base.quantity import Need, ProvedQuantity, Topic
from surefoot.unknown import Unknown


class ReturnLoss(ProvedQuantity):
    """The largest loss of return; with a confidence also by clean episodes, if that is less."""

    name = "return_loss"
    unit = "reward units"
    meaning = "largest loss of return of the sampling policy"
    claim = "the sampling policy loses at most {value} of its return"
    topic = Topic.ATTACK
    needs = frozenset({"epsilon", "norm"})
    takes = frozenset({"confidence", "perturb"})

    def everywhere(self, need: Need, prover: Prover, delta: float) -> Bound | Unknown:
        """Prove a bound that holds from every state on."""
        loss = prover.return_loss(need.perturbation)
        if isinstance(loss, Unknown):
            return loss
        note = "of the policy that samples its actions, rewards inside reward_range"
        if need.confidence is not None:
            seen = prover.return_loss_from_episodes(need.perturbation, delta)
            if isinstance(seen, Unknown):
                note += f"; {seen.reason}"
            elif seen.bound < loss.bound:
                loss, note = seen, f"{note}, error {delta:g}"
        return _bound(loss, note)

    def prove_again(
        self, need: Need, said: float | None, prover: Prover, delta: float
    ) -> Bound | Unknown | Withheld:
        """Prove a certificate's statement again, as far as its evidence is given.

        Clean episodes may have lowered the bound, or contradicted the assumed rewards; whether they
        did, only they can tell.
        """
        bound = self.prove(need, prover, delta)
        if Ground.SAMPLED not in prover.withheld or isinstance(bound, Unknown):
            return bound
        lowered = need.confidence is not None and said is not None and said < bound.value
        if said is None or lowered:
            return Withheld(frozenset({Ground.SAMPLED}))
        return bound


def _bound(loss: Loss, note: str) -> Bound:
    bound = Bound(value=loss.bound, method=loss.method, note=note)
    if not loss.vacuous:
        return bound
    return replace(bound, note="vacuous: no better than the reward range alone")


RETURN_LOSS = ReturnLoss()
