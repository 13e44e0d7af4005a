"""How much each weight matters; larger means keep.

A new score is one small function here, and the name by which a configuration asks for it: a class
of three lines in `train/pruning_config.py` that its `Pruning` lists.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Score = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Seen:
    """What is known about a weight while it is trained; all arrays have its shape.

    Attributes:
        weight: Weight as it is trained: underneath the mask, where the gradient goes straight
            through.
        change: Mean of |w dL/dw| over the last minibatches, for a `GradientPruning`; zero for
            others.
        order: Uniform numbers in [0, 1), the same ones for the whole training.
    """

    weight: NDArray[np.floating]
    change: NDArray[np.floating]
    order: NDArray[np.floating]


def magnitude(seen: Seen) -> Score:
    """Return |w|."""
    score: Score = np.abs(seen.weight)
    return score


def saliency(seen: Seen) -> Score:
    """Return the first-order change of the loss if the weight is removed.

    Reference:
        Molchanov et al., ICLR 2017 (arXiv 1611.06440), equation 8: |w dL/dw|.
    """
    return seen.change


def random(seen: Seen) -> Score:
    """Return a fixed random order: the baseline that ignores the weights."""
    return seen.order


def never_return(score: Score, mask: NDArray[np.bool_]) -> Score:
    """Return ``score`` with the entries that ``mask`` has pruned below all others."""
    return np.where(mask, score, -np.inf)
