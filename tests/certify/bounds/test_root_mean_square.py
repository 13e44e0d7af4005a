"""Normalisations over neurons: no bound of theirs is left, in real arithmetic or in float32.

The oracle computes in extended precision, from the formula alone.
"""

import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from flint import arb, ctx

from support.onnx_graphs import Array, RandomController
from support.policies import build_policy
from surefoot.activation import Activation, Mixed, RmsNorm
from surefoot.ball import Norm
from surefoot.certify.bounds.alpha_crown import optimised_bounds
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.bounds.crown import interval_layers, layer_bounds
from surefoot.certify.bounds.local_bounds import local_bounds, local_region
from surefoot.certify.bounds.region import network_of
from surefoot.certify.bounds.relaxation import image, relax
from surefoot.certify.bounds.root_mean_square import (
    Squares,
    rms_bands,
    rms_errors,
    square_lines,
    squares_on,
)
from surefoot.certify.bounds.rounding import RoundingBound, rounding_around, rounding_bound
from surefoot.certify.bounds.slopes import derivative, slope_range, times_jacobian
from surefoot.certify.counterexamples import network_and_gradient
from surefoot.certify.everywhere import Everywhere
from surefoot.onnx_file import ForeignFile, read_onnx
from surefoot.policy import NO_SLOPES, Policy
from surefoot.unknown import Unknown

TRIALS = int(os.environ.get("SUREFOOT_TRIALS", "20"))
EXTENDED = np.longdouble
FLOAT32 = ARITHMETICS["float32"]


def exact(norm: RmsNorm, x: Array) -> Array:
    """The formula in extended precision."""
    wide = x.astype(EXTENDED)
    mean = (wide * wide).mean(axis=-1, keepdims=True)
    return np.asarray(wide / np.sqrt(mean + EXTENDED(norm.epsilon)))


def boxes(rng: np.random.Generator, count: int, width: int) -> tuple[Array, Array]:
    """Boxes of many sizes and places, points among them."""
    middle = rng.normal(size=(count, width)) * 10.0 ** rng.uniform(-4, 2, (count, 1))
    radius = np.abs(rng.normal(size=(count, width))) * 10.0 ** rng.uniform(-6, 1, (count, 1))
    radius[rng.random(radius.shape) < 0.1] = 0
    return middle - radius, middle + radius


def points_of(low: Array, high: Array, rng: np.random.Generator, count: int) -> Iterator[Array]:
    """Corners and inner points of boxes."""
    for number in range(count):
        share = rng.random(low.shape)
        yield low + (np.round(share) if number % 2 else share) * (high - low)


def normalised_policies(count: int) -> Iterator[tuple[np.random.Generator, Policy]]:
    """Random controllers that normalise somewhere, as others write them."""
    seed = 0
    while count:
        rng = np.random.default_rng(seed)
        seed += 1
        file = read_onnx(RandomController(rng, norms=0.7).branched(4)[0], "controller.onnx")
        assert isinstance(file, ForeignFile)
        if not file.policy.is_elementwise:
            count -= 1
            yield rng, file.policy


@pytest.mark.parametrize("epsilon", [2.0**-60, 2.0**-17, 0.125])
@pytest.mark.parametrize("width", [1, 2, 7, 64])
def test_no_point_of_a_box_leaves_its_image_or_its_band(width: int, epsilon: float) -> None:
    norm, rng = RmsNorm(epsilon), np.random.default_rng(width)
    low, high = boxes(rng, 300, width)
    lower, upper = image(norm, low, high)
    lines, squares = relax(norm, low, high), squares_on(low, high)
    coupling = lines.coupling
    assert coupling is not None
    for x in points_of(low, high, rng, 60):
        value, wide = exact(norm, x), x.astype(EXTENDED)
        assert (value >= lower).all()
        assert (value <= upper).all()
        total = (wide * wide).sum(axis=-1, keepdims=True)
        assert (total >= squares.least).all()
        assert (total <= squares.most).all()
        shared = (coupling.gradient * wide).sum(axis=-1, keepdims=True)
        ends = [coupling.along * (shared + end) for end in (coupling.low, coupling.high)]
        assert (lines.slope_low * wide + lines.cut_low + np.minimum(*ends) <= value).all()
        assert (lines.slope_high * wide + lines.cut_high + np.maximum(*ends) >= value).all()


@pytest.mark.parametrize("epsilon", [2.0**-60, 2.0**-17, 0.125])
@pytest.mark.parametrize("width", [2, 7, 64])
def test_a_single_point_leaves_none_of_its_bounds_by_the_rounding_of_float64(
    width: int, epsilon: float
) -> None:
    """A box without width leaves room for nothing else."""
    norm, rng = RmsNorm(epsilon), np.random.default_rng(width)
    x = rng.normal(size=(4000, width)) * 10.0 ** rng.uniform(-4, 4, (4000, width))
    squares, wide = squares_on(x, x), x.astype(EXTENDED)
    total = np.square(wide).sum(axis=-1, keepdims=True)
    assert (squares.least <= total).all()
    assert (total <= squares.most).all()
    *_, gradient, low, high = rms_bands(norm, x, x, squares)
    inverse_root = 1 / np.sqrt(total / width + EXTENDED(epsilon))
    shared = (gradient * wide).sum(axis=-1, keepdims=True)
    assert (shared + low <= inverse_root).all()
    assert (inverse_root <= shared + high).all()


def test_no_square_leaves_its_lines() -> None:
    rng = np.random.default_rng(0)
    low, high = boxes(rng, 500, 8)
    slope_low, cut_low, slope_high, cut_high = square_lines(low, high)
    for x in points_of(low, high, rng, 60):
        wide = x.astype(EXTENDED)
        assert (slope_low * wide + cut_low <= wide * wide).all()
        assert (slope_high * wide + cut_high >= wide * wide).all()


def test_a_band_is_as_much_narrower_as_the_square_of_its_box() -> None:
    norm, rng = RmsNorm(2.0**-17), np.random.default_rng(0)
    middle = rng.normal(size=(50, 16))
    widths = []
    for radius in (1e-2, 1e-3):
        lines = relax(norm, middle - radius, middle + radius)
        assert lines.coupling is not None
        spread = np.abs(lines.coupling.along) * (lines.coupling.high - lines.coupling.low)
        widths.append(lines.cut_high - lines.cut_low + spread)
    assert (widths[1] < 0.012 * widths[0]).all()


def test_no_value_of_any_layer_leaves_its_bounds() -> None:
    for rng, policy in normalised_policies(TRIALS):
        network = network_of(policy)
        for norm in Norm:
            region = local_region(rng.normal(0, 1.5, (5, 4)), 10.0 ** rng.uniform(-3, 0), norm)
            step = rng.normal(size=(100, 5, 4))
            step = (
                np.sign(step)
                if norm is Norm.LINF
                else step / np.linalg.norm(step, axis=2)[..., None]
            )
            step *= np.where(rng.random((100, 5, 1)) < 0.5, 1, rng.random((100, 5, 1)))
            hidden = (region.centres + step * region.radius[:, None] * (1 - 1e-15)).astype(EXTENDED)
            found = [
                interval_layers(network, region),
                layer_bounds(network, region),
                optimised_bounds(network, region, 2),
            ]
            for number, layer in enumerate(policy.layers):
                sums = hidden @ layer.weight.T.astype(EXTENDED) + layer.bias
                slack = 1e-12 * (1 + np.abs(sums))
                for bounds in found:
                    assert (sums >= bounds[number].lower - slack).all()
                    assert (sums <= bounds[number].upper + slack).all()
                    hold_squares(bounds[number].squares, layer.activation, sums)
                hidden = layer.activation(sums)


def hold_squares(squares: Squares | None, activation: object, sums: Array) -> None:
    if squares is None:
        return
    width = sums.shape[-1]
    places = (
        activation.places() if isinstance(activation, Mixed) else [(activation, slice(0, width))]
    )
    for function, place in places:
        if isinstance(function, RmsNorm):
            total = np.square(sums[..., place]).sum(axis=-1, keepdims=True)
            assert (total >= squares.least[:, place] * (1 - 1e-12)).all()
            assert (total <= squares.most[:, place] * (1 + 1e-12)).all()


def test_bounds_around_a_state_are_near_what_it_does_for_small_balls() -> None:
    checked = 0
    for rng, policy in normalised_policies(TRIALS):
        states = rng.normal(0, 1.5, (8, 4))
        bound = local_bounds(policy, local_region(states, 1e-4, Norm.LINF)).action
        step = 1e-4 * np.sign(rng.normal(size=(200, 8, 4)))
        change = np.abs(policy.outputs_at(states + step) - policy.outputs_at(states)).max(axis=0)
        assert (change <= bound + 1e-12).all()
        checked += int((bound < 3 * change + 1e-6).sum())
    assert checked > TRIALS * 8


def float32_norm(norm: RmsNorm, x: Array, rng: np.random.Generator, *, in_one_pass: bool) -> Array:
    """In float32, squares summed in a random order; ``x`` may have a mean that is subtracted."""
    x = x.astype(np.float32)
    count = np.float32(x.shape[-1])
    total = np.zeros(x.shape[:-1], np.float32)
    mean = np.zeros(x.shape[:-1], np.float32)
    centre = x
    if in_one_pass:
        for place in rng.permutation(x.shape[-1]):
            mean = mean + x[..., place]
        mean = mean / count
        centre = x - mean[..., None]
    for place in rng.permutation(x.shape[-1]):
        entry = (x if in_one_pass else centre)[..., place]
        total = total + entry * entry
    square = total / count - (mean * mean if in_one_pass else np.float32(0))
    return centre / np.sqrt(square + np.float32(norm.epsilon))[..., None]


@pytest.mark.parametrize("in_one_pass", [False, True])
@pytest.mark.parametrize("width", [2, 9, 200])
def test_no_float32_normalisation_leaves_its_bound(width: int, in_one_pass: bool) -> None:
    norm, rng, known = RmsNorm(float(np.float32(1e-5))), np.random.default_rng(width), 0
    for _ in range(100):
        size, shift = 10.0 ** rng.uniform(-3, 2), 10.0 ** rng.uniform(-3, 2)
        x = (size * rng.normal(size=(20, width)) + shift * rng.normal()).astype(np.float32)
        wide = x.astype(EXTENDED)
        centre = wide - wide.mean(axis=-1, keepdims=True) if in_one_pass else wide
        error = 10.0 ** rng.uniform(-9, -3) * np.abs(rng.normal(size=x.shape))
        moved = x + (error * rng.choice([-1, 1], x.shape)).astype(np.float32)
        inputs = np.abs(moved.astype(EXTENDED) - wide).astype(np.float64)
        # As a layer that subtracts the mean is bounded: terms, and (n + 4) roundings of them.
        terms = np.abs(moved).astype(np.float64)
        made = np.zeros_like(terms)
        if in_one_pass:
            terms = terms * (1 - 1 / width) + (terms.sum(axis=1, keepdims=True) - terms) / width
            inputs = inputs + inputs.mean(axis=1, keepdims=True)
            made = (width + 4) * 2.0**-24 * terms
        arrived = inputs + made
        low, high = (np.asarray(centre + sign * arrived, np.float64) for sign in (-1, 1))
        length = np.sqrt(np.square(arrived).sum(axis=1)) * (1 + 1e-9)
        point = np.asarray(centre, np.float64)
        found = rms_errors(
            norm,
            np.nextafter(low, -np.inf),
            np.nextafter(high, np.inf),
            squares_on(point, point),
            (arrived * (1 + 1e-9), made, terms),
            length,
            in_one_pass=in_one_pass,
        )
        bound = found.steepest * arrived + found.crossed + found.added
        with np.errstate(invalid="ignore", divide="ignore"):
            value = float32_norm(norm, moved, rng, in_one_pass=in_one_pass)
        distance = np.abs(value - exact(norm, centre))
        sure = np.isfinite(bound)
        assert (distance[sure] <= bound[sure]).all()
        known += int(sure.sum())
    assert known > 20 * width * (50 if in_one_pass else 99)


def test_the_errors_of_neurons_that_are_normalised_together_reach_each_other() -> None:
    """One neuron that errs moves all others: a bound of single slopes would not see it."""
    norm = RmsNorm(2.0**-17)
    x = np.array([[3.0, 4.0, 0.0]])
    error = np.array([[1e-3, 0.0, 0.0]])
    found = rms_errors(
        norm,
        x - error,
        x + error,
        squares_on(x, x),
        (error, np.zeros((1, 3)), np.abs(x)),
        np.array([1e-3]),
        in_one_pass=False,
    )
    moved = np.abs(exact(norm, x + error) - exact(norm, x))
    assert moved[0, 1] > 1e-5
    assert (moved <= found.steepest * error + found.crossed + found.added).all()


def test_a_deployed_root_that_is_smaller_than_the_exact_one_is_as_steep_as_the_bound_says() -> None:
    """Errors of half of what is normalised halve its root, and double the slope."""
    norm, x = RmsNorm(2.0**-40), np.ones((1, 2))
    error = x / 2
    found = rms_errors(
        norm,
        x - error,
        x + error,
        squares_on(x, x),
        (error, np.zeros((1, 2)), x),
        np.sqrt(np.square(error).sum(axis=1)),
        in_one_pass=False,
    )
    for point in (x - error, x, x + error):
        jacobian = times_jacobian(norm, point[0], np.eye(2))
        assert np.linalg.norm(jacobian, 2) <= found.steepest.min() * (1 + 1e-12)


@pytest.mark.parametrize("width", [9, 200])
def test_no_variance_in_one_pass_leaves_its_bound_whatever_the_rounding(width: int) -> None:
    """Each mean is off by all that its roundings can do: Higham 2002, section 3.1."""
    norm, rng, unit = RmsNorm(2.0**-60), np.random.default_rng(width), 2.0**-24
    spread, finite = np.sort(rng.choice([-1.0, 1.0], width)), []
    for size in np.geomspace(1e-4, 0.3, 100):
        x = 1 + size * spread
        centre = (x - x.mean())[None]
        terms = (np.abs(x) * (1 - 1 / width) + (np.abs(x).sum() - np.abs(x)) / width)[None]
        nothing = np.zeros_like(centre)
        found = rms_errors(
            norm,
            centre,
            centre,
            squares_on(centre, centre),
            (nothing, nothing, terms),
            np.zeros(1),
            in_one_pass=True,
        )
        mean = x.mean() * (1 + width * unit)  # n - 1 sums and a quotient
        square = np.square(x).mean() * (1 - (width + 1) * unit)  # and as many squares
        variance = square - np.square(mean) * (1 + unit) + norm.epsilon
        finite.append(bool(np.isfinite(found.added).all()))
        if finite[-1]:
            assert variance > 0
            distance = np.abs(centre / np.sqrt(variance) - exact(norm, centre))
            assert (distance <= found.added).all()
    assert not finite[0]
    assert finite[-1]


def test_the_mean_of_large_numbers_leaves_no_bound_on_a_small_variance() -> None:
    """E[x^2] - E[x]^2 of numbers near 1000 may be negative, and some kernels compute it so."""
    norm = RmsNorm(float(np.float32(1e-5)))
    x = np.array([[-0.01, 0.0, 0.01]])
    arguments = (norm, x, x, squares_on(x, x), (np.zeros((1, 3)), np.zeros((1, 3)), x + 1000))
    found = [
        rms_errors(*arguments, np.zeros(1), in_one_pass=in_one_pass).added
        for in_one_pass in (False, True)
    ]
    assert np.isfinite(found[0]).all()
    assert np.isinf(found[1]).all()


def test_runs_in_float32_stay_within_the_rounding_of_their_balls() -> None:
    known = 0
    for rng, policy in normalised_policies(TRIALS):
        region = local_region(rng.normal(0, 1.5, (5, 4)), 0.01, Norm.LINF)
        before = local_bounds(policy, region).before
        bound = rounding_around(policy, region, before, FLOAT32)
        if isinstance(bound, Unknown):
            continue
        known += 1
        step = 0.01 * rng.uniform(-1, 1, (100, 5, 4))
        points = (region.centres + step * (1 - 1e-6)).astype(np.float32)
        points = np.clip(points, region.centres - 0.01, region.centres + 0.01).astype(np.float32)
        inside = np.abs(points - region.centres) <= 0.01
        points = np.where(inside, points, region.centres.astype(np.float32))
        error = np.abs(
            policy.outputs_at(points).astype(np.float64)
            - policy.outputs_at(points.astype(np.float64))
        )
        assert (error <= bound.action * (1 + 1e-9)).all()
    assert known > TRIALS // 2


def test_errors_made_before_a_normalisation_are_counted_behind_it() -> None:
    """Products that cancel lose much in TF32, and what normalises their sum loses little more."""
    rng = np.random.default_rng(0)
    cancelling = 100 * rng.normal(size=(6, 1)) * np.array([[1.0, -1.0]]) + rng.normal(size=(6, 2))
    policy = build_policy([cancelling, np.eye(6), np.eye(6)], RmsNorm(0.5))
    first = replace(policy.layers[0], activation=Activation.IDENTITY)
    policy = replace(policy, layers=(first, *policy.layers[1:]))
    states = rng.uniform(0.9, 1.1, (200, 2)).astype(np.float32)
    region = local_region(states.astype(np.float64), 0.0, Norm.LINF)
    before = local_bounds(policy, region).before
    bound = rounding_around(policy, region, before, ARITHMETICS["tf32"])
    assert isinstance(bound, RoundingBound)
    hidden = states
    for layer in policy.layers:
        hidden = layer.activation(in_tf32(hidden) @ in_tf32(layer.weight).T + layer.bias)
    error = np.abs(hidden.astype(np.float64) - policy.network(states.astype(np.float64)))
    assert (error <= bound.network).all()
    assert (error > 0.05 * bound.network).any()


def in_tf32(x: Array) -> Array:
    mantissa, exponent = np.frexp(x.astype(np.float32))
    return np.ldexp(np.round(mantissa * 2.0**11) / 2.0**11, exponent).astype(np.float32)


def test_half_precision_has_no_bound_but_a_reason() -> None:
    for _, policy in normalised_policies(3):
        canonical = rounding_bound(policy, np.full(4, 1.0), ARITHMETICS["float16"])
        assert isinstance(canonical, Unknown)


def test_nothing_is_said_about_every_state_and_the_reason_is() -> None:
    for _, policy in normalised_policies(3):
        everywhere = Everywhere(policy, FLOAT32)
        bound = everywhere.lipschitz(Norm.L2)
        assert not np.isfinite(bound.value)
        assert bound.note == NO_SLOPES


def test_a_normalisation_has_no_slopes_of_single_neurons() -> None:
    norm = RmsNorm(0.5)
    for ask in (lambda: slope_range(norm), lambda: derivative(norm, np.ones(3))):
        with pytest.raises(TypeError, match="single ones"):
            ask()


def test_the_gradient_of_searches_is_that_of_finite_differences() -> None:
    for rng, policy in normalised_policies(TRIALS // 2):
        states = rng.normal(size=(20, 4))
        direction = rng.normal(size=policy.num_outputs)
        _, gradient = network_and_gradient(
            policy, states, lambda outputs, d=direction: np.broadcast_to(d, outputs.shape)
        )
        for sensor in range(4):
            step = np.zeros(4)
            step[sensor] = 1e-6
            ends = [policy.network(states + sign * step) @ direction for sign in (1, -1)]
            difference = (ends[0] - ends[1]) / 2e-6
            near = np.abs(difference - gradient[:, sensor]) < 1e-3 * (1 + np.abs(difference))
            assert near.mean() > 0.7  # all but those next to a kink


def test_the_jacobian_is_symmetric_with_eigenvalues_up_to_the_inverse_root() -> None:
    rng = np.random.default_rng(0)
    mixed = Mixed(((RmsNorm(0.25), 3), (Activation.TANH, 2), (RmsNorm(0.25), 2)))
    x = rng.normal(size=7)
    jacobian = times_jacobian(mixed, x, np.eye(7))
    assert np.allclose(jacobian, jacobian.T)
    values = np.linalg.eigvalsh(jacobian[:3, :3])
    assert values.min() >= 0
    assert values.max() <= 1 / np.sqrt(np.square(x[:3]).mean() + 0.25) * (1 + 1e-12)


def test_neighbours_that_are_normalised_alike_keep_means_of_their_own() -> None:
    x = np.array([1.0, 1.0, 100.0, 100.0])
    mixed = Mixed.of([(RmsNorm(0.5), 2), (RmsNorm(0.5), 2)])
    assert isinstance(mixed, Mixed)
    assert np.allclose(mixed(x), [0.8165, 0.8165, 1.0, 1.0], atol=1e-4)


def test_the_reference_is_the_formula_in_ball_arithmetic() -> None:
    ctx.prec = 200
    norm, rng = RmsNorm(float(np.float32(1e-5))), np.random.default_rng(0)
    for _ in range(20):
        x = rng.normal(size=5) * 10.0 ** rng.uniform(-3, 3)
        mean = sum((arb(float(entry)) ** 2 for entry in x), arb(0)) / 5
        root = (mean + arb(norm.epsilon)).sqrt()
        for entry, value in zip(x, norm(x), strict=True):
            assert abs(float(arb(float(entry)) / root) - value) <= 1e-15 * (1 + abs(value))


@pytest.mark.parametrize("rest", [0.0, -0.125, 0.25])
def test_layers_that_scale_or_centre_are_multiplied_by_as_sums(rest: float) -> None:
    """Against the same network with a row of zeros more, which is multiplied as a matrix."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=(8, 3))
    second = np.diag(rng.uniform(0.25, 2, 8)) + rest * (1 - np.eye(8))
    last = rng.normal(size=(2, 8))
    plain = network_of(build_policy([first, second, last], RmsNorm(0.25)))
    wider = np.vstack([second, np.zeros(8)])
    other = network_of(
        build_policy(
            [first, wider, np.column_stack([last, np.zeros(2)])],
            RmsNorm(0.25),
        )
    )
    plain = replace(plain, activations=(RmsNorm(0.25), Activation.TANH))
    other = replace(other, activations=(RmsNorm(0.25), Activation.TANH))
    region = local_region(rng.normal(size=(20, 3)), 0.05, Norm.LINF)
    found, expected = (layer_bounds(network, region)[-1] for network in (plain, other))
    np.testing.assert_allclose(found.upper, expected.upper, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(found.lower, expected.lower, rtol=1e-11, atol=1e-11)
