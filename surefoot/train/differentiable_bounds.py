"""BatchBounds of a network on a ball around each of many states, in PyTorch, to be trained on.

IBP and CROWN as in `surefoot.certify`, differentiable, on the training's device, and without a
charge for rounding: float32 bounds that are good to learn from and prove nothing.

Shape legend: B states, O inputs, n neurons of a layer, r rows of a target.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from surefoot.activation import Activation, AnyActivation
from surefoot.ball import Ball
from surefoot.errors import InputError
from surefoot.train.networks import SILU_SLOPES, Mlp, forward
from surefoot.train.perturbation_search import shares_of

_BISECTIONS = 5
_NEWTON_STEPS = 2

_FLAT = 1e-4
"""Curvature below which no Newton step is taken."""

_SILU_LEAST = -1.2784645427610738
"""Where SiLU is smallest."""


@dataclass(frozen=True, slots=True, eq=False)
class BatchBounds:
    """lower <= value <= upper, (B, n)."""

    lower: Tensor
    upper: Tensor

    def meet(self, other: "BatchBounds") -> "BatchBounds":
        """Return the intersection of both."""
        return BatchBounds(
            torch.maximum(self.lower, other.lower), torch.minimum(self.upper, other.upper)
        )

    def mix(self, other: "BatchBounds", share: float) -> "BatchBounds":
        """Return bounds that lie between: ``share`` of the other's, and the rest of these."""
        return BatchBounds(
            torch.lerp(self.lower, other.lower, share), torch.lerp(self.upper, other.upper, share)
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Lines:
    """Lines around an activation on intervals: their means and half their differences, (B, n).

    In this form positive(W) high + negative(W) low is W mean + |W| spread, and has a symmetric
    derivative where a weight is pruned.
    """

    slope: Tensor
    slope_spread: Tensor
    cut: Tensor
    cut_spread: Tensor


def _between(slope_low: Tensor, cut_low: Tensor, slope_high: Tensor, cut_high: Tensor) -> _Lines:
    """Return the lines slope_low x + cut_low <= phi(x) <= slope_high x + cut_high."""
    return _Lines(
        slope=(slope_high + slope_low) / 2,
        slope_spread=(slope_high - slope_low) / 2,
        cut=(cut_high + cut_low) / 2,
        cut_spread=(cut_high - cut_low) / 2,
    )


def mixed_bounds(mlp: Mlp, states_BO: Tensor, ball: Ball, beta: float) -> BatchBounds:
    """Return beta IBP + (1 - beta) CROWN of the outputs; CROWN is skipped at beta = 1.

    Args:
        mlp: Differentiable by autograd in its weights.
        states_BO: Centres of the balls.
        ball: The linf ball around each, normalised units.
        beta: Share of IBP, in [0, 1].

    Reference:
        Zhang et al. 2020 (arXiv 2003.08938), the convex relaxation of SA-PPO.
    """
    if beta == 0:
        return crown_bounds(mlp, states_BO, ball)
    interval = interval_bounds(mlp, states_BO, ball)
    return interval if beta == 1 else crown_bounds(mlp, states_BO, ball).mix(interval, beta)


def interval_bounds(mlp: Mlp, states_BO: Tensor, ball: Ball) -> BatchBounds:
    """Return bounds of the outputs by interval arithmetic (IBP), (B, r)."""
    bounds = _first_layer(mlp, states_BO, ball)
    for number in range(1, len(mlp.weights)):
        bounds = _interval_layer(mlp, number, bounds)
    return bounds


def crown_bounds(mlp: Mlp, states_BO: Tensor, ball: Ball) -> BatchBounds:
    """Return bounds of the outputs by CROWN, never looser than IBP, (B, r).

    Reference:
        Zhang et al., NeurIPS 2018 (arXiv 1811.00866).
    """
    bounds = _first_layer(mlp, states_BO, ball)
    lines: list[_Lines] = []
    for number in range(1, len(mlp.weights)):
        lines.append(_relax(mlp.activations[number - 1], bounds.lower, bounds.upper))
        crown = _substituted(mlp, number, lines, states_BO, ball)
        bounds = crown.meet(_interval_layer(mlp, number, bounds))
    return bounds


def _reach(rows: Tensor, ball: Ball) -> Tensor:
    """Return how far linear functions of the state move in the ball: rows (..., O) to (...)."""
    shares, sizes = shares_of(ball), rows.abs()
    if shares is None:
        return ball.epsilon * sizes.sum(-1)
    weighed = sizes * shares.to(rows)
    grouped = {sensor for group in ball.groups or () for sensor in group}
    total = weighed[..., [k for k in range(len(shares)) if k not in grouped]].sum(-1)
    for group in map(list, ball.groups or ()):
        total = total + torch.linalg.vector_norm(weighed[..., group], dim=-1)
    return ball.epsilon * total


def _first_layer(mlp: Mlp, states_BO: Tensor, ball: Ball) -> BatchBounds:
    middle = functional.linear(states_BO, mlp.weights[0], mlp.biases[0])
    radius = _reach(mlp.weights[0], ball)
    return BatchBounds(middle - radius, middle + radius)


def _interval_layer(mlp: Mlp, number: int, before: BatchBounds) -> BatchBounds:
    """Return interval bounds of a layer from bounds before the activation below it."""
    low, high = _image(mlp.activations[number - 1], before.lower, before.upper)
    weight = mlp.weights[number]
    middle = functional.linear((low + high) / 2, weight, mlp.biases[number])
    radius = functional.linear((high - low) / 2, weight.abs())
    return BatchBounds(middle - radius, middle + radius)


def _substituted(
    mlp: Mlp, number: int, lines: list[_Lines], states_BO: Tensor, ball: Ball
) -> BatchBounds:
    """Substitute lines from a layer back to the states.

    Upper bounds of the layer and of its negative are found together: 2 r rows.
    """
    weight, below = mlp.weights[number], lines[number - 1]
    under = torch.cat([mlp.weights[number - 1], mlp.biases[number - 1][:, None]], dim=1)
    middle = _scaled_product(weight, below.slope, under)
    spread = _scaled_product(weight.abs(), below.slope_spread, under)
    rows = torch.cat([middle + spread, spread - middle], dim=1)
    both = torch.cat([weight, -weight])
    constant = functional.linear(
        below.cut, both, torch.cat([mlp.biases[number], -mlp.biases[number]])
    )
    constant = constant + functional.linear(below.cut_spread, both.abs()) + rows[..., -1]
    rows = rows[..., :-1]
    for layer in range(number - 1, 0, -1):
        below, sizes = lines[layer - 1], rows.abs()
        constant = constant + torch.einsum("brn,bn->br", rows, below.cut)
        constant = constant + torch.einsum("brn,bn->br", sizes, below.cut_spread)
        rows = rows * below.slope[:, None] + sizes * below.slope_spread[:, None]
        constant = constant + rows @ mlp.biases[layer - 1]
        rows = rows @ mlp.weights[layer - 1]
    largest = torch.einsum("bro,bo->br", rows, states_BO) + constant + _reach(rows, ball)
    upper, negated = largest.chunk(2, dim=1)
    return BatchBounds(-negated, upper)


def _scaled_product(weight_rn: Tensor, scale_Bn: Tensor, under_nk: Tensor) -> Tensor:
    """Return weight diag(scale) under for every state, (B, r, k), by the smaller way round."""
    if len(weight_rn) <= under_nk.shape[1]:
        return (weight_rn * scale_Bn[:, None]) @ under_nk
    scaled = (scale_Bn.t()[:, :, None] * under_nk[:, None]).flatten(1)
    product = (weight_rn @ scaled).view(len(weight_rn), len(scale_Bn), -1)
    return product.transpose(0, 1)


def _image(activation: AnyActivation, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least and largest value of an activation on an interval."""
    at_low, at_high = forward(activation, low), forward(activation, high)
    if activation is not Activation.SILU:
        return at_low, at_high
    least = torch.minimum(at_low, at_high)
    dips = (low < _SILU_LEAST) & (high > _SILU_LEAST)
    bottom = forward(activation, torch.full_like(low, _SILU_LEAST))
    return torch.where(dips, bottom, least), torch.maximum(at_low, at_high)


def _relax(activation: AnyActivation, low: Tensor, high: Tensor) -> _Lines:
    """Return lines around an activation; those of `surefoot.certify`, but for a simpler SiLU.

    Raises:
        InputError: If the activation has none.
    """
    match activation:
        case Activation.IDENTITY:
            one, zero = torch.ones_like(low), torch.zeros_like(low)
            return _between(one, zero, one, zero)
        case Activation.RELU:
            return _relu(low, high)
        case Activation.TANH | Activation.SIGMOID:
            # phi(x) = 2 phi(0) - phi(-x): the line below is the mirrored one above.
            slope, cut = _s_shape_above(
                activation, torch.cat([low, -high]), torch.cat([high, -low])
            )
            (slope_high, slope_low), (cut_high, mirrored) = slope.chunk(2), cut.chunk(2)
            twice = 0.0 if activation is Activation.TANH else 1.0
            return _between(slope_low, twice - mirrored, slope_high, cut_high)
        case Activation.ELU | Activation.SOFTPLUS:
            return _convex(activation, low, high)
        case Activation.SILU:
            return _band(low, high)
    raise InputError(f"activation must be one that is trained with, got {activation}")


def _relu(low: Tensor, high: Tensor) -> _Lines:
    crossing = (low < 0) & (high > 0)
    slope = torch.where(
        crossing, high / torch.where(crossing, high - low, 1.0), (low >= 0).to(low.dtype)
    )
    slope_low = torch.where(crossing, (high > -low).to(low.dtype), slope)
    return _between(
        slope_low, torch.zeros_like(low), slope, torch.where(crossing, -slope * low, 0.0)
    )


def _convex(activation: Activation, low: Tensor, high: Tensor) -> _Lines:
    """Return the chord above and the tangent of the middle below."""
    slope_high = _chord(activation, low, high)
    middle = (low + high) / 2
    slope_low = _derivative(activation, middle)
    return _between(
        slope_low,
        forward(activation, middle) - slope_low * middle,
        slope_high,
        torch.maximum(*_cuts(activation, slope_high, low, high)),
    )


def _band(low: Tensor, high: Tensor) -> _Lines:
    """Return the chord of SiLU, moved by what slopes in [a, b] can leave it by.

    That is (s - a)(b - s) / (b - a) times the width, for a chord of slope s.
    """
    least, largest = SILU_SLOPES
    slope = _chord(Activation.SILU, low, high)
    leave = (slope - least) * (largest - slope) / (largest - least) * (high - low)
    cuts = _cuts(Activation.SILU, slope, low, high)
    return _between(slope, torch.minimum(*cuts) - leave, slope, torch.maximum(*cuts) + leave)


def _chord(activation: Activation, low: Tensor, high: Tensor) -> Tensor:
    """Return the slope between the ends, or at an end where they are one; any slope is sound."""
    width = high - low
    wide = width > torch.finfo(low.dtype).eps ** 0.75
    rise = forward(activation, high) - forward(activation, low)
    slope = rise / torch.where(wide, width, 1.0)
    return torch.where(wide, slope, _derivative(activation, low))


def _cuts(
    activation: Activation, slope: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the intercepts of lines through both ends."""
    return forward(activation, low) - slope * low, forward(activation, high) - slope * high


def _s_shape_above(activation: Activation, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return slope and intercept of a line above a function that is convex, then concave."""
    chord, at_end = _chord(activation, low, high), _derivative(activation, high)
    concave = low >= 0
    # In the mixed case a chord that is steeper than the end's tangent cuts through the function.
    bent = ~concave & (high > 0) & (chord > at_end)
    touch = ((low + high) / 2).clamp(min=0)
    # Few are bent, and only for them is there an equation to solve.
    touch = touch.masked_scatter(bent, _tangent_through(activation, low[bent], high[bent]))
    straight = torch.where(high <= 0, chord, torch.minimum(chord, at_end))
    tangent = concave | bent
    slope = torch.where(tangent, _derivative(activation, touch), straight)
    cut = torch.maximum(*_cuts(activation, slope, low, high))
    at_touch = forward(activation, touch) - slope * touch
    return slope, torch.where(tangent, torch.maximum(cut, at_touch), cut)


def _tangent_through(activation: Activation, low: Tensor, high: Tensor) -> Tensor:
    """Find the point whose tangent in the concave part passes (low, phi(low)), or the middle.

    Bisection and Newton steps find it; one more Newton step, in which only ``low`` counts as a
    variable, has the derivative of the solution. A tangent at any positive point is sound.
    """

    def missing(point: Tensor) -> Tensor:
        rise = forward(activation, point) - forward(activation, low)
        return _derivative(activation, point) * (point - low) - rise

    def newton_step(point: Tensor) -> Tensor:
        with torch.no_grad():
            curvature = _curvature(activation, point) * (point - low)
        return missing(point) / torch.where(curvature < -_FLAT, curvature, -torch.inf)

    middle = ((low + high) / 2).clamp(min=0)
    with torch.no_grad():
        left, right = middle, high.clamp(min=0)
        for _ in range(_BISECTIONS):
            point = (left + right) / 2
            short = missing(point) > 0
            left, right = torch.where(short, point, left), torch.where(short, right, point)
        for _ in range(_NEWTON_STEPS):
            left = torch.clamp(left - newton_step(left), middle, high.clamp(min=0))
        beyond = missing(middle) > 0
    return torch.where(beyond, left - newton_step(left), middle)


def _derivative(activation: Activation, x: Tensor) -> Tensor:
    match activation:
        case Activation.TANH:
            return 1 - torch.tanh(x).square()
        case Activation.SIGMOID:
            return torch.sigmoid(x) * torch.sigmoid(-x)
        case Activation.SILU:
            return torch.sigmoid(x) * (1 + x * torch.sigmoid(-x))
        case Activation.ELU:
            return torch.exp(x.clamp(max=0))
        case Activation.SOFTPLUS:
            return torch.sigmoid(x)
    raise AssertionError(activation)


def _curvature(activation: Activation, x: Tensor) -> Tensor:
    """Return the second derivative of tanh or the sigmoid."""
    if activation is Activation.TANH:
        return -2 * torch.tanh(x) * (1 - torch.tanh(x).square())
    half = torch.sigmoid(x)
    return half * (1 - half) * (1 - 2 * half)
