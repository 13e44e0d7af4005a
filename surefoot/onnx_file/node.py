"""One node of a graph while it is read: its inputs, constant or not, and its attributes."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper

from surefoot.activation import Array
from surefoot.errors import InputError
from surefoot.limits import MAX_SCALARS
from surefoot.onnx_file.computation import Computation, Computed, Numbers, Step, Value

JOINS = "joins two values that depend on the observation"


class Node:
    """What an operator takes.

    Attributes:
        proto: The node itself.
        op: Its operator.
        inputs: Its inputs in order, None where one is left out.
        opset: Version of ONNX's own operators.
        label: How messages call it.
    """

    def __init__(
        self,
        proto: onnx.NodeProto,
        values: Mapping[str, Value],
        computation: Computation,
        opset: int,
        label: str,
    ) -> None:
        if missing := [entry for entry in proto.input if entry and entry not in values]:
            raise InputError(f"takes {missing[0]!r}, which is not computed")
        self.proto = proto
        self.op: str = proto.op_type
        self.inputs: Sequence[Value | None] = [
            values[entry] if entry else None for entry in proto.input
        ]
        self.opset = opset
        self.label = label
        self._computation = computation
        self._attributes = {entry.name: entry for entry in proto.attribute}

    @property
    def computed(self) -> list[int]:
        """Positions of the inputs that depend on the observation."""
        return [k for k, value in enumerate(self.inputs) if isinstance(value, Computed)]

    def data(self, position: int) -> Computed:
        """Return an input that depends on the observation.

        Raises:
            InputError: If it is a constant.
        """
        value = self.inputs[position]
        if not isinstance(value, Computed):
            raise InputError("takes the observation as an index, a shape or a parameter")
        return value

    def alone(self) -> Computed:
        """Return the first input where it is the only one that depends on the observation.

        Raises:
            InputError: If there are more.
        """
        if len(self.computed) > 1:
            raise InputError(JOINS)
        return self.data(0)

    def constant(self, position: int) -> Array | None:
        """Return a constant input, None if it is not given.

        Raises:
            InputError: If it depends on the observation.
        """
        value = self.inputs[position] if position < len(self.inputs) else None
        if isinstance(value, Computed):
            raise InputError("a parameter depends on the observation")
        return value

    def floats(self, position: int, *, finite: bool = True) -> Array:
        """Return a constant input as float32.

        Raises:
            InputError: If it is none of floats, float32 cannot hold it or, where that is asked for,
                it is not finite.
        """
        value = self.constant(position)
        if value is None or value.dtype.kind != "f":
            raise InputError("takes something that is no constant of floats")
        if finite and not np.isfinite(value).all():
            raise InputError("takes a constant that is not finite")
        with np.errstate(over="ignore"):
            single = value.astype(np.float32)
        if not np.array_equal(single.astype(np.float64), value.astype(np.float64)):
            raise InputError(f"holds {value.dtype} numbers that float32 cannot hold")
        return single

    def attribute(self, key: str) -> object:
        """Return an attribute, or its default in this opset, or None."""
        if key in self._attributes:
            return helper.get_attribute_value(self._attributes[key])
        known = onnx.defs.get_schema(self.op, self.opset).attributes
        default = known[key].default_value if key in known else None
        return helper.get_attribute_value(default) if default is not None and default.name else None

    def number(self, key: str) -> float:
        """Return a real attribute.

        Raises:
            InputError: If it is none.
        """
        value = self.attribute(key)
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise InputError(f"attribute {key} must be a finite number, got {value!r}")
        return float(value)

    def add(self, step: Step, shape: tuple[int, ...]) -> Computed:
        """Append a step to the computation and return its results in a shape."""
        return Computed(self._computation.add(step).reshape(shape))

    def maker(self, x: Computed) -> Step | None:
        """Return the step whose results are exactly these, in this order."""
        return self._computation.maker(x.numbers)

    def made(self, number: int) -> tuple[Step | None, int]:
        """Return the step that makes a scalar, and its place among the results."""
        return self._computation.made(int(number))

    def recall(self, memory: Numbers, later: Numbers) -> None:
        """Note the next values of a memory."""
        self._computation.recalled.update(zip(memory.tolist(), later.tolist(), strict=True))

    def ignore(self, x: Computed) -> None:
        """Note that a zero is multiplied by this: it must be finite."""
        self._computation.ignored.append(x.flat)


def bounded(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of tensors that are broadcast together.

    Raises:
        InputError: If it is larger than what is read.
    """
    shape = np.broadcast_shapes(*shapes)
    if math.prod(shape) > MAX_SCALARS:
        raise InputError(f"makes a tensor of shape {list(shape)}, more than is read")
    return shape
