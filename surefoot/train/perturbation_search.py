"""The search for the worst perturbation inside a ball: written once, for training and attacks.

    delta <- clip(delta + step sign(gradient + noise_i), -epsilon, epsilon),   i = 0 .. steps - 1

With noise it is the SGLD of SA-PPO and of the MAD attack, without it is PGD. State and
perturbation are kept apart, so that |delta| <= epsilon holds exactly.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from surefoot.ball import Ball, Groups, Norm
from surefoot.train.distributions import Distribution
from surefoot.train.networks import Mlp

SA_TEMPERATURE = 1e-5
"""Temperature of the SGLD noise in the SA regulariser; the MAD attack uses 1."""


def radius(epsilon: float, dtype: torch.dtype) -> float:
    """Return the largest number of ``dtype`` that is not above ``epsilon``.

    Rounding .075 to float32 gives a number above .075, and so would the perturbation be.
    """
    rounded = torch.tensor(epsilon, dtype=dtype)
    if float(rounded) > epsilon:
        rounded = torch.nextafter(rounded, torch.zeros_like(rounded))
    return float(rounded)


def corner_start(like: Tensor, size: float, generator: torch.Generator) -> Tensor:
    """Return a random corner of the ball of radius ``size``: +-size in every coordinate.

    A search for the largest change of an output must not start at zero: its gradient is zero there.
    """
    bits = torch.randint(2, like.shape, generator=generator, dtype=like.dtype, device=like.device)
    return bits.mul_(2).sub_(1).mul_(size)


def uniform_start(like: Tensor, size: float, generator: torch.Generator) -> Tensor:
    """Return a uniform point of the ball of radius ``size``."""
    unit = torch.rand(like.shape, generator=generator, dtype=like.dtype, device=like.device)
    return unit.mul_(2).sub_(1).mul_(size)


def noise_scale(step_size: float, temperature: float, number: int) -> float:
    """Return the standard deviation of the noise that SGLD adds to the gradient of a step.

    Args:
        step_size: Length of each step.
        temperature: How strong the noise is; 0 for none.
        number: Number of the step, from 0.
    """
    return math.sqrt(2 * step_size * temperature) / (number + 2)


@torch.no_grad()
def search_ball(
    gradient: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    epsilon: float,
    steps: int,
    step_size: float | None = None,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
    norm: Norm = Norm.LINF,
    shares: Tensor | None = None,
    groups: Groups | None = None,
) -> Tensor:
    """Maximise a function of a perturbation in a ball by steps of steepest ascent.

    In the linf ball these are signed gradients, in the l2 ball gradients of unit length, and of
    sensors that are measured together those of unit length in units of their sides.

    Args:
        gradient: Maps perturbations, (B, O), to the gradient of the objective with respect to
            them. Its scale matters only against the noise.
        start: First perturbations, (B, O).
        epsilon: Radius of the ball, normalised units.
        steps: Number of gradient steps.
        step_size: Length of each step; epsilon / steps if it is not given.
        temperature: Temperature of the noise on the gradients, see :func:`noise_scale`.
        generator: Source of the noise, on the device of ``start``.
        norm: Norm of the ball.
        shares: Share of epsilon by which each sensor may move in the linf ball, (O,), float64; None
            for all of it. Steps are shared out alike.
        groups: Sensors of the linf ball whose movements count together, in l2.

    Returns:
        Perturbations, (B, O), with |delta| <= epsilon: exactly for linf, up to rounding for l2 and
        for groups.

    Reference:
        Zhang et al. 2020 (arXiv 2003.08938), the SGLD variant of SA-PPO.
    """
    limit, along = _sides(epsilon, shares, start)
    step = epsilon / steps if step_size is None else step_size
    linf = norm is Norm.LINF
    parts = [list(group) for group in groups or ()]
    if linf:
        delta = _within_groups(start.clone(), limit, parts).clamp_(-limit, limit)
    else:
        delta = _shortened(start, radius(epsilon, start.dtype))
    noise = torch.empty(
        steps if temperature else 0, *start.shape, dtype=start.dtype, device=start.device
    ).normal_(generator=generator)
    for number in range(steps):
        direction = gradient(delta)
        if temperature:
            scale = noise_scale(step, temperature, number)
            direction = direction.add(noise[number], alpha=scale)
        if linf:
            stride = direction.sign() if along is None else _strides(direction, along, parts)
            delta = _within_groups(delta.add(stride, alpha=step), limit, parts)
            delta = delta.clamp_(-limit, limit)
        else:
            smallest = torch.finfo(delta.dtype).tiny
            unit = torch.nn.functional.normalize(direction, dim=1, eps=smallest)
            delta = _shortened(delta + step * unit, radius(epsilon, start.dtype))
    return delta


def _strides(direction: Tensor, along: Tensor, groups: list[list[int]]) -> Tensor:
    """Return steps of size 1 in units of the sides, along which a function rises most, (B, O)."""
    stride = direction.sign() * along
    smallest = torch.finfo(direction.dtype).tiny
    for group in groups:
        steep = direction[:, group] * along[group]
        stride[:, group] = torch.nn.functional.normalize(steep, dim=1, eps=smallest) * along[group]
    return stride


def _within_groups(delta: Tensor, limit: Tensor, groups: list[list[int]]) -> Tensor:
    """Return perturbations, (B, O), whose groups are at most 1 long in units of their sides."""
    for group in groups:
        sides = limit[group].clamp_min(torch.finfo(delta.dtype).tiny)
        delta[:, group] = _shortened(delta[:, group] / sides, 1.0) * sides
    return delta


def shares_of(ball: Ball) -> Tensor | None:
    """Return the share of its radius by which each sensor may move, (O,); None for all of it."""
    return None if ball.sensors is None else torch.tensor(ball.sensors, dtype=torch.float64)


def shared_out(start: Tensor, shares: Tensor | None) -> Tensor:
    """Return starts in a ball, (B, O), as starts in one whose sensors have shares, (O,)."""
    return start if shares is None else start * shares.to(start)


def _sides(epsilon: float, shares: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the largest movement of each sensor, and its share if any, in the dtype of ``like``.

    No movement is above the real product of radius and share.
    """
    if shares is None:
        return torch.tensor(radius(epsilon, like.dtype), dtype=like.dtype, device=like.device), None
    product = epsilon * shares.to(like.device)  # float64, whose rounding one step makes up for
    below = torch.nextafter(product, torch.zeros_like(product)).to(like.dtype)
    sides = torch.where(below > product, torch.nextafter(below, torch.zeros_like(below)), below)
    return sides, shares.to(like)


def farthest_perturbation(
    actor: Mlp,
    distribution: Distribution,
    states: Tensor,
    ball: Ball,
    *,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """Maximise D^2 = 2 KL between the actions in a linf ball by SGLD; shape (B, O).

    Args:
        actor: Network from states to outputs.
        distribution: Distribution of the actions around the outputs.
        states: Centres of the balls, (B, O).
        ball: The linf ball, normalised units.
        steps: Number of gradient steps of epsilon / steps.
        generator: Source of start and noise, on the device of ``states``.

    Reference:
        Zhang et al. 2020 (arXiv 2003.08938), and the code of SA_PPO.
    """
    # Of the mean over the samples: the noise of SGLD is relative to it.
    output_gradient = distribution.squared_distance_gradient(actor(states), 1 / len(states))
    shares = shares_of(ball)
    return search_ball(
        lambda delta: actor.input_gradient(states + delta, output_gradient),
        shared_out(corner_start(states, ball.epsilon / steps, generator), shares),
        epsilon=ball.epsilon,
        steps=steps,
        temperature=SA_TEMPERATURE,
        generator=generator,
        shares=shares,
        groups=ball.groups,
    )


def _shortened(delta: Tensor, limit: float) -> Tensor:
    """Return the nearest perturbations of the l2 ball of radius ``limit``."""
    length = torch.linalg.vector_norm(delta, dim=1, keepdim=True)
    return torch.where(length > limit, delta * (limit / length), delta)
