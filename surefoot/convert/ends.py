"""The two ends of a policy, as training libraries have them: statistics, and ranges of actions."""

from dataclasses import replace

import numpy as np

from surefoot.policy import Array, GaussianHead, Layer, Normaliser, Squash


def raw_observations(width: int) -> Normaliser:
    """Return the normaliser of observations that the network takes as they are.

    Args:
        width: Number of observations.
    """
    return Normaliser(mean=np.zeros(width), scale=np.ones(width), clip=np.inf)


def running_statistics(mean: Array, var: Array, epsilon: float, clip: float) -> Normaliser:
    """Return clip((o - mean) / sqrt(var + epsilon)), as VecNormalize and Gymnasium have it.

    Args:
        mean: Mean of the observations, any shape, raw units.
        var: Their variance, the same shape, raw units squared.
        epsilon: Added to the variance.
        clip: Largest magnitude of a state, normalised units.

    Raises:
        InputError: If the statistics do not fit each other, or are not finite.
    """
    with np.errstate(invalid="ignore"):  # NaN is refused as a scale
        scale = np.sqrt(var.astype(np.float64) + epsilon).reshape(-1)
    return Normaliser(mean=mean.astype(np.float64).reshape(-1), scale=scale, clip=clip)


def plain_actions(num: int, std: Array | None = None) -> GaussianHead:
    """Return the head of actions that are the outputs themselves.

    Args:
        num: Number of actions.
        std: Standard deviation of sampled actions, (num,), action units; None if unknown.
    """
    return GaussianHead(
        std=std, squash=Squash.IDENTITY, centre=np.zeros(num), half_range=np.ones(num)
    )


def squashed_actions(low: Array, high: Array) -> GaussianHead:
    """Return the head of actions that are tanh of the outputs, brought to a range.

    Args:
        low: Least actions, (act_dim,), action units.
        high: Greatest ones.

    Raises:
        InputError: If a range is not finite, or empty.
    """
    low, high = low.astype(np.float64).reshape(-1), high.astype(np.float64).reshape(-1)
    return GaussianHead(
        std=None, squash=Squash.TANH, centre=(low + high) / 2, half_range=(high - low) / 2
    )


def clipped_actions(
    layer: Layer, low: Array, high: Array, std: Array | None
) -> tuple[Layer, GaussianHead]:
    """Return the last layer and the head of actions that are outputs clipped to a range.

    clip(u, low, high) = centre + half_range clip((u - centre) / half_range, -1, 1), whose inner map
    becomes a part of the layer.

    Args:
        layer: The last one.
        low: Least actions, (act_dim,), action units.
        high: Greatest ones.
        std: Standard deviation of sampled actions, (act_dim,), action units; None if unknown.

    Raises:
        InputError: If a range is not finite, or empty.
    """
    head = replace(squashed_actions(low, high), squash=Squash.CLIP)
    centre, half_range = head.centre, head.half_range
    if std is not None:
        head = replace(head, std=std / half_range)
    weight, bias = layer.weight / half_range[:, None], (layer.bias - centre) / half_range
    return replace(layer, weight=weight, bias=bias), head
