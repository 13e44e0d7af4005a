"""Statistical certificates against their tables and against coverage."""

import numpy as np
import pytest
from scipy.stats import binom

from surefoot.certify import confidence_limits as statistics
from surefoot.errors import InputError


@pytest.mark.parametrize(
    ("successes", "trials", "bound"),
    [
        (100, 100, 0.970487),
        (300, 300, 0.990064),
        (1000, 1000, 0.997009),
        (3000, 3000, 0.999002),
        (97, 100, 0.924289),
    ],
)
def test_success_rates_have_their_known_bounds(successes: int, trials: int, bound: float) -> None:
    found = statistics.success_rate_lower(successes, trials, 0.05)
    assert found == pytest.approx(bound, abs=1e-6)
    # At the bound, seeing at least so many successes has exactly the chance delta.
    assert binom.sf(successes - 1, trials, found) == pytest.approx(0.05)
    assert statistics.success_rate_upper(trials - successes, trials, 0.05) == pytest.approx(
        1 - bound, abs=1e-6
    )


@pytest.mark.parametrize(("rate", "trials"), [(0.99, 299), (0.999, 2995)])
def test_trials_without_failure(rate: float, trials: int) -> None:
    assert statistics.trials_needed(rate, 0.05) == trials
    assert statistics.success_rate_lower(trials, trials, 0.05) >= rate
    assert statistics.success_rate_lower(trials - 1, trials - 1, 0.05) < rate


def test_successes_needed_are_the_fewest_that_prove_the_rate() -> None:
    needed = statistics.successes_needed(300, 0.95, 0.05)
    assert statistics.success_rate_lower(needed, 300, 0.05) >= 0.95
    assert statistics.success_rate_lower(needed - 1, 300, 0.05) < 0.95
    assert statistics.successes_needed(50, 0.95, 0.05) is None


@pytest.mark.parametrize(
    ("trials", "quantile", "rank"),
    [(100, 0.05, 2), (300, 0.05, 9), (1000, 0.05, 39), (1000, 0.01, 5)],
)
def test_quantile_ranks(trials: int, quantile: float, rank: int) -> None:
    assert statistics.quantile_rank(trials, quantile, 0.05) == rank


def test_a_quantile_needs_enough_trials() -> None:
    assert statistics.quantile_rank(58, 0.05, 0.05) is None
    assert statistics.quantile_rank(59, 0.05, 0.05) == 1


def test_the_band_has_its_known_widths() -> None:
    assert statistics.distribution_band(1000, 0.05) == pytest.approx(0.042947, abs=1e-6)
    one_sided = statistics.distribution_band(1000, 0.05, two_sided=False)
    assert one_sided == pytest.approx(0.038703, abs=1e-6)


def test_lower_bounds_of_a_mean_cover_it_and_betting_does_so_at_every_moment() -> None:
    rng = np.random.default_rng(0)
    misses = np.zeros(3)
    rounds = 400
    for _ in range(rounds):
        values = rng.beta(0.4, 0.2, 200)
        misses += [
            statistics.mean_lower_hoeffding(values, 0, 1, 0.1) > 2 / 3,
            statistics.mean_lower_dkw(values, 0, 1, 0.1) > 2 / 3,
            # Each bound knows the ones before it, so that the last is the largest.
            statistics.betting_mean_limit(values, 0, 1, 0.1) > 2 / 3,
        ]
    # Three standard deviations above the allowed share.
    assert (misses / rounds <= 0.1 + 3 * np.sqrt(0.09 / rounds)).all()


def test_betting_bounds_rise_and_beat_hoeffding_for_small_variance() -> None:
    values = np.clip(np.random.default_rng(1).normal(0.8, 0.02, 500), 0, 1)
    counts = [1, 2, 5, 20, 100, 500]
    bounds = [statistics.betting_mean_limit(values[:count], 0, 1, 0.05) for count in counts]
    assert (np.diff(bounds) >= 0).all()
    assert statistics.mean_lower_hoeffding(values, 0, 1, 0.05) < bounds[-1] < values.mean()


def never_rejected(values: np.ndarray, delta: float) -> float:
    """The least mean on a grid against which no gambler ever won 1 / delta; values in [0, 1]."""
    candidates = np.linspace(0, 1, 401)
    wealth, richest = np.ones(401), np.ones(401)
    mean, variance = 0.5, 0.25
    for t, value in enumerate(values, start=1):
        # Plug-in bets of Waudby-Smith and Ramdas, from what was seen before this value.
        bet = min(0.75, np.sqrt(2 * np.log(1 / delta) / (variance * t * np.log(1 + t))))
        wealth = wealth * (1 + bet * (value - candidates))
        richest = np.maximum(richest, wealth)
        mean += (value - mean) / (t + 1)
        variance += ((value - mean) ** 2 - variance) / (t + 1)
    return float(candidates[richest < 1 / delta].min())


def test_the_betting_limit_is_the_least_mean_that_no_gambler_beats() -> None:
    rng = np.random.default_rng(2)
    for values in (rng.beta(0.4, 0.2, 300), np.ones(50), np.zeros(50), rng.random(3)):
        limit = statistics.betting_mean_limit(4 * values - 1, -1, 3, 0.1)
        least = 4 * never_rejected(values, 0.1) - 1
        assert least - 4 / 400 - 1e-9 <= limit <= least + 1e-9


def test_both_limits_of_a_mean_cover_it() -> None:
    rng, misses, rounds = np.random.default_rng(3), np.zeros(2), 400
    for _ in range(rounds):
        values = rng.beta(0.2, 2.0, 60)
        misses += [
            statistics.betting_mean_limit(values, 0, 1, 0.1) > 1 / 11,
            -statistics.betting_mean_limit(-values, -1, 0, 0.1) < 1 / 11,
        ]
    assert (misses / rounds <= 0.1 + 3 * np.sqrt(0.09 / rounds)).all()


def test_values_outside_their_range_are_refused() -> None:
    with pytest.raises(InputError, match="values must lie in"):
        statistics.mean_lower_hoeffding(np.array([1.5]), 0, 1, 0.05)
    with pytest.raises(InputError, match="successes must be in"):
        statistics.success_rate_lower(3, 2, 0.05)
