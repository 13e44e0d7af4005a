"""A metric bounds what a ball can change, and no less: against points of the ball."""

from collections.abc import Mapping

import numpy as np
import pytest

from surefoot.artifact import Json
from surefoot.ball import Ball, Groups, Norm
from surefoot.certify.bounds.metric import SensorMetric

SHARES = np.array([1.0, 0.2, 0.0, 0.7])


@pytest.mark.parametrize(
    ("norm", "sensors", "groups"),
    [
        (Norm.L2, None, None),
        (Norm.LINF, None, None),
        (Norm.LINF, SHARES, None),
        (Norm.LINF, SHARES, ((0, 3),)),
        (Norm.LINF, SHARES, ((1, 3, 2),)),
    ],
)
def test_the_reach_of_a_metric_is_the_longest_perturbation_of_a_ball(
    norm: Norm, sensors: np.ndarray | None, groups: Groups | None
) -> None:
    rng = np.random.default_rng(0)
    shares = None if sensors is None else tuple(sensors.tolist())
    ball = Ball(norm=norm, epsilon=0.3, sensors=shares, groups=groups)
    for _ in range(5):
        metric = SensorMetric(10.0 ** rng.uniform(-3, 3, 4))
        # The corners of a box and the axes of an ellipsoid are among the ends of these directions.
        towards = rng.choice([-1.0, 1.0], (200, 4)) * rng.choice([0.0, 1.0], (200, 4))
        towards = np.vstack([towards, rng.standard_normal((2000, 4))])
        moved = ball.outermost(towards)
        lengths = np.sqrt((moved**2 * metric.weights).sum(axis=1))
        reach = metric.reach(0.3, norm, sensors, groups)
        assert lengths.max() <= reach * (1 + 1e-12)
        assert lengths.max() >= reach * (1 - 1e-9)


def test_a_change_of_unit_scales_the_reach_and_the_constant_is_that_of_the_largest_weight() -> None:
    metric = SensorMetric(np.array([4.0, 9.0, 1.0]))
    assert metric.constant == pytest.approx(3.0)
    assert metric.in_units(0.1).constant == pytest.approx(0.3)
    assert metric.in_units(0.1).reach(2.0, Norm.LINF) == pytest.approx(0.2 * np.sqrt(14))


def test_tiny_and_huge_weights_keep_their_reach() -> None:
    sizes = np.array([1.0, 1e-200])
    assert SensorMetric(np.array([1e-300, 1e-300])).reach(1.0, Norm.LINF, sizes) >= 1e-150
    assert SensorMetric(np.array([1.0, 1e-300])).reach(1.0, Norm.LINF, 0 * sizes + [0, 1e-200]) > 0
    assert SensorMetric(np.array([1e-300, 1.0])).in_units(1e-100).constant > 0
    assert (
        SensorMetric(np.array([1e300, 1.0])).in_units(1e100).reach(1.0, Norm.LINF, 0 * sizes)
        == np.inf
    )


@pytest.mark.parametrize("weights", [[2.0, 2.0, 2.0], [1.0, 2.0, 1 / 3]])
def test_weights_are_written_and_read_without_a_rounding(weights: list[float]) -> None:
    table = SensorMetric(np.array(weights)).to_table()
    assert SensorMetric.from_table(table, 3).weights.tolist() == weights


def test_a_constant_is_read_as_certificates_have_always_written_it() -> None:
    table: Mapping[str, Json] = {"squared": float.hex(2.0)}
    read = SensorMetric.from_table(table, 3)
    assert read.weights.tolist() == [2.0, 2.0, 2.0]
    assert read.to_table() == table
