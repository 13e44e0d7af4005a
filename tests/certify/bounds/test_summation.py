"""The bound on float32 sums against exact rationals, in the worst orders that can be thought of."""

from collections.abc import Callable, Iterator
from itertools import permutations

import numpy as np
import pytest
from flint import fmpq

from surefoot.certify.bounds.partial_sums import additions_in_first_place
from surefoot.certify.bounds.summation import AffineSum, Error, Values, lengths, sum_error, sums_of
from surefoot.policy import Activation, Layer, Rounding

UNIT = 2.0**-24
Single = np.float32


def exact(value: float) -> fmpq:
    """A float is a rational number."""
    return fmpq(*float(value).as_integer_ratio())


def nearest(value: fmpq) -> np.float32:
    """The float32 nearest to a rational: float64 first, then the better of its neighbours."""
    guess = Single(float(int(value.p)) / float(int(value.q)))
    near = [np.nextafter(guess, Single(end)) for end in (-np.inf, np.inf)]
    return min([guess, *near], key=lambda single: abs(exact(single) - value))


def in_order(terms: np.ndarray) -> float:
    """One after the other."""
    total = Single(0)
    for term in terms:
        total = total + term
    return float(total)


def halved(terms: np.ndarray) -> float:
    """Each half by itself, as a tree."""
    if len(terms) == 1:
        return float(terms[0])
    middle = len(terms) // 2
    return float(Single(halved(terms[:middle])) + Single(halved(terms[middle:])))


def blocked(terms: np.ndarray) -> float:
    """Eight sums side by side, then these."""
    return in_order(np.array([in_order(terms[k::8]) for k in range(8)], Single))


def split_at_random(rng: np.random.Generator) -> Callable[[np.ndarray], float]:
    def tree(terms: np.ndarray) -> float:
        if len(terms) == 1:
            return float(terms[0])
        cut = int(rng.integers(1, len(terms)))
        return float(Single(tree(terms[:cut])) + Single(tree(terms[cut:])))

    return tree


def orders(terms: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """As they come, by size, and those whose partial sums stay far from zero the longest."""
    rising = terms[np.argsort(terms)]
    yield terms
    yield rising
    yield rising[::-1]
    yield terms[np.argsort(np.abs(terms))]
    yield terms[np.argsort(-np.abs(terms))]
    yield rng.permutation(terms)


def affine(weight: np.ndarray, bias: np.ndarray) -> AffineSum:
    return AffineSum.of(Layer(weight=weight, bias=bias, activation=Activation.IDENTITY))


def at(inputs: np.ndarray) -> Values:
    return Values(inputs, inputs, lengths(inputs))


def drawn(rng: np.random.Generator, count: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    weight, inputs = rng.standard_normal((2, 1, count))
    match kind:
        case "one sign":
            weight, inputs = np.abs(weight), np.abs(inputs)
        case "spread":
            weight = weight * 10.0 ** rng.uniform(-6, 6, weight.shape)
        case "cancelling":
            weight[:, 1::2] = -weight[:, : 2 * (count // 2) : 2] * (1 + 2.0**-12)
            inputs[:, 1::2] = inputs[:, : 2 * (count // 2) : 2]
        case "halves":  # all positive terms as large as all negative ones: M is half of T
            weight = np.abs(weight) * np.where(np.arange(count) % 2, 1.0, -1.0)
            inputs = np.ones_like(inputs)
    return weight.astype(Single), inputs.astype(Single)


@pytest.mark.parametrize("kind", ["ordinary", "one sign", "spread", "cancelling", "halves"])
@pytest.mark.parametrize("count", [2, 9, 64, 300])
def test_no_order_of_summation_leaves_the_bound_of_the_exact_sum(kind: str, count: int) -> None:
    rng = np.random.default_rng(count)
    for _ in range(3):
        weight, inputs = drawn(rng, count, kind)
        bias = rng.standard_normal(1).astype(Single)
        layer = affine(weight, bias)
        point = at(inputs.astype(float))
        sums = sums_of(layer, point)
        bound = sum_error(layer, sums, additions_in_first_place(layer, point, sums))
        assert (bound.entries <= sum_error(layer, sums).entries).all()
        terms = np.append(weight[0] * inputs[0], bias)
        pairs = zip(weight[0], inputs[0], strict=True)
        truth = sum((exact(w) * exact(h) for w, h in pairs), exact(bias[0]))
        for order in orders(terms, rng):
            for add in (in_order, halved, blocked, split_at_random(rng)):
                error = abs(exact(add(order)) - truth)
                assert error <= exact(bound.entries[0, 0])
                assert error <= exact(bound.length[0])


def test_every_order_of_a_few_terms_is_covered_with_fused_products_too() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        weight, inputs = drawn(rng, 5, "spread")
        layer = affine(weight, np.zeros(1, Single))
        point = at(inputs.astype(float))
        sums = sums_of(layer, point)
        bound = sum_error(layer, sums, additions_in_first_place(layer, point, sums))
        products = [exact(w) * exact(h) for w, h in zip(weight[0], inputs[0], strict=True)]
        for order in permutations(products):
            fused = Single(0)
            for product in order:
                fused = nearest(exact(fused) + product)
            assert abs(exact(fused) - sum(products, fmpq(0))) <= exact(bound.entries[0, 0])


def test_a_sum_that_loses_all_it_can_reaches_its_bound() -> None:
    # 1, and a thousand times a little more than half a unit in its last place: each is rounded up.
    weight = np.full((1, 1001), np.nextafter(Single(UNIT), Single(1)))
    weight[0, 0] = 1
    inputs = np.ones((1, 1001), Single)
    layer = affine(weight, np.zeros(1, Single))
    bound = sum_error(layer, sums_of(layer, at(inputs.astype(float))))
    truth = sum((exact(w) for w in weight[0]), fmpq(0))
    error = abs(exact(in_order(weight[0])) - truth)
    assert exact(0.95 * bound.entries[0, 0]) < error <= exact(bound.entries[0, 0])


@pytest.mark.parametrize("kind", ["ordinary", "one sign", "spread"])
def test_a_pruned_row_loses_what_its_weights_lose_wherever_they_stand(kind: str) -> None:
    rng = np.random.default_rng(2)
    weight, inputs = drawn(rng, 12, kind)
    places = np.sort(rng.choice(200, 12, replace=False))
    pruned, around = np.zeros((1, 200), Single), rng.standard_normal((1, 200)).astype(Single)
    pruned[:, places], around[:, places] = weight, inputs
    bounds = []
    for row, point in ((weight, inputs), (pruned, around)):
        layer = affine(row, np.zeros(1, Single))
        bounds.append(sum_error(layer, sums_of(layer, at(point.astype(float)))))
    assert bounds[1].entries == pytest.approx(bounds[0].entries, rel=1e-12)
    truth = sum((exact(w) * exact(h) for w, h in zip(weight[0], inputs[0], strict=True)), fmpq(0))
    for order in orders(pruned[0] * around[0], rng):
        for add in (in_order, halved, blocked):
            assert abs(exact(add(order)) - truth) <= exact(bounds[1].entries[0, 0])


def test_sums_of_a_box_hold_those_of_its_points() -> None:
    rng = np.random.default_rng(1)
    weight, bias = rng.standard_normal((7, 20)), rng.standard_normal(7)
    layer = affine(weight.astype(Single), bias.astype(Single))
    low = rng.normal(0, 1, (5, 20))
    high = low + rng.uniform(0, 2, low.shape)
    box = Values(low, high, lengths(np.maximum(np.abs(low), np.abs(high))))
    around = sums_of(layer, box)
    for _ in range(200):
        point = low + rng.choice([0.0, 1.0, rng.random()], low.shape) * (high - low)
        terms = layer.weight * point[:, None, :]
        terms = np.concatenate([terms, np.broadcast_to(layer.bias[:, None], (5, 7, 1))], axis=2)
        positive, negative = np.maximum(terms, 0).sum(axis=2), np.maximum(-terms, 0).sum(axis=2)
        here = sums_of(layer, at(point))
        assert (positive <= around.positive).all()
        assert (negative <= around.negative).all()
        assert (positive + negative <= around.terms).all()
        assert (np.maximum(positive, negative) <= around.partial).all()
        assert (np.linalg.norm(positive + negative, axis=1) <= here.terms_length).all()
        largest = np.maximum(positive, negative)
        assert (np.linalg.norm(largest, axis=1) <= here.partial_length).all()


def test_the_bound_is_at_most_the_textbooks_and_half_of_it_where_signs_balance() -> None:
    rng = np.random.default_rng(2)
    for kind, share in (("ordinary", 1.0), ("one sign", 1.05), ("halves", 0.53)):
        weight, inputs = drawn(rng, 400, kind)
        layer = affine(weight, np.zeros(1, Single))
        textbook = 402 * UNIT * float(np.abs(weight.astype(float) * inputs).sum())
        found = sum_error(layer, sums_of(layer, at(inputs.astype(float))))
        assert found.entries[0, 0] <= share * textbook


def test_values_that_err_lie_where_they_are_said_to() -> None:
    rng = np.random.default_rng(3)
    low = rng.normal(0, 1, (4, 6))
    values = Values(low, low + 0.5, lengths(np.abs(low) + 0.5))
    error = Error(np.full((4, 6), 0.1), np.full(4, 0.15))
    wide = values.widened(error)
    assert (wide.low <= low - 0.1).all()
    assert (wide.high >= low + 0.6).all()
    assert (wide.length >= values.length + 0.15).all()


def test_other_steps_count_with_every_rounding_and_with_what_they_add() -> None:
    rng = np.random.default_rng(4)
    weight, inputs = drawn(rng, 50, "ordinary")
    steps = Rounding(count=80, excess=np.full(1, 7.0))
    layer = Layer(
        weight=weight, bias=np.zeros(1, Single), activation=Activation.IDENTITY, rounding=steps
    )
    other = AffineSum.of(layer)
    found = sum_error(other, sums_of(other, at(inputs.astype(float)))).entries[0, 0]
    least = 80 * UNIT * (float(np.abs(weight.astype(float) * inputs).sum()) + 7.0)
    assert least <= found <= 1.03 * least
