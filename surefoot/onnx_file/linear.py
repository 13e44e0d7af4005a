"""Elementwise affine maps in a row, as one map, with what a file rounds on its way through them."""

from dataclasses import dataclass

import numpy as np

from surefoot.activation import Array
from surefoot.onnx_file.computation import Numbers, Scale, Shift, Standardise, Step

LINEAR_STEPS = (Scale, Shift, Standardise)

_UNDERFLOW = 2.0**-60
"""Added to what is rounded for each product: more than underflow costs, for numbers up to 2^40."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Linear:
    """factor * x + offset in float64, and how a file comes to it in float32.

    It errs by at most ``count`` roundings of |factor x| + |offset| + excess.

    Attributes:
        factor: Shape (m,).
        offset: Shape (m,).
        count: Most roundings of a term, shape (m,).
        excess: Shape (m,).
    """

    factor: Array
    offset: Array
    count: Array
    excess: Array

    @classmethod
    def identity(cls, size: int) -> "Linear":
        """Return x itself."""
        return cls(
            factor=np.ones(size),
            offset=np.zeros(size),
            count=np.zeros(size, np.int64),
            excess=np.zeros(size),
        )

    @classmethod
    def of(cls, step: Step) -> "Linear":
        """Return the map that one of ``LINEAR_STEPS`` computes.

        Raises:
            TypeError: If it is another step.
        """
        plain = cls.identity(step.size)
        match step:
            case Shift(amount=amount):
                return cls(
                    factor=plain.factor,
                    offset=amount.astype(np.float64),
                    count=plain.count + 1,
                    excess=plain.excess,
                )
            case Scale(factor=factor, divides=divides):
                exact = factor.astype(np.float64)
                # A quotient may be a product with the rounded reciprocal.
                return cls(
                    factor=1 / exact if divides else exact,
                    offset=plain.offset,
                    count=plain.count + (2 if divides else 1),
                    excess=_UNDERFLOW * (1 + np.abs(1 / exact if divides else exact)),
                )
            case Standardise(mean=mean, deviation=deviation, gain=gain, offset=offset):
                factor = gain.astype(np.float64) / deviation
                moved, last = factor * mean, offset.astype(np.float64)
                rounded = np.abs(moved) + np.abs(last) + _UNDERFLOW * (1 + np.abs(factor))
                return cls(
                    factor=factor,
                    offset=last - moved,
                    count=plain.count + step.count,
                    excess=rounded - np.abs(last - moved),
                )
        raise TypeError(f"{type(step).__name__} is no elementwise affine step")

    @property
    def is_identity(self) -> bool:
        """Whether it is x itself, for all entries."""
        return bool((self.factor == 1).all()) and not self.offset.any() and not self.count.any()

    def then(self, after: "Linear") -> "Linear":
        """Return this map and ``after`` of its result."""
        offset = after.factor * self.offset + after.offset
        first = np.abs(after.factor) * (np.abs(self.offset) + self.excess)
        excess = first + np.abs(after.offset) + after.excess - np.abs(offset)
        return Linear(
            factor=after.factor * self.factor,
            offset=offset,
            count=self.count + after.count,
            excess=np.maximum(excess, 0.0),
        )

    def part(self, rows: Numbers) -> "Linear":
        """Return the map of some entries."""
        return Linear(
            factor=self.factor[rows],
            offset=self.offset[rows],
            count=self.count[rows],
            excess=self.excess[rows],
        )

    def assign(self, rows: Numbers, other: "Linear") -> None:
        """Put the maps of some entries in place."""
        self.factor[rows], self.offset[rows] = other.factor, other.offset
        self.count[rows], self.excess[rows] = other.count, other.excess
