"""Upper bounds are checked against exact rational arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest

from support.oracles import is_semidefinite, rational
from surefoot.certify.bounds.upward import (
    IntervalMatrix,
    crude_norm,
    matmul_up,
    proves_norm,
    proves_semidefinite,
    vector_norm_up,
)


@pytest.mark.parametrize("exponent", [0, 30, 140])
def test_a_product_of_non_negative_matrices_is_never_too_small(exponent: int) -> None:
    rng = np.random.default_rng(exponent)
    for _ in range(20):
        spread = 2.0 ** rng.integers(-exponent - 1, exponent + 1, size=(2, 5, 5))
        left, right = rng.random((2, 5, 5)) * spread
        bound = rational(matmul_up(left, right))
        exact = rational(left) @ rational(right)
        assert (bound >= exact).all()
        assert (bound <= exact * (1 + Fraction(1, 10**12)) + Fraction(1, 10**290)).all()


def test_a_product_that_underflows_is_never_too_small() -> None:
    left, right = np.full((1, 3), 1e-200), np.full((3, 1), 1e-200)
    assert matmul_up(left, right)[0, 0] > 0


def test_a_product_that_overflows_is_infinite() -> None:
    assert matmul_up(np.full((1, 2), 1e200), np.full((2, 1), 1e200))[0, 0] == np.inf


def test_a_ball_product_holds_the_exact_product() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b, c = (rng.standard_normal((6, 6)) * 10.0 ** rng.integers(-8, 8, (6, 6)) for _ in "abc")
        ball = IntervalMatrix.exact(a) @ IntervalMatrix.exact(b) @ IntervalMatrix.exact(c)
        error = np.abs(rational(a) @ rational(b) @ rational(c) - rational(ball.centre))
        assert (error <= rational(ball.radius)).all()


def test_norms_are_never_too_small_and_tight() -> None:
    rng = np.random.default_rng(1)
    for shape in [(1, 5), (5, 1), (4, 4), (30, 7), (64, 64)]:
        matrix = rng.standard_normal(shape)
        bound = IntervalMatrix.exact(matrix).norm()
        _, _, right = np.linalg.svd(matrix)
        image = rational(matrix) @ rational(right[0])
        assert Fraction(bound) ** 2 * sum(rational(right[0]) ** 2) >= sum(image**2)
        assert bound <= np.linalg.norm(matrix, 2) * (1 + 1e-8)
        assert crude_norm(np.abs(matrix)) >= bound * (1 - 1e-12)


def test_tiny_and_huge_vectors_keep_their_norm() -> None:
    for scale in (1e-320, 1e-200, 1.0, 1e200, 1e307):
        vector = np.array([3.0, 4.0]) * scale
        bound = vector_norm_up(vector)
        assert Fraction(bound) ** 2 >= sum(rational(vector) ** 2)
    assert vector_norm_up(np.array([np.inf])) == np.inf
    assert vector_norm_up(np.zeros(3)) == 0


def test_a_norm_is_proved_just_above_it_and_not_below() -> None:
    rng = np.random.default_rng(2)
    for shape in [(3, 3), (20, 6), (64, 64)]:
        matrix = rng.standard_normal(shape)
        norm = float(np.linalg.norm(matrix, 2))
        assert proves_norm(matrix, norm * (1 + 1e-8))
        assert not proves_norm(matrix, norm * (1 - 1e-9))


def test_definiteness_is_never_proved_against_exact_elimination() -> None:
    rng = np.random.default_rng(3)
    trials, proved = 0, 0
    for _ in range(150):
        size = int(rng.integers(2, 7))
        root = rng.standard_normal((size, int(rng.integers(1, size + 2))))
        matrix = root @ root.T
        matrix = (matrix + matrix.T) / 2 * 10.0 ** rng.integers(-20, 20)
        shift = 10.0 ** rng.uniform(-18, -6) * rng.choice([-1, 1]) * matrix.trace()
        matrix += np.diag(np.full(size, shift))
        trials += 1
        if proves_semidefinite(matrix):
            proved += 1
            assert is_semidefinite(matrix)
    assert 30 < proved < trials


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, 0.0])
def test_bad_diagonals_prove_nothing(bad: float) -> None:
    matrix = np.eye(3)
    matrix[1, 1] = bad
    assert not proves_semidefinite(matrix)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_entries_prove_nothing(bad: float) -> None:
    matrix = np.eye(3)
    matrix[0, 1] = matrix[1, 0] = bad
    assert not proves_semidefinite(matrix)


def test_badly_scaled_matrices_are_equilibrated() -> None:
    scale = 10.0 ** np.array([-30, 0, 25])
    matrix = (np.eye(3) + 0.1) * np.outer(scale, scale)
    assert proves_semidefinite(matrix)
    matrix[0, 2] = matrix[2, 0] = -2 * scale[0] * scale[2]
    assert not proves_semidefinite(matrix)


@pytest.mark.parametrize("entries", [[1.7e308], [1.7e308, 1.7e308], [-1e308, 1e-300]])
def test_a_norm_near_the_largest_float64_is_a_bound_or_infinite(entries: list[float]) -> None:
    exact = math.hypot(*entries)
    found = vector_norm_up(np.array(entries))
    assert found >= exact
    assert found == np.inf or found <= exact * (1 + 1e-12)
