"""Lines and slopes of activations with kinks enclose them at every point, in 80-bit arithmetic."""

import numpy as np
import pytest

from support.policies import draw_policy, file_of
from surefoot.activation import AnyActivation, Clamp, LeakyRelu, ScaledElu
from surefoot.ball import Norm
from surefoot.budget import Budget
from surefoot.certificate import Verdict
from surefoot.certify import CertifyConfig, Evidence, certify_policy, check_certificate
from surefoot.certify.bounds.chain import action_chain
from surefoot.certify.bounds.crown import crown_bounds, interval_bounds
from surefoot.certify.bounds.global_bounds import closed_form_bounds, least
from surefoot.certify.bounds.region import Region, network_of
from surefoot.certify.bounds.relaxation import image, relax
from surefoot.certify.bounds.slopes import derivative, slope_range, slope_range_on


def f32(value: float) -> float:
    return float(np.float32(value))


SELU = ScaledElu(f32(1.6732632), f32(1.050701))
KINKED = [
    LeakyRelu(f32(0.01)),
    LeakyRelu(0.0),
    LeakyRelu(f32(1e-9)),
    LeakyRelu(1.0),
    SELU,
    ScaledElu(f32(0.3), 1.0),
    ScaledElu(5.0, f32(1.7)),
    ScaledElu(1.0, f32(0.1)),
    Clamp(-1.0, 1.0),
    Clamp(0.0, 6.0),
    Clamp(f32(0.3), f32(0.7)),
    Clamp(-5.0, f32(-0.5)),
]
PLACES = [-30.0, -6.0, -1.0, -1e-9, -0.0, 0.0, 1e-9, 0.3, 0.7, 1.0, 6.0, 9.0]


def intervals() -> tuple[np.ndarray, np.ndarray]:
    """Intervals between all the places, and thousands of random ones of all widths."""
    rng = np.random.default_rng(0)
    pairs = np.array([(low, high) for low in PLACES for high in PLACES if low <= high])
    drawn = rng.choice([*PLACES, *rng.uniform(-9, 9, 40)], 3000)
    ends = np.stack([drawn, drawn + 10.0 ** rng.uniform(-13, 1.5, 3000)], axis=1)
    return tuple(np.concatenate([pairs, ends]).T)


def inside(low: np.ndarray, high: np.ndarray, count: int) -> np.ndarray:
    """Points of the intervals, ends and kinks among them, shape (count + 12, n)."""
    even = low + (high - low) * np.linspace(0, 1, count)[:, None]
    kinks = np.array([*PLACES, -5.0, -0.5])[:, None] * np.ones_like(low)
    return np.clip(np.concatenate([even, kinks]), low, high)


def extended(activation: AnyActivation, x: np.ndarray) -> np.ndarray:
    """The activation in 80-bit arithmetic, written independently."""
    x = x.astype(np.longdouble)
    match activation:
        case LeakyRelu(alpha):
            return np.maximum(x, 0) - np.longdouble(alpha) * np.maximum(-x, 0)
        case ScaledElu(alpha, gamma):
            below = np.longdouble(alpha) * (np.expm1(np.minimum(x, 0)))
            return np.longdouble(gamma) * (np.maximum(x, 0) + below)
        case Clamp(low, high):
            return np.minimum(np.maximum(x, low), high)


@pytest.mark.parametrize("activation", KINKED)
def test_lines_and_image_enclose_the_activation(activation: AnyActivation) -> None:
    low, high = intervals()
    lines, (least, largest) = relax(activation, low, high), image(activation, low, high)
    x = inside(low, high, 100).astype(np.longdouble)
    values = extended(activation, x)
    assert (lines.slope_low * x + lines.cut_low <= values).all()
    assert (values <= lines.slope_high * x + lines.cut_high).all()
    assert (least <= values).all()
    assert (values <= largest).all()


@pytest.mark.parametrize("activation", KINKED)
def test_no_secant_leaves_the_slope_range(activation: AnyActivation) -> None:
    low, high = intervals()
    points = np.sort(inside(low, high, 60).astype(np.longdouble), axis=0)
    width, rise = np.diff(points, axis=0), np.diff(extended(activation, points), axis=0)
    error = np.longdouble(2.0) ** -60 * 40 * slope_range(activation).high  # of the rise itself
    least, largest = slope_range_on(activation, low, high)
    whole = slope_range(activation)
    assert (rise >= least * width - error).all()
    assert (rise <= largest * width + error).all()
    assert (whole.low <= least).all()
    assert (least <= largest).all()
    assert (largest <= whole.high).all()


@pytest.mark.parametrize("activation", KINKED)
def test_the_slope_range_is_attained(activation: AnyActivation) -> None:
    slopes = derivative(activation, np.linspace(-40, 40, 20001))
    whole = slope_range(activation)
    assert slopes.min() <= whole.low + 2.0**-19
    assert slopes.max() >= whole.high - 1e-3 * whole.high


@pytest.mark.parametrize("activation", KINKED)
def test_products_with_the_slope_range_stay_exact(activation: AnyActivation) -> None:
    whole = slope_range(activation)
    for number in (whole.low, whole.high, whole.middle, whole.radius):
        assert (number * 2**21).is_integer()
    assert whole.middle - whole.radius == whole.low
    assert whole.middle + whole.radius == whole.high


@pytest.mark.parametrize("activation", KINKED)
@pytest.mark.parametrize("sign", [1, -1])
def test_lines_are_the_nearest_in_the_middle(activation: AnyActivation, sign: int) -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(-4, 4, 25)
    high = low + rng.uniform(0.05, 8, 25)
    lines = relax(activation, low, high)
    middle = (low + high) / 2
    slope, cut = (
        (lines.slope_high, lines.cut_high) if sign > 0 else (lines.slope_low, lines.cut_low)
    )
    found = slope * middle + cut
    x = np.linspace(low, high, 301)
    values = extended(activation, x).astype(float)
    steepest = slope_range(activation).high
    tries = np.linspace(0, steepest, 301)[:, None, None]
    reach = (sign * (values - tries * x)).max(axis=1)
    best = sign * (reach + sign * tries[:, 0] * middle).min(axis=0)
    gap = sign * (found - best)
    assert (gap <= 2e-2 * (values.max(axis=0) - values.min(axis=0)) + 1e-9).all()


@pytest.mark.parametrize("activation", KINKED)
def test_no_bound_of_a_network_is_broken_by_a_sample(activation: AnyActivation) -> None:
    rng = np.random.default_rng(1)
    policy = draw_policy(rng, [4, 9, 7, 2], activation)
    network = network_of(policy)
    centres = rng.normal(0, 2, (20, 4))
    region = Region(centres=centres, radius=np.full(20, 0.5), norm=Norm.LINF)
    tight, wide = crown_bounds(network, region), interval_bounds(network, region)
    global_bound = least(closed_form_bounds(action_chain(policy)).lipschitz(Norm.L2))[0]
    for _ in range(100):
        step = rng.uniform(-0.5, 0.5, (20, 4))
        values, base = policy.network(centres + step), policy.network(centres)
        for bounds in (tight, wide):
            assert (bounds.lower <= values).all()
            assert (values <= bounds.upper).all()
        change = np.linalg.norm(values - base, axis=1)
        assert (change <= global_bound * np.linalg.norm(step, axis=1)).all()


@pytest.mark.parametrize("activation", [KINKED[0], SELU, Clamp(-1.0, 1.0)])
def test_a_certificate_is_proved_again_from_the_file(activation: AnyActivation) -> None:
    file = file_of(draw_policy(np.random.default_rng(2), [4, 9, 7, 2], activation))
    budget = Budget.parse('[[require]]\nquantity = "lipschitz"\nnorm = "l2"\nat_most = 1e3\n')
    config = CertifyConfig(
        search_states=16, search_steps=4, lipsdp_iterations=8, lipsdp_per_actuator=0
    )
    certificate = certify_policy(file, budget, Evidence(), config)
    assert certificate.verdict is Verdict.PROVED
    assert check_certificate(certificate, file).proved
    assert certificate.deviation_linf["best"] >= certificate.deviation_linf["sampled"]
