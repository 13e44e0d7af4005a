"""The statistics of two arms: laws that hold for every sample, and oracles written otherwise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_ind

from surefoot.study.contrasts import contrast, effect_seen, holm, ratio_of_means, smallest_effect
from surefoot.study.metrics import Parts


def agents_of(*means: float, spread: float = 0.0, episodes: int = 20) -> list[Parts]:
    """One-part samples of agents with these means."""
    generator = np.random.default_rng(0)
    return [(mean + spread * generator.standard_normal(episodes),) for mean in means]


def test_the_ratio_is_that_of_the_means_and_lies_in_its_interval() -> None:
    arm, baseline = agents_of(2.0, 4.0, 6.0, spread=0.1), agents_of(1.0, 2.0, 3.0, spread=0.1)
    found = contrast(arm, baseline)
    assert found is not None
    means = [np.mean([parts[0].mean() for parts in agents]) for agents in (arm, baseline)]
    assert found.ratio == pytest.approx(means[0] / means[1])
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.ratio < found.high
    assert found.ratio == ratio_of_means(arm, baseline)


def test_a_metric_of_two_parts_is_the_mean_of_their_ratios() -> None:
    arm = [(np.array([2.0]), np.array([30.0]))] * 2
    baseline = [(np.array([1.0]), np.array([10.0]))] * 2
    found = contrast(arm, baseline)
    assert found is not None
    assert found.ratio == pytest.approx((2 + 3) / 2)
    assert (found.low, found.high) == (pytest.approx(2.5), pytest.approx(2.5))
    assert found.p is None
    assert found.smallest_effect is None


def test_welch_is_scipy_on_the_means_of_the_agents() -> None:
    arm, baseline = agents_of(1.0, 1.2, 1.7), agents_of(2.0, 2.6, 2.1, 2.2)
    found = contrast(arm, baseline)
    assert found is not None
    expected = ttest_ind([1.0, 1.2, 1.7], [2.0, 2.6, 2.1, 2.2], equal_var=False).pvalue
    assert found.p == pytest.approx(expected)
    assert found.improvement == 0.0


@pytest.mark.parametrize("baseline", [[], agents_of(-1.0, -2.0), agents_of(0.0, 0.0)])
def test_without_a_positive_baseline_there_is_no_ratio(baseline: list[Parts]) -> None:
    assert contrast(agents_of(1.0, 2.0), baseline) is None
    assert ratio_of_means(agents_of(1.0, 2.0), baseline) is None


def test_one_agent_has_no_interval_and_no_test() -> None:
    found = contrast(agents_of(1.0), agents_of(1.0, 2.0))
    assert found is not None
    assert (found.low, found.high, found.p, found.smallest_effect) == (None, None, None, None)


def test_the_interval_holds_the_true_ratio_as_often_as_it_says_with_five_agents() -> None:
    generator, held = np.random.default_rng(7), 0
    for _ in range(60):
        arms = [
            [(generator.normal(mean, 0.2 * mean, 5),) for mean in generator.normal(centre, 0.2, 5)]
            for centre in (1.5, 1.0)
        ]
        found = contrast(*arms)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 1.5 <= found.high
    assert held >= 51  # 57 are expected; fewer than 51 of 60 have a chance of one in 100


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_a_step_down_and_never_below_the_p_value(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        assert adjusted[place] == pytest.approx(largest)


def test_the_smallest_effect_is_seen_four_times_of_five() -> None:
    generator = np.random.default_rng(3)
    shift = effect_seen([1.0 / 6, 1.0 / 6], [6, 6])
    assert shift is not None
    samples = generator.standard_normal((2, 20_000, 6))
    seen = ttest_ind(samples[0] + shift, samples[1], axis=1, equal_var=False).pvalue < 0.05
    assert np.mean(seen) == pytest.approx(0.8, abs=0.02)


def test_more_agents_see_less_and_none_without_spread_sees_all() -> None:
    few, many = (np.resize([0.9, 1.1], count) for count in (4, 20))
    effects = [smallest_effect(values, values) for values in (few, many)]
    assert effects[0] is not None
    assert effects[1] is not None
    assert effects[0] > effects[1]
    assert smallest_effect(np.ones(3), np.ones(3)) is None
