"""Bounds that hold around given states: the deviation of each actuator, and certified radii.

Statements and proofs: docs/explanation/mathematics.md, 5.8, 5.11 and 5.13.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.ball import Groups, Norm
from surefoot.certify.bounds.alpha_crown import optimised_bounds
from surefoot.certify.bounds.crown import interval_bounds, layer_bounds
from surefoot.certify.bounds.local_lipschitz import centred_lipschitz
from surefoot.certify.bounds.region import (
    Bounds,
    Network,
    Region,
    Rows,
    logit_differences_of,
    network_of,
)
from surefoot.certify.bounds.slopes import slope_range_on
from surefoot.certify.bounds.summation import lengths
from surefoot.certify.bounds.upward import UNIT, Float, gamma, up
from surefoot.policy import Array, CategoricalHead, GaussianHead, Head, Policy, Squash

_GRID = 4096.0
"""Radii that may be certified, up to the largest."""

_FREE_SPLITS = 5
"""Times that the grid is split where interpolation says, before every third split is a halving."""

_MOST_SPLITS = _FREE_SPLITS + 39
"""Times that the grid is split at the most: three for each of thirteen halvings."""

_GROWTH = 1.5
"""Power of the radius by which bounds are expected to grow, as long as nothing else is known."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LocalBounds:
    """Bounds around B states in real arithmetic.

    Attributes:
        action: Largest change of each action, action units (or logits), shape (B, m).
        distance: D for a Gaussian, infinite where the file names no noise; the span of the logit
            change for a categorical head; shape (B,).
        before: Bounds of the network before each activation and of its outputs, shape (B, n).
    """

    action: Float
    distance: Float
    before: tuple[Bounds, ...]

    def part(self, rows: Rows) -> "LocalBounds":
        """Return the bounds around some of the states."""
        before = tuple(bounds.part(rows) for bounds in self.before)
        return LocalBounds(action=self.action[rows], distance=self.distance[rows], before=before)


def local_bounds(
    policy: Policy, region: Region, alpha_steps: int = 0, *, by_slopes: bool = True
) -> LocalBounds:
    """Return the least of CROWN, the mean-value form and local constants around each state.

    Args:
        policy: The policy.
        region: States and sizes of the perturbation.
        alpha_steps: Gradient steps that choose the lines of CROWN; 0 for fixed lines, and without
            second-order bounds and (for l2) the Lipschitz constants of the ball.
        by_slopes: Whether the mean-value form is among them; ``action_by_slopes`` adds it later.
    """
    network = network_of(policy)
    before = bounds_before(network, region, alpha_steps)
    around, here = before[-1], values_at(network, region)
    raw = change(around, here)
    if by_slopes:  # neither CROWN nor the mean-value form is the tighter one everywhere
        raw = np.minimum(raw, mean_value_deviation(network, region, before[:-1]))
    if alpha_steps and region.norm is Norm.L2:
        _, rows = centred_lipschitz(network, before[:-1])
        raw = np.minimum(raw, up(rows * region.radius[:, None]))
    action = raw
    if isinstance(policy.head, GaussianHead):
        half_range = policy.head.half_range.astype(np.float64)
        # The change before the squash bounds the one behind it, where saturation shows as well.
        action = np.minimum(action_change(policy.head, around, here), up(raw * half_range))
    distance = _distance(policy, region, raw, alpha_steps)
    if not alpha_steps:
        return LocalBounds(action=action, distance=distance, before=tuple(before))
    outputs = Bounds(-coarse(-around.lower), coarse(around.upper))
    return LocalBounds(
        action=coarse(action), distance=coarse(distance), before=(*before[:-1], outputs)
    )


def action_by_slopes(policy: Policy, region: Region, local: LocalBounds) -> Float:
    """Return what ``local_bounds`` says of each action with the mean-value form among them.

    Args:
        policy: The policy.
        region: States and sizes of the perturbation.
        local: The same without that form.
    """
    raw = mean_value_deviation(network_of(policy), region, list(local.before[:-1]))
    if isinstance(policy.head, GaussianHead):
        raw = up(raw * policy.head.half_range.astype(np.float64))
    return np.minimum(local.action, raw)


def _distance(policy: Policy, region: Region, raw: Float, alpha_steps: int) -> Float:
    """Return the distance of the action laws from the change of each output, shape (B,)."""
    if isinstance(policy.head, GaussianHead):
        if policy.head.std is None:
            return np.full(len(raw), np.inf)
        return lengths(up(raw / policy.head.std.astype(np.float64)))
    differences = logit_differences_of(policy)
    around = bounds_before(differences, region, alpha_steps)[-1]
    pairs = change(around, values_at(differences, region))
    # max dz - min dz is at most the sum of the two largest |dz_k|.
    two = up(np.sort(raw, axis=1)[:, -2:].sum(axis=1), 2)
    return np.asarray(np.minimum(pairs.max(axis=1), two))


def bounds_before(network: Network, region: Region, alpha_steps: int) -> list[Bounds]:
    """Bound a network before each activation and its outputs, with the effort that is allowed."""
    if alpha_steps:
        return optimised_bounds(network, region, alpha_steps)
    return layer_bounds(network, region)


def coarse(values: Float) -> Float:
    """Return ``values`` rounded up to eleven bits.

    The path of an optimiser hangs on the last bits of a BLAS. Another machine proves the same
    coarse number, so that a saved one can be checked there.
    """
    fraction, exponent = np.frexp(values)
    return np.asarray(np.ldexp(np.ceil(fraction * 2048) / 2048, exponent))


def values_at(network: Network, region: Region) -> Bounds:
    """Return a tight enclosure of the outputs at the states themselves, shape (B, m)."""
    nothing = np.zeros_like(region.radius)
    # A ball of radius 0: what remains of the intervals is rounding.
    point = Region(centres=region.origins, radius=nothing, norm=region.norm)
    return interval_bounds(network, point)


def change(around: Bounds, here: Bounds) -> Float:
    """Return the largest change from a value in ``here`` to one in ``around``."""
    with np.errstate(invalid="ignore"):
        distance = np.maximum(around.upper - here.lower, here.upper - around.lower)
    return up(np.where(np.isnan(distance), np.inf, np.maximum(distance, 0.0)), 2)


def action_change(head: Head, around: Bounds, here: Bounds) -> Float:
    """Return the largest change of each action, action units, behind squash and scale.

    Args:
        head: Meaning of the outputs.
        around: Bounds of the network's output on the region, shape (B, m).
        here: The same at the states themselves.
    """
    if isinstance(head, CategoricalHead):
        return change(around, here)
    squashed = [_squash(head.squash, bounds) for bounds in (around, here)]
    return up(change(*squashed) * head.half_range.astype(np.float64))


def _squash(squash: Squash, bounds: Bounds) -> Bounds:
    """Every squash is monotone; tanh is widened by more than its rounding."""
    slack = 8 * UNIT if squash is Squash.TANH else 0.0
    return Bounds(squash(bounds.lower) - slack, squash(bounds.upper) + slack)


def mean_value_deviation(network: Network, region: Region, before: list[Bounds]) -> Float:
    """Return bounds on the change of each output by interval slopes, shape (B, m).

    Secant slopes on the region are M +- R, so the Jacobian-like product lies within D of C:
    C <- W M C, D <- |W| (|M| D + R (|C| + D)); rounding is charged to D.

    Args:
        network: The network.
        region: States and sizes of the perturbation.
        before: Bounds before each activation.
    """
    num_states = len(region.centres)
    if not network.is_elementwise:  # there are no slopes of single neurons
        return np.full((num_states, len(network.weights[-1])), np.inf)
    # J_1 = W_1 exactly.
    weight = network.weights[0]
    centre = np.broadcast_to(weight, (num_states, *weight.shape))
    spread = np.zeros_like(centre)
    with np.errstate(over="ignore", invalid="ignore"):
        for number, bounds in enumerate(before):
            weight = network.weights[number + 1]
            slopes = slope_range_on(network.activations[number], bounds.lower, bounds.upper)
            middle = ((slopes[0] + slopes[1]) / 2)[..., None]
            radius = up(np.maximum(slopes[1] - middle[..., 0], middle[..., 0] - slopes[0]))
            size = np.abs(middle) * np.abs(centre)
            rounding = size * gamma(weight.shape[1] + 4)
            # |D J - M C| <= |M| |J - C| + R |J|, with |J| <= |C| + D.
            grown = np.abs(middle) * spread + radius[..., None] * (np.abs(centre) + spread)
            spread = up(np.abs(weight) @ up(grown + rounding, 6), weight.shape[1]) + 1e-200
            centre = weight @ (middle * centre)
        total = region.around_origins.spread(up(np.abs(centre) + spread))
    return np.where(np.isnan(total), np.inf, total)


def certified_radius(
    bound: Callable[[Float, NDArray[np.intp]], Float],
    limit: float,
    count: int,
    largest: float,
    first: float | None = None,
) -> Float:
    """Return for each state the largest radius at which a bound meets a limit, on a grid.

    The grid is bisected, not in its middle but where interpolation expects the limit. Each success
    is a proof by itself, so the result is sound even if the bound is not monotone.

    Args:
        bound: Radii and the numbers of their states, both of shape (k,), to what is proved there,
            shape (k,).
        limit: Largest value that the bound may have.
        count: Number of states B.
        largest: Upper end of the search, normalised units.
        first: Radius at which to look first; by default the upper end.
    """
    unit, everyone = largest / _GRID, np.arange(count)
    # Nothing is known of the place behind the grid, and nothing need be proved of no radius.
    low = _Ends(np.zeros(count), np.zeros(count))
    high = _Ends(np.full(count, _GRID + 1), np.full(count, np.inf))
    before = low.of(everyone)
    for number in range(-1, _MOST_SPLITS):
        rows = np.flatnonzero(high.places - low.places > 1)
        if not len(rows):
            break
        if number < 0:
            places = np.full(count, _GRID if first is None else np.rint(first / unit))
        else:
            ends = low.of(rows), high.of(rows), before.of(rows)
            by_half = number >= _FREE_SPLITS and (number - _FREE_SPLITS) % 3 == 0
            places = _split(*ends, limit, by_half=by_half)
        found = _Ends(places, bound(unit * places, rows))
        success = found.values <= limit
        for end, moved in ((low, success), (high, ~success)):
            before.put(rows[moved], end.of(rows[moved]))
            end.put(rows[moved], found.of(np.flatnonzero(moved)))
    return unit * low.places


@dataclass(frozen=True, slots=True, eq=False)
class _Ends:
    """An end of each state's part of the grid.

    Attributes:
        places: Number of the radius in the grid, shape (n,).
        values: The bound there, shape (n,).
    """

    places: Float
    values: Float

    def of(self, rows: NDArray[np.intp]) -> "_Ends":
        """Return the ends of some states."""
        return _Ends(self.places[rows], self.values[rows])

    def put(self, rows: NDArray[np.intp], ends: "_Ends") -> None:
        """Replace the ends of some states."""
        self.places[rows], self.values[rows] = ends.places, ends.values


def _split(low: _Ends, high: _Ends, other: _Ends, limit: float, *, by_half: bool) -> Float:
    """Return where to look next, strictly between the ends."""
    middle = np.floor((low.places + high.places) / 2)
    if by_half:  # so that no bound, however strange, takes more than three times the halvings
        return middle
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        guess = np.exp(_interpolated(low, high, other, limit))
    guess = np.where(np.isfinite(guess), guess, middle)
    # Rounded to the place whose side decides most: just inside of the nearer end.
    guess = np.where(guess - low.places < high.places - guess, np.ceil(guess), np.floor(guess))
    return np.asarray(np.clip(guess, low.places + 1, high.places - 1))


def _interpolated(low: _Ends, high: _Ends, other: _Ends, limit: float) -> Float:
    """Return the logarithms of the places at which the bound is expected to meet the limit.

    Bounds are nearly powers of the radius. Inverse quadratic interpolation (Brent, Algorithms for
    Minimization without Derivatives, 1973) through both ends and the one before, else a line
    through two of them, else one through a single one.
    """
    x, y, z = (np.log(end.places) for end in (low, high, other))
    a, b, c = (_finite_log(end.values / limit) for end in (low, high, other))
    curve = x * (b * c) / ((a - b) * (a - c))
    curve += y * (a * c) / ((b - a) * (b - c)) + z * (a * b) / ((c - a) * (c - b))
    place, value = np.where(np.isnan(a), y, x), np.where(np.isnan(a), b, a)
    steps = [(y - x) / (b - a), (z - place) / (c - value)]
    guesses = [curve, *(place - value * step for step in steps), place - value / _GROWTH]
    return np.select([np.isfinite(guess) for guess in guesses], guesses, np.nan)


def _finite_log(values: Float) -> Float:
    """Return logarithms, or what is no number where they are not finite."""
    logs = np.log(values)
    return np.where(np.isfinite(logs), logs, np.nan)


def local_region(
    states: Array,
    epsilon: float,
    norm: Norm,
    sensors: Float | None = None,
    groups: Groups | None = None,
) -> Region:
    """Return balls of one size around states of shape (B, obs_dim).

    Args:
        states: Normalised units.
        epsilon: Size of the perturbation, normalised units.
        norm: Its norm.
        sensors: For linf the share of epsilon by which each sensor may move, shape (obs_dim,).
        groups: Sensors whose movements count together, in l2.
    """
    centres = states.astype(np.float64)
    sides = None if sensors is None else np.tile(up(epsilon * sensors), (len(centres), 1))
    radius = np.full(len(centres), epsilon)
    return Region(centres=centres, radius=radius, norm=norm, sides=sides, groups=groups or ())
