"""Which episodes serve for what: disjoint ranges of environment seeds, fixed here and nowhere else.

Training, and the evaluations inside it, draw theirs below ``TRAINING_END`` (`train.streams`). What
an attack tunes it tunes on selection episodes; what it reports comes from evaluation episodes.
"""

from surefoot.errors import InputError

TRAINING_END = 2**31
_SELECTION_START = 2**31
_EVALUATION_START = 2**31 + 2**30
# Below 2**32, which is as far as environments that seed a `RandomState` go.
_RANGE = 2**30


def selection_seeds(num: int) -> tuple[int, ...]:
    """Return the seeds of the first ``num`` episodes on which attacks are tuned.

    Raises:
        InputError: If ``num`` is not in [1, 2**30].
    """
    return _first(num, _SELECTION_START)


def evaluation_seeds(num: int) -> tuple[int, ...]:
    """Return the seeds of the first ``num`` episodes that are reported.

    Raises:
        InputError: If ``num`` is not in [1, 2**30].
    """
    return _first(num, _EVALUATION_START)


def _first(num: int, start: int) -> tuple[int, ...]:
    if not 1 <= num <= _RANGE:
        raise InputError(f"the number of episodes must be in [1, {_RANGE}], got {num}")
    return tuple(range(start, start + num))
