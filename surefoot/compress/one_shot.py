"""Compression of a finished policy in one shot: the stage function.

Layer by layer, first to last: each layer is pruned on the inputs that it sees behind the layers
that are already pruned. Everything is float64; the result is float32, as a canonical file.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

import numpy as np

from surefoot.compress.allocations import (
    MIN_DENSITY,
    Allocation,
    erdos_renyi_kernel,
    kept_globally,
    uniform,
)
from surefoot.compress.blocks import alive_blocks, block_scores, divides, weight_mask
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
        block_rows: Rows of one column that stay or go together, 4 or 8, as layouts in C need them;
            1 for single weights. Layers whose rows it does not divide stay as they are.
        weights: The numbers that the weights become at last.
    """

    method: Method = Method.OBS
    allocation: Allocation = Allocation.ERK
    refit: bool = False
    block_rows: Literal[1, 4, 8] = 1
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
    zeros of small weights. Of blocks as many are kept as do not exceed that number.

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
    check_num_kept(policy, num_kept, config.block_rows)
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


def check_num_kept(policy: Policy, num_kept: int, block_rows: int = 1) -> None:
    """Refuse a number of kept weights that compression cannot reach.

    Raises:
        InputError: If a layer would keep none, or the policy has fewer; says what can be reached.
            If no layer has rows that blocks of ``block_rows`` divide.
    """
    weights = [layer.weight for layer in policy.layers]
    size = sum(layer.weights.size for layer in policy.layers)
    blocks = [weight for weight in weights if divides(block_rows, weight.shape)]
    if not blocks:
        raise InputError(f"block_rows must divide the rows of a layer, got {block_rows}")
    least, most = least_kept(policy, block_rows), num_weights(policy)
    # Rounded so that what the message says can be had.
    if num_kept < least:
        largest = math.floor(10**6 * (1 - least / size)) / 10**6
        unit = "weight" if block_rows == 1 else f"block of {block_rows}"
        raise InputError(
            f"sparsity must be at most {largest:.6f}, at which each of {len(blocks)} layers keeps "
            f"one {unit}, got one that keeps {num_kept} of {size}"
        )
    if num_kept > most:
        smallest = math.ceil(10**6 * policy.sparsity) / 10**6
        raise InputError(
            f"sparsity must be at least {smallest:.6f}, which the policy has already, got one that "
            f"keeps {num_kept} of {size} weights"
        )


def least_kept(policy: Policy, block_rows: int) -> int:
    """Count the weights that stay where each layer that blocks divide keeps one block."""
    blocks = sum(divides(block_rows, layer.weight.shape) for layer in policy.layers)
    return block_rows * blocks + _num_whole(policy, block_rows)


def _num_whole(policy: Policy, block_rows: int) -> int:
    """Count the weights that are not zero of layers that blocks do not divide."""
    return sum(
        int(np.count_nonzero(layer.weight))
        for layer in policy.layers
        if not divides(block_rows, layer.weight.shape)
    )


def num_weights(policy: Policy) -> int:
    """Count the weights of a policy that are not zero."""
    return sum(int(np.count_nonzero(layer.weights)) for layer in policy.layers)


def _counts(
    policy: Policy, states: Float | None, num_kept: int, config: OneShotConfig
) -> list[int | None]:
    """Count the blocks that each layer keeps; None for a layer that stays as it is."""
    rows = config.block_rows
    covered = [divides(rows, layer.weight.shape) for layer in policy.layers]
    layers = [layer for layer, ours in zip(policy.layers, covered, strict=True) if ours]
    shapes = [(layer.weight.shape[0] // rows, layer.weight.shape[1]) for layer in layers]
    sizes = [height * width for height, width in shapes]
    available = [int(alive_blocks(layer.weight, rows).sum()) for layer in layers]
    num_blocks = min((num_kept - _num_whole(policy, rows)) // rows, sum(available))
    sparsity = 1 - num_blocks / sum(sizes)
    if config.allocation == Allocation.GLOBAL:
        scores = _compared(policy, states, config, covered)
        floor = min(MIN_DENSITY, 1 - sparsity)
        wanted: list[float] = [*kept_globally(scores, sparsity, min_density=floor)]
    else:
        spread = erdos_renyi_kernel if config.allocation == Allocation.ERK else uniform
        shares = spread(shapes, sparsity)
        wanted = [size * (1 - share) for size, share in zip(sizes, shares, strict=True)]
    counts = iter(exact_counts(wanted, available, num_blocks))
    return [next(counts) if ours else None for ours in covered]


def _compared(
    policy: Policy, states: Float | None, config: OneShotConfig, covered: Sequence[bool]
) -> list[Float]:
    """Return the scores of the blocks of each layer that blocks divide."""
    none = [None] * len(policy.layers)
    inputs = none if states is None else layer_inputs(policy, states)
    return [
        _scores(layer.weight.astype(np.float64), seen, config)
        for layer, seen, ours in zip(policy.layers, inputs, covered, strict=True)
        if ours
    ]


def _scores(weight: Float, inputs: Float | None, config: OneShotConfig) -> Float:
    """Return scores by which blocks of several layers are compared."""
    rows = config.block_rows
    if inputs is None or config.method is Method.MAGNITUDE:
        return np.asarray(block_scores(np.abs(weight), rows), np.float64)
    hessian = layer_hessian(inputs)
    if config.method is Method.OBS:
        return obs_scores(weight, hessian, rows)
    score = obd_saliency if config.method is Method.OBD else sparsegpt_saliency
    return np.asarray(block_scores(score(weight, hessian), rows), np.float64)


def _prune(weight: Float, inputs: Float | None, kept: int | None, config: OneShotConfig) -> Float:
    rows = config.block_rows
    if kept is None or kept == np.count_nonzero(alive_blocks(weight, rows)):
        return weight
    alive = weight != 0
    if inputs is None or config.method in (Method.MAGNITUDE, Method.OBD):
        mask = weight_mask(keep_largest(_scores(weight, inputs, config), kept), rows)
        if inputs is None or not config.refit:
            return np.where(mask, weight, 0.0)
        return refit(weight, mask & alive, layer_hessian(inputs))
    hessian = layer_hessian(inputs)
    if config.method is Method.OBS:
        return refit(weight, obs_mask(weight, hessian, kept, rows) & alive, hessian)
    pruned = sparsegpt(weight, hessian, kept, block_rows=rows)
    return refit(weight, pruned != 0, hessian) if config.refit else pruned
