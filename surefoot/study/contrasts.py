"""Statistics of two arms: the ratio of their means, how sure it is, and what could be seen.

Agents are the unit: episodes of one agent are alike, and more of them say nothing about another
training seed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import chi2, mannwhitneyu, norm, t, ttest_ind

from surefoot.study.metrics import Parts

LEVEL, POWER = 0.05, 0.8
"""Level of the tests, and the power at which the smallest effect is given."""

_REPLICATES = 10_000
_SEED = 0
_NODES = 10_000
_WIDEST_EFFECT = 1000.0
"""Standard errors: with one degree of freedom 33 are needed, with two 7."""

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrast:
    """An arm held against a baseline.

    Attributes:
        num_arm: Agents of the arm.
        num_baseline: Agents of the baseline.
        ratio: Mean over the parts of the ratio of means, arm over baseline.
        low: Lower limit of its 95 % bootstrap interval; None with fewer than two agents an arm.
        high: Upper limit.
        p: Two-sided p of Welch's test on the agents' means; None as above, or without spread.
        smallest_effect: Change of the ratio that Welch's test would see with a power of 80 %.
        improvement: Probability that an agent of the arm has more than one of the baseline.
    """

    num_arm: int
    num_baseline: int
    ratio: float
    low: float | None
    high: float | None
    p: float | None
    smallest_effect: float | None
    improvement: float


def contrast(arm: Sequence[Parts], baseline: Sequence[Parts]) -> Contrast | None:
    """Hold the agents of an arm against those of a baseline.

    Args:
        arm: The parts of the metric for each agent.
        baseline: The same for the baseline.

    Returns:
        None where one has no agents, or a mean of the baseline is not positive, so that a ratio
        says nothing.
    """
    if (scored := _scores(arm, baseline)) is None:
        return None
    scores, base = scored
    enough = min(len(scores), len(base)) >= 2
    low, high = _interval(arm, baseline) if enough else (None, None)
    return Contrast(
        num_arm=len(scores),
        num_baseline=len(base),
        ratio=float(scores.mean()),
        low=low,
        high=high,
        p=_welch(scores, base) if enough else None,
        smallest_effect=smallest_effect(scores, base) if enough else None,
        improvement=float(
            mannwhitneyu(scores, base, method="asymptotic").statistic / (len(scores) * len(base))
        ),
    )


def ratio_of_means(arm: Sequence[Parts], baseline: Sequence[Parts]) -> float | None:
    """Return the ratio alone, see :func:`contrast`."""
    scored = _scores(arm, baseline)
    return None if scored is None else float(scored[0].mean())


def _scores(arm: Sequence[Parts], baseline: Sequence[Parts]) -> tuple[Values, Values] | None:
    """Return each agent's mean over the parts, in multiples of the baseline's means."""
    if not arm or not baseline:
        return None
    means = _means(baseline).mean(axis=0)
    if not (means > 0).all():
        return None
    own, other = (_means(agents) / means for agents in (arm, baseline))
    return own.mean(axis=1), other.mean(axis=1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that are adjusted for their number.

    Reference:
        Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    stepped = np.maximum.accumulate(np.array(p_values, dtype=float)[order] * factors)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in adjusted]


def smallest_effect(arm: Values, baseline: Values) -> float | None:
    """Return the difference of means that Welch's test sees with a power of 80 %.

    Args:
        arm: One value for each agent, shape (n,).
        baseline: The same, shape (m,).

    Returns:
        In the unit of the values; None without spread, where any difference is seen.
    """
    errors = [float(np.var(values, ddof=1)) / len(values) for values in (arm, baseline)]
    return effect_seen(errors, [len(arm), len(baseline)])


def effect_seen(errors: Sequence[float], sizes: Sequence[int]) -> float | None:
    """Return the difference of two means that Welch's test sees with a power of 80 %.

    Args:
        errors: Squared standard error of each mean.
        sizes: Number of agents behind each.
    """
    total = sum(errors)
    if total == 0:
        return None
    # Welch-Satterthwaite
    freedom = total**2 / sum(
        error**2 / (size - 1) for error, size in zip(errors, sizes, strict=True)
    )
    # Student's t is a normal variable over the root of this spread; scipy's noncentral t is not a
    # number at the shifts that few agents need.
    spread = np.sqrt(chi2.ppf((np.arange(_NODES) + 0.5) / _NODES, freedom) / freedom)
    critical = t.ppf(1 - LEVEL / 2, freedom) * spread

    def power(shift: float) -> float:
        return float(np.mean(norm.sf(critical - shift) + norm.cdf(-critical - shift)))

    shift = brentq(lambda x: power(x) - POWER, 0.0, _WIDEST_EFFECT)
    return float(shift) * math.sqrt(total)


def _welch(arm: Values, baseline: Values) -> float | None:
    if np.ptp(arm) == 0 and np.ptp(baseline) == 0:
        return None
    return float(ttest_ind(arm, baseline, equal_var=False).pvalue)


def _means(agents: Sequence[Parts]) -> Values:
    """Return the mean of each part for each agent, shape (num_agents, num_parts)."""
    return np.array([[part.mean() for part in parts] for parts in agents])


def _interval(arm: Sequence[Parts], baseline: Sequence[Parts]) -> tuple[float, float]:
    """Return the limits of the ratio: agents are drawn again, then the values of each.

    Percentiles of few agents are too close, so that they are taken further out, as far as Student's
    t lies beyond the normal distribution.

    Reference:
        Hesterberg, The American Statistician 69 (2015), section 4: the expanded percentile
        interval.
    """
    generator = np.random.default_rng(_SEED)
    own, other = (_resampled(agents, generator) for agents in (arm, baseline))
    ratios = (own / other).mean(axis=1)
    size = min(len(arm), len(baseline))
    beyond = norm.cdf((size / (size - 1)) ** 0.5 * t.ppf(LEVEL / 2, size - 1))
    low, high = np.percentile(ratios, [100 * beyond, 100 * (1 - beyond)])
    return float(low), float(high)


def _resampled(agents: Sequence[Parts], generator: np.random.Generator) -> Values:
    """Return the mean of each part in each replicate, shape (replicates, num_parts)."""
    drawn = generator.integers(len(agents), size=(_REPLICATES, len(agents)))
    columns = []
    for part in zip(*agents, strict=True):
        # The mean over one agent's values drawn again, for every time that it is drawn itself.
        means = np.empty(drawn.shape)
        for number, values in enumerate(part):
            places = drawn == number
            picks = generator.integers(len(values), size=(int(places.sum()), len(values)))
            means[places] = values[picks].mean(axis=1)
        columns.append(means.mean(axis=1))
    return np.stack(columns, axis=1)
