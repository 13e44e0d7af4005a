"""The claim about certified radii: how much each visited state tolerates."""

from dataclasses import replace

from surefoot.artifact import Json
from surefoot.budget import Budget, Scope
from surefoot.certify.proofs import Proofs
from surefoot.quantities.action_deviation import ACTION_DEVIATION
from surefoot.unknown import Unknown

_LARGEST_RADIUS = 4.0
"""Radii are sought up to this multiple of the epsilon that is asked for."""


def radius_claim(proofs: Proofs, budget: Budget) -> Json:
    """Return the certified radius of each visited state, or None where there is no such claim.

    Args:
        proofs: Of the policy.
        budget: Its first limit on the deviation at visited states is what the radii are about.
    """
    asked = [
        need
        for need in budget.requirements
        if need.about is ACTION_DEVIATION and need.scope is Scope.VISITED and need.epsilon
    ]
    if not asked or isinstance(proofs.visited, Unknown):
        return None
    ball = asked[0].perturbation
    epsilon, largest = ball.epsilon, _LARGEST_RADIUS * ball.epsilon
    radii = proofs.visited.radius(replace(ball, epsilon=largest), asked[0].limit)
    if isinstance(radii, Unknown):
        return None
    return {
        "norm": str(ball.norm),
        "sensors": None if ball.sensors is None else list(ball.sensors),
        "limit": asked[0].limit,
        "units": f"normalised units, in which no action moves by more than {asked[0].limit:g}",
        "domain": "the visited states, one per independent episode, in their order",
        "arithmetic": f"{proofs.everywhere.arithmetic.name}, rounding included",
        "method": f"bisection up to {largest:g}, {proofs.effort.method}",
        "certified": radii.tolist(),
        "epsilon": epsilon,
        "share_at_least_epsilon": float((radii >= epsilon).mean()),
    }
