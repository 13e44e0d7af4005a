"""The perturbation set of an attack, and perturbed states that lie in it exactly.

N = batch, D = obs_dim. Perturbations are float64, states float32.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.budget import Norm
from surefoot.errors import InputError

States = NDArray[np.float32]
Deltas = NDArray[np.float64]
Randoms = Sequence[np.random.Generator]
"""One random stream per row: the stream of the episode that the row belongs to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ball:
    """All states z' with |z' - z| <= epsilon; z' is not clipped again.

    Attributes:
        norm: How a perturbation is measured.
        epsilon: Radius, normalised units.
    """

    norm: Norm
    epsilon: float

    def __post_init__(self) -> None:
        """Check the radius.

        Raises:
            InputError: If it is negative or not finite.
        """
        if not 0 <= self.epsilon < math.inf:
            raise InputError(f"epsilon must be at least 0 and finite, got {self.epsilon}")

    def project(self, delta_ND: Deltas) -> Deltas:
        """Return the nearest perturbations of the ball."""
        if self.norm is Norm.LINF:
            return np.clip(delta_ND, -self.epsilon, self.epsilon)
        length = _length(delta_ND)
        # Scaling and measuring again may each err by this much: the result must not be longer.
        radius = self.epsilon * (1 - (delta_ND.shape[1] + 8) * 2.0**-53)
        scale = np.where(length > radius, radius / np.maximum(length, radius or 1.0), 1.0)
        return delta_ND * scale[:, None]

    def perturbed(self, state_ND: States, delta_ND: Deltas) -> States:
        """Return z + delta in float32, projected into the ball and rounded towards z.

        Rounding to nearest may leave the ball by half a unit in the last place of z'. The next
        float32 towards z is then the outermost one inside, so containment holds without tolerance.

        Args:
            state_ND: The true states z.
            delta_ND: Perturbations, projected here.
        """
        delta_ND = self.project(delta_ND)
        moved = (state_ND.astype(np.float64) + delta_ND).astype(np.float32)
        too_far = _is_farther(state_ND, moved, np.abs(delta_ND))
        return np.where(too_far, np.nextafter(moved, state_ND), moved)

    def contains(self, state_ND: States, perturbed_ND: States) -> NDArray[np.bool_]:
        """Return for each row whether the perturbed state lies in the ball, without tolerance."""
        if self.norm is Norm.LINF:
            farther_ND = _is_farther(state_ND, perturbed_ND, self.epsilon)
            inside_ND = ~farther_ND & np.isfinite(perturbed_ND)
            inside_N: NDArray[np.bool_] = np.logical_and.reduce(inside_ND, axis=1)
            return inside_N
        length_N = _length(perturbed_ND.astype(np.float64) - state_ND)
        return np.less_equal(length_N, self.epsilon)

    def uniform(self, randoms: Randoms, dim: int) -> Deltas:
        """Draw one perturbation per stream, uniform in the ball, (N, D)."""
        if self.norm is Norm.LINF:
            unit = np.array([random.uniform(-1, 1, dim) for random in randoms])
            return self.epsilon * unit
        radius = [random.uniform() ** (1 / dim) for random in randoms]
        return np.array(radius)[:, None] * self.boundary(randoms, dim)

    def boundary(self, randoms: Randoms, dim: int, num: int | None = None) -> Deltas:
        """Draw perturbations as large as they may be: corners, or on the sphere.

        Args:
            randoms: One stream per row.
            dim: D.
            num: How many for each row, (num, N, D); None for one, (N, D).
        """
        shape = (1 if num is None else num, dim)
        if self.norm is Norm.LINF:
            draws = [2.0 * random.integers(0, 2, shape) - 1.0 for random in randoms]
        else:
            draws = [random.standard_normal(shape) for random in randoms]
        delta_CND = self.outermost(np.stack(draws, axis=1))
        return delta_CND if num is not None else delta_CND[0]

    def outermost(self, direction: Deltas) -> Deltas:
        """Return the perturbations as large as they may be in directions, (..., D).

        In linf these are corners, by the signs of the entries; in l2 points of the sphere.
        """
        if self.norm is Norm.LINF:
            return self.epsilon * np.where(direction < 0, -1.0, 1.0)
        length = np.sqrt(np.square(direction).sum(axis=-1, keepdims=True))
        return np.asarray(self.epsilon * direction / np.maximum(length, 1e-300))


def _is_farther(from_ND: States, to_ND: States, limit: Deltas | float) -> NDArray[np.bool_]:
    """Return where |to - from| > limit, decided without a rounding error.

    Reference:
        Knuth, The Art of Computer Programming, volume 2, section 4.2.2, theorem B (TwoSum).
    """
    a, b = to_ND.astype(np.float64), -from_ND.astype(np.float64)
    total = a + b
    rest_of_b = total - a
    lost = (a - (total - rest_of_b)) + (b - rest_of_b)
    size = np.abs(total)
    farther: NDArray[np.bool_] = (size > limit) | ((size == limit) & (lost * total > 0))
    return farther


def _length(delta_ND: Deltas) -> Deltas:
    length: Deltas = np.sqrt(np.square(delta_ND).sum(axis=1))
    return length
