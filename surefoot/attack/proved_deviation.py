"""What a certificate says about the perturbation set of an attack."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import overload

from surefoot.ball import Ball, Norm
from surefoot.budget import Scope
from surefoot.certificate import Certificate, Finding
from surefoot.quantities.action_deviation import ACTION_DEVIATION
from surefoot.unknown import Unknown

_UP = 1 + 2.0**-40
"""Covers the roundings of a product of bounds in float64."""

_FARTHEST = 10
"""Times the epsilon of the table. A certificate rules overflow out up to half of the largest
float32, so that states a little larger than those it is about do not overflow either; half
precision has no such room. Nor does the rounding of a controller that no Lipschitz constant bounds
grow as slowly as its states."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CertifiedBox:
    """How far a certificate lets each action move under any perturbation of a ball.

    Attributes:
        scope: States that the limits are about.
        limits: Proved bound on the change of each action, rounding included, action units.
        fraction: Share of the visited states at which it holds; None where it holds in every state.
        confidence: Confidence of that share.
    """

    scope: Scope
    limits: tuple[float, ...]
    fraction: float | None = None
    confidence: float | None = None


def certified_boxes(
    certificate: Certificate, ball: Ball, num_outputs: int
) -> tuple[CertifiedBox, ...] | Unknown:
    """Return the box of actions that is left everywhere, and the one at most visited states.

    The second is that of the requirement on visited states with the largest share, where the budget
    has one; its one bound is about all actuators.

    Args:
        certificate: About the controller that is attacked.
        ball: The perturbation set.
        num_outputs: Number of actuators.
    """
    if ball.delays is not None:
        return Unknown("the certificate bounds no change of the actions by late readings")
    whole = certified_deviation(certificate, ball)
    rows = _rows_everywhere(certificate, ball, num_outputs)
    limits = tuple(min(inf if whole is None else whole, row) for row in rows)
    if inf in limits:
        return Unknown(f"the certificate bounds no change of the actions in {ball}")
    everywhere = CertifiedBox(scope=Scope.EVERYWHERE, limits=limits)
    at_most_states = max(
        _deviations(certificate, ball, Scope.VISITED),
        key=lambda finding: (finding.requirement.fraction, -(finding.certified or inf)),
        default=None,
    )
    if at_most_states is None or at_most_states.certified is None:
        return (everywhere,)
    visited = CertifiedBox(
        scope=Scope.VISITED,
        limits=tuple(min(at_most_states.certified, limit) for limit in limits),
        fraction=at_most_states.requirement.fraction,
        confidence=at_most_states.requirement.confidence,
    )
    return everywhere, visited


def _rows_everywhere(certificate: Certificate, ball: Ball, num_outputs: int) -> Iterator[float]:
    """Yield the least bound of the table for each actuator, infinite where there is none."""
    table, errors = certificate.claims.per_actuator, certificate.runtime_error
    known = len(errors) == num_outputs and 0 < table.epsilon >= ball.epsilon
    # For |d|_2 <= epsilon, |d|_inf <= epsilon too: the table is about both balls.
    for number in range(num_outputs):
        bounds = [rows[number] for rows in table.bounds.values() if len(rows) == num_outputs]
        real = min((bound for bound in bounds if bound is not None), default=inf)
        # The table is in real arithmetic; each of two outputs is rounded once.
        yield (real + 2 * errors[number]) * _UP if known else inf


def certified_deviation(certificate: Certificate, ball: Ball) -> float | None:
    """Return the least proved bound on the change of one output, or None if there is none.

    A bound for a ball holds for every smaller one of its norm, and those of the certificate's table
    for larger ones as :func:`stretched` says. All of these are about the deployed arithmetic: its
    rounding, once for each of the two outputs, is inside.

    Args:
        certificate: About the controller that is attacked.
        ball: The perturbation set.
    """
    if ball.delays is not None:  # of late readings nothing holds in every state
        return None
    findings = _deviations(certificate, ball, Scope.EVERYWHERE)
    bounds = [finding.certified for finding in findings]
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


def _deviations(certificate: Certificate, ball: Ball, scope: Scope) -> Iterator[Finding]:
    """Yield the findings on the deviation in a scope that are about the ball, or a larger one."""
    for finding in certificate.findings:
        asked = finding.requirement
        if (
            asked.about is ACTION_DEVIATION
            and asked.scope is scope
            and asked.outputs is None
            and _covers(asked.ball, ball)
        ):
            yield finding


def _covers(proved: Ball | None, ball: Ball) -> bool:
    """Return True if every perturbation of a ball is one of those that were proved."""
    if proved is None or proved.norm is not ball.norm:
        return False
    # What moves together in a larger group moves no farther in a part of it.
    asked = [set(group) for group in ball.groups or ()]
    shared = all(any(set(group) <= other for other in asked) for group in proved.groups or ())
    return shared and bool((proved.sides >= ball.sides).all())  # of l2 both are the radius
