"""How many weights each layer keeps, so that all together keep exactly a given number."""

from collections.abc import Sequence

from surefoot.errors import InputError


def exact_counts(
    wanted: Sequence[float], available: Sequence[int], total: int, *, least: int = 1
) -> list[int]:
    """Return whole numbers near ``wanted`` whose sum is ``total``, each from ``least`` to its cap.

    Args:
        wanted: Count that an allocation would give to each layer.
        available: Count that each layer has; no layer gets more.
        total: Count that all layers keep together.
        least: Count that every layer keeps, if it has as many.

    Raises:
        InputError: If no such numbers have this sum.
    """
    floors = [min(least, most) for most in available]
    if not sum(floors) <= total <= sum(available):
        raise InputError(
            f"kept weights must be from {sum(floors)} to {sum(available)}, got {total}"
        )
    counts = [
        min(max(int(share), floor), most)
        for share, floor, most in zip(wanted, floors, available, strict=True)
    ]
    missing = total - sum(counts)
    step = 1 if missing > 0 else -1
    for _ in range(abs(missing)):
        # One more to the layer that lacks most, or one less from the one that has most too many.
        open_layers = [
            number
            for number, (count, floor, most) in enumerate(
                zip(counts, floors, available, strict=True)
            )
            if floor <= count + step <= most
        ]
        counts[max(open_layers, key=lambda number: step * (wanted[number] - counts[number]))] += (
            step
        )
    return counts
