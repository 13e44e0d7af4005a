"""What attacks leave of the return."""

from surefoot.quantities.base.measurement import Limits, MeasuredFile, Measurement, Value
from surefoot.quantities.base.quantity import MeasuredQuantity, Need, Topic
from surefoot.unknown import Unknown


class AttackedReturn(MeasuredQuantity):
    """The lowest mean return over the attacks that were run."""

    name = "attacked_return"
    unit = "reward units"
    meaning = "lowest mean return over the attacks that were run"
    claim = "the mean return under the strongest attack that was run is {at_least}{value}"
    topic = Topic.ATTACK
    needs = frozenset({"epsilon", "norm"})
    takes = frozenset({"confidence"})
    at_most = False
    of_returns = True

    def of_file(self, need: Need, file: MeasuredFile, delta: float) -> Value | Limits | Unknown:
        """Return the lowest mean, or its limits where a confidence is asked for."""
        entries = file.measurements(self.name, need.ball)
        if isinstance(entries, Unknown):
            return entries
        return mean_return(need, entries, file, delta)


def mean_return(
    need: Need, entries: tuple[Measurement, ...], file: MeasuredFile, delta: float
) -> Value | Limits | Unknown:
    """Return the lowest mean return, or its limits where a confidence is asked for."""
    worst = max(entries, key=lambda entry: entry.failures)
    if worst.failures:
        return Unknown(
            f"{worst.failures} episodes failed under {worst.source}: they have no return"
        )
    if need.confidence is not None:
        return file.mean_limits(entries, delta)
    lowest = min(entries, key=lambda entry: entry.value)
    return Value(value=lowest.value, method="measurement", source=lowest.source)


ATTACKED_RETURN = AttackedReturn()
