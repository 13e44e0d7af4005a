"""Input splitting: prove or refute a deviation around one state by cutting its box into pieces.

Lines are loose by the square of a width, so that halves are bounded tighter than the whole. The
pieces cover the box, and the largest of their bounds is one for all of it
(docs/explanation/mathematics.md, 5.12).

Reference:
    Wang et al., USENIX Security 2018 (arXiv 1804.10829), for bisection of inputs.
"""

import time
from dataclasses import dataclass

import numpy as np

from surefoot.ball import Norm
from surefoot.certify.bounds.crown import crown_bounds, times
from surefoot.certify.bounds.local_bounds import action_change, values_at
from surefoot.certify.bounds.region import Bounds, Network, Region, network_of
from surefoot.certify.bounds.slopes import times_jacobian
from surefoot.certify.bounds.upward import Float, up
from surefoot.policy import Policy

_BATCH = 64


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Split:
    """What splitting found around one state, in real arithmetic.

    Attributes:
        bound: Proved upper bound of the largest deviation of any actuator on the whole box.
        worst: Largest deviation that was seen at a point.
        point: Point of that deviation, normalised units, shape (obs_dim,).
        num_boxes: Number of pieces that were bounded.
    """

    bound: float
    worst: float
    point: Float
    num_boxes: int


def split_deviation(
    policy: Policy,
    state: Float,
    epsilon: float,
    limit: float,
    *,
    num_boxes: int,
    seconds: float = np.inf,
    sensors: Float | None = None,
) -> Split:
    """Bound the largest deviation around a state until ``limit`` is decided or effort runs out.

    Args:
        policy: The policy to bound.
        state: Normalised units, shape (obs_dim,).
        epsilon: Size of the linf perturbation, normalised units.
        limit: Stop when the bound is at most this, or a point exceeds it.
        num_boxes: Largest number of pieces; the result depends on nothing else.
        seconds: Time limit on top of that.
        sensors: Share of epsilon by which each sensor may move, shape (obs_dim,).
    """
    network = network_of(policy)
    centre = state.astype(np.float64)[None]
    here = values_at(network, Region(centres=centre, radius=np.zeros(1), norm=Norm.LINF))
    # Pieces are given by corners, so that together they cover the box whatever the rounding.
    sides = epsilon if sensors is None else up(epsilon * sensors)
    low = np.nextafter(centre - sides, -np.inf)
    high = np.nextafter(centre + sides, np.inf)
    bounds = _bounds(policy, network, low, high, here)
    worst, point = _look(policy, network, low, high, centre)
    done, count = 0.0, 1
    stop = time.monotonic() + seconds
    while len(bounds) and worst <= limit and count + 2 <= num_boxes and time.monotonic() < stop:
        # Best first: the bound of the whole box is that of its worst piece.
        order = np.argsort(-bounds)
        low, high, bounds = low[order], high[order], bounds[order]
        if bounds[0] <= limit:
            break
        take = min(_BATCH, int((bounds > limit).sum()), (num_boxes - count) // 2)
        low_cut, high_cut = _halve(network, low[:take], high[:take])
        new = _bounds(policy, network, low_cut, high_cut, here)
        count += len(new)
        seen, place = _look(policy, network, low_cut, high_cut, centre)
        if seen > worst:
            worst, point = seen, place
        low, high = np.concatenate([low[take:], low_cut]), np.concatenate([high[take:], high_cut])
        bounds = np.concatenate([bounds[take:], new])
        # A piece that holds the limit is done; its bound still counts for the box.
        finished = bounds <= limit
        done = max(done, float(bounds[finished].max(initial=0.0)))
        low, high, bounds = low[~finished], high[~finished], bounds[~finished]
    bound = max(done, float(bounds.max(initial=0.0)))
    return Split(bound=bound, worst=worst, point=point, num_boxes=count)


def region_between(low: Float, high: Float) -> Region:
    """Return balls that hold the boxes between two corners each, both of shape (B, d)."""
    centres = low + (high - low) / 2
    # Rounded up from both corners, so that the ball around the rounded centre holds the box.
    sides = up(np.maximum(high - centres, centres - low))
    return Region(centres=centres, radius=sides.max(axis=1), norm=Norm.LINF, sides=sides)


def _bounds(policy: Policy, network: Network, low: Float, high: Float, here: Bounds) -> Float:
    # Against the value at the centre of the whole box, not at that of the piece.
    around = crown_bounds(network, region_between(low, high))
    return np.asarray(action_change(policy.head, around, here).max(axis=1))


def _look(
    policy: Policy, network: Network, low: Float, high: Float, centre: Float
) -> tuple[float, Float]:
    """Return the worst deviation at the middles and at the corners of steepest ascent."""
    middles = low + (high - low) / 2
    slopes = jacobian(network, middles, network.weights[-1])
    # Where the network is linear on a piece, its extremes are at these corners.
    corners = [
        np.where(sign * slopes[:, j] > 0, high, low)
        for j in range(slopes.shape[1])
        for sign in (1.0, -1.0)
    ]
    points = np.concatenate([middles, *corners])
    change = np.abs(policy.outputs_at(points) - policy.outputs_at(centre)).max(axis=1)
    best = int(change.argmax())
    return float(change[best]), points[best]


def _halve(network: Network, low: Float, high: Float) -> tuple[Float, Float]:
    """Cut each box across the sensor that moves the outputs most over its side."""
    middles = low + (high - low) / 2
    influence = np.abs(jacobian(network, middles, network.weights[-1])).max(axis=1) * (high - low)
    # A flat middle says nothing about the sides; the longest one breaks such ties.
    sensor = (influence + 1e-3 * influence.max() * (high - low) / (high - low).max()).argmax(axis=1)
    rows = np.arange(len(low))
    # Both halves own the cut, so that no point between two float64 numbers is lost.
    left_high, right_low = high.copy(), low.copy()
    left_high[rows, sensor] = right_low[rows, sensor] = middles[rows, sensor]
    return np.concatenate([low, right_low]), np.concatenate([left_high, high])


def jacobian(network: Network, states: Float, last: Float) -> Float:
    """Return an estimate of the Jacobian of rows of the network's output, shape (B, m, d).

    Args:
        network: The network.
        states: Shape (B, d).
        last: Rows of the last layer that are meant, shape (m, n).
    """
    before, hidden = [], states
    for weight, bias, activation in zip(
        network.weights[:-1], network.biases[:-1], network.activations, strict=True
    ):
        before.append(hidden @ weight.T + bias)
        hidden = activation(before[-1])
    # Backwards: outputs are fewer than sensors.
    rows = np.broadcast_to(last, (len(states), *last.shape))
    for number in range(len(before) - 1, -1, -1):
        through = times_jacobian(network.activations[number], before[number][:, None, :], rows)
        rows = times(through, network.weights[number])
    return np.asarray(rows)
