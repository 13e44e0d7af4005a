"""How large and how sparse the controller file is."""

from surefoot.quantities.base.measurement import Limits, MeasuredFile, Value
from surefoot.quantities.base.quantity import MeasuredQuantity, Need, Topic
from surefoot.unknown import Unknown


class Sparsity(MeasuredQuantity):
    """The fraction of weights that are zero."""

    name = "sparsity"
    unit = ""
    meaning = "fraction of weights that are zero"
    claim = "a share {value} of the weights is zero"
    topic = Topic.SIZE
    at_most = False
    least, below = 0.0, 1.0

    def of_file(self, need: Need, file: MeasuredFile, delta: float) -> Value | Limits | Unknown:
        """Return the count."""
        return Value(value=file.sparsity, method="count", source="the weights in the file")


class SizeBytes(MeasuredQuantity):
    """The size of the controller file."""

    name = "size_bytes"
    unit = "bytes"
    meaning = "size of policy.onnx"
    claim = "the file has {value} bytes"
    topic = Topic.SIZE

    def of_file(self, need: Need, file: MeasuredFile, delta: float) -> Value | Limits | Unknown:
        """Return the size."""
        return Value(value=float(file.size_bytes), method="size", source="the file")


SPARSITY, SIZE_BYTES = Sparsity(), SizeBytes()
