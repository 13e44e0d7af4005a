"""The threat model: which perturbations of a state an adversary may make, and no others.

N = batch, D = obs_dim. Perturbations are float64, states float32, both in normalised units.
Containment knows no tolerance: it is decided about real numbers, not about their roundings.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from surefoot.errors import InputError

States = NDArray[np.float32]
Deltas = NDArray[np.float64]
Groups = tuple[tuple[int, ...], ...]
"""Numbers of the sensors of each group."""

Randoms = Sequence[np.random.Generator]
"""One random stream per row: the stream of the episode that the row belongs to."""

_UNIT_ROUNDOFF = 2.0**-53
_ROUNDED_OFF = 2.0**-40
"""Share of what varies that is left out, for the rounding of its sum with what does not."""

_UNDERFLOW = 1e-150
"""More than a length loses where squares of its entries underflow."""


class Norm(StrEnum):
    """The norm that measures a perturbation, in normalised units."""

    L2 = "l2"
    LINF = "linf"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ball:
    """All states z' with |z' - z| <= epsilon; z' is not clipped again.

    Attributes:
        norm: Norm of a perturbation.
        epsilon: Radius, normalised units.
        sensors: Share of epsilon by which each sensor may move, in [0, 1], (D,); for linf only.
            None where every sensor may move by all of it.
        groups: Sensors that are measured together: their movements, each as a share of its side,
            are at most 1 long in l2. None where each is measured by itself.
        delays: Steps by which the reading of each sensor may be late, (D,); None for none. The ball
            then lies around what is seen of the last states of an episode, sensor by sensor, or
            between them: all that its methods know is the rest.
        biases: Share of its side by which each sensor may be off by the same amount for a whole
            episode, in [0, 1], (D,); only the rest may vary. None where all of it may.
    """

    norm: Norm
    epsilon: float
    sensors: tuple[float, ...] | None = None
    groups: Groups | None = None
    delays: tuple[int, ...] | None = None
    biases: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check the radius and its shares.

        Raises:
            InputError: If the radius is negative or not finite, a share is outside [0, 1], the
                norm is not one that takes shares, or groups overlap or lack shares.
        """
        if not 0 <= self.epsilon < math.inf:
            raise InputError(f"epsilon must be at least 0 and finite, got {self.epsilon}")
        if self.delays is not None and not (self.delays and min(self.delays) >= 0):
            raise InputError(f"delays must be at least 0, got {self.delays}")
        if self.sensors is None:
            if self.groups is not None or self.biases is not None:
                raise InputError("groups and biases must have sensors, got none")
            return
        if self.biases is not None and not all(0 <= share <= 1 for share in self.biases):
            raise InputError(f"biases must be in [0, 1], got {self.biases}")
        if self.norm is not Norm.LINF:
            raise InputError(f"sensors are for linf perturbations, not for {self.norm}")
        if not self.sensors or not all(0 <= share <= 1 for share in self.sensors):
            raise InputError(f"sensors must be in [0, 1], got {self.sensors}")
        together = [sensor for group in self.groups or () for sensor in group]
        known = all(0 <= sensor < len(self.sensors) for sensor in together)
        if not known or len(set(together)) < len(together) or () in (self.groups or ()):
            raise InputError(f"groups must hold each sensor once at most, got {self.groups}")

    @property
    def sides(self) -> Deltas:
        """Largest movement of each sensor in linf, (D,), or () where it is the same for all.

        No entry is above the real product of epsilon and the share.
        """
        return _sides(self.epsilon, self.sensors)

    @property
    def steady(self) -> "Ball":
        """The part that stays the same for a whole episode; a point where nothing does."""
        if self.sensors is None or self.biases is None:
            return Ball(norm=Norm.LINF, epsilon=0.0)
        shares = zip(self.sensors, self.biases, strict=True)
        return self._of_shares([share * bias for share, bias in shares])

    @property
    def varying(self) -> "Ball":
        """The part that may vary from step to step, so that the sum with the other is within."""
        if self.sensors is None or self.biases is None:
            return replace(self, delays=None)
        left = 1 - np.array(self.biases)
        for group in map(list, self.groups or ()):
            # A box of these shares is as long as their length in units of the semi-axes.
            left[group] = 1 - np.linalg.norm(1 - left[group])
        left = np.maximum(left, 0.0) * (1 - _ROUNDED_OFF)
        return self._of_shares(np.array(self.sensors) * left, self.groups)

    def _of_shares(self, shares: Sequence[float] | Deltas, groups: Groups | None = None) -> "Ball":
        sensors = tuple(map(float, shares))
        epsilon = self.epsilon if any(sensors) else 0.0
        return Ball(norm=self.norm, epsilon=epsilon, sensors=sensors, groups=groups)

    def project(self, delta_ND: NDArray[np.floating]) -> Deltas:
        """Return the nearest perturbations of the ball; of groups in units of their sides."""
        delta = delta_ND.astype(np.float64, copy=False)
        if self.norm is Norm.LINF:
            shortened = self._shortened(delta) if self.groups else delta
            return np.clip(shortened, -self.sides, self.sides)
        length = _length(delta)
        # Scaling and measuring again may each err by this much: the result must not be longer.
        radius = self.epsilon * (1 - _relative_error(delta.shape[1]))
        scale = np.where(length > radius, radius / np.maximum(length, radius or 1.0), 1.0)
        return delta * scale[:, None]

    def _shortened(self, delta_ND: Deltas) -> Deltas:
        """Return perturbations whose groups are no longer than 1 in units of their sides."""
        delta_ND = delta_ND.copy()
        for group in map(list, self.groups or ()):
            length_N1 = self._length_of(delta_ND, group)[:, None]
            most = 1 - _relative_error(len(group))
            delta_ND[:, group] *= np.where(length_N1 > most, most / np.maximum(length_N1, 1), 1.0)
        return delta_ND

    def _length_of(self, delta_ND: Deltas, group: list[int]) -> Deltas:
        """Return the length of the movements of a group in units of their sides, (N,)."""
        sides = self.sides[group]
        with np.errstate(over="ignore"):  # what is too long to be a number is outside
            moved = np.where(sides > 0, delta_ND[:, group] / np.where(sides > 0, sides, 1.0), 0.0)
        return _length(moved)

    def perturbed(self, state_ND: States, delta_ND: NDArray[np.floating]) -> States:
        """Return z + delta in float32, projected into the ball and rounded towards z.

        Rounding to nearest may leave the ball by half a unit in the last place of z'. The next
        float32 towards z is then the outermost one inside, so containment holds without tolerance.

        Args:
            state_ND: The true states z.
            delta_ND: Perturbations, projected here.
        """
        delta_ND = self.project(delta_ND)
        moved = (state_ND.astype(np.float64) + delta_ND).astype(np.float32)
        too_far = _is_longer(*_difference(moved, state_ND), np.abs(delta_ND))
        return np.where(too_far, np.nextafter(moved, state_ND), moved)

    def contains(self, state_ND: States, perturbed_ND: States) -> NDArray[np.bool_]:
        """Return for each row whether the perturbed state lies in the ball, without tolerance."""
        return self._holds(*_difference(perturbed_ND, state_ND))

    def holds(self, delta_ND: Deltas) -> NDArray[np.bool_]:
        """Return for each row whether the perturbation lies in the ball, without tolerance."""
        return self._holds(delta_ND, np.zeros_like(delta_ND))

    def _holds(self, delta_ND: Deltas, lost_ND: Deltas) -> NDArray[np.bool_]:
        """Return for each row whether the exact sum of delta and what it lost is in the ball."""
        if self.norm is Norm.LINF:
            farther_ND = _is_longer(delta_ND, lost_ND, self.sides)
            inside_ND = ~farther_ND & np.isfinite(delta_ND)
            inside_N: NDArray[np.bool_] = np.logical_and.reduce(inside_ND, axis=1)
            for group in map(list, self.groups or ()):
                inside_N &= self._group_holds(group, delta_ND, lost_ND, inside_N)
            return inside_N
        length_N = _length(delta_ND)
        inside_N = np.less_equal(length_N, self.epsilon)
        doubt = self.epsilon * _relative_error(delta_ND.shape[1]) + _UNDERFLOW
        for row in np.flatnonzero(np.abs(length_N - self.epsilon) <= doubt):
            inside_N[row] = _squared_length(delta_ND[row], lost_ND[row]) <= (
                Fraction(self.epsilon) ** 2
            )
        return inside_N

    def _group_holds(
        self, group: list[int], delta_ND: Deltas, lost_ND: Deltas, within_N: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Return for each row within the sides whether a group is at most 1 long, exactly."""
        length_N = self._length_of(np.where(within_N[:, None], delta_ND, 0.0), group)
        inside_N = np.less_equal(length_N, 1)
        axes = [Fraction(side) for side in self.sides[group].tolist()]
        doubt = _relative_error(len(group)) + _UNDERFLOW
        for row in np.flatnonzero(within_N & (np.abs(length_N - 1) <= doubt)):
            parts = zip(
                delta_ND[row, group].tolist(), lost_ND[row, group].tolist(), axes, strict=True
            )
            shares = (
                (Fraction(entry) + Fraction(rest)) / axis for entry, rest, axis in parts if axis
            )
            inside_N[row] = sum((share**2 for share in shares), Fraction()) <= 1
        return inside_N

    def uniform(self, randoms: Randoms, dim: int) -> Deltas:
        """Draw one perturbation per stream, uniform in the ball, (N, D)."""
        if self.norm is Norm.LINF:
            unit = np.array([random.uniform(-1, 1, dim) for random in randoms])
            delta_ND = np.asarray(self.sides * unit)
            for group in map(list, self.groups or ()):
                shares = [random.uniform() ** (1 / len(group)) for random in randoms]
                direction = np.array([random.standard_normal(len(group)) for random in randoms])
                direction /= np.maximum(_length(direction)[:, None], 1e-300)
                delta_ND[:, group] = self.sides[group] * direction * np.array(shares)[:, None]
            return delta_ND
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
            for group in map(list, self.groups or ()):
                for draw, random in zip(draws, randoms, strict=True):
                    normal = random.standard_normal((shape[0], len(group)))
                    draw[:, group] = normal / np.maximum(self.sides[group], 1e-300)
        else:
            draws = [random.standard_normal(shape) for random in randoms]
        delta_CND = self.outermost(np.stack(draws, axis=1))
        return delta_CND if num is not None else delta_CND[0]

    def outermost(self, direction: NDArray[np.floating]) -> Deltas:
        """Return the perturbations that go farthest along directions, (..., D).

        They maximise the inner product: in linf at the corner of the signs, in l2 at a point of
        the sphere, of a group at one of its ellipsoid. Where the direction is zero, so is the
        perturbation.
        """
        direction = direction.astype(np.float64, copy=False)
        if self.norm is Norm.LINF:
            delta = np.asarray(self.sides * np.sign(direction))
            for group in map(list, self.groups or ()):
                steep = self.sides[group] * direction[..., group]
                length = np.sqrt(np.square(steep).sum(axis=-1, keepdims=True))
                delta[..., group] = self.sides[group] * steep / np.maximum(length, 1e-300)
            return delta
        length = np.sqrt(np.square(direction).sum(axis=-1, keepdims=True))
        return np.asarray(self.epsilon * direction / np.maximum(length, 1e-300))


@lru_cache
def _sides(epsilon: float, sensors: tuple[float, ...] | None) -> Deltas:
    if sensors is None:
        sides = np.array(epsilon)
    else:
        sides = np.array([_product_below(epsilon, share) for share in sensors])
    sides.flags.writeable = False  # the cache hands out the same array to all
    return sides


def _product_below(epsilon: float, share: float) -> float:
    """Return the largest float64 that is not above the real product."""
    product = epsilon * share
    if Fraction(product) > Fraction(epsilon) * Fraction(share):
        return math.nextafter(product, 0.0)
    return product


def _difference(to_ND: States, from_ND: States) -> tuple[Deltas, Deltas]:
    """Return to - from and what its rounding lost: their sum is the difference in real numbers.

    Reference:
        Knuth, The Art of Computer Programming, volume 2, section 4.2.2, theorem B (TwoSum).
    """
    a, b = to_ND.astype(np.float64), -from_ND.astype(np.float64)
    with np.errstate(invalid="ignore"):  # of infinities; they are in no ball
        total = a + b
        rest_of_b = total - a
        lost: Deltas = (a - (total - rest_of_b)) + (b - rest_of_b)
    return total, lost


def _is_longer(delta_ND: Deltas, lost_ND: Deltas, limit: Deltas) -> NDArray[np.bool_]:
    """Mark where |delta + lost| > limit in real numbers; delta is their rounded sum."""
    size = np.abs(delta_ND)
    was_cut = lost_ND * np.sign(delta_ND) > 0
    longer: NDArray[np.bool_] = (size > limit) | ((size == limit) & was_cut)
    return longer


def _length(delta_ND: Deltas) -> Deltas:
    with np.errstate(over="ignore"):  # an infinite length is outside of every ball
        length: Deltas = np.sqrt(np.square(delta_ND).sum(axis=1))
    return length


def _relative_error(dim: int) -> float:
    """Return more than a length in float64 errs, the rounding of its entries included."""
    return (dim + 8) * _UNIT_ROUNDOFF


def _squared_length(delta_D: Deltas, lost_D: Deltas) -> Fraction:
    pairs = zip(delta_D.tolist(), lost_D.tolist(), strict=True)
    return sum(((Fraction(entry) + Fraction(rest)) ** 2 for entry, rest in pairs), Fraction())
