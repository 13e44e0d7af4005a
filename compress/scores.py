"""How much each weight matters; larger means keep. A new score is one small function here."""

import numpy as np
from numpy.typing import NDArray

Score = NDArray[np.floating]


def magnitude(weight: NDArray[np.floating]) -> Score:
    """Return |w|, shape of ``weight``."""
    score: Score = np.abs(weight)
    return score


def random(weight: NDArray[np.floating], generator: np.random.Generator) -> Score:
    """Return uniform numbers in [0, 1), shape of ``weight``: the baseline that ignores it."""
    return generator.random(weight.shape)


def never_return(score: Score, mask: NDArray[np.bool_]) -> Score:
    """Return ``score`` with the entries that ``mask`` has pruned below all others."""
    return np.where(mask, score, -np.inf)
