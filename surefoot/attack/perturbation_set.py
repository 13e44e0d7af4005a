"""What an adversary may do to the observations: as configured, or as a budget requires it."""

from collections.abc import Mapping
from dataclasses import dataclass

from surefoot.ball import Ball, Norm
from surefoot.budget import Scope
from surefoot.certificate import Certificate
from surefoot.errors import InputError
from surefoot.misreading import Perturbation, check_perturbation, readings_of
from surefoot.policy import Policy
from surefoot.ranges import require_at_least
from surefoot.raw_units import ball_of
from surefoot.robot import Robot


@dataclass(frozen=True, kw_only=True, slots=True)
class Configured:
    """What a configuration says of the perturbation set.

    Attributes:
        epsilon: Radius, normalised units; None for that of the certificate.
        norm: Norm of the perturbation.
        perturb: Errors of the readings by sensor, raw units; None for none.
    """

    epsilon: float | None
    norm: Norm
    perturb: Perturbation | None

    def check(self) -> None:
        """Check ranges, and that there is one perturbation.

        Raises:
            InputError: If one does not hold.
        """
        if self.epsilon is not None:
            Ball(norm=self.norm, epsilon=self.epsilon)
            require_at_least(self, 0, "epsilon")
        if self.perturb is None:
            return
        check_perturbation(self.perturb)
        if self.epsilon is not None or self.norm is not Norm.LINF:
            raise InputError("perturb is a set of its own: give no epsilon and no norm")


@dataclass(frozen=True, slots=True)
class PerturbationSet:
    """What an adversary may do to the observations.

    Attributes:
        ball: The perturbation set.
        readings: The same in raw units, by sensor; None where it is not said in these.
    """

    ball: Ball
    readings: Mapping[str, str] | None = None


def perturbation_set(
    policy: Policy, certificate: Certificate | None, asked: Configured, robot: Robot | None
) -> PerturbationSet:
    """Return what is attacked: as configured, or else as the budget of the certificate has it.

    Args:
        policy: Policy of the controller.
        certificate: Its certificate; None without one.
        asked: What is configured.
        robot: Robot whose sensors it names; by default that of the certificate.

    Raises:
        InputError: If nothing names a perturbation, or it names what the robot has not.
    """
    if asked.perturb is not None:
        robot = robot or (None if certificate is None else certificate.robot)
        if robot is None:
            raise InputError("attack.perturb is in words of a robot, and none is described")
        robot.check_fits(policy)
        ball = ball_of(asked.perturb, robot, policy.normaliser)
        return PerturbationSet(ball, readings_of(asked.perturb, robot))
    if asked.epsilon is not None:
        return PerturbationSet(Ball(norm=asked.norm, epsilon=asked.epsilon))
    if asked.norm is not Norm.LINF:
        raise InputError(f"attack.epsilon must be given for norm {asked.norm}")
    if certificate is None:
        raise InputError("attack.epsilon must be given: no certificate names a perturbation")
    return _required(policy, certificate)


def _required(policy: Policy, certificate: Certificate) -> PerturbationSet:
    """Return the first perturbation that a budget has in raw units, or else that of the table.

    A delay that was proved by the rates of the sensors is attacked as one: readings are held back.

    Raises:
        InputError: If the certificate names none.
    """
    for need in certificate.budget.requirements:
        if need.on_robot is None or need.perturb is None:
            continue
        robot = certificate.robot
        if need.scope is Scope.EVERYWHERE and robot is not None:
            limit = certificate.proof.get("evidence", {}).get("state_limit")
            late = ball_of(need.perturb, robot, policy.normaliser, limit)
            if late.delays is not None:
                return PerturbationSet(late, readings_of(need.perturb, robot))
        return PerturbationSet(need.perturbation, need.on_robot.readings)
    epsilon = certificate.deviation_linf.get("epsilon")
    if epsilon is None:
        raise InputError("attack.epsilon must be given: no certificate names a perturbation")
    return PerturbationSet(Ball(norm=Norm.LINF, epsilon=epsilon))
