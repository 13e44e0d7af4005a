"""A screen of attacks of moments, by which a checkpoint is chosen: a bound on what a suite leaves.

N = environments, O = obs_dim, D = obs_dim, M = num_outputs.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from surefoot.ball import Ball, States
from surefoot.envs.vector import VectorEnv
from surefoot.errors import DivergenceError
from surefoot.policy import Array, Policy
from surefoot.train.evaluation import whole_episodes
from surefoot.train.networks import Mlp, mlp_from_layers
from surefoot.train.streams import Stream, numpy_stream

_NUM_CORNERS = 6
"""Constant errors that are tried: corners of the ball, the same ones for every policy of a run."""

Disturb = Callable[[States], States]
"""From true states, (N, D), to perturbed ones."""


def screened_return(
    policy: Policy, ball: Ball, env: VectorEnv, episode_seeds: Sequence[int], seed: int
) -> tuple[float, int]:
    """Return the least mean return under a few cheap attacks, and the steps that were played.

    One step along the sign of the gradient pushes each output up or down for a whole episode; and
    a few constant errors. A learned adversary finds worse: this ranks policies, and proves nothing.

    Args:
        policy: The policy.
        ball: What an attack may do to the states.
        env: The task, one environment for each episode.
        episode_seeds: Seeds of the episodes, the same ones under every attack.
        seed: Seed of the run, from which the constant errors are drawn.

    Raises:
        DivergenceError: If a simulation diverges, or an observation or reward is not finite.
    """
    least, num_steps = np.inf, 0
    for disturb in (*_pushes(policy, ball), *_corners(policy, ball, seed)):
        returns, lengths = whole_episodes(_acting(policy, disturb), env, episode_seeds)
        least = min(least, float(returns.mean()))
        num_steps += int(lengths.sum())
    return least, num_steps


def _acting(policy: Policy, disturb: Disturb) -> Callable[[NDArray[np.float64]], Array]:
    """Return how a policy acts whose states are disturbed."""

    def act(obs_NO: NDArray[np.float64]) -> Array:
        if not np.isfinite(obs_NO).all():
            raise DivergenceError("an observation of a screen is not finite")
        state_NO: States = policy.state(obs_NO, np.float32)
        return policy.head.select(policy.outputs_at(disturb(state_NO)))

    return act


def _pushes(policy: Policy, ball: Ball) -> Iterator[Disturb]:
    """Yield, for each output, what pushes it up, and what pushes it down."""
    twin = mlp_from_layers(policy.layers, dtype=torch.float32)
    for number in range(policy.num_outputs):
        for sign in (1.0, -1.0):
            yield _push(twin, ball, number, sign)


def _push(twin: Mlp, ball: Ball, number: int, sign: float) -> Disturb:
    def gradient_of(outputs_NM: torch.Tensor) -> torch.Tensor:
        wanted = torch.zeros_like(outputs_NM)
        wanted[:, number] = sign
        return wanted

    def disturb(state_ND: States) -> States:
        gradient = twin.input_gradient(torch.from_numpy(state_ND), gradient_of)
        return ball.perturbed(state_ND, ball.outermost(gradient.numpy()))

    return disturb


def _corners(policy: Policy, ball: Ball, seed: int) -> Iterator[Disturb]:
    """Yield constant errors, as large as the ball lets them be."""
    random = numpy_stream(seed, Stream.SCREEN)
    for _ in range(_NUM_CORNERS):
        yield _constant(ball, random.choice((-1.0, 1.0), policy.obs_dim))


def _constant(ball: Ball, direction_D: NDArray[np.float64]) -> Disturb:
    return lambda state_ND: ball.perturbed(
        state_ND, ball.outermost(np.tile(direction_D, (len(state_ND), 1)))
    )
