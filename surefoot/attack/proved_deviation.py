"""What a certificate says about the perturbation set of an attack."""

from math import inf
from typing import overload

from surefoot.ball import Ball, Norm
from surefoot.budget import Scope
from surefoot.certificate import Certificate
from surefoot.quantities.action_deviation import ACTION_DEVIATION

_UP = 1 + 2.0**-40
"""Covers the roundings of a product of bounds in float64."""

_FARTHEST = 10
"""Times the epsilon of the table. A certificate rules overflow out up to half of the largest
float32, so that states a little larger than those it is about do not overflow either; half
precision has no such room. Nor does the rounding of a controller that no Lipschitz constant bounds
grow as slowly as its states."""


def certified_deviation(certificate: Certificate, ball: Ball) -> float | None:
    """Return the least proved bound on the change of one output, or None if there is none.

    A bound for a ball holds for every smaller one of its norm, and those of the certificate's table
    for larger ones as :func:`stretched` says. All of these are about the deployed arithmetic: its
    rounding, once for each of the two outputs, is inside.

    Args:
        certificate: About the controller that is attacked.
        ball: The perturbation set.
    """
    bounds = [
        finding.certified
        for finding in certificate.findings
        if finding.requirement.about is ACTION_DEVIATION
        and finding.requirement.scope is Scope.EVERYWHERE
        and finding.requirement.norm is ball.norm
        and finding.requirement.sensors is None
        and _covers(finding.requirement.epsilon, ball)
    ]
    table = certificate.deviation_linf
    epsilon = table.get("epsilon")
    slope = certificate.lipschitz_l2.get("best")
    # For |d|_2 <= epsilon, |d|_inf <= epsilon too: the table is about both balls.
    farthest = 1 if certificate.arithmetic == "float16" or slope is None else _FARTHEST
    if epsilon and ball.epsilon <= farthest * epsilon:
        bounds.append(stretched(table.get("best"), epsilon, ball.epsilon))
        rounding = stretched(2 * max(certificate.runtime_error, default=inf), epsilon, ball.epsilon)
        if ball.norm is Norm.L2 and slope is not None:
            bounds.append((slope * ball.epsilon + rounding) * _UP)
        bounds.append((certificate.claims.per_actuator.action_range + rounding) * _UP)
    return min((bound for bound in bounds if bound is not None and bound < inf), default=None)


@overload
def stretched(bound: float, epsilon: float, wanted: float) -> float: ...
@overload
def stretched(bound: None, epsilon: float, wanted: float) -> None: ...
def stretched(bound: float | None, epsilon: float, wanted: float) -> float | None:
    """Stretch a bound of a certificate's table to another epsilon.

    It is a Lipschitz bound between any two states, or the range of an actuator, plus rounding.
    The first grows with epsilon, the second not at all, and the bound on the rounding, which is
    about states up to the clip plus epsilon, no faster than those do.

    Args:
        bound: Bound of the table, for ``epsilon``.
        epsilon: Epsilon for which it was proved.
        wanted: Epsilon to stretch it to; for smaller ones it is the same.
    """
    return None if bound is None else bound if wanted <= epsilon else bound * wanted / epsilon * _UP


def _covers(epsilon: float | None, ball: Ball) -> bool:
    return epsilon is not None and epsilon >= ball.epsilon
