"""How long one inference takes."""

from surefoot.quantities.base.measurement import Limits, MeasuredFile, Value
from surefoot.quantities.base.quantity import MeasuredQuantity, Need, Topic
from surefoot.unknown import Unknown


class LatencyUs(MeasuredQuantity):
    """The 99th percentile of the latency of the slowest runtime that was measured."""

    name = "latency_us"
    unit = "microseconds"
    meaning = "99th percentile of one inference"
    claim = "99 of 100 inferences take at most {value} microseconds"
    topic = Topic.LATENCY

    def of_file(self, need: Need, file: MeasuredFile, delta: float) -> Value | Limits | Unknown:
        """Return the longest that was measured."""
        entries = file.measurements(self.name, None)
        if isinstance(entries, Unknown):
            return entries
        slowest = max(entries, key=lambda entry: entry.value)
        return Value(value=slowest.value, method="measurement", source=slowest.source)


LATENCY_US = LatencyUs()
