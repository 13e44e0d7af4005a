"""The ball of a defence, in the states of the moment."""

from collections.abc import Iterable
from dataclasses import replace

from surefoot.ball import Ball, Norm
from surefoot.errors import InputError
from surefoot.misreading import Perturbation
from surefoot.policy import Normaliser
from surefoot.raw_units import ball_of, entry_errors
from surefoot.robot import ROBOT_FILE, Robot
from surefoot.train.defence_config import Defence, GrowingBall
from surefoot.train.moments import with_constant_scale
from surefoot.train.train_config import TrainConfig


def perturbation_of(defence: Defence) -> Perturbation | None:
    """Return the errors of the readings that a defence stands, raw units; None for none."""
    return defence.perturb if isinstance(defence, GrowingBall) else None


def full_ball(config: TrainConfig, robot: Robot | None, normaliser: Normaliser) -> Ball:
    """Return the ball of a defence at its full strength; a point without a defence.

    Errors in raw units become what they are to the policy that would be deployed with this
    normaliser: the set that a budget with the same words is about.

    Args:
        config: The training.
        robot: Robot whose sensors it names; None for none.
        normaliser: Normaliser of the moment.

    Raises:
        InputError: If it names sensors without a robot, or what the robot has not, or nothing
            bounds their states.
    """
    defence = config.defence
    if isinstance(defence, GrowingBall) and defence.epsilon is not None:
        return Ball(norm=Norm.LINF, epsilon=defence.epsilon)
    if (perturb := perturbation_of(defence)) is None:
        return Ball(norm=Norm.LINF, epsilon=0.0)
    deployed = with_constant_scale(normaliser, config.constant_scale)
    return ball_of(perturb, _described(robot), deployed, by_rate=True)


def errors_in_training(config: TrainConfig, robot: Robot | None) -> tuple[float, ...] | None:
    """Return the largest error of each reading that a defence stands, raw units; None for none.

    Args:
        config: The training.
        robot: Robot whose sensors it names; None for none.

    Raises:
        InputError: If it names sensors without a robot, or what the robot has not.
    """
    if (perturb := perturbation_of(config.defence)) is None:
        return None
    return entry_errors(perturb, _described(robot))


def check_same_errors(begun: Iterable[float] | None, now: tuple[float, ...] | None) -> None:
    """Check that a training still stands the errors that it was begun with.

    Args:
        begun: Largest error of each reading, raw units, when it was begun; None for none.
        now: The same by the description of the robot as it is now.

    Raises:
        InputError: If the description says others since.
    """
    if now is not None and (begun is None or tuple(map(float, begun)) != now):
        raise InputError(
            f"{ROBOT_FILE} must say the errors of train.defence.perturb that the training was begun"
            f" with, says {list(now)}: use another output folder or the same description"
        )


def grown(ball: Ball, strength: float) -> Ball:
    """Return the ball with a share of its radius."""
    return replace(ball, epsilon=ball.epsilon * strength)


def _described(robot: Robot | None) -> Robot:
    """Return the robot.

    Raises:
        InputError: If there is none.
    """
    if robot is None:
        raise InputError("train.defence.perturb is in words of a robot: give train.robot")
    return robot
