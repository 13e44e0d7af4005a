"""Compression of a finished policy in one shot: the stage function.

Layer by layer, first to last: each layer is pruned on the inputs that it sees behind the layers
that are already pruned. Everything is float64; the result is float32, as a canonical file.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from surefoot.compress.allocations import (
    MIN_DENSITY,
    Allocation,
    erdos_renyi_kernel,
    kept_globally,
    uniform,
)
from surefoot.compress.calibration import layer_inputs
from surefoot.compress.layer_counts import exact_counts
from surefoot.compress.masks import keep_largest
from surefoot.compress.second_order import (
    Float,
    layer_hessian,
    obd_saliency,
    obs_mask,
    obs_scores,
    refit,
    sparsegpt,
    sparsegpt_saliency,
)
from surefoot.compress.weights import WeightFormat, store_weights
from surefoot.config import settle_choices
from surefoot.errors import InputError
from surefoot.policy import Layer, Policy


class Method(StrEnum):
    """How the weights that go are chosen; OBS and SparseGPT also move those that stay."""

    MAGNITUDE = "magnitude"
    OBD = "obd"
    OBS = "obs"
    SPARSEGPT = "sparsegpt"


@dataclass(frozen=True, kw_only=True, slots=True)
class OneShotConfig:
    """How a finished policy is compressed.

    Attributes:
        method: How the weights that go are chosen.
        allocation: How sparsity is spread over layers.
        refit: Whether the weights that stay are fitted to the outputs of the layer once the mask
            is final. OBS always is.
        weights: The numbers that the weights become at last.
    """

    method: Method = Method.OBS
    allocation: Allocation = Allocation.ERK
    refit: bool = False
    weights: WeightFormat = WeightFormat.FLOAT32

    def __post_init__(self) -> None:
        """Check choices.

        Raises:
            InputError: If one is none of those there are.
        """
        settle_choices(self)

    @property
    def needs_states(self) -> bool:
        """Whether the inputs of the layers are looked at."""
        return self.refit or self.method is not Method.MAGNITUDE


def compress_policy(
    policy: Policy, states: Float | None, num_kept: int, config: OneShotConfig
) -> Policy:
    """Return a policy of which exactly ``num_kept`` weights are kept, in float32.

    Weights that are zero already are the first to go. Rounding to fewer bits may make further
    zeros of small weights.

    Args:
        policy: Finished.
        states: States that it visits, normalised units, shape (n, obs_dim), as
            :func:`surefoot.compress.calibration_states` makes them; None where the method looks
            at weights alone.
        num_kept: Weights that stay, all layers together; biases do not count.
        config: How.

    Raises:
        InputError: If that many weights cannot be kept, states are missing, or the weights do not
            fit the format.
    """
    check_num_kept(policy, num_kept)
    if any(layer.is_weight is not None for layer in policy.layers):
        _require_all_kept(policy, num_kept)
        return store_weights(policy, config.weights)
    if states is None and config.needs_states:
        raise InputError(f"method {config.method} needs calibration states, got none")
    counts = _counts(policy, states, num_kept, config)
    layers: list[Layer] = []
    inputs = states
    for layer, count in zip(policy.layers, counts, strict=True):
        weight = _prune(layer.weight.astype(np.float64), inputs, count, config)
        layers.append(replace(layer, weight=weight.astype(np.float32)))
        if inputs is not None:
            before = inputs @ layers[-1].weight.T.astype(np.float64) + layer.bias
            inputs = np.asarray(layer.activation(before))
    return store_weights(replace(policy, layers=tuple(layers)), config.weights)


def _require_all_kept(policy: Policy, num_kept: int) -> None:
    """Refuse to remove weights from a policy whose matrices hold other entries as well.

    Raises:
        InputError: If fewer are to be kept than there are.
    """
    if num_kept < (most := num_weights(policy)):
        raise InputError(
            f"a controller with branches keeps all of its {most} weights, got one that keeps "
            f"{num_kept}: give --weights alone"
        )


def check_num_kept(policy: Policy, num_kept: int) -> None:
    """Refuse a number of kept weights that compression cannot reach.

    Raises:
        InputError: If a layer would keep none, or the policy has fewer; says what can be reached.
    """
    size = sum(layer.weights.size for layer in policy.layers)
    least, most = len(policy.layers), num_weights(policy)
    # Rounded so that what the message says can be had.
    if num_kept < least:
        largest = math.floor(10**6 * (1 - least / size)) / 10**6
        raise InputError(
            f"sparsity must be at most {largest:.6f}, at which each of {least} layers keeps one "
            f"weight, got one that keeps {num_kept} of {size}"
        )
    if num_kept > most:
        smallest = math.ceil(10**6 * policy.sparsity) / 10**6
        raise InputError(
            f"sparsity must be at least {smallest:.6f}, which the policy has already, got one that "
            f"keeps {num_kept} of {size} weights"
        )


def num_weights(policy: Policy) -> int:
    """Count the weights of a policy that are not zero."""
    return sum(int(np.count_nonzero(layer.weights)) for layer in policy.layers)


def _counts(
    policy: Policy, states: Float | None, num_kept: int, config: OneShotConfig
) -> list[int]:
    shapes = [(layer.weight.shape[0], layer.weight.shape[1]) for layer in policy.layers]
    sizes = [layer.weight.size for layer in policy.layers]
    sparsity = 1 - num_kept / sum(sizes)
    if config.allocation == Allocation.GLOBAL:
        inputs = [None] * len(sizes) if states is None else layer_inputs(policy, states)
        scores = [
            _scores(layer.weight.astype(np.float64), seen, config.method)
            for layer, seen in zip(policy.layers, inputs, strict=True)
        ]
        floor = min(MIN_DENSITY, 1 - sparsity)
        wanted: list[float] = [*kept_globally(scores, sparsity, min_density=floor)]
    else:
        spread = erdos_renyi_kernel if config.allocation == Allocation.ERK else uniform
        shares = spread(shapes, sparsity)
        wanted = [size * (1 - share) for size, share in zip(sizes, shares, strict=True)]
    return exact_counts(
        wanted, [int(np.count_nonzero(layer.weight)) for layer in policy.layers], num_kept
    )


def _scores(weight: Float, inputs: Float | None, method: Method) -> Float:
    """Return scores by which weights of several layers are compared."""
    if inputs is None or method is Method.MAGNITUDE:
        return np.abs(weight)
    score = {
        Method.OBD: obd_saliency,
        Method.OBS: obs_scores,
        Method.SPARSEGPT: sparsegpt_saliency,
    }[method]
    return score(weight, layer_hessian(inputs))


def _prune(weight: Float, inputs: Float | None, kept: int, config: OneShotConfig) -> Float:
    if kept == np.count_nonzero(weight):
        return weight
    if inputs is None:  # of the methods, only magnitude comes here
        return np.where(keep_largest(np.abs(weight), kept), weight, 0.0)
    hessian = layer_hessian(inputs)
    if config.method is Method.SPARSEGPT:
        pruned = sparsegpt(weight, hessian, kept)
        return refit(weight, pruned != 0, hessian) if config.refit else pruned
    if config.method is Method.OBS:
        return refit(weight, obs_mask(weight, hessian, kept), hessian)
    mask = keep_largest(_scores(weight, inputs, config.method), kept)
    return refit(weight, mask, hessian) if config.refit else np.where(mask, weight, 0.0)
