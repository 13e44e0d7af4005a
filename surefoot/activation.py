"""Elementwise functions between the layers.

Those without a parameter are members of :class:`Activation`; each of the others is a small value of
its own. All of them are called alike, compare by value, and never fall as x rises (SiLU apart).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from surefoot.errors import InputError

Array = NDArray[Any]


class Activation(StrEnum):
    """Functions without a parameter."""

    IDENTITY = "identity"
    RELU = "relu"
    TANH = "tanh"
    SIGMOID = "sigmoid"
    SILU = "silu"
    ELU = "elu"
    SOFTPLUS = "softplus"

    def __call__(self, x: Array) -> Array:
        """Apply the function elementwise, in the dtype of ``x``."""
        return _FUNCTIONS[self](x)


def _elu(x: Array) -> Array:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


_FUNCTIONS: dict[Activation, Callable[[Array], Array]] = {
    Activation.IDENTITY: lambda x: x,
    Activation.RELU: lambda x: np.maximum(x, 0),
    Activation.TANH: np.tanh,
    Activation.SIGMOID: expit,
    Activation.SILU: lambda x: x * expit(x),
    Activation.ELU: _elu,
    Activation.SOFTPLUS: lambda x: np.logaddexp(x, x.dtype.type(0)),
}


@dataclass(frozen=True, slots=True)
class LeakyRelu:
    """x above zero, alpha x below it.

    Attributes:
        alpha: Slope below zero, in [0, 1], a float32 by value.
    """

    alpha: float

    def __post_init__(self) -> None:
        """Check the slope.

        Raises:
            InputError: If it is out of range.
        """
        _require_float32("LeakyRelu alpha", self.alpha)
        if not 0 <= self.alpha <= 1:
            raise InputError(f"LeakyRelu alpha must be in [0, 1], got {self.alpha}")

    @property
    def value(self) -> str:
        """Name and parameter, as digests say it."""
        return f"leaky_relu({self.alpha!r})"

    def __call__(self, x: Array) -> Array:
        """Apply the function elementwise, in the dtype of ``x``."""
        return np.where(x > 0, x, x.dtype.type(self.alpha) * x)


@dataclass(frozen=True, slots=True)
class ScaledElu:
    """gamma x above zero, gamma alpha (exp(x) - 1) below it: ELU of any size, and SELU.

    Attributes:
        alpha: Positive, a float32 by value.
        gamma: Positive, a float32 by value.
    """

    alpha: float
    gamma: float

    def __post_init__(self) -> None:
        """Check the two numbers.

        Raises:
            InputError: If one is out of range.
        """
        for name in ("alpha", "gamma"):
            value = getattr(self, name)
            _require_float32(f"ScaledElu {name}", value)
            if not 2.0**-40 <= value <= 2.0**40:  # products of both stay normal float32 numbers
                raise InputError(f"ScaledElu {name} must be in [2^-40, 2^40], got {value}")

    @property
    def value(self) -> str:
        """Name and parameters, as digests say it."""
        return f"scaled_elu({self.alpha!r}, {self.gamma!r})"

    @property
    def size(self) -> float:
        """How much larger than those of an ELU its values and slopes are at most; exact."""
        return self.gamma * max(1.0, self.alpha)

    def __call__(self, x: Array) -> Array:
        """Apply the function elementwise, in the dtype of ``x``."""
        alpha, gamma = x.dtype.type(self.alpha), x.dtype.type(self.gamma)
        return np.asarray(gamma * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))))


@dataclass(frozen=True, slots=True)
class Clamp:
    """x inside [low, high], the nearer end outside of it: HardTanh, ReLU6, Clip.

    Attributes:
        low: Finite, a float32 by value.
        high: Above ``low``, finite, a float32 by value.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            InputError: If one is not finite, or they are in the wrong order.
        """
        _require_float32("Clamp low", self.low)
        _require_float32("Clamp high", self.high)
        if not self.low < self.high:
            raise InputError(f"Clamp low must be below high, got [{self.low}, {self.high}]")

    @property
    def value(self) -> str:
        """Name and parameters, as digests say it."""
        return f"clamp({self.low!r}, {self.high!r})"

    def __call__(self, x: Array) -> Array:
        """Apply the function elementwise, in the dtype of ``x``."""
        return np.clip(x, x.dtype.type(self.low), x.dtype.type(self.high))


AnyActivation = Activation | LeakyRelu | ScaledElu | Clamp
"""What a layer may apply."""


def _require_float32(name: str, value: float) -> None:
    with np.errstate(over="ignore"):
        held = float(np.float32(value))
    if not np.isfinite(held) or held != value:
        raise InputError(f"{name} must be a finite float32 by value, got {value!r}")
