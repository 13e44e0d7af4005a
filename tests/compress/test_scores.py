import numpy as np

from surefoot.compress import keep_largest, magnitude, never_return, random


def test_magnitude_keeps_what_deviates_least_in_the_frobenius_norm():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, 3))
    best = np.sum((weight * ~keep_largest(magnitude(weight), 5)) ** 2)
    others = (rng.permutation(12).reshape(4, 3) < 5 for _ in range(500))
    assert all(best <= np.sum((weight * ~other) ** 2) for other in others)


def test_random_scores_ignore_the_weights():
    scores = [random(weight, np.random.default_rng(0)) for weight in (np.zeros(9), np.ones(9))]
    assert np.array_equal(*scores)


def test_a_pruned_entry_never_returns():
    mask = np.array([True, False, True, False])
    score = never_return(np.array([0.0, 9.0, 1.0, 9.0]), mask)
    for kept in (1, 2):
        assert not (keep_largest(score, kept) & ~mask).any()
