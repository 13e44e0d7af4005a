"""Functions between the layers in which a neuron depends on others."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surefoot.errors import InputError

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class RmsNorm:
    """x / sqrt(mean(x^2) + epsilon), the mean over all neurons that it is given.

    Behind a layer that subtracts the mean of its inputs it is a LayerNorm without gain and offset,
    which belong to the layer after it.

    Attributes:
        epsilon: In [2^-60, 2^20], a float32 by value.

    Reference:
        Zhang and Sennrich, NeurIPS 2019 (arXiv 1910.07467).
    """

    epsilon: float

    def __post_init__(self) -> None:
        """Check epsilon.

        Raises:
            InputError: If it is out of range.
        """
        require_float32("RmsNorm epsilon", self.epsilon)
        if not 2.0**-60 <= self.epsilon <= 2.0**20:  # far above what float32 flushes to zero
            raise InputError(f"RmsNorm epsilon must be in [2^-60, 2^20], got {self.epsilon}")

    @property
    def value(self) -> str:
        """Name and parameter, as digests say it."""
        return f"rms_norm({self.epsilon!r})"

    def __call__(self, x: Array) -> Array:
        """Apply the function along the last axis, in the dtype of ``x``."""
        square = np.square(x).mean(axis=-1, keepdims=True)
        return np.asarray(x / np.sqrt(square + x.dtype.type(self.epsilon)))


@dataclass(frozen=True, slots=True)
class Product:
    """(a, b) to (a b, b), as recurrent cells need it.

    Each neuron of the first half is multiplied by its partner in the second half, which is passed
    on, so that a layer has as many results as sums.
    """

    @property
    def value(self) -> str:
        """Name, as digests say it."""
        return "product"

    def __call__(self, x: Array) -> Array:
        """Apply the function along the last axis, in the dtype of ``x``."""
        first, second = halves(x)
        return np.concatenate([first * second, second], axis=-1)


Coupled = RmsNorm | Product
"""One function in which a neuron depends on others."""


def halves(x: Array) -> tuple[Array, Array]:
    """Return the two halves of an array along its last axis."""
    middle = x.shape[-1] // 2
    return x[..., :middle], x[..., middle:]


def require_float32(name: str, value: float) -> None:
    """Check that float32 holds a number.

    Raises:
        InputError: If it does not, or the number is not finite.
    """
    with np.errstate(over="ignore"):
        held = float(np.float32(value))
    if not np.isfinite(held) or held != value:
        raise InputError(f"{name} must be a finite float32 by value, got {value!r}")
