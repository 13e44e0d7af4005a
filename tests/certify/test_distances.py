"""Distances between action laws, against integration and random pairs; and published errors."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import softmax
from scipy.stats import norm

from surefoot.certify import distances


@pytest.mark.parametrize("gap", [0.01, 0.3, 1.0, 4.0])
def test_gaussian_total_variation_agrees_with_integration(gap: float) -> None:
    exact, _ = quad(lambda x: abs(norm.pdf(x) - norm.pdf(x, loc=gap)) / 2, -12, 18, limit=400)
    assert distances.gaussian_tv(gap) == pytest.approx(exact, abs=1e-7)


def test_total_variation_from_kl_has_its_known_values_and_saturates() -> None:
    for kl, tv in [(0.01, 0.056372), (1.0, 0.520500)]:
        assert distances.gaussian_tv(math.sqrt(2 * kl)) == pytest.approx(tv, abs=5e-7)
        assert distances.gaussian_kl(math.sqrt(2 * kl)) == pytest.approx(kl)
        assert distances.pinsker_tv(kl) > tv
    assert distances.gaussian_tv(1e3) == 1.0


def test_categorical_bounds_hold_for_random_pairs_and_are_sharp() -> None:
    rng = np.random.default_rng(0)
    best = 0.0
    trials = 0
    for _ in range(300):
        count = int(rng.integers(2, 5))
        logits = rng.normal(0, 3, (200, count))
        change = rng.normal(0, 1, (200, count)) * 10.0 ** rng.uniform(-3, 1, (200, 1))
        p, q = softmax(logits, axis=1), softmax(logits + change, axis=1)
        tv = np.abs(p - q).sum(axis=1) / 2
        kl = (p * (np.log(p) - np.log(q))).sum(axis=1)
        span = np.ptp(change, axis=1)
        assert (tv <= distances.categorical_tv(span) + 1e-15).all()
        assert (kl <= distances.categorical_kl(span) + 1e-12).all()
        length = np.linalg.norm(change, axis=1)
        assert (span <= distances.span_from_l2(length)).all()
        best = max(best, float((tv / distances.categorical_tv(span)).max()))
        trials += 200
    print(f"{trials} pairs, largest share of the bound {best:.4f}")
    attained = softmax([[0.5, -0.5], [-0.5, 0.5]], axis=1)
    tv = float(np.abs(attained[0] - attained[1]).sum() / 2)
    assert tv == pytest.approx(float(distances.categorical_tv(2.0)))


def test_the_published_gaussian_constant_misses_a_square_root() -> None:
    # Sigma = 4 I, |dmu| = 1: unsound for variances above 1; sigma = .1: ten times too loose.
    exact = float(distances.gaussian_tv(1 / 2))
    printed = distances.paper_gaussian_tv(1.0, 4.0)
    assert exact == pytest.approx(0.19741, abs=1e-5)
    assert printed["main_text"] == pytest.approx(0.09974, abs=1e-5)
    assert printed["main_text"] < exact <= printed["appendix"]
    narrow = distances.paper_gaussian_tv(1.0, 0.1**2)
    assert narrow["main_text"] == pytest.approx(39.89, abs=0.01)
    assert narrow["appendix"] == pytest.approx(3.989, abs=0.001)


def test_the_published_categorical_constant_is_violated() -> None:
    change = np.array([0.1, -0.1])
    p, q = softmax([0.0, 0.0]), softmax(change)
    tv = float(np.abs(p - q).sum() / 2)
    length = float(np.linalg.norm(change))
    assert tv == pytest.approx(0.049834, abs=1e-6)
    assert distances.paper_categorical_tv(length) == pytest.approx(0.035355, abs=1e-6)
    assert distances.paper_categorical_tv(length) < tv
    assert tv <= distances.categorical_tv(distances.span_from_l2(length))
