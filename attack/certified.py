"""What a certificate says about the perturbation set of an attack."""

import math
from fractions import Fraction

from surefoot.budget import Norm, Scope
from surefoot.certificate import Certificate
from surefoot.train.ball import Ball

_UP = 1 + 2.0**-40
"""Covers the roundings of a product of bounds in float64."""


def certified_deviation(certificate: Certificate, ball: Ball) -> float | None:
    """Return the least proved bound on the change of one output, or None if there is none.

    A bound for a ball holds for every smaller one of its norm. The bounds of the certificate's
    table hold between any two states, so that k times as much bounds a perturbation which is at
    most k times as large: it is k steps, one after the other. All of these are about the deployed
    arithmetic: its rounding, once for each of the two outputs, is inside, and grows with the state
    no faster than the steps do.

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
    if epsilon := table.get("epsilon"):
        steps = max(1, math.ceil(Fraction(ball.epsilon) / Fraction(epsilon)))
        # For |d|_2 <= epsilon, |d|_inf <= epsilon too: the table is about both balls.
        one_step = [table.get("best")]
        slope = certificate.lipschitz_l2.get("best")
        if ball.norm is Norm.L2 and slope is not None and certificate.runtime_error:
            rounding = 2 * max(certificate.runtime_error)
            one_step.append((slope * min(ball.epsilon, epsilon) + rounding) * _UP)
        bounds += [bound if steps == 1 else bound * steps * _UP for bound in one_step if bound]
    return min((bound for bound in bounds if bound is not None), default=None)


def _covers(epsilon: float | None, ball: Ball) -> bool:
    return epsilon is not None and epsilon >= ball.epsilon
