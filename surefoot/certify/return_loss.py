"""Bounds on the loss of return under perturbed states, from a bound on total variation.

All of them assume that every reward lies in [low, high], with 0 inside if episodes can end early.
They concern the policy that samples its actions: a deployed mean action is a point mass.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.certify.bounds.upward import Float
from surefoot.certify.confidence_limits import betting_mean_limit
from surefoot.errors import InputError
from surefoot.quantities.base.proof import Loss

_SAFETY = 1.0 + 1e-12
"""More than the relative rounding error of each formula below."""


def coupling_bound(total_variation: float, reward_span: float, discount: float) -> Loss:
    """Return the bound on the discounted loss, for history-dependent adversaries as well.

    span / (1 - g) * tv / (1 - g + g tv): couple the two runs so that their actions agree with
    probability 1 - tv at each step; they pay the same until they first disagree.

    Raises:
        InputError: If an argument is out of range.
    """
    _check(total_variation, reward_span)
    _check_discount(discount)
    trivial = reward_span / (1 - discount)
    share = total_variation / (1 - discount + discount * total_variation)
    return Loss(bound=min(1.0, share * _SAFETY) * trivial, trivial=trivial)


def finite_horizon_bound(total_variation: float, reward_span: float, horizon: int) -> Loss:
    """Return the bound on the undiscounted loss over ``horizon`` steps.

    span * sum_{t<H} (1 - tv)^t tv (H - t).

    Raises:
        InputError: If an argument is out of range.
    """
    _check(total_variation, reward_span)
    _check_horizon(horizon)
    t = np.arange(horizon)
    total = float(((1 - total_variation) ** t * total_variation * (horizon - t)).sum())
    trivial = reward_span * horizon
    return Loss(bound=min(trivial, reward_span * total * _SAFETY), trivial=trivial)


def average_bound(mean_tv: float, reward_span: float, discount: float) -> Loss:
    """Return span / (1 - g)^2 E[tv(s)], s from the normalised discounted clean visitation.

    The chance that the first disagreement comes at step k is at most E_clean[tv(s_k)], and from
    there on at most span g^k / (1 - g) is lost; so adversaries may depend on the history.

    Raises:
        InputError: If an argument is out of range.
    """
    _check(mean_tv, reward_span)
    _check_discount(discount)
    trivial = reward_span / (1 - discount)
    return Loss(bound=min(trivial, trivial / (1 - discount) * mean_tv * _SAFETY), trivial=trivial)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CleanTv:
    """Bounds on total variation at one random step of each of several clean episodes.

    The episodes are those of the policy that samples its actions, independent of each other; step k
    was drawn with chance (H - k) / (H (H + 1) / 2) before the episode.

    Attributes:
        steps: The steps k, shape (n,).
        values: Bounds tv(s_k), 0 where the episode ended before step k, shape (n,).
        largest: Upper limit of every value, in [0, 1].
        horizon: H.
    """

    steps: NDArray[np.int64]
    values: Float
    largest: float
    horizon: int


def measured_path_bound(clean: CleanTv, reward_span: float, delta: float) -> Loss:
    """Return span * min(H, E_clean[sum_k (H - k) tv(s_k)]), the mean bounded with confidence.

    Args:
        clean: Measured on clean episodes.
        reward_span: Largest minus smallest reward.
        delta: Chance that the bound is wrong.

    Raises:
        InputError: If an argument is out of range.
    """
    _check(clean.largest, reward_span)
    _check_horizon(clean.horizon)
    mean = _mean_upper(clean.values, clean.largest, delta)
    trivial = reward_span * clean.horizon
    total = clean.horizon * (clean.horizon + 1) / 2 * mean
    return Loss(bound=min(trivial, reward_span * total * _SAFETY), trivial=trivial)


def measured_average_bound(
    clean: CleanTv, reward_span: float, discount: float, delta: float
) -> Loss:
    """Return the bound of :func:`average_bound`, its mean bounded with confidence.

    Each value is weighted by the ratio of the discounted visitation to the law of its step; steps
    from H on, which no episode showed, count with the largest value.

    Args:
        clean: Measured on clean episodes.
        reward_span: Largest minus smallest reward.
        discount: Discount of the return, below 1.
        delta: Chance that the bound is wrong.

    Raises:
        InputError: If an argument is out of range.
    """
    _check(clean.largest, reward_span)
    _check_discount(discount)
    steps = np.arange(clean.horizon)
    drawn = (clean.horizon - steps) / (clean.horizon * (clean.horizon + 1) / 2)
    weights = (1 - discount) * discount**steps / drawn
    values = weights[clean.steps] * clean.values
    mean = _mean_upper(values, clean.largest * float(weights.max()) * _SAFETY, delta)
    tail = float(discount**clean.horizon) * clean.largest
    return average_bound(min(1.0, (mean + tail) * _SAFETY), reward_span, discount)


def _mean_upper(values: Float, largest: float, delta: float) -> float:
    return -betting_mean_limit(-values, -largest, 0.0, delta) * _SAFETY


def paper_alpha_bound(total_variation: float, max_reward: float, discount: float) -> Loss:
    """Return alpha * tv with alpha = 2 [1 + g / (1 - g)^2] R_max, as printed.

    It is too small by a factor that tends to 1 - g + g^2. A chain violates it in which the agreed
    action pays R_max and stays, and the other one pays -R_max now and for ever.

    Reference:
        arXiv 2510.12939, Theorem 1.

    Raises:
        InputError: If an argument is out of range.
    """
    _check(total_variation, max_reward)
    _check_discount(discount)
    alpha = 2 * (1 + discount / (1 - discount) ** 2) * max_reward
    trivial = 2 * max_reward / (1 - discount)
    return Loss(bound=alpha * total_variation, trivial=trivial, sound=False)


def _check(total_variation: float, reward_span: float) -> None:
    if not 0 <= total_variation <= 1:
        raise InputError(f"total_variation must be in [0, 1], got {total_variation}")
    if not 0 <= reward_span < np.inf:
        raise InputError(f"reward span must be finite and at least 0, got {reward_span}")


def _check_discount(discount: float) -> None:
    if not 0 <= discount < 1:
        raise InputError(f"discount must be in [0, 1), got {discount}")


def _check_horizon(horizon: int) -> None:
    if horizon < 1:
        raise InputError(f"horizon must be at least 1, got {horizon}")
