import itertools
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from scipy.stats import bootstrap

from surefoot.errors import InputError
from surefoot.statistics import bootstrap_interval, interquartile_mean, interval_over_agents


def brute_force_iqm(values: NDArray[np.float64] | tuple[np.float64, ...]) -> np.float64:
    """Sort, drop the whole quarter at each end, take the mean."""
    ordered = sorted(values)
    cut = len(ordered) // 4
    middle = ordered[cut : len(ordered) - cut]
    return sum(middle) / len(middle)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([7.0], 7.0), ([0.0, 10.0], 5.0), ([100.0, 1.0, 2.0, -50.0], 1.5), (range(8), 3.5)],
)
def test_iqm_of_small_sets_is_known(values: list[float] | range, expected: float) -> None:
    assert interquartile_mean(np.array(values, float)) == expected


@pytest.mark.parametrize("num", range(1, 14))
def test_iqm_is_the_mean_of_the_middle_half(num: int) -> None:
    values = np.random.default_rng(num).normal(size=num)
    assert interquartile_mean(values) == pytest.approx(brute_force_iqm(values))


def test_iqm_ignores_outliers_order_shift_and_scale() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=20)
    wild = np.where(values == values.max(), 1e9, values)
    iqm = interquartile_mean(values)
    assert interquartile_mean(wild) == pytest.approx(iqm)
    assert interquartile_mean(rng.permutation(values)) == pytest.approx(iqm)
    assert interquartile_mean(3 * values - 5) == pytest.approx(3 * iqm - 5)


def test_bootstrap_of_one_value_or_of_equal_values_has_no_width() -> None:
    for values in ([3.0], [3.0] * 9):
        interval = bootstrap_interval(np.array(values))
        assert (interval.low, interval.high) == (3.0, 3.0)


def test_bootstrap_percentiles_are_those_of_all_resamples() -> None:
    values = np.array([0.0, 1.0, 3.0, 9.0, 27.0])
    every = np.array([brute_force_iqm(draw) for draw in itertools.product(values, repeat=5)])
    interval = bootstrap_interval(values, replicates=100_000)
    # The share of all 5^5 equally likely resamples that lie below each end, ties included.
    assert np.mean(every < interval.low) <= 0.0275
    assert np.mean(every <= interval.low) >= 0.0225
    assert np.mean(every < interval.high) <= 0.9775
    assert np.mean(every <= interval.high) >= 0.9725


def test_bootstrap_covers_the_true_value_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(200):
        interval = bootstrap_interval(rng.normal(size=50), replicates=1000)
        hits += interval.low <= 0 <= interval.high  # the IQM of a symmetric law is its centre
    assert 0.88 <= hits / 200 <= 0.99


def agents_like(
    rng: np.random.Generator, num_agents: int = 10, num_episodes: int = 20
) -> NDArray[np.float64]:
    """Draw returns whose agents differ far more than the episodes of one of them."""
    return rng.normal(0, 300, (num_agents, 1)) + rng.normal(0, 30, (num_agents, num_episodes))


def test_an_interval_over_agents_covers_the_true_mean_and_one_over_episodes_does_not() -> None:
    rng = np.random.default_rng(6)
    covered = np.zeros(2, int)
    for repetition in range(200):
        returns = agents_like(rng)
        over_agents = interval_over_agents(returns, seed=repetition, replicates=500)
        over_episodes = bootstrap_interval(returns.ravel(), seed=repetition, replicates=500)
        covered += [each.low <= 0 <= each.high for each in (over_agents, over_episodes)]
    assert 0.8 <= covered[0] / 200 <= 1
    assert covered[1] < 0.7 * covered[0]


def test_an_interval_over_agents_is_that_of_all_resamples() -> None:
    returns = np.array([[0.0, 1.0], [5.0, 9.0]])
    every = [
        brute_force_iqm([np.mean(first), np.mean(second)])
        for agents in itertools.product(returns.tolist(), repeat=2)
        for first, second in itertools.product(
            *(itertools.product(one, repeat=2) for one in agents)
        )
    ]
    interval = interval_over_agents(returns, replicates=50_000)
    assert np.mean(np.array(every) <= interval.low) >= 0.02
    assert np.mean(np.array(every) < interval.low) <= 0.03
    assert np.mean(np.array(every) >= interval.high) >= 0.02
    assert np.mean(np.array(every) > interval.high) <= 0.03


def test_more_episodes_of_the_same_agents_do_not_make_the_interval_narrow() -> None:
    rng = np.random.default_rng(7)
    returns = agents_like(rng, num_episodes=5)
    few, many = (interval_over_agents(np.tile(returns, times)) for times in (1, 20))
    assert many.high - many.low == pytest.approx(few.high - few.low, rel=0.1)


def test_one_agent_leaves_only_the_interval_of_its_episodes() -> None:
    values = np.random.default_rng(8).normal(size=30)
    over_agents = interval_over_agents(values[None])
    alone = bootstrap((values,), np.mean, method="percentile").confidence_interval
    assert (over_agents.low, over_agents.high) == pytest.approx((alone.low, alone.high), abs=0.05)


@pytest.mark.parametrize("returns", [np.zeros((0, 3)), np.zeros((3, 0)), np.array([[1.0, np.nan]])])
def test_agents_without_returns_have_no_interval(returns: NDArray[np.float64]) -> None:
    with pytest.raises(InputError, match="values must be"):
        interval_over_agents(returns)


def test_bootstrap_repeats_itself_for_a_seed_and_only_for_it() -> None:
    values = np.random.default_rng(1).normal(size=30)
    assert bootstrap_interval(values, seed=4) == bootstrap_interval(values, seed=4)
    assert bootstrap_interval(values, seed=4) != bootstrap_interval(values, seed=5)


@pytest.mark.parametrize("statistic", [interquartile_mean, bootstrap_interval])
@pytest.mark.parametrize(
    ("values", "said"),
    [([], "got shape \\(0,\\)"), ([[1.0]], "got shape \\(1, 1\\)"), ([1.0, np.nan], "got nan")],
)
def test_what_has_no_statistic_is_refused(
    statistic: Callable[[NDArray[np.float64]], object], values: ArrayLike, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        statistic(np.array(values))
