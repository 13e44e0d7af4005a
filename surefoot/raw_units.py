"""From the units of a robot to those of a controller: wrong readings as a set of wrong states.

Let a sensor read o where it should read o', both float32, with |o - o'| <= r in its own unit. With
z = clip((o - mean) / scale) in real arithmetic, the states differ by at most r / scale, and the
normaliser of the runtime is off by at most e at each of them:

    |z_rt(o) - z_rt(o')| <= r / scale + e(z) + e(z') =: radius

The ball of these radii therefore holds the states of every wrong reading, as real numbers and as
the deployed arithmetic computes them. Where the errors u of a group have a length of at most r, the
states differ by u_k / scale_k + e_k with |e_k| <= E_k. With t^2 >= sum (E_k scale_k / r)^2 they lie
in the ellipsoid with the semi-axes r / scale_k (1 + t), by the triangle inequality in its norm. All
of it is computed in fractions and rounded up once. A late reading is one of those before, so that
the ball lies around the state of that one, unless it counts by the largest rate of its sensor.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from surefoot.ball import Ball, Groups, Norm
from surefoot.errors import InputError
from surefoot.misreading import Errors, Perturbation, by_entries, entries_of, errors_of
from surefoot.named_question import QuestionOnRobot
from surefoot.policy import Normaliser
from surefoot.robot import NOT_SAID, ROBOT_FILE, Robot

_UNIT_ROUNDOFF = Fraction(1, 2**24)
_SMALLEST = Fraction(1, 2**126)
"""Smallest normal float32: more than is lost where a result is flushed to zero."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OnRobot:
    """What the words of a requirement mean on one robot.

    Attributes:
        readings: Largest error of the readings of each sensor that is named, with its unit.
        groups: Numbers of the sensors whose errors count together, in l2; None for none.
        delays: Steps by which the reading of each sensor may be late, as recorded; None for none.
        biases: Share of its side by which each sensor may be off for a whole episode, or None.
        outputs: Numbers of the outputs that are limited; None for all.
        unit: Unit of the limit; empty where the actuators have several.
        question: What it asks, by number; None where it asks nothing, or a VNN-LIB file does.
    """

    readings: Mapping[str, str]
    groups: Groups | None = None
    delays: tuple[int, ...] | None = None
    biases: tuple[float, ...] | None = None
    outputs: tuple[int, ...] | None = None
    unit: str = ""
    question: QuestionOnRobot | None = None


def entry_errors(perturb: Perturbation, robot: Robot) -> tuple[float, ...]:
    """Return the largest error of each entry of the observation, raw units; 0 for none.

    A delay counts by what its sensor may change meanwhile.

    Raises:
        InputError: If a sensor is unknown or named twice, or the rate of one that is late.
    """
    said = by_entries(perturb, robot)
    errors = _alone(said, robot, by_rate=True)
    for entries, more in said:
        for entry in entries:
            errors[entry] += Fraction(more.together)
    return tuple(_up(errors[entry]) for entry in range(len(robot.sensor_labels)))


def check_on_robot(perturb: Perturbation, robot: Robot, *, by_rate: bool) -> None:
    """Check that errors mean something on a robot, before there is a controller.

    Args:
        perturb: The errors.
        robot: The robot.
        by_rate: Whether a delay counts by what its sensor may change meanwhile.

    Raises:
        InputError: If a sensor is unknown or named twice, or the rate of one that is late.
    """
    _alone(by_entries(perturb, robot), robot, by_rate=by_rate)


def _alone(
    said: Sequence[tuple[tuple[int, ...], Errors]], robot: Robot, *, by_rate: bool
) -> defaultdict[int, Fraction]:
    """Return by how much each entry may err by itself, raw units.

    Args:
        said: Errors, and the entries that they are about.
        robot: The robot.
        by_rate: Whether a delay counts by what its sensor may change meanwhile; else it counts
            for nothing here.

    Raises:
        InputError: If the rate of a sensor that is late is unknown.
    """
    sizes: defaultdict[int, Fraction] = defaultdict(Fraction)
    for entries, errors in said:
        for entry in entries:
            sizes[entry] += Fraction(errors.each) + Fraction(errors.bias)
            if by_rate and errors.delay:
                sizes[entry] += errors.delay * _change_of_a_step(entry, robot)
    return sizes


def _change_of_a_step(entry: int, robot: Robot) -> Fraction:
    """Return by how much a reading may change from one step to the next, raw units.

    Raises:
        InputError: If the description does not say it.
    """
    rate, period = robot.each_sensor[entry].max_rate, robot.control_period_s
    if rate is None or period is None:
        label = robot.sensor_labels[entry]
        raise InputError(
            f"a delay of {label} needs its max_rate and a control_period_s in {ROBOT_FILE}, or "
            "states that are recorded in episodes and a requirement with scope recorded or visited"
        )
    return Fraction(rate) * Fraction(period)


def ball_of(
    perturb: Perturbation,
    robot: Robot,
    normaliser: Normaliser,
    state_limit: float | None = None,
    *,
    by_rate: bool = False,
) -> Ball:
    """Return the smallest set of this form that holds the states of all wrong readings.

    Args:
        perturb: Largest error of the readings, raw units; sensors that are not named err by none.
        robot: The robot.
        normaliser: Normaliser of its controller.
        state_limit: Largest state that is assumed, normalised units, where nothing clips it.
        by_rate: Whether a delay is an error by what the sensor may change meanwhile, at its
            ``max_rate``; else the ball is around whatever of the last readings is seen.

    Raises:
        InputError: If a sensor is unknown or named twice, or nothing bounds its state, or the rate
            of one that is late.
    """
    said = by_entries(perturb, robot)
    sizes = _alone(said, robot, by_rate=by_rate)
    radii = [Fraction(0)] * normaliser.mean.size  # no error of what a controller remembers
    for entry in (entry for entry, size in sizes.items() if size):
        radius = _radius(sizes[entry], entry, normaliser, state_limit)
        radii[entry] = _cut(radius, normaliser)
    groups = []
    for entries, errors in said:
        if errors.together:
            within = {entry: sizes[entry] for entry in entries}
            axes = _axes(Fraction(errors.together), within, normaliser, state_limit)
            # Where the clip cuts the ellipsoid off, an interval up to the clip holds no more.
            groups.append(tuple(each for each in entries if not _is_cut(axes[each], normaliser)))
            for entry, axis in axes.items():
                radii[entry] = _cut(axis, normaliser)
    epsilon = _up(max(radii))
    shares = tuple(min(_up(radius / Fraction(epsilon or 1.0)), 1.0) for radius in radii)
    return Ball(
        norm=Norm.LINF,
        epsilon=epsilon,
        sensors=shares,
        groups=tuple(group for group in groups if len(group) > 1) or None,
        delays=None if by_rate else _delays(said, len(radii)),
        biases=_biases(said, radii, normaliser),
    )


def _biases(
    said: Sequence[tuple[tuple[int, ...], Errors]],
    radii: Sequence[Fraction],
    normaliser: Normaliser,
) -> tuple[float, ...] | None:
    """Return the share of its radius by which each sensor may be off steadily; None for none."""
    shares = [0.0] * len(radii)
    for entries, errors in said:
        for entry in entries if errors.bias else ():
            steady = Fraction(errors.bias) / Fraction(float(normaliser.scale[entry]))
            shares[entry] = min(math.nextafter(float(steady / radii[entry]), 0.0), 1.0)
    return tuple(shares) if any(shares) else None


def _delays(
    said: Sequence[tuple[tuple[int, ...], Errors]], num_sensors: int
) -> tuple[int, ...] | None:
    """Return the steps by which the reading of each sensor may be late; None where none is."""
    steps = [0] * num_sensors
    for entries, errors in said:
        for entry in entries:
            steps[entry] = max(steps[entry], errors.delay)
    return tuple(steps) if any(steps) else None


def radii_of(
    perturb: Perturbation, robot: Robot, normaliser: Normaliser, state_limit: float | None = None
) -> dict[str, tuple[float, float]]:
    """Return the least and largest radius of the entries of each sensor, normalised units.

    Args:
        perturb: Largest error of the readings, raw units.
        robot: The robot.
        normaliser: Normaliser of its controller.
        state_limit: Largest state that is assumed, normalised units, where nothing clips it.

    Raises:
        InputError: If a sensor is unknown or named twice, or nothing bounds its state.
    """
    ball = ball_of(perturb, robot, normaliser, state_limit)
    return sides_of(errors_of(perturb, robot), robot, ball)


def sides_of(names: Iterable[str], robot: Robot, ball: Ball) -> dict[str, tuple[float, float]]:
    """Return the least and largest radius of the entries of each sensor, normalised units."""
    sides = {name: ball.sides[list(entries_of(name, robot))] for name in names}
    return {name: (float(each.min()), float(each.max())) for name, each in sides.items()}


def _radius(
    size: Fraction, entry: int, normaliser: Normaliser, state_limit: float | None
) -> Fraction:
    """Return how far the deployed states of two readings may be apart.

    Raises:
        InputError: If nothing bounds the state of the sensor.
    """
    apart = size / Fraction(float(normaliser.scale[entry]))
    return apart + _added(apart, entry, normaliser, state_limit)


def _cut(radius: Fraction, normaliser: Normaliser) -> Fraction:
    """Return a distance of two states, which the ends of the clip in float32 bound."""
    if math.isinf(normaliser.clip):
        return radius
    return min(radius, 2 * Fraction(normaliser.clip) * (1 + _UNIT_ROUNDOFF))


def _is_cut(radius: Fraction, normaliser: Normaliser) -> bool:
    return _cut(radius, normaliser) < radius


def _axes(
    length: Fraction,
    besides: Mapping[int, Fraction],
    normaliser: Normaliser,
    state_limit: float | None,
) -> dict[int, Fraction]:
    """Return the semi-axes of an ellipsoid that holds how far the deployed states are apart.

    Args:
        length: Largest length of the errors of all its entries together, raw units.
        besides: By how much each entry may err besides, raw units.
        normaliser: Normaliser of the controller.
        state_limit: Largest state that is assumed, normalised units, where nothing clips it.

    Raises:
        InputError: If nothing bounds the state of a sensor.
    """
    apart, squares = {}, Fraction()
    for entry, size in besides.items():
        scale = Fraction(float(normaliser.scale[entry]))
        apart[entry] = length / scale
        more = _added((length + size) / scale, entry, normaliser, state_limit)
        squares += ((size / scale + more) / apart[entry]) ** 2
    stretch = 1 + Fraction(math.nextafter(math.sqrt(_up(squares)), math.inf))
    return {entry: axis * stretch for entry, axis in apart.items()}


def _added(
    apart: Fraction, entry: int, normaliser: Normaliser, state_limit: float | None
) -> Fraction:
    """Return what the normaliser adds to the distance of two states by rounding both.

    Raises:
        InputError: If nothing bounds the state of the sensor.
    """
    bound = min(normaliser.clip, math.inf if state_limit is None else state_limit)
    if math.isinf(bound):
        raise InputError(
            "perturb needs bounded states, and the controller has no clip after its normaliser; "
            "say how large they get with state_limit = ... under [assume] in a --config file"
        )
    return 2 * _normaliser_error(Fraction(bound) + apart, entry, normaliser)


def _normaliser_error(largest: Fraction, entry: int, normaliser: Normaliser) -> Fraction:
    """Bound |z_rt - z| for states up to ``largest``.

    Reference:
        The standard model of rounding errors; gamma_n bounds n of them (Higham 2002, lemma 3.1).
    """
    rounded = normaliser.num_roundings * _UNIT_ROUNDOFF
    gamma = rounded / (1 - rounded)
    flushed = _SMALLEST * (2 + 1 / Fraction(float(normaliser.scale[entry])))
    # A state beyond the clip is cut off; rounded, one a little beyond it may still be inside.
    reach = largest * (1 + 4 * _UNIT_ROUNDOFF) + Fraction(float(normaliser.excess[entry]))
    return gamma * reach + flushed


def _up(value: Fraction) -> float:
    """Return the least float64 that is not below a fraction."""
    nearest = float(value)
    return nearest if Fraction(nearest) >= value else math.nextafter(nearest, math.inf)


def outputs_unit(robot: Robot, outputs: tuple[int, ...] | None) -> str:
    """Return the unit that some actuators share; empty where they have several, or nobody says it.

    Args:
        robot: The robot.
        outputs: Numbers of the outputs; None for all.
    """
    units = [actuator.unit for actuator in robot.each_actuator]
    shared = {units[output] for output in outputs or range(len(units))}
    return shared.pop() if len(shared - {NOT_SAID}) == len(shared) == 1 else ""
