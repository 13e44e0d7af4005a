"""The layer recursion of LipSDP: the bound that multipliers give, and its gradient.

Layer by layer, G_1 = W_1 W_1' and for any diagonal T_i > G_i

    G_{i+1} = W_{i+1} [ r^2 T_i + m^2 ( T_i (T_i - G_i)^{-1} T_i - T_i ) ] W_{i+1}'

L^2 is the largest eigenvalue of the last G. Every T is written as (1 + exp q) lam e, where e =
exp(p - mean p) and lam is the largest eigenvalue of E^{-1/2} G E^{-1/2}, so that no constraint
remains.

T is up to a factor the inverse of LipSDP's multipliers: Lam = L^2 / (r^2 T). Derivation:
docs/explanation/mathematics.md, 4.7.

Reference:
    arXiv 2404.04375 (the start, scalar T), arXiv 1906.04893, Theorem 2 (all diagonal T).
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, eigh

from surefoot.certify.bounds.chain import Chain
from surefoot.certify.bounds.slopes import SlopeRange
from surefoot.certify.bounds.upward import Float

_MANY = 128
"""Neurons of a first layer from which on it pays to count with the columns of its matrix."""


@dataclass(frozen=True, slots=True, eq=False)
class LayerRecord:
    """What the backward pass needs of one hidden layer.

    Attributes:
        weight: Matrix behind it, W_{i+1}.
        shape: e, positive with geometric mean 1, shape (n,).
        lam: Largest eigenvalue of E^{-1/2} G E^{-1/2}.
        top: Unit eigenvector of that, shape (n,).
        diagonal: T, shape (n,).
        solved: (T - G)^{-1} m T W', shape (n, outputs).
    """

    weight: Float
    shape: Float
    lam: float
    top: Float
    diagonal: Float
    solved: Float


def start_parameters(chain: Chain) -> Float:
    """Return (p, q) of every hidden layer: p = 0, q = ln(|m| / r), never worse than spectral."""
    parts = []
    for matrix, slope in zip(chain.matrices, chain.slopes, strict=False):
        # q = ln(|m| / r) makes the bracket lam (r + |m|)^2: max slope times spectral norm, squared.
        ratio = max(abs(slope.middle) / slope.radius, 1e-3)
        parts.append(np.append(np.zeros(len(matrix.centre)), math.log(ratio)))
    return np.concatenate(parts)


def log_squared_bound(chain: Chain, parameters: Float) -> tuple[float, Float]:
    """Return ln L^2 and its gradient with respect to the parameters.

    Infinity and zeros where a factorisation fails, which a line search steps back from.
    """
    value, gradient, _ = log_squared_bound_by_sensor(chain, parameters)
    return value, gradient


def log_squared_bound_by_sensor(chain: Chain, parameters: Float) -> tuple[float, Float, Float]:
    """Return the same, and the gradient by the logarithm of a scale of each sensor.

    That is of a factor of each column of the first matrix, shape (obs_dim,).
    """
    found = squared_bound(chain, parameters)
    if found is not None:
        squared, top, steps = found
        # d ln lambda_max(G) = t' dG t / lambda_max for its unit eigenvector t.
        with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
            gradient, by_sensor = _backward(chain, steps, np.outer(top, top) / squared)
        if np.isfinite(gradient).all() and np.isfinite(by_sensor).all():
            return math.log(squared), gradient, by_sensor
    return math.inf, np.zeros_like(parameters), np.zeros(chain.num_inputs)


def squared_bound(chain: Chain, parameters: Float) -> tuple[float, Float, list[LayerRecord]] | None:
    """Return L^2, its unit eigenvector and what each hidden layer computed; None where it fails."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        try:
            last, steps = _forward(chain, parameters)
            squared, top = _top(last)
        except (LinAlgError, ValueError, OverflowError):
            return None
    return (squared, top, steps) if 0 < squared < math.inf else None


def _top(matrix: Float) -> tuple[float, Float]:
    """Return the largest eigenvalue of a symmetric matrix and its unit eigenvector."""
    last = len(matrix) - 1
    values, vectors = eigh(matrix, subset_by_index=[last, last])
    return float(values[0]), vectors[:, 0]


def _split(chain: Chain, parameters: Float) -> list[tuple[Float, float]]:
    """Return (p, q) of each hidden layer."""
    parts, position = [], 0
    for matrix in chain.matrices[:-1]:
        size = len(matrix.centre)
        parts.append((parameters[position : position + size], float(parameters[position + size])))
        position += size + 1
    return parts


def _forward(chain: Chain, parameters: Float) -> tuple[Float, list[LayerRecord]]:
    """Return the last G and what each hidden layer computed."""
    # G_1 = W_1 X_0^{-1} W_1' with X_0 = I.
    first = chain.matrices[0].centre
    few = first.shape[1] < len(first) and len(first) >= _MANY
    gram: _Full | _Outer = _Outer(first) if few else _Full(first @ first.T)
    steps = []
    hidden = zip(_split(chain, parameters), chain.slopes, chain.matrices[1:], strict=True)
    for (p, q), slope, matrix in hidden:
        # The mean of p would only repeat what q says: the scale of T.
        shape = np.exp(p - p.mean())
        largest, top = gram.top(shape)
        # T > lam E >= G for every p and q: feasible without a constraint.
        lam = max(largest, 1e-300)
        diagonal = (1.0 + math.exp(q)) * lam * shape
        following, solved = gram.through(diagonal, slope, matrix.centre)
        # Symmetric again: eigh and Cholesky read one half only.
        gram = _Full((following + following.T) / 2)
        steps.append(LayerRecord(matrix.centre, shape, lam, top, diagonal, solved))
    return gram.matrix, steps


@dataclass(frozen=True, slots=True, eq=False)
class _Full:
    """A matrix G.

    Attributes:
        matrix: Symmetric, shape (n, n).
    """

    matrix: Float

    def top(self, shape: Float) -> tuple[float, Float]:
        """Return the largest eigenvalue of E^{-1/2} G E^{-1/2} and its unit eigenvector."""
        root = 1.0 / np.sqrt(shape)
        return _top(root[:, None] * self.matrix * root)

    def through(self, diagonal: Float, slope: SlopeRange, weight: Float) -> tuple[Float, Float]:
        """Return the next G, and (T - G)^{-1} m T W' of which it is made."""
        middle, radius = slope.middle, slope.radius
        factor = cho_factor(np.diag(diagonal) - self.matrix, lower=True)
        solved = cho_solve(factor, (middle * diagonal)[:, None] * weight.T)
        # G+ = (W m T)(T - G)^{-1}(m T W') + W (r^2 - m^2) T W'.
        following = (middle * weight * diagonal) @ solved
        following += (radius**2 - middle**2) * (weight * diagonal) @ weight.T
        return following, solved


@dataclass(frozen=True, slots=True, eq=False)
class _Outer:
    """G = F F' of few columns: a first layer has far more neurons than there are sensors.

    Attributes:
        factor: F, shape (n, d) with d < n.
    """

    factor: Float

    @property
    def matrix(self) -> Float:
        """G itself."""
        return self.factor @ self.factor.T

    def top(self, shape: Float) -> tuple[float, Float]:
        """Return the same as :meth:`_Full.top`: F'F and FF' share their eigenvalues."""
        scaled = self.factor / np.sqrt(shape)[:, None]
        largest, top = _top(scaled.T @ scaled)
        return largest, scaled @ top / math.sqrt(largest)

    def through(self, diagonal: Float, slope: SlopeRange, weight: Float) -> tuple[Float, Float]:
        """Return the same as :meth:`_Full.through`, by the identity of Woodbury.

        (T - F F')^{-1} = T^{-1} + T^{-1} F (I - F' T^{-1} F)^{-1} F' T^{-1}.
        """
        middle, radius = slope.middle, slope.radius
        divided, seen = self.factor / diagonal[:, None], weight @ self.factor
        factor = cho_factor(np.eye(seen.shape[1]) - self.factor.T @ divided, lower=True)
        inside = cho_solve(factor, seen.T)
        root = weight * np.sqrt(diagonal)
        following = middle**2 * (seen @ inside) + radius**2 * (root @ root.T)
        return following, middle * (weight.T + divided @ inside)


def _backward(chain: Chain, steps: list[LayerRecord], gram_bar: Float) -> tuple[Float, Float]:
    """Return the gradient by (p, q) of every layer and by each sensor, from that of the last G."""
    gradients: list[Float] = []
    for step, slope in zip(steps[::-1], chain.slopes[::-1], strict=True):
        middle, radius = slope.middle, slope.radius
        # With B = solved Gbar: dG+/dT_j, one term for each place where T stands.
        carried = step.solved @ gram_bar
        back = step.weight.T @ gram_bar
        diagonal_bar = 2 * middle * (carried * step.weight.T).sum(axis=1)
        diagonal_bar -= (carried * step.solved).sum(axis=1)
        diagonal_bar += (radius**2 - middle**2) * (back * step.weight.T).sum(axis=1)
        # T = (1 + exp q) lam e: its gradient by q, by p, and through lam by G.
        total = float(diagonal_bar @ step.diagonal)
        growth = float(step.diagonal[0] / (step.lam * step.shape[0]))  # 1 + exp q
        q_bar = total * (growth - 1.0) / growth
        # d ln lam / d p_j = -top_j^2, since E^{-1/2} scales both sides.
        p_bar = diagonal_bar * step.diagonal - total * step.top**2
        gradients.append(np.append(p_bar - p_bar.mean(), q_bar))
        direction = step.top / np.sqrt(step.shape)
        if len(gradients) == len(steps):
            break
        product = carried @ step.solved.T
        gram_bar = (product + product.T) / 2
        gram_bar += (total / step.lam) * np.outer(direction, direction)
    # G_1 = F F', of which column k is scaled: 2 F_k' Gbar F_k, where Gbar is never formed.
    first = chain.matrices[0].centre.T
    by_sensor = 2 * ((first @ carried) * (first @ step.solved)).sum(axis=1)
    by_sensor += 2 * (total / step.lam) * (first @ direction) ** 2
    return np.concatenate(gradients[::-1]), by_sensor
