"""What a graph computes from the observation: elementary steps over numbered scalars.

Every scalar that depends on the observation has a number, the sensors first. A tensor of such
scalars is the array of their numbers, so an operator that only moves entries is applied to it.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from surefoot.activation import Array, OneActivation, RmsNorm
from surefoot.errors import InputError
from surefoot.limits import MAX_SCALARS

Numbers = NDArray[np.int64]


def no_numbers() -> Numbers:
    """Return a vector of no scalars."""
    return np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Computed:
    """A tensor that depends on the observation.

    Attributes:
        numbers: Numbers of its scalars, in the shape of the tensor.
    """

    numbers: Numbers

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self.numbers.shape

    @property
    def flat(self) -> Numbers:
        """The numbers in C order, as a vector."""
        return self.numbers.reshape(-1)


Value = Array | Computed
"""A constant, or what depends on the observation."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Step:
    """One operation on vectors, elementwise unless a class says otherwise.

    Attributes:
        inputs: Numbers of what it takes.
        outputs: Numbers of what it gives; empty until it is part of a computation.
    """

    inputs: Numbers
    outputs: Numbers = field(default_factory=no_numbers)

    @property
    def size(self) -> int:
        """Number of results."""
        return len(self.inputs)

    @property
    def sources(self) -> Numbers:
        """Numbers of everything that it takes."""
        return self.inputs

    def renamed(self, names: Numbers) -> Self:
        """Return the step where scalar k is called ``names[k]`` among what it takes."""
        return replace(self, inputs=names[self.inputs])

    def part(self, rows: Numbers) -> Self:
        """Return the step for some of its results."""
        arrays = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        chosen = {name: x[rows] for name, x in arrays.items() if isinstance(x, np.ndarray)}
        return replace(self, **chosen)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Affine(Step):
    """weight @ x + bias, of shapes (m, n) and (m,); the bias may still come as a `Shift`.

    Attributes:
        weight: Float32.
        bias: Float32, or None.
        extra: Roundings of a term beyond those of a product with these weights.
        is_structure: Whether no entry is a weight of the file.
        is_centring: Whether it is x - mean(x), which a runtime may fuse with what normalises it.
    """

    weight: Array
    bias: Array | None
    extra: int = 0
    is_structure: bool = False
    is_centring: bool = False

    @property
    def size(self) -> int:
        """Number of results."""
        return len(self.weight)

    def part(self, rows: Numbers) -> Self:
        """Return the step for some of its results."""
        bias = None if self.bias is None else self.bias[rows]
        return replace(self, outputs=self.outputs[rows], weight=self.weight[rows], bias=bias)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Mean(Affine):
    """The mean of x, one number."""

    @classmethod
    def of(cls, inputs: Numbers) -> "Mean":
        """Return the mean of some scalars."""
        weight = np.full((1, len(inputs)), 1 / len(inputs), np.float32)
        # 1 / n is rounded here and in the file, or the sum is divided.
        return cls(inputs=inputs, weight=weight, bias=None, extra=2, is_structure=True)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pairs(Step):
    """One number of x and y each, elementwise; one rounding.

    Attributes:
        others: Numbers of y.
    """

    others: Numbers

    @property
    def sources(self) -> Numbers:
        """Numbers of everything that it takes."""
        return np.concatenate([self.inputs, self.others])

    def renamed(self, names: Numbers) -> Self:
        """Return the step where scalar k is called ``names[k]`` among what it takes."""
        return replace(self, inputs=names[self.inputs], others=names[self.others])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sum(Pairs):
    """x + y."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Multiply(Pairs):
    """x y."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Given(Step):
    """Constants that are joined with computed values.

    Attributes:
        amount: The constants, float32.
    """

    amount: Array
    inputs: Numbers = field(default_factory=no_numbers)

    @property
    def size(self) -> int:
        """Number of results."""
        return len(self.amount)

    def part(self, rows: Numbers) -> Self:
        """Return the step for some of its results."""
        return replace(self, outputs=self.outputs[rows], amount=self.amount[rows])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shift(Step):
    """x + amount, elementwise; one rounding."""

    amount: Array


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scale(Step):
    """factor * x, or x / factor, elementwise; one rounding."""

    factor: Array
    divides: bool


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Standardise(Step):
    """gain * (x - mean) / deviation + offset, elementwise, in any order: BatchNormalization.

    Attributes:
        mean: Mean of x.
        deviation: Standard deviation of x, float64.
        gain: Factor behind the division.
        offset: Mean of the result.
        count: Most roundings of |w x| + |w mean| + |offset|, w = gain / deviation.
    """

    mean: Array
    deviation: Array
    gain: Array
    offset: Array
    count: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Apply(Step):
    """An activation, elementwise."""

    activation: OneActivation


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Limit(Step):
    """min(max(x, low), high), elementwise; limits may be infinite.

    Attributes:
        low: Lower limits.
        high: Upper limits, above the lower ones.
        label: How messages call the node.
    """

    low: Array
    high: Array
    label: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Exponential(Step):
    """exp(x), which no action may depend on: the size of a noise that is multiplied by zero.

    Attributes:
        label: How messages call the node.
    """

    label: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Square(Step):
    """x^2, elementwise, which an action may depend on through a `Normalise` alone.

    Attributes:
        label: How messages call the node.
    """

    label: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Root(Step):
    """sqrt(x), elementwise, which an action may depend on through a `Normalise` alone.

    Attributes:
        label: How messages call the node.
        is_inverse: Whether it is 1 / sqrt(x).
    """

    label: str
    is_inverse: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Normalise(Step):
    """x / sqrt(mean(x^2) + epsilon), of all of x together.

    Attributes:
        norm: With its epsilon.
    """

    norm: RmsNorm

    def part(self, rows: Numbers) -> Self:
        """Return the whole step: no result is made without the others."""
        return self


class Computation:
    """Steps in the order in which they were added, each after what it takes.

    Attributes:
        sensors: Numbers of the observation.
        steps: Every step.
        ignored: Numbers of what a zero is multiplied by: it must be finite.
        recalled: For each number of a memory that a cell takes that of its next value.
        size: Number of scalars, the sensors among them.
    """

    def __init__(self, num_sensors: int) -> None:
        self.sensors: Numbers = np.arange(num_sensors)
        self.steps: list[Step] = []
        self.ignored: list[Numbers] = []
        self.recalled: dict[int, int] = {}
        self.size = num_sensors
        self._starts: list[int] = []

    def add(self, step: Step) -> Numbers:
        """Append a step and return the numbers of its results.

        Raises:
            InputError: If there are too many.
        """
        if self.size + step.size > MAX_SCALARS:
            raise InputError(f"computes more than {MAX_SCALARS} numbers")
        outputs = np.arange(self.size, self.size + step.size)
        self.steps.append(replace(step, outputs=outputs))
        self._starts.append(self.size)
        self.size += step.size
        return outputs

    def made(self, number: int) -> tuple[Step | None, int]:
        """Return the step that makes a scalar, and its place among the results; None of sensors."""
        place = bisect_right(self._starts, number) - 1
        return (None, 0) if place < 0 else (self.steps[place], number - self._starts[place])

    def maker(self, numbers: Numbers) -> Step | None:
        """Return the step whose results are exactly these scalars, in this order."""
        flat = numbers.reshape(-1)
        place = bisect_right(self._starts, int(flat[0])) - 1 if len(flat) else -1
        found = place >= 0 and np.array_equal(self.steps[place].outputs, flat)
        return self.steps[place] if found else None


def needed(steps: Sequence[Step], outputs: Numbers, size: int) -> list[Step]:
    """Return the parts of steps that some results depend on, in their order.

    Args:
        steps: Each after what it takes.
        outputs: Numbers of the results.
        size: Number of scalars.
    """
    wanted = np.zeros(size, bool)
    wanted[outputs] = True
    kept = []
    for step in reversed(steps):
        rows = np.flatnonzero(wanted[step.outputs])
        if len(rows):
            kept.append(step.part(rows))
            wanted[kept[-1].sources] = True
    return kept[::-1]
