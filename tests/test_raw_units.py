"""Wrong readings in raw units lie in the ball that stands for them, in every arithmetic."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from support.policies import build_policy
from surefoot.errors import InputError
from surefoot.misreading import Misreading, Perturbation, check_perturbation, readings_of
from surefoot.policy import Array, Normaliser
from surefoot.raw_units import ball_of, outputs_unit
from surefoot.robot import Robot

ROBOT = Robot.parse("""
[[sensor]]
name = "angle"
count = 2
unit = "rad"
group = "legs"
noise = 0.002

[[sensor]]
name = "gyro"
unit = "rad/s"
group = "legs"
noise = 0.03

[[sensor]]
name = "pressure"
unit = "bar"

[[actuator]]
name = "hip"
unit = "rad"

[[actuator]]
name = "wheel"
unit = "rad/s"
""")
NORMALISER = Normaliser(
    mean=np.array([0.3, -2e3, 0.0, 1e5], np.float32),
    scale=np.array([0.1, 7.0, 1e-8, 3e4], np.float32),
    clip=10.0,
)
SIZES = {"angle": 0.013, "gyro": 0.03, "pressure": 421.0}
RAW = np.array([0.013, 0.013, 0.03, 421.0])


def singles_within(reading: NDArray[np.float32], size: Array, rng: np.random.Generator) -> Array:
    """Other float32 readings that differ by at most ``size`` as real numbers, many by all."""
    share = np.where(rng.random(reading.shape) < 0.5, 1.0, rng.random(reading.shape))
    sign = np.where(rng.random(reading.shape) < 0.5, 1.0, -1.0)
    other = (reading + sign * share * size).astype(np.float32)
    for _ in range(2):
        apart = [
            [abs(Fraction(a) - Fraction(b)) for a, b in zip(row, near, strict=True)]
            for row, near in zip(other.tolist(), reading.tolist(), strict=True)
        ]
        too_far = np.array(
            [[gap > Fraction(most) for gap, most in zip(row, size.tolist(), strict=True)]
             for row in apart]
        )  # fmt: skip
        other = np.where(too_far, np.nextafter(other, reading), other)
    return np.asarray(other)


@pytest.mark.parametrize("multiplies", [False, True])
def test_the_deployed_states_of_wrong_readings_lie_in_the_ball(multiplies: bool) -> None:
    rng = np.random.default_rng(0)
    normaliser = NORMALISER
    if multiplies:
        factor = (1 / NORMALISER.scale.astype(np.float64)).astype(np.float32)
        normaliser = Normaliser.multiplying(NORMALISER.mean, factor, 10.0)
    policy = replace(build_policy([np.ones((2, 4))]), normaliser=normaliser)
    ball = ball_of(SIZES, ROBOT, normaliser)
    spread = rng.choice([0.1, 1.0, 12.0], (400, 4))
    reading = (
        normaliser.mean + spread * rng.normal(size=(400, 4)) * normaliser.scale
    ).astype(np.float32)  # fmt: skip
    other = singles_within(reading, RAW, rng)
    for dtype in (np.float32, np.float64):
        assert ball.holds(
            policy.state(other, dtype).astype(np.float64)
            - policy.state(reading, dtype).astype(np.float64)
        ).all()


def test_the_radius_is_the_raw_size_over_the_scale_and_little_more() -> None:
    sides = ball_of(SIZES, ROBOT, NORMALISER).sides
    exact = RAW / NORMALISER.scale.astype(np.float64)
    exact[2] = 20.0  # the gyro never moved: all that the clip leaves
    assert (sides >= exact).all()
    np.testing.assert_allclose(sides, exact, atol=2e-5)


def lengths_within(reading: NDArray[np.float32], length: float, rng: np.random.Generator) -> Array:
    """Other float32 readings whose errors together are at most ``length`` long, many by all."""
    direction = rng.standard_normal(reading.shape)
    direction *= np.where(rng.random(reading.shape) < 0.3, 0.0, 1.0)  # some along few axes
    size = np.linalg.norm(direction, axis=1, keepdims=True)
    other = (reading + direction * length / np.maximum(size, 1e-30)).astype(np.float32)
    errors = other.astype(np.float64) - reading
    inside = (errors**2).sum(axis=1, keepdims=True) <= length**2 * (1 - 1e-12)
    return np.where(inside, other, reading)


@pytest.mark.parametrize("length", [1e-5, 0.013, 3.0, 1e3])
def test_the_deployed_states_of_readings_that_err_together_lie_in_the_ball(length: float) -> None:
    rng = np.random.default_rng(0)
    mean = np.array([0.3, 0.1, -0.2, 1e5], np.float32)
    scale = np.array([0.1, 7.0, 0.02, 3e4], np.float32)
    normaliser = Normaliser(mean=mean, scale=scale, clip=10.0)
    policy = replace(build_policy([np.ones((2, 4))]), normaliser=normaliser)
    one_unit = Robot.parse(ROBOT.text.replace('unit = "rad/s"\ngroup', 'unit = "rad"\ngroup'))
    ball = ball_of({"legs": Misreading(l2=length)}, one_unit, normaliser)
    spread = rng.choice([0.1, 1.0, 12.0], (600, 4)) * rng.normal(size=(600, 4))
    reading = (mean + spread * scale).astype(np.float32)
    other = reading.copy()
    other[:, :3] = lengths_within(reading[:, :3], length, rng)
    moved = 0.0
    for dtype in (np.float32, np.float64):
        apart = policy.state(other, dtype).astype(np.float64) - policy.state(reading, dtype)
        assert ball.holds(apart).all()
        moved = max(moved, float(np.abs(apart / np.maximum(ball.sides, 1e-300)).max()))
    assert moved > (0.5 if length > 1e-3 else 0.2)  # below, rounding is most of it
    together = {each for group in ball.groups or () for each in group}
    cut = length / scale[:3] > 20  # there the clip says more than the length
    assert together == (
        {0, 1, 2} - set(np.flatnonzero(cut).tolist()) if (~cut).sum() > 1 else set()
    )


def test_a_bias_and_a_noise_are_one_error_of_one_step() -> None:
    both = ball_of({"angle": Misreading(linf=0.01, bias=0.003)}, ROBOT, NORMALISER)
    sum_of = ball_of({"angle": 0.013}, ROBOT, NORMALISER)
    np.testing.assert_allclose(both.sides, sum_of.sides, rtol=1e-12)
    assert sum_of.biases is None
    scale = NORMALISER.scale.astype(np.float64)
    np.testing.assert_allclose(both.steady.sides[:2], 0.003 / scale[:2], rtol=1e-12)
    for steady, whole in zip(both.steady.sides[:2], scale[:2], strict=True):
        assert Fraction(steady) <= Fraction(0.003) / Fraction(whole)


def test_all_readings_may_be_late_and_some_err_besides() -> None:
    late = ball_of({"all": Misreading(delay=3), "gyro": 0.03}, ROBOT, NORMALISER)
    assert late.delays == (3, 3, 3, 3)
    assert replace(late, delays=None) == ball_of({"gyro": 0.03}, ROBOT, NORMALISER)
    with pytest.raises(InputError, match="twice"):
        ball_of({"all": Misreading(delay=3), "gyro": Misreading(delay=1)}, ROBOT, NORMALISER)


def test_a_sensor_that_is_not_named_stays_as_it_is() -> None:
    sides = ball_of({"angle[1]": 0.01}, ROBOT, NORMALISER).sides
    assert (sides[[0, 2, 3]] == 0).all()
    assert sides[1] > 0


def test_what_a_controller_remembers_is_not_disturbed() -> None:
    longer = Normaliser(
        mean=np.append(NORMALISER.mean, np.zeros(2, np.float32)),
        scale=np.append(NORMALISER.scale, np.ones(2, np.float32)),
        clip=10.0,
    )
    sides = ball_of(SIZES, ROBOT, longer).sides
    assert (sides[:4] == ball_of(SIZES, ROBOT, NORMALISER).sides).all()
    assert (sides[4:] == 0).all()


def test_noise_is_what_the_description_says() -> None:
    assert readings_of("noise", ROBOT) == {"angle": "0.002 rad", "gyro": "0.03 rad/s"}
    assert ball_of("noise", ROBOT, NORMALISER) == ball_of(
        {"angle": 0.002, "gyro": 0.03}, ROBOT, NORMALISER
    )


def test_without_a_clip_the_size_of_states_must_be_assumed() -> None:
    free = replace(NORMALISER, clip=np.inf)
    with pytest.raises(InputError, match="state_limit"):
        ball_of({"angle": 0.01}, ROBOT, free)
    assumed = ball_of({"angle": 0.01}, ROBOT, free, state_limit=10.0)
    assert (assumed.sides >= ball_of({"angle": 0.01}, ROBOT, NORMALISER).sides).all()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"gyrp": 0.1}, "unknown sensor 'gyrp'; did you mean 'gyro'"),
        ({"angle": 0.1, "angle[0]": 0.2}, "twice"),
        ({"legs": 0.1, "gyro": 0.2}, "twice"),
    ],
)
def test_words_that_mean_nothing_or_twice_the_same_are_refused(
    sizes: dict[str, float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ball_of(sizes, ROBOT, NORMALISER)


def test_a_size_may_be_written_with_the_unit_of_its_sensor_and_with_no_other() -> None:
    said: Perturbation = {"gyro": "0.03 rad/s", "angle": 0.002}
    check_perturbation(said)
    assert ball_of(said, ROBOT, NORMALISER) == ball_of(
        {"gyro": 0.03, "angle": 0.002}, ROBOT, NORMALISER
    )
    with pytest.raises(InputError, match=r"perturb\.gyro must be in rad/s.* got '0.03 deg/s'"):
        ball_of({"gyro": "0.03 deg/s"}, ROBOT, NORMALISER)
    with pytest.raises(InputError, match=r"perturb\.gyro must be a number, or one with its unit"):
        check_perturbation({"gyro": "rad/s"})


def test_a_size_has_one_unit() -> None:
    with pytest.raises(InputError, match="one unit, have rad, rad/s"):
        readings_of({"legs": 0.1}, ROBOT)


def test_a_robot_without_noise_has_none_to_prove_against() -> None:
    silent = Robot.parse(ROBOT.text.replace("noise = 0.002", "").replace("noise = 0.03", ""))
    with pytest.raises(InputError, match="needs a sensor with a noise"):
        ball_of("noise", silent, NORMALISER)


def test_a_unit_is_that_of_all_actuators_or_none() -> None:
    assert outputs_unit(ROBOT, (0,)) == "rad"
    assert outputs_unit(ROBOT, None) == ""
