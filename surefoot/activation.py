"""Functions between the layers.

Those without a parameter are members of :class:`Activation`; each of the others is a small value of
its own. All of them are called alike and compare by value. All but :class:`RmsNorm` and
:class:`Product` are elementwise and, SiLU apart, never fall as x rises.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from surefoot.coupled_activation import Coupled, require_float32
from surefoot.coupled_activation import Product as Product
from surefoot.coupled_activation import RmsNorm as RmsNorm
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
    # One of the two is always 0; a sum takes a quarter of the time of a choice.
    return np.asarray(np.expm1(np.minimum(x, 0)) + np.maximum(x, 0))


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
        require_float32("LeakyRelu alpha", self.alpha)
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
            require_float32(f"ScaledElu {name}", value)
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
        return np.asarray(gamma * (alpha * np.expm1(np.minimum(x, 0)) + np.maximum(x, 0)))


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
        require_float32("Clamp low", self.low)
        require_float32("Clamp high", self.high)
        if not self.low < self.high:
            raise InputError(f"Clamp low must be below high, got [{self.low}, {self.high}]")

    @property
    def value(self) -> str:
        """Name and parameters, as digests say it."""
        return f"clamp({self.low!r}, {self.high!r})"

    def __call__(self, x: Array) -> Array:
        """Apply the function elementwise, in the dtype of ``x``."""
        return np.clip(x, x.dtype.type(self.low), x.dtype.type(self.high))


Elementwise = Activation | LeakyRelu | ScaledElu | Clamp
"""One function that treats each neuron by itself."""

OneActivation = Elementwise | Coupled
"""One function for all neurons."""


@dataclass(frozen=True, slots=True)
class Mixed:
    """Several functions side by side: the first for the first neurons, and so on.

    Neurons of the identity carry what a later layer needs past a layer. Neighbours differ, unless
    they are ``Coupled``: each normalisation has a mean of its own, each product its own halves.

    Attributes:
        parts: Each function, and for how many neurons.
    """

    parts: tuple[tuple[OneActivation, int], ...]

    def __post_init__(self) -> None:
        """Check the parts.

        Raises:
            InputError: If there is only one, two neighbours are the same, one has no neuron, or a
                product has no halves.
        """
        functions = [function for function, _ in self.parts]
        if len(functions) < 2 or any(_can_join(*pair) for pair in pairwise(functions)):
            raise InputError(f"Mixed parts must be several that differ, got {functions}")
        if any(count < 1 for _, count in self.parts):
            raise InputError("Mixed parts must have at least one neuron each")
        for function, count in self.parts:
            require_halves(function, count)

    @classmethod
    def of(cls, parts: Iterable[tuple[OneActivation, int]]) -> "AnyActivation":
        """Return the parts with equal neighbours joined; one function alone is no mixture."""
        joined: list[tuple[OneActivation, int]] = []
        for function, count in parts:
            joins = bool(joined) and _can_join(joined[-1][0], function)
            before = joined.pop() if joins else (function, 0)
            joined.append((function, before[1] + count))
        return joined[0][0] if len(joined) == 1 else cls(tuple(joined))

    @property
    def width(self) -> int:
        """Number of neurons."""
        return sum(count for _, count in self.parts)

    @property
    def value(self) -> str:
        """Functions and numbers of neurons, as digests say it."""
        return f"mixed({', '.join(f'{function.value}: {n}' for function, n in self.parts)})"

    def places(self) -> Iterator[tuple[OneActivation, slice]]:
        """Yield each function and its neurons."""
        start = 0
        for function, count in self.parts:
            yield function, slice(start, start + count)
            start += count

    def places_of(self, kind: type[Coupled]) -> tuple[slice, ...]:
        """Return the neurons of each function of one class."""
        return tuple(place for function, place in self.places() if isinstance(function, kind))

    def __call__(self, x: Array) -> Array:
        """Apply each function to its neurons, along the last axis, in the dtype of ``x``."""
        return by_part(lambda function, part: function(part), self, x)


AnyActivation = OneActivation | Mixed
"""What a layer may apply."""


def _can_join(first: OneActivation, second: OneActivation) -> bool:
    return first == second and not isinstance(first, Coupled)


def require_halves(activation: AnyActivation, width: int) -> None:
    """Check that a product has two halves.

    Raises:
        InputError: If its width is odd.
    """
    if isinstance(activation, Product) and width % 2:
        raise InputError(f"Product must have an even number of neurons, got {width}")


def is_elementwise(activation: AnyActivation) -> bool:
    """Return True if an activation treats each neuron by itself."""
    return not any(isinstance(function, Coupled) for function in parts_of(activation))


def normalises(activation: AnyActivation) -> bool:
    """Return True if an activation normalises over neurons."""
    return any(isinstance(function, RmsNorm) for function in parts_of(activation))


def parts_of(activation: AnyActivation) -> list[OneActivation]:
    """Return the functions that an activation consists of."""
    if isinstance(activation, Mixed):
        return [function for function, _ in activation.parts]
    return [activation]


def by_part(compute: Callable[..., Array], activation: AnyActivation, *arrays: Array) -> Array:
    """Compute something for each function, on its neurons along the last axis.

    Args:
        compute: Function from one activation and its neurons of each array to an array.
        activation: One function or several.
        arrays: Arrays of one shape (..., n), or of shapes that NumPy broadcasts.
    """
    if not isinstance(activation, Mixed):
        return compute(activation, *arrays)
    found = [
        compute(function, *(array[..., neurons] for array in arrays))
        for function, neurons in activation.places()
    ]
    return np.concatenate(found, axis=-1)
