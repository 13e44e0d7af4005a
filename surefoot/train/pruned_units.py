"""How many units of each layer a pruned network keeps: weights, blocks of them, or neurons."""

from collections.abc import Sequence

from surefoot.compress.allocations import (
    Allocation,
    check_reachable,
    check_room,
    erdos_renyi_kernel,
    kept_globally,
    uniform,
)
from surefoot.compress.blocks import kept_blocks
from surefoot.compress.layer_counts import exact_counts
from surefoot.compress.masks import num_kept
from surefoot.compress.scores import Score
from surefoot.compress.two_four import two_four_sparsity
from surefoot.errors import InputError
from surefoot.train.pruning_config import (
    BlockPruning,
    NeuronPruning,
    SpreadPruning,
    TwoFourPruning,
    WeightPruning,
)

Method = WeightPruning | BlockPruning | NeuronPruning | TwoFourPruning


def num_units_kept(
    config: Method, scores: Sequence[Score], fraction: float, available: Sequence[int], whole: int
) -> list[int]:
    """Count the units that each layer keeps at a share of the final sparsity.

    Under ERK and uniformly all layers together keep exactly as many weights as the sparsity says,
    up to one block; of neurons, each layer does.

    Args:
        config: How is pruned.
        scores: One for each unit, by layer.
        fraction: Share of the final sparsity.
        available: Units of each layer that may stay.
        whole: Weights that are in no unit.
    """
    shapes = [score.shape for score in scores]
    if isinstance(config, TwoFourPruning):
        targets = two_four_sparsity(shapes)
        return [
            num_kept(score.size, fraction * target)
            for score, target in zip(scores, targets, strict=True)
        ]
    sizes = [score.size for score in scores]
    # The units make up for the weights that are in none.
    sparsity = config.sparsity / _share(config, sizes, whole)
    if config.allocation == Allocation.GLOBAL:
        sparsity = min(sparsity, 1 - config.min_density)  # which it is but for rounding
        return kept_globally(scores, fraction * sparsity, min_density=config.min_density)
    allocate = erdos_renyi_kernel if config.allocation == Allocation.ERK else uniform
    shares = [fraction * target for target in allocate(shapes, sparsity)]
    if isinstance(config, NeuronPruning):
        return [num_kept(size, share) for size, share in zip(sizes, shares, strict=True)]
    rows = _unit_size(config)
    total = kept_blocks(rows * sum(sizes) + whole, whole, fraction * config.sparsity, rows)
    wanted = [size * (1 - share) for size, share in zip(sizes, shares, strict=True)]
    return exact_counts(wanted, available, total)


def _unit_size(config: SpreadPruning) -> int:
    """Return the weights of a unit; a neuron counts as one."""
    return config.rows if isinstance(config, BlockPruning) else 1


def _share(config: SpreadPruning, sizes: Sequence[int], whole: int) -> float:
    """Return the share of all weights that are in a unit."""
    units = _unit_size(config) * sum(sizes)
    return units / (units + whole)


def reachable_target(config: Method, scores: Sequence[Score], whole: int) -> float:
    """Return the final sparsity of all units together, and of the weights that are in none.

    Raises:
        InputError: If there is nothing to prune, or the sparsity that was asked for is too high.
    """
    sizes = [score.size for score in scores]
    if isinstance(config, NeuronPruning) and not scores:
        raise InputError("pruning neurons needs at least one hidden layer, got none")
    if isinstance(config, BlockPruning) and not scores:
        raise InputError(f"rows must divide those of a layer, got {config.rows}")
    if isinstance(config, TwoFourPruning):
        kept = sum(num_units_kept(config, scores, 1.0, sizes, whole))
        if kept == sum(sizes):
            raise InputError("2:4 pruning needs a layer with at least 3 inputs, got none")
        return 1 - kept / sum(sizes)
    _check_reachable(config, sizes, whole)
    return config.sparsity


def _check_reachable(config: SpreadPruning, sizes: Sequence[int], whole: int) -> None:
    """Refuse a sparsity that the units cannot reach.

    Raises:
        InputError: If they cannot.
    """
    if isinstance(config, NeuronPruning):
        at_once = sizes if config.allocation == Allocation.GLOBAL else [min(sizes)]
        check_reachable(config.sparsity, at_once, min_density=_floor_of(config), unit="neuron")
        return
    if config.allocation == Allocation.GLOBAL:
        check_room(config.sparsity, config.min_density, _share(config, sizes, whole))
    check_reachable(
        config.sparsity,
        sizes,
        min_density=_floor_of(config),
        unit="block" if isinstance(config, BlockPruning) else "weight",
        unit_size=_unit_size(config),
        whole=whole,
    )


def _floor_of(config: SpreadPruning) -> float:
    """Return the share of its units that each layer keeps whatever their scores."""
    return config.min_density if config.allocation == Allocation.GLOBAL else 0.0
