import numpy as np
from numpy.typing import NDArray

from surefoot.compress import Seen, keep_largest, magnitude, never_return, random, saliency


def seen(weight: NDArray[np.float64], **more: NDArray[np.float64]) -> Seen:
    return Seen(**{"weight": weight, "change": np.zeros(9), "order": np.zeros(9)} | more)


def test_magnitude_keeps_what_deviates_least_in_the_frobenius_norm() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, 3))
    best = np.sum((weight * ~keep_largest(magnitude(seen(weight)), 5)) ** 2)
    others = (rng.permutation(12).reshape(4, 3) < 5 for _ in range(500))
    assert all(best <= np.sum((weight * ~other) ** 2) for other in others)


def test_random_scores_ignore_the_weights() -> None:
    order = np.random.default_rng(0).random(9)
    scores = [random(seen(weight, order=order)) for weight in (np.zeros(9), np.ones(9))]
    assert np.array_equal(*scores)


def test_saliency_ranks_by_how_much_the_loss_changes_without_a_weight() -> None:
    """Of a loss that is linear in the weights |w dL/dw| is exactly that change."""
    rng = np.random.default_rng(0)
    weight, slope = rng.normal(size=(2, 9))
    losses = [
        abs(slope @ np.where(np.arange(9) == number, 0, weight) - slope @ weight)
        for number in range(9)
    ]
    found = saliency(seen(weight, change=np.abs(weight * slope)))
    assert np.array_equal(np.argsort(found), np.argsort(losses))


def test_a_pruned_entry_never_returns() -> None:
    mask = np.array([True, False, True, False])
    score = never_return(np.array([0.0, 9.0, 1.0, 9.0]), mask)
    for kept in (1, 2):
        assert not (keep_largest(score, kept) & ~mask).any()
