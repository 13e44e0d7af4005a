"""Partial sums against every tree of additions of a few terms, and the worst of many terms."""

from collections.abc import Iterator
from functools import cache
from itertools import combinations

import numpy as np
import pytest

from surefoot.certify.bounds.partial_sums import additions_in_first_place
from surefoot.certify.bounds.summation import AffineSum, Values, lengths, sum_error, sums_of
from surefoot.policy import Activation, Layer

UNIT = 2.0**-24
Single = np.float32
KINDS = ("ordinary", "one sign", "spread", "balanced", "one large", "few and many")


def first_place(value: float) -> float:
    """The largest power of two that does not exceed a magnitude."""
    return float(2.0 ** np.floor(np.log2(abs(value)))) if value else 0.0


def layer_of(weight: np.ndarray, bias: np.ndarray) -> AffineSum:
    return AffineSum.of(
        Layer(weight=weight.astype(Single), bias=bias, activation=Activation.IDENTITY)
    )


def within(low: np.ndarray, high: np.ndarray) -> Values:
    return Values(low, high, lengths(np.maximum(np.abs(low), np.abs(high))))


def bound_of(layer: AffineSum, inputs: Values) -> np.ndarray:
    return additions_in_first_place(layer, inputs, sums_of(layer, inputs))


def drawn(rng: np.random.Generator, count: int, kind: str) -> np.ndarray:
    """Terms of a sum."""
    terms = rng.standard_normal(count)
    match kind:
        case "one sign":
            terms = np.abs(terms)
        case "spread":
            terms = terms * 10.0 ** rng.uniform(-3, 3, count)
        case "balanced":
            terms = np.where(np.arange(count) % 2, 1.0, -1.0) * (1 + 0.1 * rng.random(count))
        case "one large":
            terms[0] = 0.9 * np.abs(terms).sum()
        case "few and many":
            terms = np.abs(terms) + 1
            terms[: count // 3] *= -1.2 * terms[count // 3 :].sum() / terms[: count // 3].sum()
    return terms


def scaled(terms: np.ndarray, factor: float) -> np.ndarray:
    """Terms times a factor, float32 by value."""
    return (terms * factor).astype(Single).astype(np.float64)


@cache
def _trees(leaves: frozenset[int]) -> list[tuple[frozenset[int], ...]]:
    """Every tree of additions, as the sets of terms that its nodes add up."""
    if len(leaves) == 1:
        return [()]
    first, *others = sorted(leaves)
    found = []
    for size in range(len(others)):
        for chosen in combinations(others, size):
            left = frozenset({first, *chosen})
            rights = _trees(leaves - left)
            found += [(leaves, *one, *other) for one in _trees(left) for other in rights]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_no_tree_of_additions_of_six_terms_has_larger_partial_sums(kind: str) -> None:
    rng = np.random.default_rng(0)
    trees = _trees(frozenset(range(6)))
    assert len(trees) == 945  # 9!!, the number of such trees
    for scale in 2.0 ** rng.uniform(0, 1, 8):  # wherever powers of two lie
        terms = scaled(drawn(rng, 6, kind), scale)
        layer = layer_of(terms[None, :5], terms[5:].astype(Single))
        bound = bound_of(layer, within(np.ones((1, 5)), np.ones((1, 5))))[0, 0]
        sizes = {node: first_place(terms[list(node)].sum()) for tree in trees for node in tree}
        worst = max(sum(sizes[node] for node in tree) for tree in trees)
        assert worst <= bound


def long_trees(terms: np.ndarray, rng: np.random.Generator) -> Iterator[list[float]]:
    """Partial sums of trees that keep many of them large."""
    falling, rising = np.sort(terms)[::-1], np.sort(terms)
    positive, negative = falling[falling > 0], rising[rising < 0]
    yield list(np.cumsum(falling)[1:])  # the positive ones first, the most negative ones last
    yield list(np.cumsum(rising)[1:])
    if len(positive) and len(negative):  # a chain of each sign
        yield [*np.cumsum(positive)[1:], *np.cumsum(negative)[1:], terms.sum()]
    for blocks in (2, 3, 4):
        parts = [np.cumsum(falling[k::blocks]) for k in range(min(blocks, len(terms)))]
        yield [*(x for part in parts for x in part[1:]), *np.cumsum([p[-1] for p in parts])[1:]]
    yield list(np.cumsum(rng.permutation(terms))[1:])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [3, 17, 300])
def test_no_long_chain_has_larger_partial_sums(kind: str, count: int) -> None:
    rng = np.random.default_rng(count)
    for scale in 2.0 ** rng.uniform(0, 1, 12):
        terms = scaled(drawn(rng, count, kind), scale)
        layer, ones = layer_of(terms[None], np.zeros(1, Single)), np.ones((1, count))
        bound = bound_of(layer, within(ones, ones))[0, 0]
        for partial in long_trees(terms, rng):
            assert len(partial) == count - 1
            assert sum(map(first_place, partial)) <= bound


def test_a_box_of_inputs_counts_the_worst_of_its_points() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        weight, low = rng.standard_normal((1, 40)).astype(Single), rng.standard_normal((1, 40))
        high = low + rng.choice([0.01, 1.0]) * rng.random((1, 40))
        layer = layer_of(weight, np.zeros(1, Single))
        bound = bound_of(layer, within(low, high))[0, 0]
        for side in (weight > 0, weight < 0, rng.random((1, 40)) < 0.5):
            terms = weight[0] * np.where(side, high, low)[0]
            for partial in long_trees(terms, rng):
                assert sum(map(first_place, partial)) <= bound


def test_few_partial_sums_are_large_where_signs_balance() -> None:
    # The sums of 200 positive ones rise to M, the others fall to 0: half of M in the mean.
    terms = scaled(drawn(np.random.default_rng(0), 400, "balanced"), 1.0)
    layer, ones = layer_of(terms[None], np.zeros(1, Single)), np.ones((1, 400))
    most = 399 * sums_of(layer, within(ones, ones)).partial[0, 0]
    assert sum(map(first_place, np.cumsum(np.sort(terms)))) <= 0.5 * most
    assert bound_of(layer, within(ones, ones))[0, 0] <= 0.55 * most


def test_a_sum_of_whole_steps_that_is_scaled_at_its_end_is_covered() -> None:
    # The units come to 64.25, and each further one to a little more than half a place of that. The
    # scaled sum stays below 128, of which a place is no larger: the step scales what is lost.
    step, units = Single(1.984375), np.ones(600, Single)
    units[0] = 127
    inputs = np.full(600, np.nextafter(Single(64 * UNIT), Single(1)))
    inputs[0] = 64.25 / 127
    layer, point = layer_of((units * step)[None], np.zeros(1, Single)), inputs[None].astype(float)
    at = within(point, point)
    total = Single(0)
    for product in units * inputs:
        total += product
    error = abs(float(step * total) - float(layer.weight[0] @ point[0]))
    sums = sums_of(layer, at)
    assert first_place(sums.partial[0, 0]) == 64
    assert error > 1.5 * UNIT * (599 * 64 + 2 * sums.terms[0, 0])
    assert error <= sum_error(layer, sums, bound_of(layer, at)).entries[0, 0]
