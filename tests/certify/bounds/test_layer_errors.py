"""Errors through layers, with an arithmetic so coarse that slopes and ranges really move."""

from itertools import pairwise

import numpy as np
import pytest

from support.policies import build_policy, draw_policy
from surefoot.activation import AnyActivation, Clamp, LeakyRelu, RmsNorm, ScaledElu
from surefoot.ball import Norm
from surefoot.certify.bounds.arithmetics import ARITHMETICS, Arithmetic
from surefoot.certify.bounds.crown import interval_layers, layer_bounds
from surefoot.certify.bounds.layer_errors import carried, carried_anywhere
from surefoot.certify.bounds.local_bounds import local_region
from surefoot.certify.bounds.region import Region, network_of
from surefoot.certify.bounds.rounding import (
    RoundingBound,
    rounding_around,
    rounding_at,
    rounding_bound,
)
from surefoot.certify.bounds.summation import AffineSum, Error, lengths
from surefoot.policy import Activation, Policy
from surefoot.unknown import Unknown

COARSE = Arithmetic(name="coarse", meaning="factors of four bits", storage=2.0**-5)
KINDS: list[AnyActivation] = [
    *Activation,
    LeakyRelu(0.25),
    ScaledElu(1.5, 1.25),
    Clamp(-0.5, 1.0),
]


def coarsely(policy: Policy, states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The network with every factor of a product off by up to its share, mostly by all of it."""

    def stored(array: np.ndarray) -> np.ndarray:
        share = np.clip(2 * rng.standard_normal(array.shape), -1, 1)
        return array * (1 + COARSE.storage * share)

    hidden = states
    for layer in policy.layers:
        weight = stored(np.broadcast_to(layer.weight, (len(hidden), *layer.weight.shape)))
        total = (weight @ stored(hidden)[:, :, None])[..., 0] + layer.bias
        hidden = layer.activation(total.astype(np.float64))
    return hidden


def balls(rng: np.random.Generator, radius: float, norm: Norm) -> Region:
    return local_region(rng.normal(0, 1.5, (6, 4)), radius, norm)


def points_of(region: Region, rng: np.random.Generator) -> np.ndarray:
    step = rng.standard_normal(region.centres.shape)
    if region.norm is Norm.L2:
        step /= np.linalg.norm(step, axis=1, keepdims=True)
    else:
        step = np.sign(step)
    return region.centres + step * region.radius[:, None] * rng.choice([0.0, rng.random(), 1.0])


@pytest.mark.parametrize("activation", KINDS)
@pytest.mark.parametrize("norm", Norm)
def test_no_run_in_a_coarse_arithmetic_leaves_the_bound_of_its_ball(
    activation: AnyActivation, norm: Norm
) -> None:
    rng = np.random.default_rng(0)
    shares = []
    for depth, radius in ((0, 0.3), (1, 0.0), (2, 0.1), (3, 0.5)):
        policy = draw_policy(rng, [4, *[9] * depth, 3], activation, gain=1.2)
        region, network = balls(rng, radius, norm), network_of(policy)
        around = rounding_around(policy, region, layer_bounds(network, region), COARSE)
        bound = around.network
        for _ in range(150):
            points = points_of(region, rng)
            error = np.abs(coarsely(policy, points, rng) - policy.network(points))
            assert (error <= bound).all()
            shares.append((error / bound).max())
    assert max(shares) > 0.1


@pytest.mark.parametrize("activation", KINDS)
def test_no_run_in_a_coarse_arithmetic_leaves_the_bound_of_a_box(activation: AnyActivation) -> None:
    rng = np.random.default_rng(1)
    for depth in range(4):
        policy = draw_policy(rng, [4, *[9] * depth, 3], activation, gain=1.2)
        bound = rounding_bound(policy, np.array([0.5, 1.0, 2.0, 4.0]), COARSE).network
        for _ in range(100):
            points = rng.uniform(-1, 1, (8, 4)) * [0.5, 1.0, 2.0, 4.0]
            points = np.where(rng.random((8, 1)) < 0.5, np.sign(points) * [0.5, 1, 2, 4], points)
            error = np.abs(coarsely(policy, points, rng) - policy.network(points))
            assert (error <= bound).all()


@pytest.mark.parametrize("activation", KINDS)
def test_a_smaller_ball_has_a_smaller_bound_and_a_point_the_least(
    activation: AnyActivation,
) -> None:
    rng = np.random.default_rng(2)
    policy = draw_policy(rng, [4, 12, 12, 3], activation)
    states, network = rng.normal(0, 1, (5, 4)), network_of(policy)
    bounds = [rounding_at(policy, states, COARSE).network]
    for radius in (0.1, 0.5):
        region = local_region(states, radius, Norm.LINF)
        before = interval_layers(network, region)
        bounds.append(rounding_around(policy, region, before, COARSE).network)
    bounds.append(rounding_bound(policy, np.abs(states).max(axis=0) + 0.5, COARSE).network[None])
    for near, far in pairwise(bounds):
        assert (near <= far * (1 + 1e-9)).all()


def test_what_layers_do_by_themselves_reaches_the_outputs_by_no_more_than_is_carried() -> None:
    rng = np.random.default_rng(3)
    for depth in range(4):
        policy = draw_policy(rng, [3, *[8] * depth, 2], gain=1.5)
        sizes = [3, *[8] * depth, 2]
        sources = [rng.uniform(0, 0.3, size) for size in sizes]
        bound = carried_anywhere(policy, sources)
        for _ in range(300):
            exact = hidden = rng.normal(0, 2, (1, 3))
            signs = iter([rng.choice([-1.0, 1.0], (1, size)) for size in sizes])
            hidden = hidden + next(signs) * sources[0]
            for layer, source in zip(policy.layers, sources[1:], strict=True):
                hidden = layer.activation(hidden @ layer.weight.T.astype(float) + layer.bias)
                hidden = hidden + next(signs) * source
            assert (np.abs(hidden - policy.network(exact))[0] <= bound + 1e-12).all()


def test_a_ball_of_errors_is_carried_better_than_the_box_around_it() -> None:
    # 64 errors of 1 / 8 in a ball of radius 1, through a row of ones: by the norm 8, by entries 8;
    # in a ball of radius 1 / 8 (one of them alone) the norm says 1.
    policy = build_policy([np.eye(64), np.ones((1, 64))], Activation.RELU)
    affines = [AffineSum.of(layer) for layer in policy.layers]
    nothing = Error(np.zeros((1, 1)), np.zeros(1))
    slopes = [(np.zeros((1, 64)), np.ones((1, 64))), (np.ones((1, 1)), np.ones((1, 1)))]
    entries = np.full((1, 64), 1 / 8)
    still = Error(np.zeros((1, 64)), np.zeros(1))
    for length, reached in ((1.0, 8.0), (1 / 8, 1.0)):
        found = carried(affines, [still, Error(entries, np.array([length])), nothing], slopes)
        assert found[0, 0] == pytest.approx(reached, rel=1e-9)


@pytest.mark.parametrize("activation", KINDS)
@pytest.mark.parametrize("times", [1.01, 3.0])
def test_the_bound_of_a_box_grows_no_faster_than_the_box(
    activation: AnyActivation, times: float
) -> None:
    rng = np.random.default_rng(4)
    for bias in (0.1, 3.0, 30.0):  # large ones hold neurons off or saturated in the smaller box
        policy = draw_policy(rng, [3, 8, 8, 2], activation, bias=bias)
        near, far = (
            rounding_bound(policy, np.full(3, size), COARSE) for size in (2.0, 2.0 * times)
        )
        assert (near.action <= far.action * (1 + 1e-12)).all()
        assert (far.action <= times * near.action * (1 + 1e-12)).all()


def test_the_lengths_of_rows_are_never_too_small() -> None:
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((50, 7)) * 10.0 ** rng.uniform(-200, 150, (50, 1))
    exact = np.array([float(np.sqrt((np.longdouble(row) ** 2).sum())) for row in rows])
    assert (lengths(rows) >= exact).all()
    assert (lengths(rows) <= exact * (1 + 1e-12) + 1e-149).all()


def test_half_precision_has_no_bound_behind_a_normalisation_however_small_its_inputs() -> None:
    """The square of a half-precision number that is tiny vanishes, and so does a variance."""
    assert np.square(np.float16(1e-4)) == 0
    policy = build_policy([np.eye(2), np.ones((1, 2))], RmsNorm(0.25))
    assert policy.rounds_as_canonical
    states = np.full((1, 2), 0.5)
    assert isinstance(rounding_at(policy, states, ARITHMETICS["float32"]), RoundingBound)
    half = rounding_at(policy, states, ARITHMETICS["float16"])
    assert isinstance(half, Unknown)
    assert "half precision holds the squares of a normalisation" in half.reason
