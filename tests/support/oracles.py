"""What is true, written independently of the package: slower, and in more digits."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from surefoot.ball import Norm
from surefoot.certify.bounds.region import Region
from surefoot.policy import Activation, Array

FLOAT64_ACTIVATIONS: dict[Activation, Callable[[Array], Array]] = {
    Activation.TANH: np.tanh,
    Activation.SIGMOID: expit,
    Activation.SILU: lambda x: x * expit(x),
    Activation.ELU: lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    Activation.SOFTPLUS: lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    Activation.RELU: lambda x: np.maximum(x, 0),
}


def extended(activation: Activation, x: Array) -> Array:
    """The activation in 80-bit arithmetic."""
    x = x.astype(np.longdouble)
    match activation:
        case Activation.IDENTITY:
            return x
        case Activation.RELU:
            return np.maximum(x, 0)
        case Activation.TANH:
            return np.tanh(x)
        case Activation.SIGMOID:
            return np.asarray(1 / (1 + np.exp(-x)))
        case Activation.SILU:
            return x / (1 + np.exp(-x))
        case Activation.ELU:
            return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
        case Activation.SOFTPLUS:
            return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def rational(array: Array) -> Array:
    """The entries as fractions."""
    return np.asarray(np.vectorize(Fraction, otypes=[object])(array))


def is_semidefinite(matrix: Array) -> bool:
    """Whether a symmetric matrix is, by exact elimination."""
    a = rational(matrix)
    for k in range(len(a)):
        if a[k, k] < 0 or (a[k, k] == 0 and any(a[k, k:] != 0)):
            return False
        if a[k, k] > 0:
            a[k + 1 :, k + 1 :] -= np.outer(a[k + 1 :, k], a[k, k + 1 :]) / a[k, k]
    return True


def points_inside(region: Region, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Corners (linf), border points (l2) and inner points of each ball, shape (count, B, d)."""
    step = rng.standard_normal((count, *region.centres.shape))
    if region.norm is Norm.LINF:
        step = np.where(rng.random((count, 1, 1)) < 0.7, np.sign(step), np.clip(step, -1, 1))
    else:
        step /= np.linalg.norm(step, axis=2, keepdims=True)
        step *= np.where(rng.random((count, 1, 1)) < 0.7, 1.0, rng.random((count, 1, 1)))
    return region.centres + step * region.radius[:, None] * (1 - 1e-15)
