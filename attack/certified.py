"""What a certificate says about the perturbation set of an attack."""

from surefoot.budget import Norm, Scope
from surefoot.certificate import Certificate
from surefoot.train.ball import Ball

_UP = 1 + 2.0**-40
"""Covers the roundings of a product of bounds in float64."""


def certified_deviation(certificate: Certificate, ball: Ball) -> float | None:
    """Return the least proved bound on the change of one output, or None if none covers the ball.

    A bound for a ball holds for every smaller one of its norm. All of these are about the deployed
    arithmetic: its rounding, once for each of the two outputs, is inside.

    Args:
        certificate: About the controller that is attacked.
        ball: The perturbation set.
    """
    bounds = [
        finding.certified
        for finding in certificate.findings
        if finding.requirement.quantity == "action_deviation"
        and finding.requirement.scope is Scope.EVERYWHERE
        and finding.requirement.norm is ball.norm
        and finding.requirement.sensors is None
        and _covers(finding.requirement.epsilon, ball)
    ]
    table = certificate.deviation_linf
    # For |d|_2 <= epsilon, |d|_inf <= epsilon too: the table covers both balls.
    if _covers(table.get("epsilon"), ball):
        bounds.append(table.get("best"))
        slope = certificate.lipschitz_l2.get("best")
        if ball.norm is Norm.L2 and slope is not None and certificate.runtime_error:
            rounding = 2 * max(certificate.runtime_error)
            bounds.append((slope * ball.epsilon + rounding) * _UP)
    return min((bound for bound in bounds if bound is not None), default=None)


def _covers(epsilon: float | None, ball: Ball) -> bool:
    return epsilon is not None and epsilon >= ball.epsilon
