"""The 2:4 pattern: of every four consecutive weights along the inputs of a row, two are zero.

A row whose length is no multiple of four counts as padded with zeros to the next one, which is how
sparse tensor cores need it: of three weights that are left over one goes, of two or one none.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_GROUP, _KEPT = 4, 2


def two_four_sparsity(shapes: Sequence[tuple[int, int]]) -> list[float]:
    """Return the sparsity of each layer at which the pattern is complete.

    Args:
        shapes: (n_out, n_in) of each weight.
    """
    whole, rest = np.divmod([fan_in for _, fan_in in shapes], _GROUP)
    zeros = whole * (_GROUP - _KEPT) + np.maximum(rest - _KEPT, 0)
    return [float(count / fan_in) for count, (_, fan_in) in zip(zeros, shapes, strict=True)]


def spare_two_of_four(score: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return a score with the two largest entries of every group of four at infinity.

    A mask that keeps the largest of these scores never leaves a group with fewer than two, and is
    the 2:4 pattern when it keeps no more than it must.

    Args:
        score: Shape (n_out, n_in); larger means keep, ties by lowest index.
    """
    num_rows, num_inputs = score.shape
    padded = np.full((num_rows, -(-num_inputs // _GROUP) * _GROUP), -np.inf)
    padded[:, :num_inputs] = score
    groups = padded.reshape(-1, _GROUP)
    largest = np.argsort(-groups, axis=1, kind="stable")[:, :_KEPT]
    np.put_along_axis(groups, largest, np.inf, axis=1)
    return groups.reshape(num_rows, -1)[:, :num_inputs]
