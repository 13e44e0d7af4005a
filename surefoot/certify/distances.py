"""Distances between action distributions, as upper bounds from bounds on means or logits."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import erf

from surefoot.certify.bounds.upward import Float

_SAFETY = 1.0 + 1e-14
"""More than the relative error of erf, tanh, sqrt and a few products in float64."""


def gaussian_kl(mahalanobis: ArrayLike) -> Float:
    """Return the KL divergence, nats, of two Gaussians of equal covariance.

    Args:
        mahalanobis: D = |Sigma^(-1/2) (mu - mu')|_2. The "kl" in published robust-RL code is D^2,
            twice this.
    """
    distance = np.asarray(mahalanobis, dtype=np.float64)
    return np.asarray(distance**2 / 2 * _SAFETY)


def gaussian_tv(mahalanobis: ArrayLike) -> Float:
    """Return the total variation of two Gaussians of equal covariance: erf(D / (2 sqrt 2))."""
    distance = np.asarray(mahalanobis, dtype=np.float64)
    return np.asarray(np.minimum(1.0, erf(distance / (2 * math.sqrt(2))) * _SAFETY))


def gaussian_w2(mean_distance: ArrayLike) -> Float:
    """Return the Wasserstein-2 distance of two Gaussians of equal covariance: |mu - mu'|_2."""
    return np.asarray(mean_distance, dtype=np.float64)


def pinsker_tv(kl: ArrayLike) -> Float:
    """Return Pinsker's bound sqrt(KL / 2): looser than the exact form, shown beside it."""
    return np.minimum(1.0, np.sqrt(np.asarray(kl, dtype=np.float64) / 2) * _SAFETY)


def categorical_tv(span: ArrayLike) -> Float:
    """Return the sharp bound tanh(r / 4), r the span (largest minus smallest) of a logit change."""
    return np.minimum(1.0, np.tanh(np.asarray(span, dtype=np.float64) / 4) * _SAFETY)


def categorical_kl(span: ArrayLike) -> Float:
    """Return min(r^2 / 8, r), r the span of a logit change.

    The KL divergence is a Bregman divergence of the log-partition, whose curvature along a
    direction of span r is a variance, at most r^2 / 4; and no log-ratio exceeds r.
    """
    r = np.asarray(span, dtype=np.float64)
    return np.minimum(np.square(r) / 8, r) * _SAFETY


def span_from_l2(logit_distance: ArrayLike) -> Float:
    """Return sqrt(2) |dz|_2, which bounds the span of dz."""
    return np.asarray(logit_distance, dtype=np.float64) * (math.sqrt(2) * _SAFETY)


def paper_gaussian_tv(mean_distance: float, smallest_variance: float) -> dict[str, float]:
    """Return the paper's two Gaussian constants times |mu - mu'|_2, as printed.

    ``main_text`` lacks a square root (the eigenvalue is a variance), so it is no bound for
    variances above 1; ``appendix`` is a bound, looser than the exact form.

    Reference:
        arXiv 2510.12939, section 3.1 and appendix B.
    """
    return {
        "main_text": mean_distance / (math.sqrt(2 * math.pi) * smallest_variance),
        "appendix": mean_distance / math.sqrt(2 * math.pi * smallest_variance),
    }


def paper_categorical_tv(logit_distance: float) -> float:
    """Return the paper's |dz|_2 / 4 as printed; no bound, the sharp constant is 1 / (2 sqrt 2).

    Reference:
        arXiv 2510.12939, section 3.1.
    """
    return logit_distance / 4
