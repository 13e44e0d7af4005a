"""How sparsity is spread over layers: the number of entries that each weight keeps.

L = layers, N_l = entries of the weight of layer l, S = sparsity.
"""

import math
from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from surefoot.compress.masks import check_sparsity, num_kept, whole_kept
from surefoot.errors import InputError

Shape = tuple[int, ...]

MIN_DENSITY = 0.02
"""Share of its weights that each layer keeps under one threshold for all, if nothing else is said.
"""

_ROUNDING = 1e-12
"""0.9 and 0.1 are one together, whatever their binary fractions add up to."""


class Allocation(StrEnum):
    """How sparsity is spread over layers."""

    ERK = "erk"
    UNIFORM = "uniform"
    GLOBAL = "global"


def uniform(shapes: Sequence[Shape], sparsity: float) -> list[float]:
    """Return the sparsity of each layer: the same for all.

    Raises:
        InputError: If ``sparsity`` is not in [0, 1).
    """
    check_sparsity(sparsity)
    return [sparsity] * len(shapes)


def erdos_renyi_kernel(shapes: Sequence[Shape], sparsity: float) -> list[float]:
    """Return the sparsity of each layer: densities follow (n_out + n_in) / (n_out n_in).

    One factor makes the total exact; layers that it would make more than dense stay dense and it is
    solved for again, which can only raise it.

    Args:
        shapes: (n_out, n_in) of each weight.
        sparsity: Sparsity of all entries together.

    Raises:
        InputError: If ``sparsity`` is not in [0, 1).

    Reference:
        Evci et al., ICML 2020 (arXiv 1911.11134), section 3 (1).
    """
    check_sparsity(sparsity)
    sizes = np.array([np.prod(shape) for shape in shapes], dtype=float)
    raw = np.array([sum(shape) for shape in shapes]) / sizes
    free = np.ones(len(shapes), dtype=bool)
    density = np.ones(len(shapes))
    while free.any():
        kept_by_free = (1 - sparsity) * sizes.sum() - sizes[~free].sum()
        density[free] = raw[free] * (kept_by_free / (raw * sizes)[free].sum())
        if density[free].max() <= 1:
            break
        free &= density < 1
        density[~free] = 1
    return [float(1 - entry) for entry in density]


def kept_globally(
    scores: Sequence[NDArray[np.floating]], sparsity: float, *, min_density: float
) -> list[int]:
    """Count the entries that each layer keeps under one threshold on all scores together.

    Every layer first keeps its own largest scores up to ``min_density``, so that none collapses;
    the rest of the total goes to the largest scores that remain, ties by layer.

    Args:
        scores: One array per layer; larger means keep.
        sparsity: Sparsity of all entries together.
        min_density: Share of its entries that each layer keeps at least, in [0, 1 - sparsity].

    Raises:
        InputError: If a number is out of range.
    """
    check_sparsity(sparsity)
    check_room(sparsity, min_density)
    ordered = [np.sort(score, axis=None)[::-1] for score in scores]
    floors = [_floor(score.size, min_density) for score in scores]
    rest = np.concatenate([score[floor:] for score, floor in zip(ordered, floors, strict=True)])
    layer = np.repeat(
        np.arange(len(scores)),
        [score.size - floor for score, floor in zip(scores, floors, strict=True)],
    )
    total = num_kept(sum(score.size for score in scores), sparsity)
    chosen = np.argsort(-rest, kind="stable")[: max(0, total - sum(floors))]
    extra = np.bincount(layer[chosen], minlength=len(scores))
    return [floor + int(more) for floor, more in zip(floors, extra, strict=True)]


def check_room(sparsity: float, min_density: float, share: float = 1.0) -> None:
    """Refuse a sparsity that leaves less than every layer keeps at least.

    Args:
        sparsity: Sparsity of all entries together.
        min_density: Share of its entries that each layer keeps at least.
        share: Share of all entries that may be pruned at all.

    Raises:
        InputError: If it does, or ``min_density`` is negative; the message says the largest
            sparsity that can be reached.
    """
    if not min_density >= 0:
        raise InputError(f"min_density must be at least 0, got {min_density}")
    largest = share * (1 - min_density)
    if sparsity > largest + _ROUNDING:
        raise InputError(
            f"sparsity must be at most {largest:g} where every layer keeps the min_density"
            f" of {min_density:g}, got {sparsity}"
        )


def check_reachable(
    sparsity: float,
    sizes: Sequence[int],
    *,
    min_density: float = 0.0,
    unit: str = "entry",
    unit_size: int = 1,
    whole: int = 0,
) -> None:
    """Refuse a sparsity at which layers would keep less than they must.

    Args:
        sparsity: Sparsity of all entries together.
        sizes: Units of each layer, of which it keeps some.
        min_density: Share of its units that each layer keeps at least; it keeps one anyway.
        unit: Word for a unit in the message.
        unit_size: Entries of a unit.
        whole: Entries of no unit, which all stay.

    Raises:
        InputError: If it cannot be reached; the message says the largest sparsity that can.
    """
    total = unit_size * sum(sizes) + whole
    least = unit_size * sum(_floor(size, min_density) for size in sizes) + whole
    if whole_kept(total, sparsity) < least:
        largest = math.floor(10_000 * (1 - least / total)) / 10_000
        raise InputError(
            f"sparsity must be at most {largest:g} in these layers, of which each keeps at least"
            f" one {unit}, got {sparsity}"
        )


def _floor(size: int, min_density: float) -> int:
    """Count the entries that a layer keeps whatever their scores."""
    return max(1, int(min_density * size))
