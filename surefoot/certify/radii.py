"""The claim about certified radii: how much each visited state tolerates."""

from dataclasses import replace

from surefoot.budget import Budget, Scope
from surefoot.certify.confidence_limits import success_rate_lower
from surefoot.certify.proofs import Proofs
from surefoot.certify.return_claims import DELTA
from surefoot.claims import VisitedRadiusClaim
from surefoot.quantities.action_deviation import ACTION_DEVIATION
from surefoot.unknown import Unknown

_LARGEST_RADIUS = 4.0
"""Radii are sought up to this multiple of the epsilon that is asked for."""


def radius_claim(proofs: Proofs, budget: Budget) -> VisitedRadiusClaim | None:
    """Return the certified radius of each visited state, or None where there is no such claim.

    Args:
        proofs: Proofs about the controller.
        budget: Its first limit on the deviation at visited states is what the radii are about.
    """
    asked = [
        need
        for need in budget.requirements
        if need.about is ACTION_DEVIATION and need.scope is Scope.VISITED and need.epsilon
        # The radius of a box or of a ball: late readings have none, nor do ellipsoids in its words.
        if need.perturbation.groups is None and need.perturbation.delays is None
    ]
    if not asked or isinstance(proofs.visited, Unknown):
        return None
    need = asked[0]
    ball, limit = need.perturbation, need.limit
    what = need.actuator
    holds = f"{what} moves by at most" if what else "no action moves by more than"
    largest = _LARGEST_RADIUS * ball.epsilon
    radii = proofs.visited.radius(ball, limit, largest, need.outputs)
    if isinstance(radii, Unknown):
        return None
    claim = VisitedRadiusClaim(
        norm=ball.norm,
        sensors=ball.sensors,
        limit=limit,
        units=f"normalised units, in which {holds} {limit:g}",
        domain="the visited states, one per independent episode, in their order",
        arithmetic=f"{proofs.everywhere.arithmetic.name}, rounding included",
        method=f"bisection up to {largest:g}, {proofs.effort.method}",
        certified=tuple(radii.tolist()),
        epsilon=ball.epsilon,
        share_at_least_epsilon=float((radii >= ball.epsilon).mean()),
        actuator=what,
        readings=None if need.on_robot is None else need.on_robot.readings or None,
    )
    if proofs.evidence.num_repeated:  # copies are no further evidence
        return claim
    held = int((radii >= ball.epsilon).sum())
    share = success_rate_lower(held, len(radii), DELTA)
    return replace(claim, share_proved=share, confidence=1 - DELTA)
