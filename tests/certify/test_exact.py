"""Bounds against the exact truth of small ReLU networks, in rational arithmetic.

On a line, a network is cut into pieces on which it is affine: every activation pattern that occurs
is met, and the largest deviation and slope are found at the ends of the pieces. In two dimensions
the same holds for one hidden layer and the corners of the arrangement of its lines.
"""

from dataclasses import replace
from itertools import combinations, pairwise, product

import numpy as np
import pytest
from flint import fmpq, fmpq_mat

from support.policies import build_policy, draw_policy
from surefoot.ball import Ball, Norm
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.bounds.branch_and_bound import split_deviation
from surefoot.certify.bounds.chain import Chain, action_chain, network_chain
from surefoot.certify.bounds.global_bounds import closed_form_bounds, least_rows
from surefoot.certify.bounds.lipsdp import semidefinite_bounds
from surefoot.certify.bounds.local_bounds import local_bounds, local_region
from surefoot.certify.bounds.rounding import rounding_bound, state_bound
from surefoot.certify.bounds.upward import IntervalMatrix
from surefoot.certify.everywhere import Everywhere
from surefoot.errors import InputError
from surefoot.policy import Activation, Layer, Policy, Squash
from surefoot.unknown import Unknown

Vector = list[fmpq]


def exact(value: float) -> fmpq:
    """A float is a rational number."""
    return fmpq(*float(value).as_integer_ratio())


def affine(weight: np.ndarray, bias: np.ndarray, hidden: Vector) -> Vector:
    return [
        sum((exact(w) * h for w, h in zip(row, hidden, strict=True)), exact(b))
        for row, b in zip(weight, bias, strict=True)
    ]


def outputs(policy: Policy, state: Vector) -> Vector:
    """The actions of a ReLU network without squash, exactly."""
    hidden = state
    for layer in policy.layers:
        hidden = affine(layer.weight, layer.bias, hidden)
        if layer.activation is Activation.RELU:
            hidden = [max(value, fmpq(0)) for value in hidden]
    head = policy.head
    scales = zip(hidden, head.half_range, head.centre, strict=True)
    return [exact(half) * value + exact(centre) for value, half, centre in scales]


def breakpoints(policy: Policy, low: fmpq, high: fmpq) -> Vector:
    """Every place between two states on a line where an activation switches, and both ends."""
    points = [low, high]
    for depth in range(len(policy.layers) - 1):
        found = set(points)
        for left, right in pairwise(points):
            ends = [before(policy, depth, [place]) for place in (left, right)]
            for first, last in zip(*ends, strict=True):
                if first * last < 0:  # affine in between: it switches once
                    found.add(left + (right - left) * first / (first - last))
        points = sorted(found)
    return points


def before(policy: Policy, depth: int, state: Vector) -> Vector:
    """What enters the activations of one layer."""
    hidden = state
    for number, layer in enumerate(policy.layers[: depth + 1]):
        hidden = affine(layer.weight, layer.bias, hidden)
        if number < depth:
            hidden = [max(value, fmpq(0)) for value in hidden]
    return hidden


def deviation(policy: Policy, centre: Vector, places: list[Vector]) -> Vector:
    """The exact largest change of each action over some places."""
    here = outputs(policy, centre)
    there = [outputs(policy, place) for place in places]
    return [max(abs(row[j] - here[j]) for row in there) for j in range(len(here))]


def holds(bounds: np.ndarray, truth: Vector) -> bool:
    """Whether floats bound rationals from above; infinity bounds everything."""
    return all(b == np.inf or exact(b) >= t for b, t in zip(bounds, truth, strict=True))


def check_claims(policy: Policy, centre: list[float], epsilon: float, truth: Vector) -> None:
    """Every kind of bound on the deviation of an actuator must hold it, and the search be below."""
    region = local_region(np.array([centre]), epsilon, Norm.LINF)
    assert holds(local_bounds(policy, region).action[0], truth)
    for rows in closed_form_bounds(action_chain(policy)).deviations(epsilon, Norm.LINF).values():
        assert holds(rows, truth)
    split = split_deviation(policy, np.array(centre), epsilon, 0.0, num_boxes=40)
    assert exact(split.bound) >= max(truth)
    slack = fmpq(1, 10**9) * (1 + max(abs(value) for value in outputs(policy, vector(centre))))
    assert exact(split.worst) <= max(truth) + slack


def vector(values: list[float]) -> Vector:
    return [exact(value) for value in values]


def deep_line(seed: int) -> Policy:
    """At most 12 neurons in up to four layers over one sensor."""
    rng = np.random.default_rng(seed)
    hidden = [int(n) for n in rng.integers(1, 4, int(rng.integers(1, 5)))]
    gain, bias = (float(10 ** rng.uniform(-1, 1)) for _ in range(2))
    return draw_policy(rng, [1, *hidden, 2], Activation.RELU, gain=gain, bias=bias, half_range=1.7)


@pytest.mark.parametrize("seed", range(25))
def test_bounds_hold_the_exact_deviation_of_deep_networks_on_a_line(seed: int) -> None:
    policy = deep_line(seed)
    centre, epsilon = float(np.random.default_rng(seed).uniform(-2, 2)), 0.5
    low, high = exact(centre) - exact(epsilon), exact(centre) + exact(epsilon)
    places = [[point] for point in breakpoints(policy, low, high)]
    check_claims(policy, [centre], epsilon, deviation(policy, vector([centre]), places))


@pytest.mark.parametrize("seed", range(25))
def test_lipschitz_bounds_hold_the_exact_largest_slope(seed: int) -> None:
    policy = deep_line(seed)
    points = breakpoints(policy, fmpq(-1000), fmpq(1000))
    rows = [outputs(policy, [point]) for point in points]
    squares, slopes = [], []
    for (left, right), (first, last) in zip(pairwise(points), pairwise(rows), strict=True):
        slope = [(b - a) / (right - left) for a, b in zip(first, last, strict=True)]
        squares.append(sum((value * value for value in slope), fmpq(0)))
        slopes.append([abs(value) for value in slope])
    chain = action_chain(policy)
    bounds = closed_form_bounds(chain)
    found = semidefinite_bounds(chain, iterations=10, row_iterations=3)
    whole = [*bounds.whole.values(), found.fast.bound, found.whole.bound]
    assert all(exact(value) ** 2 >= max(squares) for value in whole)
    for output, row in enumerate(found.rows):
        assert exact(row.bound) >= max(slope[output] for slope in slopes)
    largest = [max(column) for column in zip(*slopes, strict=True)]
    assert holds(least_rows(bounds.deviations(1.0, Norm.L2)), largest)


@pytest.mark.parametrize("seed", range(10))
def test_bounds_hold_the_exact_deviation_of_twelve_neurons_in_the_plane(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    policy = draw_policy(rng, [2, 12, 2], Activation.RELU, bias=1.0)
    centre, epsilon = [float(x) for x in rng.uniform(-1, 1, 2)], 0.6
    low, high = ([exact(x) + s * exact(epsilon) for x in centre] for s in (-1, 1))
    first = policy.layers[0]
    lines = [[*vector(row), exact(b)] for row, b in zip(first.weight, first.bias, strict=True)]
    lines += [[fmpq(1), fmpq(0), -x] for x in (low[0], high[0])]
    lines += [[fmpq(0), fmpq(1), -y] for y in (low[1], high[1])]
    corners = []
    for (a, b, c), (d, e, f) in combinations(lines, 2):
        if (det := a * e - b * d) != 0:
            corner = [(b * f - c * e) / det, (c * d - a * f) / det]
            if all(lo <= x <= hi for lo, x, hi in zip(low, corner, high, strict=True)):
                corners.append(corner)
    assert len(corners) >= 4
    check_claims(policy, centre, epsilon, deviation(policy, vector(centre), corners))


@pytest.mark.parametrize("seed", range(6))
def test_the_absolute_bound_holds_every_activation_pattern_of_twelve_neurons(seed: int) -> None:
    rng = np.random.default_rng(seed)
    policy = draw_policy(rng, [3, 4, 4, 2], Activation.RELU, sparsity=0.2)
    weights = [fmpq_mat([vector(row) for row in layer.weight]) for layer in policy.layers]
    truth = [fmpq(0)] * 2
    for pattern in product((0, 1), repeat=8):
        masks = [fmpq_mat(4, 4, [fmpq(0)] * 16) for _ in range(2)]
        for neuron, on in enumerate(pattern):
            masks[neuron // 4][neuron % 4, neuron % 4] = fmpq(on)
        jacobian = weights[2] * masks[1] * weights[1] * masks[0] * weights[0]
        for j in range(2):
            truth[j] = max(truth[j], sum((abs(jacobian[j, k]) for k in range(3)), fmpq(0)))
    bounds = closed_form_bounds(network_chain(policy)).deviations(1.0, Norm.LINF)
    for rows in bounds.values():
        assert holds(rows, truth)


BIG = {
    # relu(z + C) - C: C swallows z in float32, and beyond 2^53 in float64 too.
    "a swallowed state": lambda c: ([[[1.0]], [[1.0]]], [[c], [-c]]),
    # C z - C z through two neurons, and z beside them.
    "a cancelled product": lambda c: (
        [[[c], [c], [1.0]], [[1.0, -1.0, 1.0]]],
        [[0.0, 0.0, 0.0], [0.0]],
    ),
    # Zombori's switch: relu(C z + 1) - relu(C z), nowhere but for z > -1 / C the constant 1.
    "a steep switch": lambda c: ([[[c], [c]], [[1.0, -1.0]]], [[1.0, 0.0], [0.0]]),
    # Added in one layer and taken away two layers later.
    "a constant that travels": lambda c: (
        [[[1.0], [0.0]], [[1.0, 1.0], [0.0, 1.0]], [[1.0, -1.0]]],
        [[0.0, c], [0.0, 0.0], [0.0]],
    ),
    # Multiplied up and down again.
    "a scale": lambda c: ([[[c]], [[1.0]], [[1.0 / c]]], [[1.0], [-1.0], [0.0]]),
}


@pytest.mark.parametrize("name", BIG)
@pytest.mark.parametrize("power", [12, 24, 40, 60, 100])
@pytest.mark.parametrize("centre", [0.0, 0.75, -0.25])
def test_constants_that_fool_floating_point_fool_no_bound(
    name: str, power: int, centre: float
) -> None:
    weights, biases = BIG[name](2.0**power)
    policy = build_policy(weights, Activation.RELU, biases=biases)
    epsilon = 0.25
    low, high = exact(centre) - exact(epsilon), exact(centre) + exact(epsilon)
    places = [[point] for point in breakpoints(policy, low, high)]
    truth = deviation(policy, vector([centre]), places)
    region = local_region(np.array([[centre]]), epsilon, Norm.LINF)
    assert holds(local_bounds(policy, region).action[0], truth)
    for rows in closed_form_bounds(action_chain(policy)).deviations(epsilon, Norm.LINF).values():
        assert holds(rows, truth)
    found = semidefinite_bounds(action_chain(policy), iterations=3, row_iterations=0)
    for proof in (found.fast, found.whole):
        assert proof is None or exact(proof.bound) * exact(epsilon) >= max(truth)
    # What float32 makes of it may move by less or by more, never by more than is said.
    states = np.float32([[float(place[0])] for place in places] + [[centre]])
    rounding = rounding_bound(policy, state_bound(policy, epsilon), ARITHMETICS["float32"])
    deployed = policy.outputs_at(states).astype(np.float64)[:, 0]
    if isinstance(rounding, Unknown):
        return
    for state, value in zip(states[:, 0], deployed, strict=True):
        error = abs(exact(value) - outputs(policy, [exact(state)])[0])
        assert exact(rounding.action[0]) >= error
    ball = Ball(norm=Norm.LINF, epsilon=epsilon)
    said = Everywhere(policy, ARITHMETICS["float32"]).deployed_deviation(ball).rows[0]
    assert said == np.inf or exact(said) >= max(
        abs(exact(value) - exact(deployed[-1])) for value in deployed
    )


@pytest.mark.parametrize("seed", range(20))
def test_float32_errs_by_no_more_than_the_rounding_term_in_exact_arithmetic(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gain = float(10 ** rng.uniform(-3, 3))
    policy = draw_policy(rng, [3, 6, 6, 2], Activation.RELU, gain=gain, half_range=0.3)
    bound = rounding_bound(policy, state_bound(policy, 0.0), ARITHMETICS["float32"])
    states = np.clip(rng.normal(0, 4, (8, 3)), -10, 10).astype(np.float32)
    for state, deployed in zip(states, policy.outputs_at(states), strict=True):
        truth = outputs(policy, vector(list(state)))
        errors = [abs(exact(v) - t) for v, t in zip(deployed, truth, strict=True)]
        assert holds(bound.action, errors)


def is_semidefinite(matrix: list[Vector]) -> bool:
    """Exact elimination; a zero pivot is allowed where its row is zero."""
    rows = [list(row) for row in matrix]
    for k in range(len(rows)):
        pivot = rows[k][k]
        if pivot < 0 or (pivot == 0 and any(rows[k][j] != 0 for j in range(k, len(rows)))):
            return False
        for i in range(k + 1, len(rows)) if pivot != 0 else ():
            factor = rows[i][k] / pivot
            rows[i] = [a - factor * b for a, b in zip(rows[i], rows[k], strict=True)]
    return True


def rational(matrix: np.ndarray) -> np.ndarray:
    """Floats as rational numbers, entry by entry."""
    return np.vectorize(exact, otypes=[object])(matrix)


def exact_products(policy: Policy) -> list[np.ndarray]:
    """The matrices of a policy, those with nothing between them multiplied in rationals."""
    weights = [rational(policy.layers[0].weight)]
    for below, layer in pairwise(policy.layers):
        if below.activation is Activation.IDENTITY:
            weights[-1] = rational(layer.weight) @ weights[-1]
        else:
            weights.append(rational(layer.weight))
    weights[-1] = rational(policy.head.half_range)[:, None] * weights[-1]
    return weights


def lipschitz_matrix(
    chain: Chain,
    metric: float | np.ndarray,
    multipliers: list[np.ndarray],
    weights: list[np.ndarray] | None = None,
) -> list[Vector]:
    """The condition of LipSDP-Neuron as published, exactly, with the products formed."""
    weights = weights or [rational(matrix.centre) for matrix in chain.matrices]
    sizes = [weights[0].shape[1], *(len(weight) for weight in weights[:-1])]
    starts = np.cumsum([0, *sizes])
    total = [[fmpq(0)] * int(starts[-1]) for _ in range(int(starts[-1]))]

    def add(row: int, column: int, block: list[Vector]) -> None:
        for i, entries in enumerate(block):
            for j, entry in enumerate(entries):
                total[starts[row] + i][starts[column] + j] += entry

    for i in range(sizes[0]):
        total[i][i] += exact(float(np.broadcast_to(metric, sizes[:1])[i]))
    for layer, (slope, values) in enumerate(zip(chain.slopes, multipliers, strict=True)):
        low, high, weight = exact(slope.low), exact(slope.high), weights[layer]
        lam = vector(list(values))
        for neuron, value in enumerate(lam):
            place = starts[layer + 1] + neuron
            total[place][place] += value
            row = [-(low + high) / 2 * value * w for w in weight[neuron]]
            add(layer + 1, layer, [[fmpq(0)] * len(row)] * neuron + [row])
            add(layer, layer + 1, [[fmpq(0)] * neuron + [entry] for entry in row])
        inner = [
            [
                low
                * high
                * sum(
                    (v * w[i] * w[j] for v, w in zip(lam, weight, strict=True)),
                    fmpq(0),
                )
                for j in range(weight.shape[1])
            ]
            for i in range(weight.shape[1])
        ]
        add(layer, layer, inner)
    last = weights[-1]
    outer = [
        [-sum((row[i] * row[j] for row in last), fmpq(0)) for j in range(last.shape[1])]
        for i in range(last.shape[1])
    ]
    add(len(weights) - 1, len(weights) - 1, outer)
    return total


@pytest.mark.parametrize(
    "activation", [entry for entry in Activation if entry is not Activation.IDENTITY]
)
@pytest.mark.parametrize("seed", range(3))
def test_a_semidefinite_proof_is_one_in_exact_arithmetic(activation: Activation, seed: int) -> None:
    rng = np.random.default_rng(seed)
    gain = float(10 ** rng.uniform(-1, 1))
    policy = draw_policy(rng, [2, 4, 4, 2], activation, gain=gain, sparsity=0.2)
    chain = action_chain(policy)
    boxes = [Ball(norm=Norm.LINF, epsilon=1.0, sensors=sides) for sides in (None, (1.0, 0.1))]
    found = semidefinite_bounds(chain, iterations=8, row_iterations=2, balls=boxes)
    together = [proof for proof in found.weighed if proof.output is None]
    assert len(together) == len(boxes)
    for proof in (found.fast, found.whole, *together):
        weights = proof.metric.weights
        assert is_semidefinite(lipschitz_matrix(chain, weights, list(proof.values)))
        assert not is_semidefinite(lipschitz_matrix(chain, weights / 4, list(proof.values)))


@pytest.mark.parametrize("activation", [Activation.TANH, Activation.SILU])
@pytest.mark.parametrize("places", [[0], [1], [0, 2]])
def test_a_semidefinite_proof_about_merged_layers_is_one_about_their_exact_product(
    activation: Activation, places: list[int]
) -> None:
    rng = np.random.default_rng(len(places))
    policy = draw_policy(rng, [2, 4, 4, 2], activation, half_range=0.7)
    layers = []
    for number, layer in enumerate(policy.layers):
        if number in places:
            size = layer.weight.shape[1]
            weight = rng.standard_normal((size, size)).astype(np.float32)
            nothing = np.zeros(size, np.float32)
            layers.append(Layer(weight=weight, bias=nothing, activation=Activation.IDENTITY))
        layers.append(layer)
    policy = replace(policy, layers=tuple(layers))
    chain, weights = action_chain(policy), exact_products(policy)
    for matrix, product_ in zip(chain.matrices, weights, strict=True):
        assert (np.abs(product_ - rational(matrix.centre)) <= rational(matrix.radius)).all()
    found = semidefinite_bounds(chain, iterations=8, row_iterations=0)
    for proof in (found.fast, found.whole):
        values = list(proof.values)
        assert is_semidefinite(lipschitz_matrix(chain, proof.squared, values, weights))


@pytest.mark.parametrize("seed", range(30))
def test_a_proved_norm_is_one_in_exact_arithmetic(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 6, 2))
    matrix = rng.standard_normal(shape) * 10.0 ** rng.uniform(-6, 6, shape)
    if seed % 3 == 0:  # singular, with a double largest singular value
        matrix = np.kron(np.eye(2), matrix)
    bound = exact(IntervalMatrix.exact(matrix).norm())
    gram = [
        [
            bound * bound * int(i == j)
            - sum((exact(row[i]) * exact(row[j]) for row in matrix), fmpq(0))
            for j in range(matrix.shape[1])
        ]
        for i in range(matrix.shape[1])
    ]
    assert is_semidefinite(gram)


def test_a_jacobian_that_is_zero_where_it_is_taken_bounds_nothing() -> None:
    # mathematics.md, 11.5: relu(x - .1) at 0: the Jacobian says 0, the truth at epsilon .2 is .1.
    policy = build_policy([[[1.0]], [[1.0]]], Activation.RELU, biases=[[-0.1], [0.0]])
    truth = deviation(policy, [fmpq(0)], [[exact(0.2)], [exact(-0.2)]])
    assert float(truth[0]) == pytest.approx(0.1)
    check_claims(policy, [0.0], 0.2, truth)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_make_no_policy(bad: float) -> None:
    for weights, biases in (([[[bad, 1.0]]], [[0.0]]), ([[[1.0, 1.0]]], [[bad]])):
        with pytest.raises(InputError, match="finite"):
            build_policy(weights, biases=biases)


@pytest.mark.parametrize("size", [1e-45, 1e-40, 1e-38, 1e-20, 1e20, 1e30])
@pytest.mark.parametrize("squash", [Squash.IDENTITY, Squash.CLIP])
def test_denormal_and_huge_weights_keep_every_bound_true(size: float, squash: Squash) -> None:
    rng = np.random.default_rng(7)
    policy = draw_policy(rng, [1, 3, 3, 1], Activation.RELU, squash=squash)
    first = policy.layers[0]
    first.weight[:] = np.float32(size) * np.sign(first.weight)
    truth = [fmpq(0)]
    low, high = exact(0.5) - exact(0.25), exact(0.5) + exact(0.25)
    places = [[point] for point in breakpoints(policy, low, high)]
    if squash is Squash.IDENTITY:
        truth = deviation(policy, vector([0.5]), places)
    else:
        unit = [min(max(outputs(policy, place)[0], fmpq(-1)), fmpq(1)) for place in places]
        here = min(max(outputs(policy, vector([0.5]))[0], fmpq(-1)), fmpq(1))
        truth = [max(abs(value - here) for value in unit)]
    region = local_region(np.array([[0.5]]), 0.25, Norm.LINF)
    assert holds(local_bounds(policy, region).action[0], truth)
    for rows in closed_form_bounds(action_chain(policy)).deviations(0.25, Norm.LINF).values():
        assert holds(rows, truth)
