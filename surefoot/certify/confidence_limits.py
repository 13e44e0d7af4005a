"""Statistical certificates: what independent samples prove, with a confidence.

``delta`` is always the chance that the statement is wrong (1 - confidence), split beforehand over
all statements that are made together.
"""

import math

import numpy as np
from scipy.special import betainc, betaincinv  # scipy.stats takes half a second to import

from surefoot.certify.bounds.upward import Float
from surefoot.errors import InputError


def success_rate_lower(successes: int, trials: int, delta: float) -> float:
    """Return the Clopper-Pearson lower bound of a rate: Beta^-1(delta; k, n - k + 1).

    Raises:
        InputError: If an argument is out of range.
    """
    _check_counts(successes, trials, delta)
    if successes == 0:
        return 0.0
    return float(betaincinv(successes, trials - successes + 1, delta))


def success_rate_upper(successes: int, trials: int, delta: float) -> float:
    """Return the Clopper-Pearson upper bound of a rate.

    Raises:
        InputError: If an argument is out of range.
    """
    return 1.0 - success_rate_lower(trials - successes, trials, delta)


def successes_needed(trials: int, rate: float, delta: float) -> int | None:
    """Return the least number of successes that proves a rate, or None if none does."""
    for successes in range(trials + 1):
        # The bound rises with the successes; few trials make this loop cheap.
        if success_rate_lower(successes, trials, delta) >= rate:
            return successes
    return None


def trials_needed(rate: float, delta: float) -> int:
    """Return the number of trials without failure that proves a rate: ceil(ln delta / ln rate)."""
    return math.ceil(math.log(delta) / math.log(rate))


def distribution_band(trials: int, delta: float, *, two_sided: bool = True) -> float:
    """Return the half-width of the Dvoretzky-Kiefer-Wolfowitz band of a distribution function.

    Reference:
        Massart, Annals of Probability 18 (1990).
    """
    return math.sqrt(math.log((2 if two_sided else 1) / delta) / (2 * trials))


def mean_lower_hoeffding(values: Float, low: float, high: float, delta: float) -> float:
    """Return Hoeffding's lower bound of the mean of values in [low, high], shape (n,).

    Raises:
        InputError: If a value is outside of [low, high].
    """
    _check_range(values, low, high)
    return float(values.mean()) - (high - low) * distribution_band(
        len(values), delta, two_sided=False
    )


def mean_lower_dkw(values: Float, low: float, high: float, delta: float) -> float:
    """Return a lower bound of the mean from the band: shift mass ``band`` down to ``low``.

    Raises:
        InputError: If a value is outside of [low, high].
    """
    _check_range(values, low, high)
    band = distribution_band(len(values), delta, two_sided=False)
    # The largest distribution function inside the band: its upper tail of mass `band` sits at low.
    kept = np.clip(1 - band - np.arange(len(values)) / len(values), 0, 1 / len(values))
    return float(low * band + (np.sort(values) * kept).sum() + low * (1 - band - kept.sum()))


def quantile_rank(trials: int, quantile: float, delta: float) -> int | None:
    """Return the largest k for which the k-th smallest of n bounds a quantile from below.

    P(Bin(n, q) >= k) = I_q(k, n - k + 1) >= 1 - delta. None if even the smallest value is no bound.
    """
    ranks = np.arange(1, trials + 1)
    valid = ranks[betainc(ranks, trials - ranks + 1, quantile) >= 1 - delta]
    return int(valid.max()) if valid.size else None


def betting_mean_limit(values: Float, low: float, high: float, delta: float) -> float:
    """Return a lower confidence bound of a mean, valid after every further value at once.

    The wealth prod(1 + b_t (x_t - m)) of a gambler who bets that the mean exceeds m is a
    supermartingale if it does not, so it reaches 1 / delta with chance at most delta. For an upper
    limit of the mean give the negated values, and negate the result.

    Args:
        values: Independent values in the order of sampling, shape (n,).
        low: Least possible value.
        high: Largest possible value.
        delta: Chance that the bound is wrong.

    Reference:
        Waudby-Smith and Ramdas, JRSS-B 86 (2024), section 4 (predictable plug-in bets).

    Raises:
        InputError: If a value is outside of [low, high].
    """
    _check_range(values, low, high)
    if not low < high:
        return low
    scaled, bets = _bets((values - low) / (high - low), delta)

    def rejected(mean: float) -> bool:
        wealth = np.cumsum(np.log1p(bets * (scaled - mean)))
        return bool(wealth.max() >= math.log(1 / delta))

    # Wealth falls with the candidate mean, so that what is rejected is an interval from 0.
    proved, open_ = 0.0, 1.0
    for _ in range(50):
        middle = (proved + open_) / 2
        proved, open_ = (middle, open_) if rejected(middle) else (proved, middle)
    return low + proved * (high - low)


def _bets(scaled: Float, delta: float) -> tuple[Float, Float]:
    """Return values in [0, 1] and the predictable stake on each, at most 3/4."""
    scaled = np.clip(scaled, 0.0, 1.0)
    t = np.arange(1, len(scaled) + 1)
    means = (0.5 + np.cumsum(scaled)) / (t + 1)
    variances = (0.25 + np.cumsum((scaled - means) ** 2)) / (t + 1)
    previous = np.concatenate([[0.25], variances[:-1]])  # a bet may not see its own outcome
    bets = np.sqrt(2 * math.log(1 / delta) / (previous * t * np.log(1 + t)))
    return scaled, np.minimum(bets, 0.75)


def _check_counts(successes: int, trials: int, delta: float) -> None:
    if trials < 1 or not 0 <= successes <= trials:
        raise InputError(f"successes must be in [0, {trials}], got {successes}")
    if not 0 < delta < 1:
        raise InputError(f"delta must be in (0, 1), got {delta}")


def _check_range(values: Float, low: float, high: float) -> None:
    if values.size == 0 or not ((values >= low) & (values <= high)).all():
        raise InputError(f"values must lie in [{low}, {high}]")
